package series

// Constants of the ioctl (include/uapi/linux/fs.h of the series).
const (
	simpleMaxRanges  = 1 << 12 // MAX_COPY_NR_RANGE; as many are too many
	simpleMaxSectors = 1 << 21 // MAX_COPY_TOTAL_LENGTH
)

const simpleUnchecked = "total-never-checked"

var simpleCopy2021 = &Model{
	Name:    "simple-copy-2021",
	Title:   "simple copy: one bio with a list of sources as its payload",
	Author:  "SelvaKumar S, Nitesh Shetty",
	Posted:  "2021-08-17",
	Message: "20210817101423.12367-1-selvakuma.s1@samsung.com",
	Defects: []Defect{{
		Name: simpleUnchecked,
		What: "the bound on the total length is never applied: the condition asks for a length of zero that is also too long",
		Ref:  "<20210817101423.12367-1-selvakuma.s1@samsung.com>, blkdev_issue_copy in block/blk-lib.c: !len && len >= MAX_COPY_TOTAL_LENGTH",
	}},
	Limits: simpleLimits,
	Run:    runSimple,
}

// simpleLimits are the files of queue/ (patch 2/7, block/blk-sysfs.c). On dm all are zero: "does not support copy offload
// for stacked/dm devices" (cover letter).
func simpleLimits(w *World, d *Device, _ *Options) []Value {
	l, _ := w.copyLimits(d, Copy2021)
	on := uint64(min(l.MaxSectors, 1))
	return []Value{
		{"copy_offload", on, "bool"}, // 1 as the driver sets it up; an administrator may write 0
		{"max_copy_sectors", uint64(l.MaxSectors), "sectors"},
		{"max_copy_range_sectors", uint64(l.MaxRangeSectors), "sectors"},
		{"max_copy_nr_ranges", uint64(l.MaxRanges), "ranges"},
	}
}
