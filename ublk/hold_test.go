package ublk

import (
	"context"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// take is Hold without the wait.
func take(t tester, hs *holds, ranges ...Hold) *hold {
	t.Helper()
	h, ok := hs.take(ranges)
	if !ok {
		t.Fatalf("nothing can be held")
	}
	return h
}

// What each operation waits for, and what not; and that those who wait hold nobody up, though they came first.
func TestOnlyWhatConflictsWaits(t *testing.T) {
	for _, c := range []struct {
		name  string
		holds []Hold
		ask   func(k *kernel) *ask
		waits bool
	}{
		{"write", []Hold{part(10, 20)}, func(k *kernel) *ask { return write(k, 29, 5) }, true},
		{"write to the end", []Hold{part(10, 20)}, func(k *kernel) *ask { return write(k, 5, 6) }, true},
		{"write around", []Hold{part(10, 20)}, func(k *kernel) *ask { return write(k, 5, 60) }, true},
		{"write within", []Hold{part(10, 20)}, func(k *kernel) *ask { return write(k, 15, 1) }, true},
		{"write before", []Hold{part(10, 20)}, func(k *kernel) *ask { return write(k, 5, 5) }, false},
		{"write behind", []Hold{part(10, 20)}, func(k *kernel) *ask { return write(k, 30, 5) }, false},
		{"write between", []Hold{part(10, 20), part(40, 10)}, func(k *kernel) *ask { return write(k, 30, 10) }, false},
		{"write into the second", []Hold{part(10, 20), part(40, 10)}, func(k *kernel) *ask { return write(k, 30, 11) }, true},
		{"write and nothing", []Hold{part(10, 0)}, func(k *kernel) *ask { return write(k, 5, 20) }, false},
		{"discard", []Hold{part(10, 20)}, func(k *kernel) *ask { return discard(k, 0, 100) }, true},
		{"discard elsewhere", []Hold{part(10, 20)}, func(k *kernel) *ask { return discard(k, 30, 100) }, false},
		{"zeroes", []Hold{part(10, 20)}, func(k *kernel) *ask { return zeroes(k, 0, 100) }, true},
		{"zeroes elsewhere", []Hold{part(10, 20)}, func(k *kernel) *ask { return zeroes(k, 30, 100) }, false},
		{"read", []Hold{part(0, 240)}, func(k *kernel) *ask { return read(k, 10, 20) }, false},
		{"read, kept out", []Hold{{target.Range{Start: 10, Len: 20}, true}}, func(k *kernel) *ask { return read(k, 12, 20) }, true},
		{"read beside one that keeps it out", []Hold{{target.Range{Start: 10, Len: 20}, true}, part(30, 90)}, func(k *kernel) *ask { return read(k, 30, 20) }, false},
		{"flush", []Hold{{target.Range{Len: 240}, true}}, flush, false},
	} {
		hs := newHolds()
		k := boot(t, setup{shape: mixed, holds: hs})
		first, a, last := write(k, 280, 10), c.ask(k), write(k, 250, 10)
		before, h := take(t, hs, part(280, 1)), take(t, hs, c.holds...)
		idle := 0
		k.idle = func() bool {
			if k.rung() {
				return true
			}
			switch idle++; idle {
			case 1:
				if first.answers != 0 || last.answers != 1 {
					t.Errorf("%s: one that is kept out has %d answers, one that is not %d", c.name, first.answers, last.answers)
				}
				if waits := a.answers == 0; waits != c.waits {
					t.Errorf("%s: waits %v", c.name, waits)
				}
				hs.drop(h)
				return true
			case 2:
				if a.answers == 0 || first.answers != 0 {
					t.Errorf("%s: behind the release it has %d answers, another one %d", c.name, a.answers, first.answers)
				}
				hs.drop(before)
				return true
			}
			return false
		}
		k.serve(first, a, last)
	}
}

// What waited goes on in the order it came, as far as nothing else stops it.
func TestParkedGoOnInOrder(t *testing.T) {
	hs := newHolds()
	k := boot(t, setup{shape: mixed, holds: hs, blank: true})
	low, high := take(t, hs, part(0, 60)), take(t, hs, part(40, 30))
	asks := []*ask{write(k, 50, 1), write(k, 5, 1), discard(k, 0, 100), write(k, 7, 1), write(k, 65, 1), zeroes(k, 1, 2), write(k, 41, 1)}
	var stages [][]*ask
	k.idle = func() bool {
		if k.rung() {
			return true
		}
		var went []*ask
		for _, s := range k.log {
			if !slices.Contains(went, s.ask) {
				went = append(went, s.ask)
			}
		}
		k.log = nil
		stages = append(stages, went)
		switch len(stages) {
		case 1:
			hs.drop(low)
			return true
		case 2:
			hs.drop(high)
			return true
		}
		return false
	}
	k.serve(asks...)
	want := [][]*ask{nil, {asks[1], asks[3], asks[5]}, {asks[0], asks[2], asks[4], asks[6]}}
	if !slices.EqualFunc(stages, want, func(a, b []*ask) bool { return slices.Equal(a, b) }) {
		t.Errorf("went on: %v", stages)
	}
}

// A hold waits for all of a request: for waves that have not begun, for the flush behind a zeroing, and for requests that
// wait for room to begin; and a hold that is there before does not stop them halfway.
func TestHoldWaitsForTheWholeRequest(t *testing.T) {
	for _, c := range []struct {
		name string
		s    setup
		asks func(k *kernel) []*ask
	}{
		{"waves", setup{shape: scattered}, func(k *kernel) []*ask { return []*ask{discard(k, 0, 1500)} }},
		{"flush", setup{shape: mixed}, func(k *kernel) []*ask { return []*ask{k.ask(uapi.UBLK_IO_OP_WRITE_ZEROES|uapi.UBLK_IO_F_FUA, 0, 200)} }},
		{"starved", setup{shape: mixed, pool: 6, depth: 4}, func(k *kernel) []*ask {
			return []*ask{write(k, 0, 250), write(k, 1, 250), write(k, 2, 250), write(k, 3, 250)}
		}},
	} {
		for seed := range uint64(50) {
			c.s.holds, c.s.seed, c.s.blank = newHolds(), seed+1, true
			k := boot(t, c.s)
			k.fault = k.roughly(false)
			asks := c.asks(k)
			var h *hold
			turns := 0
			k.onTurn = func() {
				if turns++; h == nil && len(k.order) == len(asks) && turns >= 3+int(seed%4) {
					h = take(t, c.s.holds, all(k, false))
				}
				if h != nil && h.settled() && slices.ContainsFunc(asks, func(a *ask) bool { return a.answers == 0 }) {
					t.Fatalf("%s, seed %d: it is held, and a request is not answered", c.name, seed)
				}
			}
			k.idle = func() bool { return k.rung() }
			k.serve(asks...)
			if h != nil && !h.settled() {
				t.Fatalf("%s, seed %d: nothing is under way, and the hold waits", c.name, seed)
			}
		}
	}
}

// A hold does not wait for what only a younger one waits for.
func TestYoungerHoldDoesNotDelay(t *testing.T) {
	tags := make([]tag, 4)
	put := func(i int, start uint64) {
		tags[i] = tag{q: request{op: target.Write, r: target.Range{Start: start, Len: 1}}, busy: true}
	}
	hs := newHolds()
	var hold []*hold
	for i := range uint64(4) {
		hold = append(hold, take(t, hs, part(10*i, 5)))
	}
	s := hs.now.Load()
	for _, c := range []struct {
		at   []uint64
		want uint64
	}{{nil, 4}, {[]uint64{5, 99}, 4}, {[]uint64{30}, 3}, {[]uint64{32, 20}, 2}, {[]uint64{10, 30, 20}, 1}, {[]uint64{4, 30}, 0}} {
		clear(tags)
		for i, at := range c.at {
			put(i, at)
		}
		if got := s.settled(tags); got != c.want {
			t.Errorf("writes at %v in flight: settled to %d of %d, want %d", c.at, got, hold[3].born, c.want)
		}
	}
}

// The same range twice: what waits goes on behind the second release.
func TestHoldsCompose(t *testing.T) {
	d := &Device{holds: newHolds()}
	first, err := d.Hold(t.Context(), part(0, 10))
	second, err2 := d.Hold(t.Context(), part(5, 10), part(0, 1))
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	stops := func(at uint64) bool {
		s := d.holds.now.Load()
		return s != nil && s.stops(target.Write, target.Range{Start: at, Len: 1})
	}
	for _, at := range []uint64{0, 3, 5, 9, 14} {
		if !stops(at) {
			t.Errorf("sector %d is not held", at)
		}
	}
	first()
	first() // again: nothing
	if stops(3) || !stops(0) || !stops(5) || !stops(14) {
		t.Errorf("after one release: %v", d.holds.now.Load().writes)
	}
	first()
	second()
	if d.holds.now.Load() != nil {
		t.Error("something is held")
	}
}

// The ranges are the caller's: what it does to them later changes nothing.
func TestHoldKeepsItsRanges(t *testing.T) {
	d := &Device{holds: newHolds()}
	rs := []Hold{part(50, 10), part(0, 10)}
	release, err := d.Hold(t.Context(), rs...)
	if err != nil || rs[0] != part(50, 10) {
		t.Fatal(err, rs)
	}
	rs[0].Start = 1000
	if s := d.holds.now.Load(); !s.stops(target.Write, target.Range{Start: 50, Len: 1}) {
		t.Error("the hold has moved")
	}
	release()
}

// Every queue has to say that nothing is under way.
func TestHoldWaitsForEveryQueue(t *testing.T) {
	hs := newHolds()
	gates := []*gate{enter(t, hs), enter(t, hs), enter(t, hs)}
	h := take(t, hs, part(0, 1))
	for _, i := range []int{1, 2, 0} {
		if h.settled() {
			t.Fatalf("it is held before queue %d says so", i)
		}
		if !awaits(gates[i].fd, 0) {
			t.Errorf("the bell of queue %d was not rung", i)
		}
		gates[i].settled.Store(h.born)
	}
	if !h.settled() {
		t.Error("it is not held")
	}
	late := enter(t, hs) // a queue that begins now has nothing under way
	if late.settled.Load() < h.born {
		t.Error("a queue that begins keeps holds waiting")
	}
}

// A hold that is not had in time is withdrawn, and what waited for it goes on.
func TestHoldIsWithdrawn(t *testing.T) {
	d := &Device{holds: newHolds()}
	k := boot(t, setup{shape: mixed, holds: d.holds})
	enter(t, d.holds) // a queue that never says anything
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		release, err := d.Hold(ctx, all(k, true))
		if release != nil {
			t.Error("a release and an error")
		}
		result <- err
	}()
	for d.holds.now.Load() == nil {
		<-tick()
	}
	a := write(k, 0, 8)
	k.idle = func() bool {
		if k.rung() {
			return true
		}
		if a.answers == 0 && len(k.q.parked) == 1 {
			cancel()
			if err := <-result; err != context.Canceled {
				t.Errorf("Hold: %v", err)
			}
			return true
		}
		return false
	}
	k.serve(a)
	if d.holds.now.Load() != nil {
		t.Error("something is held")
	}
	if _, err := d.Hold(ctx, all(k, true)); err != context.Canceled || d.holds.version != 2 {
		t.Errorf("with a context that has ended: %v at version %d", err, d.holds.version)
	}
}

// A queue that cannot hear the bell any more ends, so that no hold waits for it for ever; an interrupted read comes again.
func TestDeafQueueEnds(t *testing.T) {
	for errno, ends := range map[unix.Errno]bool{unix.EBADF: true, unix.EFAULT: true, unix.EINTR: false, unix.EAGAIN: false} {
		hs := newHolds()
		k := boot(t, setup{shape: mixed, holds: hs})
		once := false
		k.onTurn = func() {
			if k.armed && !once {
				k.armed, once = false, true
				k.post(bellData, -int32(errno))
			}
		}
		k.idle = func() bool { return k.rung() }
		h := take(t, hs, part(0, 1))
		err := k.run(read(k, 0, 8))
		if ends && !errors.Is(err, errno) || !ends && (err != nil || !h.settled()) {
			t.Errorf("%v: the queue ends with %v, held %v", errno, err, h.settled())
		}
	}
}
