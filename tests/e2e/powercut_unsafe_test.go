package e2e

import (
	"encoding/binary"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Linux AIO (linux/aio_abi.h). A write that its caller waits for in the kernel is followed by a FLUSH of the kernel's own when
// it is O_DSYNC (generic_write_sync), which would hide a lost FUA: one by AIO is FUA and nothing else.
const (
	iocbPwrite = 1 // IOCB_CMD_PWRITE
	rwfDsync   = 2 // RWF_DSYNC
)

// iocb is struct iocb, little-endian.
type iocb struct {
	_          uint64 // aio_data
	_          uint32 // aio_key
	rwFlags    uint32
	opcode     uint16
	_          uint16 // aio_reqprio
	fd         uint32
	buf, bytes uint64
	offset     int64
	_          uint64
	_          uint32 // aio_flags
	_          uint32 // aio_resfd
}

// aio is a context for one write at a time.
type aio struct {
	ctx uintptr
	cb  iocb
	ptr [1]*iocb
	ev  [4]int64 // struct io_event: data, obj, res, res2
}

func newAIO(t testing.TB) *aio {
	t.Helper()
	a := &aio{}
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&a.ctx)), 0); e != 0 {
		t.Fatalf("io_setup: %v", e)
	}
	t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, a.ctx, 0, 0) })
	return a
}

// write writes b, which is not on Go's heap, at a sector and waits for the end.
func (a *aio) write(fd int, b []byte, sector uint64, fua bool) (int, unix.Errno) {
	a.cb = iocb{opcode: iocbPwrite, fd: uint32(fd), buf: uint64(uintptr(unsafe.Pointer(&b[0]))), bytes: uint64(len(b)), offset: int64(sector) * 512}
	if fua {
		a.cb.rwFlags = rwfDsync
	}
	a.ptr[0] = &a.cb
	defer runtime.KeepAlive(a)
	if _, _, e := unix.Syscall(unix.SYS_IO_SUBMIT, a.ctx, 1, uintptr(unsafe.Pointer(&a.ptr))); e != 0 {
		return 0, e
	}
	for {
		_, _, e := unix.Syscall6(unix.SYS_IO_GETEVENTS, a.ctx, 1, 1, uintptr(unsafe.Pointer(&a.ev)), 0, 0)
		switch {
		case e == unix.EINTR:
		case e != 0:
			return 0, e
		case a.ev[2] < 0:
			return 0, unix.Errno(-a.ev[2])
		default:
			return int(a.ev[2]), 0
		}
	}
}

// Of linux/dm-ioctl.h.
const (
	dmTargetMsg  = 0xc138fd0e // DM_TARGET_MSG
	dmHeadBytes  = 312        // struct dm_ioctl
	dmSize       = 12         // data_size
	dmStart      = 16         // data_start
	dmName       = 48
	dmVersion    = 4 // major; any minor up to the kernel's
	dmMsgHead    = 8 // struct dm_target_msg: the target's sector, then the text
	dmBufferSize = 1024
)

// dmControl sends messages to dm targets, as `dmsetup message` does, without a process for each.
type dmControl struct{ f *os.File }

func newDMControl(t testing.TB) *dmControl {
	t.Helper()
	f, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &dmControl{f}
}

func (c *dmControl) message(device, text string) error {
	b := make([]byte, dmBufferSize)
	binary.LittleEndian.PutUint32(b, dmVersion)
	binary.LittleEndian.PutUint32(b[dmSize:], dmBufferSize)
	binary.LittleEndian.PutUint32(b[dmStart:], dmHeadBytes)
	copy(b[dmName:], device)
	copy(b[dmHeadBytes+dmMsgHead:], text)
	_, _, e := unix.Syscall(unix.SYS_IOCTL, c.f.Fd(), dmTargetMsg, uintptr(unsafe.Pointer(&b[0])))
	runtime.KeepAlive(b)
	if e != 0 {
		return e
	}
	return nil
}
