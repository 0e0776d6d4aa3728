package ublk

import (
	"errors"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
	"github.com/ublk-go/ublk-linear/ublk/internal/uring"
)

// halfFetched says whether a server has died when some of the device's queues had fetched all their tags and others had not.
// Before 6.16 START_USER_RECOVERY of such a device takes the kernel down: it puts a task of every queue that only those that
// were ready have (ublk_queue_reinit). Each queue is asked by a command that none takes: where there is a task, and not ours,
// __ublk_ch_uring_cmd refuses it with EINVAL before it looks at the command; elsewhere with EBUSY or EOPNOTSUPP. Errors: of
// open, EBUSY while the old server's files are still being let go among them, or of io_uring.
func (d *Device) halfFetched() (bool, error) {
	fd, err := unix.Open(d.c.dev+"/ublkc"+strconv.Itoa(d.id), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	type answer struct {
		ready int
		err   error
	}
	ch := make(chan answer)
	go func() {
		runtime.LockOSThread() // a ring is one thread's
		n, err := d.countReady(int32(fd))
		ch <- answer{n, err}
	}()
	a := <-ch
	return a.ready > 0 && a.ready < int(d.info.NrHwQueues), a.err
}

// noCommand is a fetch of another driver's.
const noCommand = uapi.UBLK_U_IO_FETCH_REQ&^(0xff<<8) | 'x'<<8

// countReady is how many of the device's queues have a task.
func (d *Device) countReady(fd int32) (n int, err error) {
	r, err := d.c.ring(uring.Options{Entries: MaxQueues, Deferred: true})
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Close() }()
	for q := range int(d.info.NrHwQueues) {
		e := r.SQE()
		if e == nil {
			return 0, unix.E2BIG
		}
		e.Opcode, e.FD, e.Off, e.UserData = uapi.IORING_OP_URING_CMD, fd, noCommand, uint64(q)
		putIOCmd(e, uapi.IOCmd{QID: uint16(q)})
	}
	if err := r.Enter(0); err != nil { // it is refused at once
		return 0, err
	}
	for range int(d.info.NrHwQueues) {
		c, ok := r.Next()
		if !ok {
			return 0, errors.New("a command that no driver has was taken")
		}
		if c.Res == -int32(unix.EINVAL) {
			n++
		}
	}
	return n, nil
}
