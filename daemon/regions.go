package daemon

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// Windows of copies keep each other out here, and everybody else out of them on the devices:
//
//  1. a window enters the regions, all of it at once, and waits for those before it that it conflicts with, whether they
//     hold or wait themselves: nobody overtakes whom he conflicts with, so no window waits for ever;
//  2. then it holds its ranges on the devices, where it waits for requests that have begun, never for another window;
//  3. it looks whether a device has another table by now than the copy was planned with: then it does nothing;
//  4. it lets go of the devices first, and leaves.
//
// Who suspends a device, or changes it, freezes it here: it waits for the windows before it on the device, and those behind
// wait for it. Several may freeze one device at a time.

// holder is a device that can be held: *ublk.Device.
type holder interface {
	Hold(ctx context.Context, ranges ...ublk.Hold) (release func(), err error)
}

// place is a served device, by its number.
type place struct {
	id int
	holder
	epoch   *atomic.Uint64 // how often the device's table was replaced
	planned uint64         // epoch of the table that the copy was planned with
}

// newPlace is a device as it is now.
func newPlace(id int, h holder, epoch *atomic.Uint64) place { return place{id, h, epoch, epoch.Load()} }

// errStale ends a copy whose device has another table than the copy was planned with: its commands would go to what may be
// another's by now.
var errStale = errors.New("the device was reloaded, and has another table than the copy was planned with")

func (p *place) stale() bool { return p.epoch != nil && p.epoch.Load() != p.planned }

// regions are the windows of all copies of a server. The zero value is ready.
type regions struct {
	mu      sync.Mutex
	windows map[*region]struct{} // guarded by mu; that hold, and that wait
}

// region is a window on one device, or two.
type region struct {
	srcID, dstID int
	src, dst     []target.Range // sorted
	still        bool           // nothing is copied: it only keeps windows out
	before       int            // guarded by mu of the regions; windows that it waits for
	behind       []*region      // guarded by mu of the regions; windows that wait for it
	ready        chan struct{}  // closed when before has come to 0
}

func newRegion(src, dst place, reads, writes []target.Range) *region {
	return &region{srcID: src.id, dstID: dst.id, src: sorted(reads), dst: sorted(writes), ready: make(chan struct{})}
}

func sorted(in []target.Range) []target.Range {
	out := slices.Clone(in)
	slices.SortFunc(out, func(a, b target.Range) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

// conflicts says whether one writes what the other reads or writes. Two that do neither are in nobody's way.
func (w *region) conflicts(o *region) bool {
	if w.still && o.still {
		return false
	}
	return w.dstID == o.dstID && meet(w.dst, o.dst) || w.dstID == o.srcID && meet(w.dst, o.src) || w.srcID == o.dstID && meet(w.src, o.dst)
}

// meet says whether two sorted lists have a sector in common. Sources of one window may overlap each other, so what ends
// first need not be what began first; but what begins behind all that came before decides.
func meet(a, b []target.Range) bool {
	var aEnd, bEnd uint64 // of all before i and j
	for i, j := 0, 0; i < len(a) || j < len(b); {
		if j == len(b) || i < len(a) && a[i].Start <= b[j].Start {
			if a[i].Start < bEnd {
				return true
			}
			aEnd = max(aEnd, a[i].End())
			i++
			continue
		}
		if b[j].Start < aEnd {
			return true
		}
		bEnd = max(bEnd, b[j].End())
		j++
	}
	return false
}

// enter returns when no window before w conflicts. Errors: ctx's; then w has left.
func (r *regions) enter(ctx context.Context, w *region) error {
	r.mu.Lock()
	for o := range r.windows {
		if o.conflicts(w) {
			o.behind = append(o.behind, w)
			w.before++
		}
	}
	if r.windows == nil {
		r.windows = map[*region]struct{}{}
	}
	r.windows[w] = struct{}{}
	if w.before == 0 {
		close(w.ready)
	}
	r.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		r.leave(w)
		return ctx.Err()
	}
}

// leave lets those go on that waited for w.
func (r *regions) leave(w *region) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.windows, w)
	for _, o := range w.behind {
		if o.before--; o.before == 0 {
			close(o.ready)
		}
	}
	w.behind = nil
}

// freeze keeps windows out of a device, and returns when those on it have left. Errors: ctx's; then nothing is kept out.
func (r *regions) freeze(ctx context.Context, id int) (thaw func(), err error) {
	w := &region{srcID: id, dstID: id, dst: []target.Range{{Len: target.MaxSectors}}, still: true, ready: make(chan struct{})}
	if err := r.enter(ctx, w); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { r.leave(w) }), nil
}

// regionLock is the lock of one copy: a blkcopy.Locker.
type regionLock struct {
	regions  *regions
	src, dst place
}

// Lock waits as the head of this file says. Errors: ctx's, ublk.ErrEnded, and errStale.
func (l *regionLock) Lock(ctx context.Context, src, dst []target.Range) (unlock func(), err error) {
	w := newRegion(l.src, l.dst, src, dst)
	if err := l.regions.enter(ctx, w); err != nil {
		return nil, err
	}
	release, err := l.hold(ctx, w)
	if err != nil {
		l.regions.leave(w)
		return nil, err
	}
	if l.src.stale() || l.dst.stale() {
		release()
		l.regions.leave(w)
		return nil, errStale
	}
	return sync.OnceFunc(func() {
		release()
		l.regions.leave(w)
	}), nil
}

// hold holds a window on its devices, in their order.
func (l *regionLock) hold(ctx context.Context, w *region) (release func(), err error) {
	src, dst := holds(w.src, false), holds(w.dst, true)
	if l.src.id == l.dst.id {
		return l.dst.Hold(ctx, append(src, dst...)...)
	}
	first, second, a, b := l.src, l.dst, src, dst
	if l.dst.id < l.src.id {
		first, second, a, b = l.dst, l.src, dst, src
	}
	one, err := first.Hold(ctx, a...)
	if err != nil {
		return nil, err
	}
	two, err := second.Hold(ctx, b...)
	if err != nil {
		one()
		return nil, err
	}
	return func() {
		two()
		one()
	}, nil
}

func holds(rs []target.Range, reads bool) []ublk.Hold {
	out := make([]ublk.Hold, 0, len(rs))
	for _, r := range rs {
		out = append(out, ublk.Hold{Range: r, Reads: reads})
	}
	return out
}
