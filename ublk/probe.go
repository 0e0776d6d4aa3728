package ublk

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
	"github.com/ublk-go/ublk-linear/ublk/internal/uring"
)

// HaveBlockDiscard says whether a queue can discard on an open block device: the kernel has BLOCK_URING_CMD_DISCARD
// (6.12) and the device discards. It asks for one byte at an odd place, which blkdev_cmd_discard refuses with EINVAL
// behind those two checks, so nothing is discarded. Errors: those of io_uring_setup.
func HaveBlockDiscard(fd int) (bool, error) {
	type answer struct {
		ok  bool
		err error
	}
	ch := make(chan answer)
	go func() {
		runtime.LockOSThread()
		ok, err := probeDiscard(fd)
		ch <- answer{ok, err}
	}()
	a := <-ch
	return a.ok, a.err
}

func probeDiscard(fd int) (bool, error) {
	r, err := uring.New(uring.Options{Entries: 1})
	if err != nil {
		return false, &OpError{"probe discard", -1, err}
	}
	defer r.Close()
	e := r.SQE()
	e.Opcode, e.FD, e.Off, e.Addr, e.Addr3 = uapi.IORING_OP_URING_CMD, int32(fd), uapi.BLOCK_URING_CMD_DISCARD, 1, 1
	if err := r.EnterTimeout(quickDeadline); err != nil {
		return false, &OpError{"probe discard", -1, err}
	}
	c, ok := r.Next()
	return ok && errors.Is(unix.Errno(-c.Res), unix.EINVAL), nil
}
