package ublk

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// mover swaps worlds at random turns on the queue's own thread, as Swap does it from another, and moves the contents of the
// device along: what a request writes to the old world behind that, or reads there, is wrong.
type mover struct {
	*keeper
	shapes  []shape // of the worlds to come
	hold    *hold
	next    *world
	quiet   bool // suspended, and sure of it
	swaps   int
	grown   int
	parkedF int // flushes that had to wait
}

func newMover(k *kernel, hs *holds, shapes []shape) *mover {
	m := &mover{keeper: newKeeper(k, hs), shapes: shapes}
	watched := k.before
	k.before = func(c *command) {
		if m.quiet {
			k.t.Fatalf("%+v begins, and all is suspended", c)
		}
		if c.disk < k.base || c.try == 1 && int(c.disk) >= len(k.disks) {
			k.t.Fatalf("%+v goes to a disk of an old world", c)
		}
		watched(c)
	}
	k.onTurn, k.idle = m.turn, m.idle
	return m
}

func (m *mover) turn() {
	k := m.k
	for _, t := range k.q.parked {
		if k.q.tags[t].q.op == target.Flush {
			m.parkedF++
		}
	}
	if m.hold != nil && m.hold.settled() && !m.quiet {
		if len(k.inflight) > 0 {
			k.t.Fatalf("%d commands are in flight, and all is suspended", len(k.inflight))
		}
		m.quiet = true
	}
	m.keeper.turn()
	switch {
	case m.hold == nil && len(m.shapes) > 0 && k.rng.IntN(5) == 0:
		m.suspend()
	case m.quiet && m.next == nil && k.rng.IntN(3) == 0:
		m.post()
	case m.next != nil && k.q.gate.now.Load() == m.next && k.rng.IntN(3) == 0:
		m.resume()
	}
}

func (m *mover) suspend() { m.hold, _ = m.hs.put(fence{all: true}, false) }

// post gives the queue the next world, and moves the contents.
func (m *mover) post() {
	k := m.k
	sh := m.shapes[0]
	m.shapes = m.shapes[1:]
	m.next = &world{mapper: &meddler{sh.table(k.t), k}}
	base := target.Disk(len(k.disks))
	for i := range sh.disks() {
		b := Backing{FD: firstFD + int(base) + i, Block: i%2 == 0, NonBlocking: i%3 == 0}
		m.next.disks = append(m.next.disks, b)
		k.disks = append(k.disks, b)
	}
	if fan := m.next.mapper.Fan(); fan > k.wave || fan > k.pool || k.rng.IntN(3) == 0 {
		k.wave = max(k.wave, fan)
		k.iovs = make([]uapi.Iovec, len(k.tags)*k.wave)
		p := newPool(len(k.tags), max(fan, k.q.mapper.Fan()), k.iovs)
		m.next.pool, k.pool = &p, len(p.ops)
		k.cmds = append(k.cmds, make([]command, max(0, k.pool-len(k.cmds)))...)
		m.grown++
	}
	k.model.move(sh, base)
	m.hs.ask(func(g *gate) { g.next.Store(m.next) })
}

func (m *mover) resume() {
	m.quiet, m.next = false, nil
	m.hs.drop(m.hold)
	m.hold = nil
	m.swaps++
}

// idle is where the queue stands still.
func (m *mover) idle() bool {
	switch {
	case m.k.rung():
		return true
	case m.hold == nil:
		return m.keeper.idle()
	case !m.hold.settled():
		m.k.t.Fatalf("nothing is in flight, and the device is not suspended")
	case m.next == nil:
		m.quiet = true
		m.post()
	case m.k.q.gate.now.Load() != m.next:
		m.k.t.Fatalf("nothing is in flight, and the world is not adopted")
	default:
		m.resume()
	}
	return true
}

// move makes the disks of another shape hold what the device holds.
func (m *model) move(sh shape, base target.Disk) {
	for d := range m.disks {
		m.before[d] = slices.Clone(m.disks[d])
	}
	old := m.k.at
	m.k.used = append(m.k.used, sh.used()...)
	for _, rs := range sh.used() {
		n := uint64(3)
		if len(rs) > 0 {
			n += rs[len(rs)-1].End()
		}
		d := make([]byte, n*512)
		m.fill(d)
		m.disks = append(m.disks, d)
		m.before = append(m.before, slices.Clone(d))
		m.dirty = append(m.dirty, make([]uint64, n))
		m.acked = append(m.acked, make([]uint64, n))
	}
	type place struct {
		d  target.Disk
		at uint64
	}
	from := make([]place, m.k.bounds.sectors)
	for s := range from {
		from[s].d, from[s].at = old(uint64(s))
	}
	m.k.shape, m.k.base = sh, base
	for s, f := range from {
		d, at := m.k.at(uint64(s))
		copy(m.disks[d][at*512:][:512], m.disks[f.d][f.at*512:][:512])
	}
	for d := range base { // nobody flushes them any more, and nobody asks
		clear(m.dirty[d])
	}
}

// resized is a shape of at least as many sectors as another: what is missing becomes one more place.
func resized(s shape, sectors uint64) shape {
	var n uint64
	for _, p := range s {
		n += p.sectors
	}
	if n < sectors {
		s = append(s, lin(target.Disk(s.disks()), 3, sectors-n))
	}
	return s
}

// Whatever is held, suspended and swapped between any two turns: every request is mapped as a whole by one world and loses
// nothing to another, nothing begins while all is suspended, and every request is answered once.
func TestWorldsLikeTheModel(t *testing.T) {
	swaps, grown, flushes := 0, 0, 0
	for round := 0; swaps < 50 || grown < 10 || flushes < 10; round++ {
		if round == 20 {
			t.Fatalf("%d swaps, %d with more room, %d flushes that waited", swaps, grown, flushes)
		}
		rapid.Check(t, func(t *rapid.T) {
			s := drawSetup(t)
			s.holds = newHolds()
			k := boot(t, s)
			var shapes []shape
			for range rapid.IntRange(1, 4).Draw(t, "worlds") {
				shapes = append(shapes, resized(drawShape(t, k.bounds.lbs), k.bounds.sectors))
			}
			k.fault = k.roughly(rapid.Bool().Draw(t, "failing"))
			m := newMover(k, s.holds, shapes)
			k.serve(drawAsks(t, k)...)
			if m.hold != nil {
				s.holds.drop(m.hold)
			}
			for len(m.now) > 0 {
				m.drop()
			}
			m.w.report(t)
			swaps, grown, flushes = swaps+m.swaps, grown+m.grown, flushes+m.parkedF
		})
	}
	t.Logf("%d swaps, %d with more room, %d turns with flushes that waited", swaps, grown, flushes)
}
