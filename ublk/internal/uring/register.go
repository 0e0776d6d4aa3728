package uring

import (
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// kernel is the calls by which a kernel shows that it lacks something: the real ones, or an older kernel's in tests.
type kernel struct {
	setup    func(entries uint32, p *uapi.RingParams) (int, error)
	register func(fd int, op uintptr, u *uapi.RsrcUpdate) error
}

var linux = kernel{setup, registerRing}

// anyPlace asks for a free place of the thread's table.
const anyPlace = ^uint32(0)

// enlist puts the ring into the calling thread's table of rings, where enter finds it without looking the descriptor up and
// holding its file. It is an improvement only: before Linux 5.18 there is no table, and behind a thread's 16th ring no place
// in it; then the descriptor serves.
//
// The table holds the ring until delist on the same thread, or the thread's end: a ring that another thread closes before
// that lives on.
func (r *Ring) enlist(k *kernel) {
	u := uapi.RsrcUpdate{Offset: anyPlace, Data: uint64(r.fd)}
	if k.register(r.fd, uapi.IORING_REGISTER_RING_FDS, &u) != nil {
		return
	}
	r.enterFD, r.owner = int(u.Offset), unix.Gettid()
	r.flags |= uapi.IORING_ENTER_REGISTERED_RING
}

// delist takes the ring out of the table, if it is the calling thread's.
func (r *Ring) delist() {
	if r.owner == 0 || r.owner != unix.Gettid() {
		return
	}
	_ = registerRing(r.fd, uapi.IORING_UNREGISTER_RING_FDS, &uapi.RsrcUpdate{Offset: uint32(r.enterFD)})
	r.owner = 0
}

// IdleAt makes Enter not count as waiting for I/O while *n is zero, on kernels that can (6.15). Otherwise the kernel books
// a CPU as waiting for I/O, in /proc/stat and for the frequency governor, as long as anything at all is pending in the ring:
// for a ring that always has something pending, for ever. n must be the owning thread's alone.
func (r *Ring) IdleAt(n *int) {
	if r.features&uapi.IORING_FEAT_NO_IOWAIT != 0 {
		r.idleAt = n
	}
}
