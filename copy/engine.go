package blkcopy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// DefaultDepth is how much a disk is sent at a time.
const DefaultDepth = 8

// Options of an Engine. The zero value emulates everything.
type Options struct {
	// Methods are the ways in which the disks can copy by themselves. A command of a method that is not here is emulated or
	// not as Policy.WithoutOffload says.
	Methods map[limits.Method]Method
	Depth   int // offload commands, reads and writes at a time, per disk, of all copies; 0: DefaultDepth
}

// Engine executes plans. Several copies may run in it at once.
type Engine struct {
	disks   []IO
	methods map[limits.Method]Method
	lanes   []lane // by disk
	depth   int
	pool    pool
}

// lane is the way to a disk. It is narrow since each I/O holds a thread, and of those a process has few; and since a disk
// that is sent everything at once serves nobody else.
type lane struct {
	slots chan struct{}

	mu     sync.Mutex
	failed time.Time // guarded by mu; of the last Sync that failed
	err    error     // guarded by mu; its error
}

// NewEngine makes an engine on open disks, by target.Disk; nil is a disk that no plan uses.
func NewEngine(disks []IO, o *Options) *Engine {
	e := &Engine{disks: disks, methods: o.Methods, lanes: make([]lane, len(disks)), depth: o.Depth}
	if e.depth <= 0 {
		e.depth = DefaultDepth
	}
	for i := range e.lanes {
		e.lanes[i].slots = make(chan struct{}, e.depth)
	}
	return e
}

// Close gives memory back. No copy runs.
func (e *Engine) Close() { e.pool.close() }

// spread does n things that are sorted by the disk that they are sent to: the disks side by side, and to each as much at a
// time as its lane takes.
func (e *Engine) spread(n int, disk func(int) target.Disk, do func(int)) {
	var wg sync.WaitGroup
	for first, end := 0, 0; end < n; first = end {
		d := disk(first)
		for end < n && disk(end) == d {
			end++
		}
		slots := e.lanes[d].slots
		if end-first == 1 && end == n { // the most frequent: one thing, here
			slots <- struct{}{}
			do(first)
			<-slots
			break
		}
		var next atomic.Int64
		next.Store(int64(first))
		work := func() {
			for i := int(next.Add(1)) - 1; i < end; i = int(next.Add(1)) - 1 {
				slots <- struct{}{}
				do(i)
				<-slots
			}
		}
		for range min(e.depth, end-first) {
			wg.Go(work)
		}
	}
	wg.Wait()
}

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
