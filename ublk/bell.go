package ublk

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// bell wakes a queue's thread out of its wait. It is an eventfd; a read of it is always armed on the queue's ring. What is
// rung while the read is not armed stays in the eventfd's count, and completes the next one: no ring is lost.
type bell struct {
	fd    int
	mem   []byte // that the read fills; mapped, since the kernel writes it
	armed bool   // the queue's: the read is with the kernel
}

const bellSize = 8 // bytes, of an eventfd's count

// open makes the eventfd and the memory. The eventfd must be a blocking one: of another, io_uring's read fails with
// EAGAIN instead of waiting. A write to it never blocks: the count would have to reach 2^64.
func (b *bell) open() (err error) {
	if b.mem, err = mapAnon(os.Getpagesize()); err != nil {
		return err
	}
	if b.fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		b.free()
		return &os.SyscallError{Syscall: "eventfd", Err: err}
	}
	return nil
}

// ring may be called from any goroutine between open and close.
func (b *bell) ring() {
	var one [bellSize]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(b.fd, one[:])
}

// close gives the eventfd back. A read that is still armed keeps the file, but not the number.
func (b *bell) close() {
	_ = unix.Close(b.fd)
	b.fd = -1
}

// free gives the memory back, if the kernel cannot write to it any more.
func (b *bell) free() {
	if b.mem != nil && !b.armed {
		_ = unix.Munmap(b.mem)
		b.mem = nil
	}
}
