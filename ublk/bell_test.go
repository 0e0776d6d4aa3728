package ublk

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
	"github.com/ublk-go/ublk-linear/ublk/internal/uring"
)

// cord is a real ring, whose one tag ends when the test says so.
type cord struct {
	*uring.Ring
	end atomic.Bool
}

func (c *cord) Next() (uapi.CQE, bool) {
	if e, ok := c.Ring.Next(); ok {
		return e, ok
	}
	if c.end.CompareAndSwap(true, false) {
		return uapi.CQE{Res: uapi.UBLK_IO_RES_ABORT}, true
	}
	return uapi.CQE{}, false
}

// The bell on a real io_uring: a queue that sleeps hears each one, and at the end nothing of it is with the kernel.
func TestBellOnARealRing(t *testing.T) {
	d := &Device{holds: newHolds()}
	g := enter(t, d.holds)
	c := &cord{}
	ready, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		r, err := uring.New(uring.Options{Entries: 8, Deferred: true})
		ready <- err
		if err != nil {
			return
		}
		defer r.Close()
		c.Ring = r
		m := mixed.table(stray{t})
		q := newQueue(0, 1, c, -1, bounds{sectors: m.Sectors(), maxIO: 8, lbs: 1}, m, nil, queueMemory{iovs: make([]uapi.Iovec, waveFor(m.Fan()))}, d.holds, g)
		ended <- q.run()
	}()
	if err := <-ready; errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		t.Skipf("this kernel gives no io_uring: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range 2000 {
		release, err := d.Hold(ctx, part(0, 1))
		if err != nil {
			t.Fatalf("hold %d: %v", i, err)
		}
		release()
	}
	c.end.Store(true)
	g.ring()
	if err := <-ended; err != nil || g.armed {
		t.Errorf("end: %v, armed %v", err, g.armed)
	}
}

// Gates come and go, and no descriptor stays.
func TestGatesLeaveNoDescriptor(t *testing.T) {
	count := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(d)
	}
	before := count()
	for range 20 {
		hs := newHolds()
		g, err := hs.join()
		if err != nil {
			t.Fatal(err)
		}
		hs.leave(g)
		hs.leave(g)
		g.free()
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
