package e2e

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of linux/fs.h that take a byte range as two u64; x/sys has no call for them.
const (
	blkDiscard = 0x1277 // _IO(0x12, 119)
	blkZeroOut = 0x127f // _IO(0x12, 127)
)

// rangeIoctl issues one of them.
func rangeIoctl(fd uintptr, req uint, start, length uint64) error {
	arg := [2]uint64{start, length}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(req), uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(&arg)
	if errno != 0 {
		return errno
	}
	return nil
}
