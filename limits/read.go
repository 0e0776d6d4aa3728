package limits

import (
	"errors"
	"io/fs"
	"math"
)

// What the block layer assumes of a queue that says nothing (blk_set_stacking_limits and
// blk_validate_limits in block/blk-settings.c, include/linux/blkdev.h).
const (
	defaultLogicalBlock   = 512
	defaultMaxHWSectors   = 255        // BLK_SAFE_MAX_SECTORS
	defaultMaxSegments    = 128        // BLK_MAX_SEGMENTS
	defaultMaxSegmentSize = 64 << 10   // BLK_MAX_SEGMENT_SIZE
	defaultSegBoundary    = 0xffffffff // BLK_SEG_BOUNDARY_MASK
	defaultDMAAlignment   = 511        // SECTOR_SIZE - 1

	softMaxSectors    = 2560 // BLK_DEF_MAX_SECTORS_CAP up to 6.16
	softMaxSectorsNew = 8192 // the same since: SZ_4M
)

// Read reads the limits of a block device from sys, the root of a sysfs. dev is the kernel's name of the
// device ("nvme0n1", "sda1"); a partition has the queue of its disk, and its own alignment_offset and ro.
//
// An attribute that the kernel is too old to have is given the block layer's default:
//
//	logical_block_size     512          physical_block_size  the logical block
//	minimum_io_size        the physical block
//	optimal_io_size        0            alignment_offset     0
//	max_hw_sectors_kb      255 sectors  max_sectors_kb       derived
//	chunk_sectors          0            max_segments         128
//	max_segment_size       64 KiB, or no limit beside a virt_boundary_mask
//	virt_boundary_mask     0            dma_alignment        511
//	discard_max_bytes      0            discard_max_hw_bytes discard_max_bytes
//	discard_granularity    the physical block where there is discard
//	write_zeroes_max_bytes 0            write_cache          write through
//	fua, rotational, ro    0
//
// What sysfs does not say: the segment boundary mask is the default, 4 GiB - 1; max_hw_sectors_kb and
// max_sectors_kb are in KiB, so that an odd sector of either is lost (255 sectors read as 254); the
// administrator's cap is told from max_sectors_kb only, see userSectors.
//
// A device that sys does not have is fs.ErrNotExist; all attributes that cannot be read or understood are
// reported together.
func Read(sys fs.FS, dev string) (Limits, error) {
	self, queue, err := queueDirs(sys, dev)
	if err != nil {
		return Limits{}, err
	}
	a := attrs{sys: sys, dir: queue}
	own := attrs{sys: sys, dir: self}

	l := Limits{
		LogicalBlock:    a.uint32("logical_block_size", defaultLogicalBlock),
		IOOpt:           a.uint32("optimal_io_size", 0),
		ChunkSectors:    a.uint32("chunk_sectors", 0),
		MaxSegments:     uint16(min(a.uint64("max_segments", defaultMaxSegments), math.MaxUint16)),
		SegBoundaryMask: defaultSegBoundary,
		VirtBoundary:    a.uint64("virt_boundary_mask", 0),
		DMAAlignment:    a.uint32("dma_alignment", defaultDMAAlignment),
		WriteCache:      a.word("write_cache", "write through") == "write back",
		FUA:             a.uint64("fua", 0) != 0,
		Rotational:      a.uint64("rotational", 0) != 0,
		ReadOnly:        own.uint64("ro", 0) != 0,
	}
	l.PhysicalBlock = max(a.uint32("physical_block_size", l.LogicalBlock), l.LogicalBlock)
	l.IOMin = max(a.uint32("minimum_io_size", l.PhysicalBlock), l.PhysicalBlock)
	l.AlignmentOffset, l.Misaligned = own.alignment("alignment_offset")

	segSize := uint64(defaultMaxSegmentSize)
	if l.VirtBoundary != 0 {
		segSize = math.MaxUint32 // blk_validate_limits: a virt boundary and a segment size exclude each other
	}
	l.MaxSegmentSize = clamp32(a.uint64("max_segment_size", segSize))

	l.readSectors(&a)
	l.readDiscard(&a)
	l.readMore(&a)
	return l, errors.Join(a.err(), own.err())
}

// readSectors fills MaxHWSectors, MaxSectors and MaxUserSectors.
func (l *Limits) readSectors(a *attrs) {
	l.MaxHWSectors = defaultMaxHWSectors
	if kb := a.uint64("max_hw_sectors_kb", 0); kb != 0 {
		l.MaxHWSectors = clamp32(mul2(kb))
	}
	l.MaxSectors = softSectors(l, softMaxSectors)
	if kb := a.uint64("max_sectors_kb", 0); kb != 0 {
		l.MaxSectors = min(clamp32(mul2(kb)), l.MaxHWSectors)
		caps := [...]uint32{softMaxSectorsNew, softMaxSectors}
		// This attribute came with the new cap, so that 1280 KiB beside it is somebody's wish.
		if a.word("write_zeroes_unmap_max_hw_bytes", "") != "" {
			l.MaxUserSectors = userSectors(l, caps[:1])
		} else {
			l.MaxUserSectors = userSectors(l, caps[:])
		}
	}
}

// readDiscard fills the discard and write zeroes limits. A device without discard has a granularity of 0
// (blk_validate_limits).
func (l *Limits) readDiscard(a *attrs) {
	most := a.uint64("discard_max_bytes", 0)
	hw := a.uint64("discard_max_hw_bytes", most)
	granularity := a.uint32("discard_granularity", 0)
	l.MaxHWDiscardSectors = clamp32(hw >> 9)
	l.MaxDiscardSectors = min(clamp32(most>>9), l.MaxHWDiscardSectors)
	if l.MaxDiscardSectors != 0 {
		l.DiscardGranularity = max(granularity, l.PhysicalBlock)
	}
	l.MaxWriteZeroesSectors = clamp32(a.uint64("write_zeroes_max_bytes", 0) >> 9)
}

// readMore fills what few devices have. A kernel without an attribute has not got the ability, as far as anybody can tell.
func (l *Limits) readMore(a *attrs) {
	l.MaxIntegritySegments = uint16(min(a.uint64("max_integrity_segments", 0), math.MaxUint16))
	l.MaxDiscardSegments = uint16(min(a.uint64("max_discard_segments", 1), math.MaxUint16))
	l.MaxHWUnmapZeroesSectors = clamp32(a.uint64("write_zeroes_unmap_max_hw_bytes", 0) >> 9)
	l.MaxUnmapZeroesSectors = clamp32(a.uint64("write_zeroes_unmap_max_bytes", 0) >> 9)
	l.Atomic = Atomic{Max: a.uint32("atomic_write_max_bytes", 0), UnitMin: a.uint32("atomic_write_unit_min_bytes", 0),
		UnitMax: a.uint32("atomic_write_unit_max_bytes", 0), Boundary: a.uint32("atomic_write_boundary_bytes", 0)}
	l.Zoned = a.word("zoned", "none") != "none"
	if l.Zoned {
		l.ZoneWriteGranularity = a.uint32("zone_write_granularity", l.LogicalBlock)
		l.MaxHWZoneAppendSectors = clamp32(a.uint64("zone_append_max_bytes", 0) >> 9)
	}
	l.StableWrites = a.uint64("stable_writes", 0) != 0
	l.Poll = a.uint64("io_poll", 0) != 0
}

// userSectors is what the administrator wrote to max_sectors_kb, or 0 when its value is what the kernel
// derives by itself, with one of the soft caps that it may have. A driver's own lower cap
// (max_dev_sectors) cannot be told from the administrator's and is taken for one.
func userSectors(l *Limits, caps []uint32) uint32 {
	for _, limit := range caps {
		if l.MaxSectors&^1 == softSectors(l, limit)&^1 { // in the KiB that sysfs has
			return 0
		}
	}
	return l.MaxSectors
}

// softSectors is the max_sectors that blk_validate_limits derives where nobody capped it: the hardware's,
// but not above the soft cap, or above io_opt or io_min where those are larger. It is rounded down to the
// logical block.
func softSectors(l *Limits, limit uint32) uint32 {
	if l.IOOpt>>9 > limit {
		limit = l.IOOpt >> 9
	} else if l.IOMin>>9 > limit {
		limit = l.IOMin >> 9
	}
	n := min(l.MaxHWSectors, limit)
	return n - n%max(l.LogicalBlock>>9, 1)
}

func clamp32(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

// mul2 is KiB in sectors.
func mul2(kb uint64) uint64 { return min(kb, math.MaxUint32) * 2 }
