package uring

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// ErrTimeout is returned by EnterTimeout when nothing completed in time.
var ErrTimeout = errors.New("no completion in time")

// Options of a ring. The zero value is not usable: Entries is needed.
type Options struct {
	Entries   uint32 // submission entries, rounded up to a power of two by the kernel
	CQEntries uint32 // completion entries; 0: twice Entries
	SQE128    bool   // 128-byte entries, for ublk's control commands
	Deferred  bool   // SINGLE_ISSUER|DEFER_TASKRUN: completions are run only inside this thread's Enter

	kernel *kernel // nil: the real one; tests put an older one here
}

// Ring is one io_uring.
type Ring struct {
	fd       int
	enterFD  int    // fd, or the ring's place in its thread's table (register.go)
	owner    int    // thread whose table has the ring; 0: none has
	flags    uint32 // of every enter
	features uint32 // IORING_FEAT_*
	idleAt   *int   // nil: every wait is one for I/O
	brief    bool   // it may wait untold (brief.go)
	untold   bool   // it has a place to
	lengthy  *int   // how many entries that are queued must not be submitted so
	sqMask   uint32
	cqMask   uint32
	entries  uint32
	wide     uint // 1: an entry is twice as long as an SQE
	tail     uint32
	khead    *uint32 // kernel's position in the submission ring
	ktail    *uint32
	cqHead   *uint32
	cqTail   *uint32
	head     uint32 // completions taken; the kernel hears of it at the next enter
	known    uint32 // completions that were there when it was last looked
	cqes     []uapi.CQE
	entry    []uapi.SQE // what sqes is, with SQE128 every second
	sqes     []byte
	rings    []byte
	arg      *getEvents // off-heap argument of a timed wait
	argMem   []byte
	enters   uint64
}

// New makes a ring on the calling thread. Errors wrap the errno of io_uring_setup or mmap: ENOSYS where the kernel has
// no io_uring, EPERM where sysctl kernel.io_uring_disabled forbids it.
func New(o Options) (_ *Ring, err error) {
	p := uapi.RingParams{Flags: uapi.IORING_SETUP_CLAMP | uapi.IORING_SETUP_SUBMIT_ALL | uapi.IORING_SETUP_NO_SQARRAY}
	if o.CQEntries != 0 {
		p.Flags |= uapi.IORING_SETUP_CQSIZE
		p.CQEntries = o.CQEntries
	}
	k := o.kernel
	if k == nil {
		k = &linux
	}
	r := &Ring{fd: -1, flags: uapi.IORING_ENTER_GETEVENTS}
	if o.SQE128 {
		p.Flags |= uapi.IORING_SETUP_SQE128
		r.wide = 1
	}
	if o.Deferred {
		p.Flags |= uapi.IORING_SETUP_SINGLE_ISSUER | uapi.IORING_SETUP_DEFER_TASKRUN
	}
	r.fd, err = k.setup(o.Entries, &p)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.6
		p.Flags &^= uapi.IORING_SETUP_NO_SQARRAY
		r.fd, err = k.setup(o.Entries, &p)
	}
	if err != nil {
		return nil, fmt.Errorf("io_uring setup: %w", err)
	}
	r.enterFD, r.features = r.fd, p.Features
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if p.Features&uapi.IORING_FEAT_SINGLE_MMAP == 0 || p.Features&uapi.IORING_FEAT_NODROP == 0 || p.Features&uapi.IORING_FEAT_EXT_ARG == 0 {
		return nil, fmt.Errorf("io_uring features %#x: %w", p.Features, unix.ENOTSUP)
	}
	size := max(int(p.SQOff.Array)+4*int(p.SQEntries), int(p.CQOff.CQEs)+16*int(p.CQEntries))
	if r.rings, err = unix.Mmap(r.fd, uapi.IORING_OFF_SQ_RING, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return nil, fmt.Errorf("io_uring mmap rings: %w", err)
	}
	if r.sqes, err = unix.Mmap(r.fd, uapi.IORING_OFF_SQES, int(p.SQEntries)*uapi.SizeofSQE<<r.wide, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return nil, fmt.Errorf("io_uring mmap entries: %w", err)
	}
	if r.argMem, err = unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return nil, fmt.Errorf("io_uring mmap argument: %w", err)
	}
	r.attach(&p)
	if o.Deferred {
		r.enlist(k)
	}
	return r, nil
}

// SQE returns the next free submission entry, cleared, or nil when the ring is full: Enter makes room.
// hot path
func (r *Ring) SQE() *uapi.SQE {
	if r.tail-atomic.LoadUint32(r.khead) >= r.entries {
		return nil
	}
	e := &r.entry[r.tail&r.sqMask<<r.wide]
	*e = uapi.SQE{}
	r.tail++
	return e
}

// Payload returns the 80 command bytes of the entry that SQE returned last. Only for SQE128 rings.
func (r *Ring) Payload() []byte {
	at := int((r.tail-1)&r.sqMask)*2*uapi.SizeofSQE + 48
	b := r.sqes[at : at+80]
	clear(b)
	return b
}

// Queued is how many entries wait for the next Enter.
func (r *Ring) Queued() uint32 { return r.tail - atomic.LoadUint32(r.khead) }

// Enter submits what is queued and waits until at least wait completions are there; with 0 it only submits and runs
// deferred work. A signal does not end it. EBUSY and EAGAIN (the completion ring overflowed, or memory is short) are not
// errors: the caller reaps and comes again.
// hot path
func (r *Ring) Enter(wait uint32) error {
	r.publish()
	flags := r.flags
	if r.idleAt != nil && *r.idleAt == 0 {
		flags |= uapi.IORING_ENTER_NO_IOWAIT
	}
	if !r.untold || wait == 0 || *r.lengthy != 0 {
		return r.begin(wait, flags)
	}
	r.enters++
	errno := enterUntold(r.enterFD, r.Queued(), wait, flags)
	if errno != 0 || r.Ready() < wait {
		return r.goOn(wait, flags, errno)
	}
	return nil
}

// told is Enter in the ordinary way.
func (r *Ring) told(wait, flags uint32) error {
	for {
		r.enters++
		errno := enter(r.enterFD, r.Queued(), wait, flags)
		if r.lengthy != nil && r.Queued() == 0 {
			*r.lengthy = 0
		}
		if errno != unix.EINTR || wait > 0 && r.Ready() > 0 {
			return worth(errno)
		}
	}
}

// worth is what of an enter's errno the caller has to know.
func worth(errno unix.Errno) error {
	switch errno {
	case 0, unix.EINTR, unix.EBUSY, unix.EAGAIN:
		return nil
	}
	return errno
}

// EnterTimeout is Enter(1) that gives up after d with ErrTimeout.
func (r *Ring) EnterTimeout(d time.Duration) error {
	end := time.Now().Add(d)
	for {
		r.publish()
		left := time.Until(end)
		if left <= 0 {
			if r.Ready() > 0 {
				return nil
			}
			return ErrTimeout
		}
		errno := r.enterTimed(r.tail-atomic.LoadUint32(r.khead), 1, left)
		switch errno {
		case 0:
			if r.Ready() > 0 {
				return nil
			}
		case unix.EBUSY, unix.EAGAIN, unix.EINTR, unix.ETIME:
			if r.Ready() > 0 {
				return nil
			}
		default:
			return errno
		}
	}
}

// publish tells the kernel which entries are queued and which completions were taken: a wait counts those that are left.
// The stores are plain ones: who reads them is this thread, in the enter that follows (there is no SQPOLL), and a reader of the
// second on another processor may see it late, when the ring seems fuller to it than it is.
// hot path
func (r *Ring) publish() { *r.ktail, *r.cqHead = r.tail, r.head }

// Ready is how many completions can be taken without a system call.
func (r *Ring) Ready() uint32 { return atomic.LoadUint32(r.cqTail) - r.head }

// Next takes one completion, by value.
// hot path
func (r *Ring) Next() (uapi.CQE, bool) {
	if r.head == r.known {
		if r.known = atomic.LoadUint32(r.cqTail); r.head == r.known {
			return uapi.CQE{}, false
		}
	}
	c := r.cqes[r.head&r.cqMask]
	r.head++
	return c, true
}

// Enters counts the system calls made, for the tests of "one Enter per turn".
func (r *Ring) Enters() uint64 { return r.enters }

// Close gives the ring back, on the thread that made it or when that has ended. What is in flight is cancelled or waited for
// by the kernel, asynchronously.
func (r *Ring) Close() error {
	for _, m := range [][]byte{r.sqes, r.rings, r.argMem} {
		if m != nil {
			_ = unix.Munmap(m)
		}
	}
	r.sqes, r.rings, r.argMem, r.cqes, r.entry = nil, nil, nil, nil, nil
	r.yield()
	if r.fd < 0 {
		return nil
	}
	r.delist()
	fd := r.fd
	r.fd = -1
	return unix.Close(fd)
}
