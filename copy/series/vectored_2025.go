package series

import (
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// vectored2025 is Keith Busch's series: one bio says it all. Its bi_sector is the destination, its vector holds sources
// instead of pages, and the block layer splits it by the queue's limits like any other bio. It knows one block device and
// does not stack: blk_stack_limits has no entry for its limits, so that a dm device has none and is read and written.
var vectored2025 = &Model{
	Name:    "vectored-2025",
	Title:   "block: another block copy offload",
	Author:  "Keith Busch",
	Posted:  "2025-05-21",
	Message: "20250521223107.709131-1-kbusch@meta.com",
	Defects: []Defect{
		{vFallbackDst, "without support, every source of a vector is written to the start of the destination",
			"20250521223107.709131-1-kbusch@meta.com 4/5, blkdev_copy_range: dst_sector is passed unchanged for each source"},
		{vSources, "sources are neither moved to where the partition begins nor checked against its end: they are read from the whole disk",
			"4/5, blk_ioctl_copy_vec has no check, and bio_add_copy_src's sectors are not touched by blk_partition_remap"},
		{vOverlap, "the overlap test compares each source with as much of the destination's start as that source is long",
			"4/5, blk_ioctl_copy_vec: dst is not advanced in the loop"},
		{vRanges, "a command with 128 ranges and more fails: the bound of 128 is tested with >=, and the limit is not bounded by it",
			"3/5, nvme_setup_copy, NVME_COPY_MAX_RANGES; QEMU's MSRC + 1 is 128"},
		{vMerge, "whether a source goes on from the one before is computed with the length of the new one, so that sources are joined that do not touch",
			"2/5, bvec_try_merge_copy_src"},
		{vClip, "where a split falls inside a range, the driver sees the range whole, and its loop runs past the end of the bio",
			"2/5, bio_split_copy against rq_for_each_copy_bvec: copy_bvec_iter_bvec is not bounded by bi_size"},
		{vSize, "the bytes of a vector are added in 32 bits: 4 GiB and more are copied modulo 4 GiB, and reported as done",
			"4/5, blkdev_copy_offload, unsigned size; only __blkdev_copy has the check"},
		{vMCL, "MCL times the logical block is computed in 32 bits: 4 GiB becomes no support at all",
			"3/5, nvme_update_disk_info"},
		{vZero, "a source of length zero becomes a range of 65536 blocks",
			"4/5, blk_ioctl_copy_vec does not refuse it, and nvme_setup_copy subtracts one"},
		{vList, "the range list is always 4 KiB long: a target that insists on the exact length of an SGL refuses the command",
			"3/5, nvme_setup_copy, alloc_size; CADUfDZqVeaR=15drRFvdrgGyFhyQ=FtscaZycVrQ0pd-PGei=A@mail.gmail.com"},
		{vCache, "the ioctl does not flush the page cache over the sources, nor drop it over the destination: what was just written is not copied, what was copied is not read",
			"4/5, blk_ioctl_copy_vec; aGaYDa6K1jiYUtjY@ryzen"},
	},
	Limits: vectoredLimits,
	Run:    runVectored,
}

// The defects of the posted code.
const (
	vFallbackDst = "fallback-dst-not-advanced"
	vSources     = "sources-not-remapped"
	vOverlap     = "overlap-first-destination-only"
	vRanges      = "128-ranges-refused"
	vMerge       = "merge-with-wrong-length"
	vClip        = "split-inside-a-range"
	vSize        = "size-wraps-at-4gib"
	vMCL         = "mcl-wraps-at-4gib"
	vZero        = "zero-length-source"
	vList        = "list-always-4k"
	vCache       = "page-cache-bypassed"
)

// maxUint32 is UINT_MAX, and the most sectors a bio can say: its size is 32 bits of bytes.
const (
	maxUint32     = 1<<32 - 1
	maxBioSectors = maxUint32 >> 9
)

// vectoredQueue is queue_limits' part of 2025, in sectors and ranges. All zero: no support.
type vectoredQueue struct{ total, ranged, ranges uint64 }

// vectoredDisk is what nvme_update_disk_info makes of Identify Namespace: MCL, MSSRL, and MSRC, which counts from 0. A
// namespace with MCL or MSSRL 0 has no support. No other driver sets the limits.
func vectoredDisk(d *Disk, o *Options) vectoredQueue {
	if d.Copy.Method != limits.NVMeCopy || d.Copy.MSSRL == 0 || d.Copy.MCL == 0 || d.Stacked != "" {
		return vectoredQueue{}
	}
	block := d.block() * 512
	q := vectoredQueue{
		total:  min(uint64(d.Copy.MCL)*block>>9, maxUint32),
		ranged: min(uint64(d.Copy.MSSRL)*block>>9, maxUint32),
		ranges: min(uint64(d.Copy.MSRC), 1<<16-2) + 1,
	}
	if o.Has(vMCL) {
		q.total = uint64(uint32(uint64(d.Copy.MCL)*block)) >> 9
	}
	if !o.Has(vRanges) {
		q.ranges = min(q.ranges, nvmeRanges2025)
	}
	if q.total == 0 { // bdev_copy_sectors is all that is asked
		return vectoredQueue{}
	}
	return q
}

// nvmeRanges2025 is NVME_COPY_MAX_RANGES: what fits in the 4 KiB of the range list.
const nvmeRanges2025 = 128

// vectoredOf is what a device has, and the disk behind it. A dm device has nothing.
func vectoredOf(w *World, d *Device, o *Options) (vectoredQueue, target.Extent) {
	if !d.Bare {
		return vectoredQueue{}, target.Extent{}
	}
	var at target.Extent
	for e := range d.legs { // one
		at = e
	}
	return vectoredDisk(&w.Disks[at.Disk], o), at
}

func vectoredLimits(w *World, d *Device, o *Options) []Value {
	q, _ := vectoredOf(w, d, o)
	return []Value{
		{"copy_max_bytes", q.total << 9, "bytes"},
		{"copy_segment_max_bytes", q.ranged << 9, "bytes"},
		{"max_copy_segments", q.ranges, "ranges"},
	}
}
