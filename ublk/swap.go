package ublk

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Swap replaces what requests are mapped by, and the disks: every request is mapped as a whole by the old or as a whole by
// the new. Memory that the new mapper needs beyond the old is made first; then the device is suspended, every queue adopts
// the new, and the device goes on. Requests that Holds keep out are mapped by the new when they are released.
//
// When it returns without an error, nothing uses the old mapper or the old disks any more. With one, nothing has changed and
// requests go on as before; only after ErrTimeout a queue may still look at the new ones, which it sends nothing to. The
// mapper must have at least the device's sectors: to grow, Swap and then Resize; to shrink, Resize and then Swap.
//
// It waits for requests under way as long as ctx allows, and for the queues 30 s at most. Errors: an OpError with what is
// wrong with m, ctx.Err(), ErrEnded, ErrTimeout or the errno of mmap.
func (d *Device) Swap(ctx context.Context, m Mapper, disks []Backing) error {
	d.change.Lock()
	defer d.change.Unlock()
	fail := func(err error) error { return &OpError{"swap", d.id, err} }
	if m.Sectors() < d.sectors() {
		return fail(fmt.Errorf("the table has %d sectors, the device %d", m.Sectors(), d.sectors()))
	}
	if d.mapper == nil {
		return fail(errNotStarted)
	}
	if d.loss.replacing() {
		return fail(errReplacing)
	}
	fresh := map[*gate]*world{}
	var grown [][]byte // memory that nothing uses if we fail
	giveUp := func(err error) error {
		for _, b := range grown {
			_ = unix.Munmap(b)
		}
		for _, w := range fresh {
			w.faults.free()
		}
		return fail(err)
	}
	for _, s := range d.queues {
		w, mem, err := s.world(m, disks)
		if err != nil {
			return giveUp(err)
		}
		if mem != nil {
			grown = append(grown, mem)
		}
		fresh[s.gate] = w
	}
	h, ok := d.holds.put(fence{all: true}, false)
	if !ok {
		return giveUp(ErrEnded)
	}
	if err := d.holds.await(ctx, h); err != nil {
		return giveUp(err)
	}
	defer d.holds.drop(h)
	gates := d.holds.ask(func(g *gate) { g.next.Store(fresh[g]) })
	done := func(g *gate) bool { return g.now.Load() == fresh[g] }
	if err := d.holds.heard(gates, len(d.queues), d.patience, done); err != nil {
		// Behind this, and before anything goes on, each queue is back in the old world.
		for _, s := range d.queues {
			s.keep(fresh[s.gate]) // what it may have adopted meanwhile
		}
		back := map[*gate]*injector{}
		for _, s := range d.queues {
			back[s.gate] = s.faults.Load()
		}
		d.holds.ask(func(g *gate) { g.next.Store(&world{mapper: d.mapper, disks: d.disks, faults: back[g]}) })
		return fail(err)
	}
	for _, s := range d.queues {
		s.moved(fresh[s.gate])
	}
	d.mapper, d.disks = m, disks
	return nil
}

// heard waits until all gates, which must be n, have done what they were asked for.
func (s *holds) heard(gates []*gate, n int, patience time.Duration, done func(*gate) bool) error {
	if len(gates) < n {
		return ErrEnded
	}
	end := time.NewTimer(patience)
	defer end.Stop()
	for _, g := range gates {
		for !done(g) {
			if g.gone.Load() {
				return ErrEnded
			}
			select {
			case <-g.heard:
			case <-end.C:
				return ErrTimeout
			}
		}
	}
	return nil
}
