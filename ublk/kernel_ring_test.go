package ublk

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// fakeRing is the ring of a queue's thread with a fakeDriver behind it: fetches and commits go to the driver, disk commands
// succeed, at once or when they are let go, and the bell's eventfd is real.
type fakeRing struct {
	d      *fakeDriver
	tid    int // of the thread that made it
	qid    int
	sq     []uapi.SQE
	queued int

	mu      sync.Mutex
	cq      []uapi.CQE
	at      map[int]bool // tags that the driver has
	given   map[int]bool // requests not yet answered
	aborted bool
	deaf    bool // the bell is not heard
	late    bool // nothing is seen of what is complete: the thread has not got round to it
	bell    *uapi.SQE
	waiting []uapi.SQE // disk commands in flight
	fds     []int32    // of all disk commands
	answers map[int][]int32
	closed  bool
}

func (d *fakeDriver) newRing() (*fakeRing, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ringAt != nil {
		if err := d.ringAt(len(d.rings)); err != nil {
			return nil, err
		}
	}
	r := &fakeRing{d: d, tid: unix.Gettid(), qid: -1, sq: make([]uapi.SQE, 4096), at: map[int]bool{}, given: map[int]bool{}, answers: map[int][]int32{}}
	d.rings = append(d.rings, r)
	return r, nil
}

func (r *fakeRing) SQE() *uapi.SQE {
	if r.queued == len(r.sq) {
		return nil
	}
	e := &r.sq[r.queued]
	*e = uapi.SQE{}
	r.queued++
	return e
}

func (r *fakeRing) Enter(wait uint32) error {
	for i := range r.sq[:r.queued] {
		r.take(r.sq[i])
	}
	r.queued = 0
	for wait > 0 && r.Ready() == 0 {
		r.hear()
		<-time.After(50 * time.Microsecond) // the bell may ring at any time
	}
	return nil
}

// take is an entry that is submitted. The driver's lock comes before the ring's.
func (r *fakeRing) take(e uapi.SQE) {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case e.UserData&commandBit != 0:
		r.fds = append(r.fds, e.FD)
		r.waiting = append(r.waiting, e)
		if !r.d.stuck {
			r.finish()
		}
	case e.UserData == bellData:
		r.bell = &e
	case e.UserData == hushData:
		r.bell = nil
		r.cq = append(r.cq, uapi.CQE{UserData: bellData, Res: -int32(unix.ECANCELED)}, uapi.CQE{UserData: hushData})
	default:
		c := getIOCmd(&e)
		t := int(c.Tag)
		if e.Off&(0xff<<8) != 'u'<<8 {
			errno := unix.EOPNOTSUPP
			if r.d.ready1 == nil || r.d.ready1(int(c.QID)) {
				errno = unix.EINVAL
			}
			r.cq = append(r.cq, uapi.CQE{UserData: e.UserData, Res: -int32(errno)})
			return
		}
		r.qid = int(c.QID)
		if e.Off == uapi.UBLK_U_IO_FETCH_REQ {
			if r.d.refuse != nil {
				if errno := r.d.refuse(r.qid, t); errno != 0 {
					r.cq = append(r.cq, uapi.CQE{UserData: e.UserData, Res: -int32(errno)})
					return
				}
			}
			r.d.ready++
			if r.d.early && t == 0 {
				r.given[t] = true
				r.cq = append(r.cq, uapi.CQE{UserData: e.UserData})
				return
			}
		} else {
			r.answers[t] = append(r.answers[t], c.Result)
			delete(r.given, t)
		}
		if r.aborted {
			r.cq = append(r.cq, uapi.CQE{UserData: e.UserData, Res: uapi.UBLK_IO_RES_ABORT})
			return
		}
		r.at[t] = true
	}
}

// hear completes the bell's read.
func (r *fakeRing) hear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bell == nil || r.deaf || r.late || !awaits(int(r.bell.FD), 0) {
		return
	}
	var b [bellSize]byte
	_, _ = unix.Read(int(r.bell.FD), b[:])
	r.bell = nil
	r.cq = append(r.cq, uapi.CQE{UserData: bellData, Res: bellSize})
}

// finish ends the disk commands in flight. The caller has mu.
func (r *fakeRing) finish() {
	for _, e := range r.waiting {
		n := int32(0)
		if isRW(e.Opcode) {
			n = int32(e.Len) // tests send one run
		}
		if r.d.does != nil {
			n = r.d.does(e, n)
		}
		r.cq = append(r.cq, uapi.CQE{UserData: e.UserData, Res: n})
	}
	r.waiting = nil
}

// stick has disk commands stay in flight from now on, until release.
func (d *fakeDriver) stick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stuck = true
}

// release lets disk commands end, now and from now on.
func (d *fakeDriver) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stuck = false
	for _, r := range d.rings {
		r.mu.Lock()
		r.finish()
		r.mu.Unlock()
	}
}

func (r *fakeRing) give(t int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at[t] {
		r.d.t.Errorf("tag %d is not the driver's", t)
	}
	delete(r.at, t)
	r.given[t] = true
	r.cq = append(r.cq, uapi.CQE{UserData: uint64(t)})
}

// answered is how often a tag was answered, and with what at last.
func (r *fakeRing) answered(t int) (int, int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.answers[t]
	if len(a) == 0 {
		return 0, 0
	}
	return len(a), a[len(a)-1]
}

// disks is the descriptors of all commands so far.
func (r *fakeRing) disks() []int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]int32(nil), r.fds...)
}

func (r *fakeRing) setLate(v bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = v
}

func (r *fakeRing) setDeaf(v bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaf = v
}

func (r *fakeRing) flying() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}

func (r *fakeRing) abort() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.aborted = true
	for t := range r.at {
		r.cq = append(r.cq, uapi.CQE{UserData: uint64(t), Res: uapi.UBLK_IO_RES_ABORT})
	}
	clear(r.at)
}

func (r *fakeRing) Next() (uapi.CQE, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cq) == 0 || r.late {
		return uapi.CQE{}, false
	}
	c := r.cq[0]
	r.cq = r.cq[1:]
	return c, true
}

func (r *fakeRing) Ready() uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.late {
		return 0
	}
	return uint32(len(r.cq))
}

func (r *fakeRing) RegisterEmpty(uint32) error { return nil }

func (r *fakeRing) IdleAt(*int)  {}
func (r *fakeRing) BriefAt(*int) {}

func (r *fakeRing) Close() error {
	r.mu.Lock()
	was := r.closed
	r.closed = true
	if n := len(r.at) + len(r.given); n > 0 && !errors.Is(unix.Tgkill(os.Getpid(), r.tid, 0), unix.ESRCH) {
		r.d.t.Errorf("a ring with %d tags is closed, and its thread lives", n)
	}
	r.mu.Unlock()
	if !was {
		r.d.left(r)
	}
	return nil
}
