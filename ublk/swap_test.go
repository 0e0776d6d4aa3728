package ublk

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// wide needs more room than mixed has in a queue, at the same length.
var wide = func() (s shape) {
	for i := range uint64(148) {
		s = append(s, lin(target.Disk(i%3), 5*i, 2))
	}
	return s
}()

// broad is a table whose fan is what a test says.
type broad struct {
	Mapper
	fan int
}

func (b broad) Fan() int { return b.fan }

func readOf(start, n uint64) uapi.IODesc {
	return uapi.IODesc{OpFlags: uapi.UBLK_IO_OP_READ, NrSectors: uint32(n), StartSector: start}
}

// answer gives a request to a queue and waits for its answer.
func (d *fakeDriver) answer(queue, tag int, desc uapi.IODesc) int32 {
	d.t.Helper()
	r := d.ring(queue)
	n, _ := r.answered(tag)
	d.give(queue, tag, desc)
	eventually(d.t, "answer", func() bool { m, _ := r.answered(tag); return m > n })
	_, res := r.answered(tag)
	return res
}

// A swap waits for what is under way on every queue, keeps out what comes, and then all of it goes to the new disks; the old
// memory is given back.
func TestSwap(t *testing.T) {
	d := newDriver(t, every)
	dev := d.live(RecoveryQueue)
	defer d.stop(dev)
	queues := len(dev.queues)
	last := queues - 1
	d.answer(0, 0, readOf(0, 8))
	d.stick()
	d.give(last, 1, readOf(0, 8))
	eventually(t, "command", func() bool { return d.ring(last).flying() == 1 })

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := dev.Swap(ctx, wide.table(t), backings(200)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("swap beside a stuck command: %v", err)
	}
	for i := range queues {
		if dev.queues[i].gate.now.Load() != nil {
			t.Errorf("queue %d has adopted what was not swapped", i)
		}
	}
	done := make(chan error, 1)
	go func() { done <- dev.Swap(t.Context(), broad{wide.table(t), 3000}, backings(300)) }()
	eventually(t, "suspended", func() bool { s := dev.holds.now.Load(); return s != nil && s.all })
	d.give(0, 2, uapi.IODesc{OpFlags: uapi.UBLK_IO_OP_FLUSH})
	d.give(0, 3, readOf(0, 1))
	time.Sleep(20 * time.Millisecond) // nothing is to happen
	if n, _ := d.ring(0).answered(2); n != 0 || len(done) != 0 || dev.queues[0].gate.now.Load() != nil {
		t.Errorf("%d flushes answered, swap returned %v", n, len(done) != 0)
	}
	old := len(dev.queues[0].iovs)
	d.release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i := range queues {
		d.answer(i, 0, readOf(0, 8))
	}
	eventually(t, "what waited", func() bool {
		a, _ := d.ring(0).answered(2)
		b, _ := d.ring(0).answered(3)
		return a == 1 && b == 1
	})
	for i := range queues {
		fds := d.ring(i).disks()
		at := slices.IndexFunc(fds, func(fd int32) bool { return fd >= 200 })
		if at < 0 || slices.ContainsFunc(fds[at:], func(fd int32) bool { return fd < 300 }) || slices.ContainsFunc(fds[:at], func(fd int32) bool { return fd >= 200 }) {
			t.Errorf("queue %d sent to %v", i, fds)
		}
	}
	if now := len(dev.queues[0].iovs); now <= old || len(dev.queues[0].spares) != 0 {
		t.Errorf("%d bytes of iovecs, then %d", old, now)
	}
	// Back to less needs no memory.
	mem := &dev.queues[0].iovs[0]
	if err := dev.Swap(t.Context(), mixed.table(t), backings(400)); err != nil || &dev.queues[0].iovs[0] != mem {
		t.Errorf("%v", err)
	}
	d.answer(0, 0, readOf(0, 8))
	if fds := d.ring(0).disks(); fds[len(fds)-1] < 400 {
		t.Errorf("sent to %v", fds)
	}
	if s := dev.holds.now.Load(); s != nil {
		t.Error("something is held")
	}
}

// A queue that does not answer: the swap is taken back, on all queues.
func TestSwapIsTakenBack(t *testing.T) {
	d := newDriver(t, every)
	dev := d.live(RecoveryQueue)
	defer d.stop(dev)
	last := len(dev.queues) - 1
	dev.patience = 50 * time.Millisecond
	r := d.ring(last)
	// It hears that all is suspended, and no more.
	resume, err := dev.Suspend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dev.queues[last].gate.settled.Store(1 << 40)
	r.setDeaf(true)
	if err := dev.Swap(t.Context(), broad{wide.table(t), 3000}, backings(300)); !errors.Is(err, ErrTimeout) {
		t.Fatalf("%v", err)
	}
	r.setDeaf(false)
	resume()
	for i := range dev.queues {
		d.answer(i, 0, readOf(0, 8))
		if fds := d.ring(i).disks(); slices.ContainsFunc(fds, func(fd int32) bool { return fd >= 300 }) {
			t.Errorf("queue %d sent to %v", i, fds)
		}
		if len(dev.queues[i].spares) != 1 {
			t.Errorf("queue %d keeps %d mappings", i, len(dev.queues[i].spares))
		}
	}
	dev.patience = slowDeadline
	dev.queues[last].gate.settled.Store(0)
	if err := dev.Swap(t.Context(), wide.table(t), backings(500)); err != nil {
		t.Fatal(err)
	}
	d.answer(last, 0, readOf(0, 8))
	if fds := d.ring(last).disks(); fds[len(fds)-1] < 500 {
		t.Errorf("sent to %v", fds)
	}
}

// What Swap refuses before it touches anything, and of a device that has ended.
func TestSwapRefuses(t *testing.T) {
	d := newDriver(t, every)
	dev, err := d.c.Add(t.Context(), spec(RecoveryQueue))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{dev.Swap(t.Context(), mixed.table(t), backings(200)), dev.Resize(t.Context(), 8)} {
		if !errors.Is(err, errNotStarted) {
			t.Errorf("before Start: %v", err)
		}
	}
	d.stop(dev)
	dev = d.live(RecoveryQueue)
	if err := dev.Swap(t.Context(), shape{lin(0, 0, 295)}.table(t), backings(200)); err == nil || !strings.Contains(err.Error(), "295") {
		t.Errorf("a table that is too short: %v", err)
	}
	if err := dev.Swap(t.Context(), broad{mixed.table(t), 1 << 50}, backings(200)); err == nil {
		t.Error("memory that nobody has")
	}
	if dev.holds.now.Load() != nil || d.answer(0, 0, readOf(0, 8)) != 4096 {
		t.Error("it does not go on")
	}
	d.stop(dev)
	if err := dev.Swap(t.Context(), mixed.table(t), backings(200)); !errors.Is(err, ErrEnded) {
		t.Errorf("Swap behind Stop: %v", err)
	}
	if err := dev.Resize(t.Context(), 8); !errors.Is(err, unix.ENODEV) {
		t.Errorf("Resize behind Stop: %v", err)
	}
	if _, err := dev.Suspend(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("Suspend behind Stop: %v", err)
	}
}

// Holds of copies, suspensions and swaps beside each other do not wait for each other for ever: what a Hold keeps out is not
// under way.
func TestSwapBesideHolds(t *testing.T) {
	d := newDriver(t, every)
	dev := d.live(RecoveryQueue)
	defer d.stop(dev)
	release, err := dev.Hold(t.Context(), Hold{target.Range{Len: 296}, true})
	if err != nil {
		t.Fatal(err)
	}
	d.give(0, 1, readOf(0, 8))
	eventually(t, "request", func() bool { return dev.queues[0].q.stats.Requests[0].Load() == 1 })
	resume, err := dev.Suspend(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := dev.Swap(within(t, 30*time.Second), wide.table(t), backings(200+100*i)); err != nil {
			t.Fatal(err)
		}
	}
	resume()
	if n, _ := d.ring(0).answered(1); n != 0 {
		t.Error("what is held was answered")
	}
	release()
	eventually(t, "answer", func() bool { n, _ := d.ring(0).answered(1); return n == 1 })
	if fds := d.ring(0).disks(); slices.ContainsFunc(fds, func(fd int32) bool { return fd < 400 }) {
		t.Errorf("sent to %v", fds)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				resume, err := dev.Suspend(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				resume()
				resume()
			}
		})
	}
	for range 100 {
		if err := dev.Swap(t.Context(), mixed.table(t), backings(firstFD)); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// The queues take the larger of two sizes while the driver is asked.
func TestResize(t *testing.T) {
	d := newDriver(t, every)
	dev := d.live(RecoveryQueue)
	defer d.stop(dev)
	long := append(slices.Clone(mixed), lin(1, 2000, 104)) // 400
	if err := dev.Resize(t.Context(), 400); err == nil || d.count(uapi.UBLK_U_CMD_UPDATE_SIZE) != 0 {
		t.Fatalf("beyond the table: %v", err)
	}
	if err := dev.Swap(t.Context(), long.table(t), backings(firstFD)); err != nil {
		t.Fatal(err)
	}
	var seen []uint64
	d.onCmd = func(op uint32) {
		if op == uapi.UBLK_U_CMD_UPDATE_SIZE {
			seen = append(seen, dev.queues[len(dev.queues)-1].gate.bound.Load())
		}
	}
	for _, c := range []struct {
		to, during, after uint64
		err               error
	}{
		{400, 400, 400, nil},
		{200, 400, 200, nil},
		{400, 400, 200, unix.EINVAL},
		{400, 400, 400, nil},
		{296, 400, 296, nil},
		{104, 296, 296, unix.EINVAL},
		{296, 0, 296, nil}, // as it is
	} {
		before := dev.Spec().Sectors
		if c.err != nil {
			d.fail[uapi.UBLK_U_CMD_UPDATE_SIZE] = []error{c.err}
		}
		seen = nil
		if err := dev.Resize(t.Context(), c.to); !errors.Is(err, c.err) {
			t.Errorf("to %d: %v", c.to, err)
		}
		want := c.to
		if c.err != nil {
			want = before
		}
		if dev.Spec().Sectors != want {
			t.Errorf("to %d: the device has %d sectors", c.to, dev.Spec().Sectors)
		}
		if c.during != 0 && !slices.Equal(seen, []uint64{c.during}) || c.during == 0 && seen != nil {
			t.Errorf("to %d: the queues had %v when the driver was asked", c.to, seen)
		}
		for i := range dev.queues {
			if d.answer(i, 0, readOf(c.after-8, 8)) != 4096 || d.answer(i, 0, readOf(c.after, 8)) != -int32(unix.EIO) {
				t.Errorf("to %d: queue %d does not end at %d", c.to, i, c.after)
			}
		}
	}
	for _, n := range []uint64{0} {
		if err := dev.Resize(t.Context(), n); err == nil {
			t.Errorf("to %d sectors", n)
		}
	}
	d.c.features &^= UpdateSize
	if err := dev.Resize(t.Context(), 200); err == nil || !strings.Contains(err.Error(), "UPDATE_SIZE (Linux 6.16)") || !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("%v", err)
	}
}
