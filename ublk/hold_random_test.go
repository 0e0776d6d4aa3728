package ublk

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// taken is a hold of the tests on the queue's own thread, which can look between any two turns.
type taken struct {
	*hold
	ranges []Hold
	had    []*ask // that the queue had under way
	sure   bool   // Hold would have returned
}

// keeper takes and drops holds at random turns.
type keeper struct {
	k     *kernel
	hs    *holds
	w     watch
	now   []*taken
	count int
}

func newKeeper(k *kernel, hs *holds) *keeper {
	h := &keeper{k: k, hs: hs}
	h.w.over(k)
	k.onTurn, k.idle = h.turn, h.idle
	return h
}

// underWay is what the queue has read and not answered, without what it keeps out.
func (h *keeper) underWay() (out []*ask) {
	for _, a := range h.k.order {
		if t := slices.IndexFunc(h.k.tags, func(f fakeTag) bool { return f.ask == a }); t >= 0 && len(a.refusals) == 0 && !slices.Contains(h.k.q.parked, uint16(t)) {
			out = append(out, a)
		}
	}
	return out
}

func (h *keeper) turn() {
	rng := h.k.rng
	for _, x := range h.now {
		if x.sure || !x.settled() {
			continue
		}
		x.sure = true
		h.count++
		h.w.hold(x.ranges)
		for _, a := range x.had {
			if a.answers == 0 {
				h.k.t.Fatalf("%v is held, and %v was under way and is not answered", x.ranges, a)
			}
		}
	}
	if len(h.now) > 0 && rng.IntN(6) == 0 {
		h.drop()
	}
	if len(h.now) < 5 && rng.IntN(4) == 0 {
		x := &taken{ranges: randomHold(rng, h.k.bounds.sectors)}
		for _, a := range h.underWay() {
			if a.againstAny(x.ranges) {
				x.had = append(x.had, a)
			}
		}
		ok := false
		if x.hold, ok = h.hs.take(x.ranges); !ok {
			h.k.t.Fatalf("nothing can be held")
		}
		h.now = append(h.now, x)
	}
}

func (h *keeper) drop() {
	i := h.k.rng.IntN(len(h.now))
	x := h.now[i]
	h.now = slices.Delete(h.now, i, i+1)
	if x.sure {
		h.w.unhold(x.ranges)
	}
	for range 1 + h.k.rng.IntN(2) {
		h.hs.drop(x.hold)
	}
}

// idle is where the queue stands still: only what is held may be the reason, and no hold may be waiting.
func (h *keeper) idle() bool {
	k := h.k
	if k.rung() {
		return true
	}
	for _, x := range h.now {
		if !x.settled() {
			k.t.Fatalf("nothing is in flight, and %v waits", x.ranges)
		}
	}
	for t := range k.tags {
		if a := k.tags[t].ask; a != nil && !slices.ContainsFunc(h.now, func(x *taken) bool { return a.againstAny(x.ranges) }) {
			k.t.Fatalf("%v waits, and nothing that is held stops it", a)
		}
	}
	if len(h.now) == 0 {
		return false
	}
	h.drop()
	return true
}

// Whatever is held and released between any two turns: the device is the model, nothing is at the disks that a hold keeps
// out, what was under way was answered before, nothing waits without a reason, and every request is answered once.
func TestHoldsLikeTheModel(t *testing.T) {
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		s := drawSetup(t)
		s.holds = newHolds()
		k := boot(t, s)
		k.fault = k.roughly(rapid.Bool().Draw(t, "failing"))
		h := newKeeper(k, s.holds)
		k.serve(drawAsks(t, k)...)
		for len(h.now) > 0 {
			h.drop()
		}
		h.w.report(t)
		count += h.count
		if s.holds.now.Load() != nil {
			t.Errorf("something is held at the end")
		}
	})
	if count < 10 {
		t.Errorf("only %d holds were had", count)
	}
}

// stray is a tester for another goroutine than the test's: a Fatalf ends that one.
type stray struct{ *testing.T }

func (s stray) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

// The same through Hold, with two queues and several goroutines that hold, some of which lose patience.
func TestHoldFromManyGoroutines(t *testing.T) {
	for seed := range uint64(30) {
		d := &Device{holds: newHolds()}
		var w watch
		done := make(chan struct{})
		var queues, clients sync.WaitGroup
		for n := range uint64(2) {
			k := boot(stray{t}, setup{shape: mixed, depth: 6, maxIO: 64, seed: 1 + 2*seed + n, holds: d.holds, blank: true})
			k.fault = k.roughly(false)
			k.attend(done)
			w.over(k)
			var asks []*ask
			for range 400 {
				start := k.rng.Uint64N(k.bounds.sectors - 64)
				asks = append(asks, []*ask{read(k, start, 1+start%64), write(k, start, 1+start%50), write(k, start, 1+start%9), flush(k), discard(k, start, 60), zeroes(k, start, 40)}[k.rng.IntN(6)])
			}
			queues.Go(func() { k.serve(asks...) })
		}
		had := make([]int, 3)
		for n := range had {
			rng := rand.New(rand.NewPCG(seed, uint64(n)))
			clients.Go(func() {
				for range 60 {
					if t.Failed() {
						return
					}
					ranges := randomHold(rng, 296)
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					if rng.IntN(8) == 0 {
						go cancel()
					}
					release, err := d.Hold(ctx, ranges...)
					if err == nil {
						w.hold(ranges)
						for range rng.IntN(50) {
							runtime.Gosched()
						}
						w.unhold(ranges)
						release()
						had[n]++
					} else if !errors.Is(err, context.Canceled) {
						t.Errorf("Hold: %v", err)
					}
					cancel()
				}
			})
		}
		clients.Wait()
		close(done)
		queues.Wait()
		w.report(t)
		if d.holds.now.Load() != nil || min(had[0], had[1], had[2]) < 20 {
			t.Errorf("holds that were had: %v", had)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// Quick holds and releases against a queue that sleeps: no wakeup is lost.
func TestNoWakeupIsLost(t *testing.T) {
	d := &Device{holds: newHolds()}
	done := make(chan struct{})
	k := boot(stray{t}, setup{shape: mixed, depth: 2, holds: d.holds, blank: true})
	k.attend(done)
	var queue sync.WaitGroup
	queue.Go(func() { k.serve() })
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for i := range 1000 {
				release, err := d.Hold(ctx, all(k, true))
				if err != nil {
					t.Errorf("hold %d: %v", i, err)
					return
				}
				release()
			}
		})
	}
	start := time.Now()
	clients.Wait()
	t.Logf("3000 holds in %v", time.Since(start))
	close(done)
	queue.Wait()
}
