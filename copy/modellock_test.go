package blkcopy

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// testLock is a Locker that knows what may be touched under it. It lets everybody in.
type testLock struct {
	w        *world
	src, dst *remap.Table
	fails    int    // this Lock fails; 0: none
	before   func() // called by every Lock

	mu    sync.Mutex
	held  []*window
	past  []*window
	calls int
	most  uint64 // sectors of destinations under lock
	ahead int    // windows under lock at a time
}

// window is what a Lock was asked for.
type window struct {
	src, dst    []target.Range
	reads, puts map[remap.Place]bool
	touched     bool
}

var errLock = errors.New("no lock")

// places is where the sectors of ranges lie.
func places(t *remap.Table, rs []target.Range) (out []remap.Place) {
	buf := make([]target.Segment, 0, 64)
	for _, r := range rs {
		for r.Len > 0 {
			segs, n := t.Map(buf, target.Read, r)
			for _, s := range segs {
				for i := range s.Sectors {
					out = append(out, remap.Place{Disk: s.Disk, Sector: s.Sector + i})
				}
			}
			r = target.Range{Start: r.Start + n, Len: r.Len - n}
		}
	}
	return out
}

func set(ps []remap.Place) map[remap.Place]bool {
	m := map[remap.Place]bool{}
	for _, p := range ps {
		m[p] = true
	}
	return m
}

// Lock implements Locker.
func (l *testLock) Lock(ctx context.Context, src, dst []target.Range) (func(), error) {
	if l.before != nil {
		l.before()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls++; l.calls == l.fails {
		return nil, errLock
	}
	v := &window{src: slices.Clone(src), dst: slices.Clone(dst), reads: set(places(l.src, src)), puts: set(places(l.dst, dst))}
	l.held = append(l.held, v)
	var n uint64
	for _, h := range l.held {
		n += uint64(len(h.puts))
	}
	l.most, l.ahead = max(l.most, n), max(l.ahead, len(l.held))
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		i := slices.Index(l.held, v)
		if i < 0 {
			l.w.mu.Lock()
			l.w.errorf("unlocked twice: %v", dst)
			l.w.mu.Unlock()
			return
		}
		l.held = slices.Delete(l.held, i, i+1)
		l.past = append(l.past, v)
	}, nil
}

// inside checks that an access is of one window under lock. The world's mu is held.
func (l *testLock) inside(a *access) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := func(es []target.Extent, in map[remap.Place]bool) bool {
		for _, e := range es {
			for i := range e.Len {
				if !in[remap.Place{Disk: e.Disk, Sector: e.Start + i}] {
					return false
				}
			}
		}
		return true
	}
	for _, v := range l.held {
		if all(a.reads, v.reads) && all(a.puts, v.puts) {
			v.touched = true
			return
		}
	}
	l.w.errorf("%s of %v %v is in no window under lock", a.what, a.reads, a.puts)
}
