package uring

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Kernels that lack something.
var (
	before66 = kernel{register: registerRing, setup: func(n uint32, p *uapi.RingParams) (int, error) {
		if p.Flags&uapi.IORING_SETUP_NO_SQARRAY != 0 {
			return -1, unix.EINVAL
		}
		return setup(n, p)
	}}
	before518 = kernel{setup: setup, register: func(int, uintptr, *uapi.RsrcUpdate) error { return unix.EINVAL }}
	before615 = kernel{register: registerRing, setup: func(n uint32, p *uapi.RingParams) (int, error) {
		fd, err := setup(n, p)
		p.Features &^= uapi.IORING_FEAT_NO_IOWAIT
		return fd, err
	}}
	oldest = kernel{setup: before66.setup, register: before518.register}
)

// nops is several times round a ring of eight.
func nops(t *testing.T, r *Ring) {
	t.Helper()
	for n := range uint64(50) {
		e := r.SQE()
		e.Opcode, e.UserData = uapi.IORING_OP_NOP, n
		if err := r.Enter(1); err != nil {
			t.Fatal(err)
		}
		if c, ok := r.Next(); !ok || c.UserData != n || c.Res != 0 {
			t.Fatalf("completion %d: %+v %v", n, c, ok)
		}
	}
}

func TestOlderKernels(t *testing.T) {
	idle := 0
	for name, k := range map[string]*kernel{"6.6": &before66, "5.18": &before518, "6.15": &before615, "all": &oldest} {
		r := newRing(t, Options{Entries: 8, Deferred: true, kernel: k})
		r.IdleAt(&idle)
		nops(t, r)
		if k == &before518 && (r.owner != 0 || r.enterFD != r.fd) {
			t.Errorf("before %s: the ring is said to be in a table", name)
		}
		if k == &before615 && r.idleAt != nil {
			t.Errorf("before %s: a wait is said to be no wait for I/O", name)
		}
	}
}

// A thread's table has room for 16 rings; the next ones go by their descriptors.
func TestTableIsFull(t *testing.T) {
	listed := 0
	for range 20 {
		r := newRing(t, Options{Entries: 8, Deferred: true})
		nops(t, r)
		if r.owner != 0 {
			listed++
		}
	}
	if listed != 16 {
		t.Errorf("%d rings in the table", listed)
	}
}

// A closed ring lets go of what it has in flight, at once: the thread's table does not hold it.
func TestCloseOnItsThread(t *testing.T) {
	for range 40 { // more than a table has places
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		r := newRing(t, Options{Entries: 8, Deferred: true})
		pending(t, r, p[0])
		r.Close()
		hungUp(t, p[1])
	}
}

// A ring is closed when its thread is gone: the table has gone with it.
func TestCloseBehindItsThread(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	ch := make(chan *Ring)
	mortal(func() {
		r, err := New(Options{Entries: 8, Deferred: true})
		if err != nil {
			t.Error(err)
			close(ch)
			return
		}
		pending(t, r, p[0])
		ch <- r
	})
	r := <-ch
	if r == nil {
		return
	}
	r.Close()
	hungUp(t, p[1])
}

// mortal runs f on a thread that ends behind it: not the process's first, which does not.
func mortal(f func()) {
	started := make(chan bool)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			mortal(f)
			runtime.UnlockOSThread()
			started <- true
			return
		}
		started <- true
		f()
	}()
	<-started
}

// pending leaves the ring with a poll of an empty pipe, and the only reference to its reading end.
func pending(t *testing.T, r *Ring, fd int) {
	e := r.SQE()
	e.Opcode, e.FD, e.OpFlags = uapi.IORING_OP_POLL_ADD, int32(fd), unix.POLLIN
	if err := r.Enter(0); err != nil {
		t.Error(err)
	}
	_ = unix.Close(fd)
}

// hungUp waits until nobody has a pipe's reading end.
func hungUp(t *testing.T, fd int) {
	t.Helper()
	defer unix.Close(fd)
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 5000)
	for err == unix.EINTR {
		n, err = unix.Poll(fds, 5000)
	}
	if n == 1 && fds[0].Revents&unix.POLLERR != 0 {
		return
	}
	t.Fatal("a closed ring keeps what it had in flight")
}
