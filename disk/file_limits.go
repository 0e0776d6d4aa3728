package disk

import (
	"errors"
	"math"
	"strconv"

	"github.com/ublk-go/ublk-linear/limits"
	"golang.org/x/sys/unix"
)

// align is what direct I/O on a file asks for.
type align struct {
	direct  bool   // direct I/O is possible
	block   uint32 // bytes, 512 and up: offsets and lengths are multiples of it
	dma     uint32 // bytes: so are addresses
	blksize uint32 // st_blksize, what the file system allocates in
}

// fileAlign asks statx for STATX_DIOALIGN. For a file system that does not say it is the logical block of
// the device that it is on, and 512 if it is on none, as for the loop driver (loop_query_min_dio_size).
// With an empty name it asks about fd itself.
func fileAlign(fd int, name string, st state, o *Options) (align, error) {
	flags := 0
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	var sx unix.Statx_t
	_, err := retry(func() (int, error) {
		return 0, unix.Statx(fd, name, flags, unix.STATX_BASIC_STATS|unix.STATX_DIOALIGN, &sx)
	})
	if err != nil {
		return align{}, err
	}
	a := align{direct: true, block: 512, dma: 512, blksize: max(sx.Blksize, 512)}
	if sx.Mask&unix.STATX_DIOALIGN != 0 {
		if sx.Dio_offset_align == 0 {
			return align{block: 512, dma: 512, blksize: a.blksize}, nil
		}
		a.block, a.dma = max(sx.Dio_offset_align, 512), max(sx.Dio_mem_align, 1)
		return a, nil
	}
	if n, err := nodeOfNumber(st.Dev, o); err == nil {
		if lbs, err := strconv.ParseUint(attr(o.Sys, n.whole, "queue/logical_block_size"), 10, 32); err == nil {
			a.block = max(uint32(lbs), 512)
		}
	}
	return a, nil
}

// fileLimits are the loop driver's over the same file (loop_add, loop_update_limits, lo_fallocate): a
// discard punches a hole, a flush is fsync, and FUA is RWF_DSYNC, which loop does not have.
func fileLimits(fd int, info Info, a align) limits.Limits {
	l := softLimits(a.block)
	l.DMAAlignment = a.dma - 1
	l.WriteCache = true
	l.FUA = true
	l.ReadOnly = info.ReadOnly
	if !info.ReadOnly && punches(fd, info.Sectors*512, int64(a.block)) {
		l.MaxDiscardSectors, l.MaxHWDiscardSectors = math.MaxUint32>>9, math.MaxUint32>>9
		l.MaxWriteZeroesSectors = math.MaxUint32 >> 9
		l.DiscardGranularity = max(a.blksize, a.block)
	}
	return l
}

// punches reports whether the file system punches holes, by punching one past the end of the file, where
// there is no data.
func punches(fd int, end uint64, length int64) bool {
	_, err := retry(func() (int, error) {
		return 0, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(end), length)
	})
	return err == nil
}

// zeroes reports whether the file system zeroes a range and keeps it allocated. It tries past the end of the file and
// gives back what that allocated. Only a plain "not supported" counts: a full file system zeroes another day.
func zeroes(fd int, end uint64, length int64) bool {
	_, err := retry(func() (int, error) {
		return 0, unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, int64(end), length)
	})
	if err == nil {
		punches(fd, end, length)
	}
	return !errors.Is(err, unix.EOPNOTSUPP)
}

// softLimits are those of a disk that is not hardware: the block layer's defaults, and the loop driver's
// 2560 sectors a request.
func softLimits(block uint32) limits.Limits {
	return limits.Limits{
		LogicalBlock: block, PhysicalBlock: block, IOMin: block,
		MaxHWSectors: 2560, MaxSectors: 2560,
		MaxSegments: 128, MaxSegmentSize: 65536, SegBoundaryMask: math.MaxUint32,
		DMAAlignment: 511, MaxDiscardSegments: 1,
	}
}

// nodeOfNumber is the block device of a number, ENODEV for that of a file system that has none.
func nodeOfNumber(rdev uint64, o *Options) (node, error) {
	name, err := kernelName(rdev, o)
	if err != nil {
		return node{}, errors.Join(unix.ENODEV, err)
	}
	return nodeOf(name, o)
}
