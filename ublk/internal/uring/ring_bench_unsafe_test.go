package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// registerFile makes a table of one file.
func registerFile(r *Ring, fd int32) error {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), uapi.IORING_REGISTER_FILES, uintptr(unsafe.Pointer(&fd)), 1, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// enterRaw is Enter by a raw system call.
func (r *Ring) enterRaw(wait uint32) error {
	r.publish()
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.enterFD), uintptr(r.Queued()), uintptr(wait), uintptr(r.flags), 0, 0)
	if errno != 0 && errno != unix.EINTR {
		return errno
	}
	return nil
}

func address(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) }
