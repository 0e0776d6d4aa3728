package ublk

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// another makes a world of a shape on disks of its own, with or without a new pool.
func (k *kernel) another(sh shape, fresh bool) *world {
	base := len(k.disks)
	w := &world{mapper: sh.table(k.t)}
	for i := range sh.disks() {
		w.disks = append(w.disks, Backing{FD: firstFD + base + i, Block: true})
	}
	k.disks = append(k.disks, w.disks...)
	k.used = append(k.used, sh.used()...)
	if fresh {
		k.wave = max(k.wave, waveFor(w.mapper.Fan()))
		p := newPool(len(k.tags), w.mapper.Fan(), make([]uapi.Iovec, len(k.tags)*k.wave))
		w.pool = &p
	}
	return w
}

// worldsOf is, for every request, the first disk of the world that its commands went to; -1 when that was not one world.
func worldsOf(log []sent, base target.Disk) map[*ask]int {
	out := map[*ask]int{}
	for _, s := range log {
		w := 0
		if s.disk >= base {
			w = 1
		}
		if had, ok := out[s.ask]; ok && had != w {
			w = -1
		}
		out[s.ask] = w
	}
	return out
}

// A queue that is given a world while something is in flight adopts it when that has ended, however many waves it has
// still to go, and begins nothing before.
func TestWorldWaitsForWhatIsInFlight(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		hs := newHolds()
		k := boot(t, setup{shape: scattered, blank: true, depth: 2, holds: hs})
		base := target.Disk(len(k.disks))
		w := k.another(scattered, fresh)
		asks := []*ask{discard(k, 0, 1500), discard(k, 0, 10), flush(k), discard(k, 3, 10), read(k, 0, 8)}
		k.onTurn = func() {
			if len(k.log) > 0 && w != nil {
				hs.ask(func(g *gate) { g.next.Store(w) })
				w = nil
			}
			if k.q.late && k.q.busy == 0 && len(k.inflight) > 0 {
				t.Error("something is in flight, and nothing is busy")
			}
		}
		if fresh { // the log is all that is looked at
			k.cmds = append(k.cmds, make([]command, 4096)...)
		}
		k.serve(asks...)
		of := worldsOf(k.log, base)
		if of[asks[0]] != 0 || of[asks[1]] != 0 {
			t.Errorf("fresh %v: what was in flight went to worlds %v and %v", fresh, of[asks[0]], of[asks[1]])
		}
		for _, a := range asks[2:] {
			if of[a] != 1 {
				t.Errorf("fresh %v: %v went to world %d", fresh, a, of[a])
			}
		}
	}
}

// A world that is taken back before the queue has heard of the end of the suspension serves nothing: what comes between the
// two waits.
func TestWorldIsTakenBack(t *testing.T) {
	hs := newHolds()
	k := boot(t, setup{shape: mixed, blank: true, holds: hs})
	base := target.Disk(len(k.disks))
	old := &world{mapper: k.q.mapper, disks: k.q.disks}
	w := k.another(mixed, false)
	h, _ := hs.put(fence{all: true}, false)
	hs.ask(func(g *gate) { g.next.Store(w) })
	a := read(k, 0, 64)
	k.onTurn = func() {
		if k.q.gate.now.Load() != w || h == nil {
			return
		}
		k.armed = false // what is rung now is heard later
		hs.ask(func(g *gate) { g.next.Store(old) })
		hs.drop(h)
		h = nil
		k.asks = append(k.asks, a)
	}
	late := 0
	k.idle = func() bool {
		if !k.armed && h == nil && late < 1 {
			late++
			if k.q.gate.now.Load() != w || len(k.log) != 0 {
				t.Errorf("%d commands before the queue has heard", len(k.log))
			}
			k.armed = true
			return true
		}
		return k.rung()
	}
	if err := k.run(); err != nil {
		t.Fatal(err)
	}
	if got := worldsOf(k.log, base)[a]; a.answers != 1 || got != 0 || len(k.log) == 0 {
		t.Errorf("%d answers, from world %d by %d commands", a.answers, got, len(k.log))
	}
	if k.q.gate.now.Load() != old {
		t.Error("the old world is not back")
	}
}

// Bounds change when the queue is told. What a hold kept out, and lies beyond a new end, fails.
func TestBoundsFollow(t *testing.T) {
	hs := newHolds()
	k := boot(t, setup{shape: mixed, blank: true, depth: 4, holds: hs})
	end := k.bounds.sectors
	h, _ := hs.take([]Hold{part(end-16, 16)})
	in, out, over := write(k, end-16, 8), write(k, end-9, 8), write(k, end-16, 16)
	later, before := read(k, end-8, 8), read(k, 0, 8)
	step := 0
	k.onTurn = func() {
		switch {
		case step == 0 && len(k.q.parked) == 3:
			step++
			hs.ask(func(g *gate) { g.sectors.Store(end - 8) })
		case step == 1 && k.q.gate.bound.Load() == end-8:
			step++
			later.refusals = []unix.Errno{unix.EIO}
			k.asks = append(k.asks, later, before)
			out.refusals, over.refusals = []unix.Errno{unix.EIO}, []unix.Errno{unix.EIO}
		case step == 2 && before.answers == 1:
			step++
			hs.drop(h)
		}
	}
	k.idle = k.rung
	if err := k.run(in, out, over); err != nil {
		t.Fatal(err)
	}
	for _, a := range []*ask{in, out, over, later, before} {
		if fails := a != in && a != before; a.answers != 1 || a.res < 0 != fails {
			t.Errorf("%v after %d answers", a, a.answers)
		}
	}
}

// A queue that is to leave ends with its tags at the driver or unanswered: what is in flight is answered first, what comes
// meanwhile or is kept out is left.
func TestLeavesTags(t *testing.T) {
	for seed := range uint64(30) {
		hs := newHolds()
		k := boot(t, setup{shape: scattered, blank: true, depth: 4, holds: hs, seed: seed})
		hs.take([]Hold{part(1000, 8)})
		kept, long := write(k, 1000, 8), discard(k, 0, 900)
		late, mark := false, -1
		k.onTurn = func() {
			if k.q.leaving && mark < 0 {
				mark = len(k.log)
			}
			if len(k.q.parked) == 1 && !late && slices.ContainsFunc(k.inflight, func(i uint32) bool { return k.cmds[i].ask == long }) {
				late = true
				hs.ask(func(g *gate) { g.leave.Store(true) })
			}
		}
		k.idle = func() bool { return k.rung() }
		k.asks, k.next = []*ask{kept, long}, 0
		for i := range 40 {
			k.asks = append(k.asks, read(k, uint64(i), 1))
		}
		if err := k.q.fetch(); err != nil {
			t.Fatal(err)
		}
		if err := k.q.run(); err != nil {
			t.Fatal(err)
		}
		if kept.answers != 0 || long.answers != 1 || len(k.inflight) != 0 || k.q.flying != 0 || k.q.live == 0 {
			t.Fatalf("seed %d: kept out %d answers, in flight %d; %d commands in flight, %d tags live", seed, kept.answers, long.answers, len(k.inflight), k.q.live)
		}
		for _, c := range k.log[mark:] {
			if c.ask != long {
				t.Errorf("seed %d: %v goes on in a queue that leaves", seed, c.ask)
			}
		}
		if k.armed || k.queued != 0 {
			t.Errorf("seed %d: bell armed %v, %d entries not submitted", seed, k.armed, k.queued)
		}
	}
}
