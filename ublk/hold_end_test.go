package ublk

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// tick is a moment to look again in.
func tick() <-chan time.Time { return time.After(time.Millisecond) }

// A queue that ends fails the holds that wait and those that come. What is held stays so: other queues may go on.
func TestHoldOfADeviceThatLosesAQueue(t *testing.T) {
	d := &Device{id: 7, holds: newHolds()}
	release, err := d.Hold(t.Context(), part(0, 10))
	if err != nil {
		t.Fatal(err)
	}
	g, other := enter(t, d.holds), enter(t, d.holds)
	early := take(t, d.holds, part(90, 1))
	d.holds.drop(early)
	other.settled.Store(100)
	result := make(chan error, 1)
	go func() {
		_, err := d.Hold(within(t, patience), part(20, 10))
		result <- err
	}()
	for s := d.holds.now.Load(); len(s.holds) < 2; s = d.holds.now.Load() {
		<-tick()
	}
	fd := g.fd
	d.holds.leave(g)
	var op *OpError
	if err := <-result; !errors.Is(err, ErrEnded) || !errors.As(err, &op) || op.Dev != 7 {
		t.Errorf("Hold that waited: %v", err)
	}
	if r, err := d.Hold(within(t, patience), part(20, 10)); !errors.Is(err, ErrEnded) || r != nil {
		t.Errorf("Hold afterwards: %v", err)
	}
	if s := d.holds.now.Load(); s == nil || len(s.holds) != 1 || s.holds[0].born != 1 {
		t.Errorf("held: %+v", s)
	}
	if len(d.holds.gates) != 1 || d.holds.gates[0] != other {
		t.Errorf("%d gates are left", len(d.holds.gates))
	}
	if early.settled() {
		t.Error("a queue that has ended counts as one without requests")
	}
	// The number is free again: what comes there is not rung.
	again, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(again)
	if again != fd {
		t.Logf("the eventfd was %d, the next is %d", fd, again)
	}
	for awaits(other.fd, 0) {
		_, _ = unix.Read(other.fd, other.mem[:bellSize])
	}
	release()
	if awaits(again, 0) || !awaits(other.fd, 0) {
		t.Error("a queue that has ended is rung, or the other is not")
	}
	d.holds.leave(g) // twice
	release()
	if d.holds.now.Load() != nil {
		t.Error("something is held")
	}
}

// Stop with requests that a forgotten hold keeps out: they are let go, or STOP_DEV would wait for them for ever.
func TestStopTakesHoldsAway(t *testing.T) {
	c := &Control{dev: t.TempDir(), log: slog.New(slog.DiscardHandler), jobs: make(chan *job), closed: make(chan struct{})}
	d := &Device{c: c, charFD: -1, holds: newHolds(), ended: make(chan struct{})}
	k := boot(stray{t}, setup{shape: mixed, holds: d.holds, blank: true})
	s := newServer(d, 0, unix.CPUSet{}, nil, nil)
	s.gate, s.q = k.q.gate, k.q
	d.queues = []*server{s}
	release, err := d.Hold(within(t, 10*time.Millisecond), all(k, false))
	if err == nil {
		t.Fatal("held, and the queue has not begun")
	}
	take(t, d.holds, all(k, false))
	idle := make(chan struct{})
	k.attend(idle)
	asks := []*ask{write(k, 0, 8), discard(k, 8, 8), read(k, 0, 8)}
	go func() {
		defer close(s.done)
		k.serve(asks...)
		d.holds.leave(k.q.gate)
	}()
	go c.stopping(s, idle)
	for k.q.stats.Requests[1].Load() == 0 {
		<-tick()
	}
	waiting := make(chan error, 1)
	enter(t, d.holds) // a queue that says nothing
	go func() {
		_, err := d.Hold(within(t, patience), part(0, 1))
		waiting <- err
	}()
	for !heldTwice(d.holds) {
		<-tick()
	}
	if err := d.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	close(c.closed)
	if err := <-waiting; !errors.Is(err, ErrEnded) {
		t.Errorf("Hold that waited: %v", err)
	}
	if _, err := d.Hold(within(t, patience), part(0, 1)); !errors.Is(err, ErrEnded) {
		t.Errorf("Hold after Stop: %v", err)
	}
	if release != nil {
		t.Error("a release and an error")
	}
}

func heldTwice(hs *holds) bool {
	s := hs.now.Load()
	return s != nil && len(s.holds) == 2
}

// Nothing can be held of a device that was stopped before a queue of it began.
func TestHoldBehindTheEnd(t *testing.T) {
	d := &Device{holds: newHolds()}
	release, err := d.Hold(t.Context(), part(0, 10))
	if err != nil {
		t.Fatal(err)
	}
	d.holds.end()
	d.holds.end()
	release()
	if _, err := d.Hold(t.Context(), part(0, 10)); !errors.Is(err, ErrEnded) || d.holds.now.Load() != nil {
		t.Errorf("Hold: %v", err)
	}
}

// within is a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// The bell is one that a ring waits for, and its memory is kept as long as the kernel may write to it.
func TestBell(t *testing.T) {
	var b bell
	if err := b.open(); err != nil {
		t.Fatal(err)
	}
	if len(b.mem) < os.Getpagesize() {
		t.Errorf("%d bytes of memory", len(b.mem))
	}
	if flags, err := unix.FcntlInt(uintptr(b.fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("flags %#x, %v: a ring would not wait for it", flags, err)
	}
	b.close()
	b.armed = true
	if b.free(); b.mem == nil {
		t.Error("memory was given back with the read armed")
	}
	b.armed = false
	if b.free(); b.mem != nil {
		t.Error("memory was not given back")
	}
}

// A ring that breaks leaves the bell's read with the kernel.
func TestBrokenRingKeepsTheBellsMemory(t *testing.T) {
	for broken := 2; broken < 8; broken++ {
		k := boot(t, setup{shape: mixed, holds: newHolds()})
		k.enterErr = func(call int) error {
			if call >= broken {
				return unix.EBADF
			}
			return nil
		}
		err := k.run(read(k, 0, 8), read(k, 0, 8))
		if !errors.Is(err, unix.EBADF) {
			if err == nil && !k.q.gate.armed {
				continue // it ended before
			}
			t.Fatalf("call %d: %v", broken, err)
		}
		if !k.q.gate.armed {
			t.Errorf("call %d breaks: the bell's read is not armed", broken)
		}
	}
}

// stopping is the driver that a device of one queue is stopped by, until the control is closed.
func (c *Control) stopping(s *server, idle chan<- struct{}) {
	for {
		select {
		case <-c.closed:
			return
		case j := <-c.jobs:
			switch j.op {
			case uapi.UBLK_U_CMD_STOP_DEV:
				close(idle) // the kernel of the tests ends the queue when all is answered
				<-s.done
				j.reply <- nil
			case uapi.UBLK_U_CMD_GET_DEV_INFO:
				j.reply <- unix.ENODEV
			default:
				j.reply <- nil
			}
		}
	}
}
