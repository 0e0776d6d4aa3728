package blkcopy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// DefaultDepth is how many reads and writes a disk is sent at a time.
const DefaultDepth = 8

// Options of an Engine. The zero value emulates everything.
type Options struct {
	// Methods are the ways in which the disks can copy by themselves. A command of a method that is not here is emulated or
	// not as Policy.WithoutOffload says.
	Methods map[limits.Method]Method
	// Depth is how many offload commands, reads and writes a disk is sent at a time, by all copies. 0: DefaultDepth reads and
	// writes, and as many offload commands as it has use for (climb.go), DefaultDepth at first.
	Depth int
}

// Engine executes plans. Several copies may run in it at once.
type Engine struct {
	disks   []IO
	methods map[limits.Method]Method
	lanes   []lane // by disk
	pool    pool
}

// NewEngine makes an engine on open disks, by target.Disk; nil is a disk that no plan uses.
func NewEngine(disks []IO, o *Options) *Engine {
	e := &Engine{disks: disks, methods: o.Methods, lanes: make([]lane, len(disks))}
	for i := range e.lanes {
		l := &e.lanes[i]
		if o.Depth > 0 {
			all := make(slots, o.Depth)
			l.io, l.offload = all, all
		} else {
			l.io, l.offload = make(slots, DefaultDepth), newOffers()
		}
	}
	return e
}

// Close gives memory back. No copy runs.
func (e *Engine) Close() { e.pool.close() }

// spread does n things that are sorted by the disk that they are sent to: the disks side by side, and to each as much at a
// time as its way takes. do returns the sectors that it has moved.
func (e *Engine) spread(n int, disk func(int) target.Disk, to func(*lane) way, do func(int) uint64) {
	var wg sync.WaitGroup
	for first, end := 0, 0; end < n; first = end {
		d := disk(first)
		for end < n && disk(end) == d {
			end++
		}
		w := to(&e.lanes[d])
		one := func(i int) {
			w.enter()
			w.leave(do(i))
		}
		if end-first == 1 && end == n { // the most frequent: one thing, here
			one(first)
			break
		}
		var next atomic.Int64
		next.Store(int64(first))
		work := func() {
			for i := int(next.Add(1)) - 1; i < end; i = int(next.Add(1)) - 1 {
				one(i)
			}
		}
		for range min(w.width(), end-first) {
			wg.Go(work)
		}
	}
	wg.Wait()
}

func ioWay(l *lane) way      { return l.io }
func offloadWay(l *lane) way { return l.offload }

// sync flushes a disk for who has written to it since a time. An error is told once, to whoever asks first: what another
// has written before that is as lost, though its own Sync succeeds.
func (e *Engine) sync(d target.Disk, since time.Time) error {
	l := &e.lanes[d]
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := e.disks[d].Sync(); err != nil {
		l.failed, l.err = time.Now(), err
		return err
	}
	if l.err != nil && !l.failed.Before(since) {
		return l.err
	}
	return nil
}
