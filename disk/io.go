package disk

import (
	"fmt"
	"io"
	"slices"

	"golang.org/x/sys/unix"
)

// maxVectors is IOV_MAX, the most buffers that one call takes.
const maxVectors = 1024

// Readv fills bufs in order from byte at of the disk. moved is how many bytes came, also beside an error: they are the
// first ones of bufs. Short transfers, EINTR and, for about half a second, EAGAIN are gone on from.
//
// A range that reaches past the end is read up to the end and is then an error that is io.ErrUnexpectedEOF and EIO. For
// direct I/O at and the length of every buffer are multiples of the logical block, and addresses are aligned as Limits
// says, or it is EINVAL: 6.12 refuses a block that is split between two buffers, which 7.2 takes.
func (d *Disk) Readv(bufs [][]byte, at uint64) (moved uint64, err error) {
	fd, err := d.open("read")
	if err != nil {
		return 0, err
	}
	rest, cut := fit(bufs, d.room(at))
	moved, err = transfer(rest, at, func(v [][]byte, at int64) (int, error) { return d.calls.readv(fd, v, at) })
	if err == nil && cut {
		err = errEnd
	}
	return moved, d.failed("read", at+moved, err)
}

// Writev writes bufs in order from byte at of the disk. moved is how many bytes of them the disk took, from the front,
// also beside an error; after an error more may have been written, but not past the last of bufs. They are durable after
// Sync, or at once with fua (RWF_DSYNC). It goes on as Readv does.
//
// A range that reaches past the end is an error as in Readv, and nothing is written: a file would grow.
func (d *Disk) Writev(bufs [][]byte, at uint64, fua bool) (moved uint64, err error) {
	fd, err := d.openWrite("write")
	if err != nil {
		return 0, err
	}
	rest, cut := fit(bufs, d.room(at))
	if cut {
		return 0, d.failed("write", at, errEnd)
	}
	flags := 0
	if fua {
		flags = unix.RWF_DSYNC
	}
	moved, err = transfer(rest, at, func(v [][]byte, at int64) (int, error) { return d.calls.writev(fd, v, at, flags) })
	return moved, d.failed("write", at+moved, err)
}

// Sync makes durable what was written, zeroed or copied before it was called (fdatasync), by whatever method of the disk.
// An error is told once: the kernel forgets it, and another Sync that succeeds does not take it back.
func (d *Disk) Sync() error {
	fd, err := d.open("sync")
	if err != nil {
		return err
	}
	if err := patient(func() error { return d.calls.sync(fd) }); err != nil {
		return fmt.Errorf("disk %s: sync: %w", d.info.Name, err)
	}
	return nil
}

// errEnd is the end of the disk where there should have been data.
var errEnd = fmt.Errorf("end of the disk: %w: %w", io.ErrUnexpectedEOF, unix.EIO)

// transfer moves bufs, which it changes, to or from the bytes at at, with as many calls as it takes. A call that moves
// nothing without an error is the end.
func transfer(bufs [][]byte, at uint64, call func(v [][]byte, at int64) (int, error)) (moved uint64, err error) {
	var t tries
	for len(bufs) > 0 {
		n, err := call(bufs[:min(len(bufs), maxVectors)], int64(at+moved))
		switch {
		case n > 0:
			moved += uint64(n)
			bufs = skip(bufs, n)
			t = 0
		case err == nil:
			return moved, errEnd
		case !t.again(err):
			return moved, err
		}
	}
	return moved, nil
}

// skip is bufs without their first n bytes.
func skip(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n > 0 {
		bufs[0] = bufs[0][n:]
	}
	return bufs
}

// fit is the first bytes of bufs that room has place for, in a slice of its own, without empty buffers. cut says that
// there were more.
func fit(bufs [][]byte, room uint64) (out [][]byte, cut bool) {
	out = slices.DeleteFunc(slices.Clone(bufs), func(b []byte) bool { return len(b) == 0 })
	for i, b := range out {
		if uint64(len(b)) > room {
			out[i] = b[:room]
			if room > 0 {
				i++
			}
			return out[:i], true
		}
		room -= uint64(len(b))
	}
	return out, false
}

// size is the length in bytes, as of Sectors.
func (d *Disk) size() uint64 { return d.Sectors() * 512 }

// room is how many bytes there are from byte at to the end.
func (d *Disk) room(at uint64) uint64 {
	if at >= d.size() {
		return 0
	}
	return d.size() - at
}

// within reports whether the n bytes at at are on the disk.
func (d *Disk) within(at, n uint64) bool { return at <= d.size() && n <= d.size()-at }

// open is the file descriptor, for a method that what names.
func (d *Disk) open(what string) (int, error) {
	fd := d.FD()
	if fd < 0 {
		return fd, fmt.Errorf("disk %s: %s: closed: %w", d.info.Name, what, unix.EBADF)
	}
	return fd, nil
}

// openWrite is open for a method that changes the disk. Not every call of the kernel would refuse: NVMe commands of root
// are taken through a descriptor that was opened for reading.
func (d *Disk) openWrite(what string) (int, error) {
	if d.info.ReadOnly {
		return -1, fmt.Errorf("disk %s: %s: is read-only: %w", d.info.Name, what, unix.EROFS)
	}
	return d.open(what)
}

func (d *Disk) failed(what string, at uint64, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("disk %s: %s at byte %d: %w", d.info.Name, what, at, err)
}
