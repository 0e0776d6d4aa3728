package disk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrNoZero is a disk that cannot zero without being sent zeroes. It is EOPNOTSUPP.
var ErrNoZero = fmt.Errorf("cannot zero by itself: %w", unix.EOPNOTSUPP)

// Zero makes the n bytes at byte at read as zeroes, without sending them. They are durable after Sync. A disk that cannot
// is ErrNoZero, and then has to be written to; what the range holds after any error is for each block the old data or
// zeroes. EINVAL is a range that is not on the disk, or not aligned to its logical block.
//
// A file keeps its space where ZeroRange. A block device is asked to punch a hole: of the two modes that guarantee zeroes
// it is the one for which the kernel does not write them itself (BLKDEV_ZERO_NOFALLBACK in blkdev_fallocate), and the
// disk may release the blocks.
func (d *Disk) Zero(at, n uint64) error {
	fd, err := d.openWrite("zero")
	if err != nil {
		return err
	}
	if !d.within(at, n) {
		return d.failed("zero", at, fmt.Errorf("%d bytes reach past the end: %w", n, unix.EINVAL))
	}
	if n == 0 {
		return nil
	}
	mode := uint32(unix.FALLOC_FL_PUNCH_HOLE)
	if d.info.Kind == File && !d.noZero {
		mode = unix.FALLOC_FL_ZERO_RANGE
	}
	err = patient(func() error { return d.calls.fallocate(fd, mode|unix.FALLOC_FL_KEEP_SIZE, int64(at), int64(n)) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = ErrNoZero
	}
	return d.failed("zero", at, err)
}

// NextData finds the next range [start, end) of bytes, at or after at and below limit, that may hold data: all other bytes
// before end read as zeroes. There is none if start is limit. Of a block device, and of a file system that does not know,
// it is everything. The range begins and ends with whole logical blocks, except at at and limit.
//
// Data written while it looks may be missed. It moves the descriptor's file offset, which no method of the disk uses, so
// that several goroutines may look at once.
func (d *Disk) NextData(at, limit uint64) (start, end uint64, err error) {
	fd, err := d.open("look for data")
	if err != nil {
		return 0, 0, err
	}
	limit = min(limit, d.size())
	if at >= limit {
		return limit, limit, nil
	}
	if d.info.Kind == Block {
		return at, limit, nil
	}
	data, err := d.calls.seek(fd, int64(at), unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole up to the end
		return limit, limit, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return at, limit, nil
	case err != nil:
		return 0, 0, d.failed("look for data", at, err)
	}
	block := uint64(max(d.info.LogicalBlock, 512))
	start = max(at, uint64(data)/block*block)
	if start >= limit {
		return limit, limit, nil
	}
	hole, err := d.calls.seek(fd, data, unix.SEEK_HOLE)
	if err != nil || hole <= data { // the file changed since: it may be all data
		return start, limit, nil
	}
	return start, min(limit, (uint64(hole)+block-1)/block*block), nil
}
