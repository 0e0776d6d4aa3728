package uring

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// getEvents is what a timed wait hands the kernel, kept off the Go heap.
type getEvents struct {
	arg uapi.GetEventsArg
	ts  uapi.Timespec
}

func setup(entries uint32, p *uapi.RingParams) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// enter may block, so it is an ordinary Syscall: the runtime takes the processor away and the collector is never held up.
func enter(fd int, submit, wait, flags uint32) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait), uintptr(flags), 0, 0)
	return errno
}

// enterUntold is enter, and the runtime does not know of it. Package syscall's is Go; package unix's goes to it by way of assembly,
// for 50 instructions a request.
func enterUntold(fd int, submit, wait, flags uint32) unix.Errno {
	_, _, errno := syscall.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait), uintptr(flags), 0, 0)
	return errno
}

func (r *Ring) enterTimed(submit, wait uint32, d time.Duration) unix.Errno {
	r.arg.ts = uapi.Timespec{Sec: int64(d / time.Second), Nsec: int64(d % time.Second)}
	r.arg.arg = uapi.GetEventsArg{Ts: uint64(uintptr(unsafe.Pointer(&r.arg.ts)))}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.enterFD), uintptr(submit), uintptr(wait),
		uintptr(r.flags)|uapi.IORING_ENTER_EXT_ARG, uintptr(unsafe.Pointer(&r.arg.arg)), unsafe.Sizeof(r.arg.arg))
	return errno
}

// RegisterEmpty makes a table of n buffers without any, for others to fill: a ublk driver that registers the pages of requests.
// Errors: the errno of io_uring_register.
func (r *Ring) RegisterEmpty(n uint32) error {
	reg := uapi.RsrcRegister{Nr: n, Flags: uapi.IORING_RSRC_REGISTER_SPARSE}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), uapi.IORING_REGISTER_BUFFERS2, uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0, 0)
	if errno != 0 {
		return fmt.Errorf("io_uring register %d buffers: %w", n, errno)
	}
	return nil
}

// attach points into the mappings at the offsets that the kernel returned.
func (r *Ring) attach(p *uapi.RingParams) {
	u32 := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[off : off+4][0])) }
	r.khead, r.ktail = u32(p.SQOff.Head), u32(p.SQOff.Tail)
	r.cqHead, r.cqTail = u32(p.CQOff.Head), u32(p.CQOff.Tail)
	r.sqMask, r.cqMask, r.entries = *u32(p.SQOff.RingMask), *u32(p.CQOff.RingMask), p.SQEntries
	end := int(p.CQOff.CQEs) + 16*int(p.CQEntries)
	r.cqes = unsafe.Slice((*uapi.CQE)(unsafe.Pointer(&r.rings[p.CQOff.CQEs:end][0])), p.CQEntries)
	r.entry = unsafe.Slice((*uapi.SQE)(unsafe.Pointer(&r.sqes[0])), p.SQEntries<<r.wide)
	if p.Flags&uapi.IORING_SETUP_NO_SQARRAY == 0 {
		for i := range p.SQEntries { // entries are used in ring order: the index array stays the identity
			*u32(p.SQOff.Array + 4*i) = i
		}
	}
	r.tail, r.head = atomic.LoadUint32(r.ktail), atomic.LoadUint32(r.cqHead)
	r.known = r.head
	r.arg = (*getEvents)(unsafe.Pointer(&r.argMem[0]))
}

// registerRing puts the ring into the calling thread's table, or takes it out (op), at the place that u names. Where u names
// none it gets one.
func registerRing(fd int, op uintptr, u *uapi.RsrcUpdate) error {
	n, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), op, uintptr(unsafe.Pointer(u)), 1, 0, 0)
	if errno != 0 {
		return errno
	}
	if n != 1 {
		return unix.EINVAL
	}
	return nil
}
