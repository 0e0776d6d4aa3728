package disk

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// calls is what the kernel is asked to do with the data of an open disk, so that tests can stand in for it. Offsets and
// lengths are bytes.
type calls struct {
	readv     func(fd int, bufs [][]byte, at int64) (int, error)
	writev    func(fd int, bufs [][]byte, at int64, flags int) (int, error)
	sync      func(fd int) error
	fallocate func(fd int, mode uint32, at, n int64) error
	seek      func(fd int, at int64, whence int) (int64, error)
	copyRange func(dst, src int, from, to int64, n int) (int, error)
	clone     func(dst, src int, from, to, n uint64) error
	nvme      nvmeCall
	scsi      scsiCall
}

func systemCalls() *calls {
	return &calls{
		readv:     unix.Preadv,
		writev:    unix.Pwritev2,
		sync:      unix.Fdatasync,
		fallocate: unix.Fallocate,
		seek:      unix.Seek,
		copyRange: copyFileRange,
		clone:     cloneRange,
		nvme:      callNVMe,
		scsi:      callSCSI,
	}
}

// copyFileRange leaves the files' own offsets alone.
func copyFileRange(dst, src int, from, to int64, n int) (int, error) {
	return unix.CopyFileRange(src, &from, dst, &to, n, 0)
}

// cloneRange is FICLONERANGE.
func cloneRange(dst, src int, from, to, n uint64) error {
	return unix.IoctlFileCloneRange(dst, &unix.FileCloneRange{Src_fd: int64(src), Src_offset: from, Src_length: n, Dest_offset: to})
}

// maxTries is how often in a row a call may say EINTR or EAGAIN before that is its error. With the waits of again it is
// about half a second: a disk that answers so for longer has more than a full queue.
const maxTries = 100

// tries counts the calls that moved nothing.
type tries int

// again reports whether err is worth another try, and waits before it says so for EAGAIN.
func (t *tries) again(err error) bool {
	busy := errors.Is(err, unix.EAGAIN)
	if *t++; !busy && !errors.Is(err, unix.EINTR) || *t >= maxTries {
		return false
	}
	if busy {
		time.Sleep(time.Duration(*t) * 100 * time.Microsecond)
	}
	return true
}

// patient calls until there is an answer other than EINTR and EAGAIN, maxTries times at most.
func patient(call func() error) error {
	var t tries
	for {
		if err := call(); err == nil || !t.again(err) {
			return err
		}
	}
}
