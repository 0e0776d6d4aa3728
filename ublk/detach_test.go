package ublk

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Detach waits for what is under way, and with an error the device goes on as before. What is kept out is left to the
// driver.
func TestDetachWaitsForWhatIsUnderWay(t *testing.T) {
	d := newDriver(t, every)
	dev := d.live(RecoveryReissue)
	d.stick()
	last := len(dev.queues) - 1
	d.give(last, 1, readOf(0, 8))
	r := d.ring(last)
	eventually(t, "command", func() bool { return r.flying() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := dev.Detach(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	dev.patience = 20 * time.Millisecond
	if err := dev.Detach(t.Context()); !errors.Is(err, ErrTimeout) {
		t.Fatalf("%v", err)
	}
	dev.patience = slowDeadline
	if dev.holds.now.Load() != nil {
		t.Error("something is held")
	}
	d.is(Live)
	d.release()
	d.answer(0, 0, readOf(0, 8))
	d.stick()
	release, err := dev.Hold(t.Context(), part(0, 8))
	if err != nil {
		t.Fatal(err)
	}
	d.give(last, 2, uapi.IODesc{OpFlags: uapi.UBLK_IO_OP_WRITE, NrSectors: 8})
	d.give(last, 1, readOf(0, 8))
	eventually(t, "command", func() bool { return r.flying() == 1 })
	done := make(chan error, 1)
	go func() { done <- dev.Detach(t.Context()) }()
	eventually(t, "suspended", func() bool { s := dev.holds.now.Load(); return s != nil && s.all })
	d.give(0, 3, readOf(0, 8))
	time.Sleep(20 * time.Millisecond) // nothing is to happen
	if len(done) != 0 {
		t.Fatal("it did not wait")
	}
	first := d.ring(0)
	d.release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	release()
	a, res := r.answered(1)
	b, _ := r.answered(2)
	c, _ := first.answered(3)
	if a != 2 || res != 4096 || b != 0 || c != 0 {
		t.Errorf("answers: under way %d (%d), held %d, late %d", a, res, b, c)
	}
	d.is(Quiesced)
	if dev.Err() != nil {
		t.Error(dev.Err())
	}
	<-dev.Ended()
	if err := d.c.Delete(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

// With QUIESCE_DEV the driver ends the tags that it has; those under way are answered, and Detach goes on behind it.
func TestQuiesce(t *testing.T) {
	d := newDriver(t, every)
	dev := d.live(RecoveryQueue)
	d.stick()
	last := len(dev.queues) - 1
	d.give(last, 1, readOf(0, 8))
	r := d.ring(last)
	eventually(t, "command", func() bool { return r.flying() == 1 })
	d.fail[uapi.UBLK_U_CMD_QUIESCE_DEV] = []error{unix.EBUSY}
	if err := dev.Quiesce(t.Context(), time.Millisecond); !errors.Is(err, unix.EBUSY) {
		t.Errorf("%v", err)
	}
	if err := dev.Quiesce(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- dev.Detach(t.Context()) }()
	time.Sleep(20 * time.Millisecond) // nothing is to happen
	if len(done) != 0 {
		t.Fatal("it did not wait")
	}
	d.release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n, res := r.answered(1); n != 1 || res != 4096 {
		t.Errorf("%d answers, %d", n, res)
	}
	d.is(Quiesced)
	if dev.Err() != nil {
		t.Error(dev.Err())
	}
	next, err := d.c.Recover(t.Context(), 0, spec(RecoveryQueue))
	if err == nil {
		err = next.Start(t.Context(), mixed.table(t), backings(firstFD))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Quiesce(t.Context(), time.Second); err != nil {
		t.Error(err)
	}
	d.stop(next)

	d = newDriver(t, every&^CanQuiesce)
	dev = d.live(RecoveryQueue)
	if err := dev.Quiesce(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "QUIESCE (Linux 6.16)") || d.count(uapi.UBLK_U_CMD_QUIESCE_DEV) != 0 {
		t.Errorf("%v", err)
	}
	d.stop(dev)
}

// What the driver had sent before QUIESCE_DEV, and a queue takes only when Detach has begun, is answered: nobody keeps it for a
// successor.
func TestQuiesceCatchesUp(t *testing.T) {
	d := newDriver(t, every)
	dev := d.live(RecoveryQueue)
	last := len(dev.queues) - 1
	r := d.ring(last)
	r.setLate(true)
	d.give(last, 1, readOf(0, 8))
	if err := dev.Quiesce(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- dev.Detach(t.Context()) }()
	eventually(t, "hold", func() bool { return dev.holds.now.Load() != nil })
	r.setLate(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n, res := r.answered(1); n != 1 || res != 4096 {
		t.Errorf("%d answers, %d", n, res)
	}
	if s := dev.holds.now.Load(); s != nil {
		t.Errorf("held: %+v", s)
	}
	d.is(Quiesced)
}

// A Start that fails at any step leaves no device, when Add has made it.
func TestStartFailsAtAnyStep(t *testing.T) {
	for name, breaks := range map[string]func(d *fakeDriver) func(){
		"affinity": d1(uapi.UBLK_U_CMD_GET_QUEUE_AFFINITY),
		"start":    d1(uapi.UBLK_U_CMD_START_DEV),
		"ring":     func(d *fakeDriver) func() { d.ringAt = func(int) error { return unix.ENOMEM }; return nil },
		"fetch": func(d *fakeDriver) func() {
			d.refuse = func(_, tag int) unix.Errno { return unix.Errno(tag/3) * unix.ENOMEM }
			return nil
		},
	} {
		d := newDriver(t, every)
		breaks(d)
		dev, err := d.c.Add(t.Context(), spec(RecoveryQueue))
		if err != nil {
			t.Fatal(err)
		}
		if err := dev.Start(t.Context(), mixed.table(t), backings(firstFD)); !errors.Is(err, unix.ENOMEM) || d.there {
			t.Errorf("%s: %v, there %v", name, err, d.there)
		}
	}
}

// What disks are asked for is counted, and what has been with one for long can be seen.
func TestDiskStats(t *testing.T) {
	d := newDriver(t, every)
	dev := d.live(NoRecovery)
	defer d.stop(dev)
	stats := dev.disks[0].Stats
	d.answer(0, 0, readOf(0, 8))
	if o := &stats.Ops[0]; o.Commands.Load() != 1 || o.Bytes.Load() != 4096 || o.Errors.Load() != 0 {
		t.Errorf("%d commands, %d bytes", o.Commands.Load(), o.Bytes.Load())
	}
	if s := dev.Stalled(0); s != nil {
		t.Errorf("stalled: %+v", s)
	}
	d.stick()
	given := time.Now()
	d.give(0, 1, readOf(16, 8))
	r := d.ring(0)
	eventually(t, "command", func() bool { return r.flying() == 1 })
	d.give(0, 2, readOf(32, 8))
	d.give(0, 3, uapi.IODesc{OpFlags: uapi.UBLK_IO_OP_FLUSH})
	eventually(t, "commands", func() bool { return r.flying() == 5 })
	eventually(t, "age", func() bool { s := dev.Stalled(time.Millisecond); return len(s) == 3 })
	s := dev.Stalled(0)
	if s[0].Queue != 0 || s[0].Disk != 0 || s[0].Op != 0 || s[0].Sector != 16 || s[0].Age <= 0 || s[0].Age > time.Since(given) {
		t.Errorf("%+v", s)
	}
	if s := dev.Stalled(time.Hour); s != nil {
		t.Errorf("%+v", s)
	}
	d.release()
	eventually(t, "answers", func() bool { n, _ := r.answered(3); return n == 1 && len(dev.Stalled(0)) == 0 })
	var n, long uint64
	for i := range stats.Ops[0].Latency {
		n += stats.Ops[0].Latency[i].Load()
		if i >= bucket(int64(time.Millisecond)) {
			long += stats.Ops[0].Latency[i].Load()
		}
	}
	if n != 3 || long < 1 || stats.Ops[2].Commands.Load() != 1 {
		t.Errorf("%d reads in the histogram, %d of them took a millisecond or more", n, long)
	}
}
