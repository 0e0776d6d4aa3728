package blkcopy

import (
	"context"
	"sync"
	"time"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// job is one copy under way.
type job struct {
	e        *Engine
	pol      *Policy
	block    uint64 // bytes; nothing smaller is read, written or believed
	lock     Locker
	progress func(Progress)
	began    time.Time
	rate     rate
	yield    *yield
	stop     context.CancelFunc // no window begins any more, and who waits for one wakes

	planMu sync.Mutex
	plan   *Plan // guarded by planMu

	tell sync.Mutex // one progress at a time, so that Done never falls

	mu      sync.Mutex
	res     Result               // guarded by mu
	done    intervals            // guarded by mu; sectors of the request
	written map[target.Disk]bool // guarded by mu
	err     error                // guarded by mu; the first
}

// Run does the copy of a plan that stands at its start. It ends early when a window fails or ctx is cancelled: windows
// under way are finished first, since a disk cannot be told to take a copy back. The Result is always true, whatever the
// error: ctx's, the lock's, or a *Failure; the *Failure of a flush is joined to the first of them. lock may be nil where
// nobody else writes; progress, too, and is called after every window, once at a time.
func (e *Engine) Run(ctx context.Context, p *Plan, lock Locker, progress func(Progress)) (*Result, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	j := &job{e: e, pol: &p.req.Policy, block: max(p.req.Src.block(), p.req.Dst.block()), lock: lock, progress: progress, began: time.Now(), stop: stop, plan: p, yield: p.newYield(), written: map[target.Disk]bool{}}
	j.rate.per = j.pol.Rate
	j.res.Total, j.res.Onto, j.res.Commands = p.Bytes(), p.Onto(), map[limits.Method]uint64{}
	for _, r := range p.onto() {
		j.done.add(r)
	}
	window := p.window
	workers := int(min(p.inFlight/window, (j.res.Total+window-1)/window))
	if p.order.sequence {
		workers = 1
	}
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(func() { j.work(ctx) })
	}
	j.work(ctx)
	wg.Wait()
	j.finish()
	return &j.res, j.err
}

// work does windows until there are no more.
func (j *job) work(ctx context.Context) {
	x := execution{j: j, count: counts{commands: map[limits.Method]uint64{}}}
	for {
		j.planMu.Lock()
		more := j.plan.Next(&x.w)
		j.planMu.Unlock()
		if !more {
			return
		}
		if err := j.turn(ctx, &x); err != nil {
			return
		}
		j.report()
	}
}

// turn does one window when its time has come. An error ends the copy before others learn that the window has ended.
func (j *job) turn(ctx context.Context, x *execution) error {
	err := j.rate.wait(ctx, x.w.Bytes())
	if err == nil {
		j.yield.enter()
		defer j.yield.leave()
		err = j.window(ctx, x)
	}
	if err != nil {
		j.fail(err)
	}
	return err
}

// window does one window, under the lock.
func (j *job) window(ctx context.Context, x *execution) error {
	if err := ctx.Err(); err != nil { // another window took long, and now nobody wants this one
		return err
	}
	if j.lock != nil {
		unlock, err := j.lock.Lock(ctx, x.w.Src, x.w.Dst)
		if err != nil {
			return err
		}
		defer unlock()
		if err := ctx.Err(); err != nil { // it took long, and now nobody wants it
			return err
		}
	}
	x.run()
	j.mu.Lock()
	defer j.mu.Unlock()
	return x.settle()
}

// fail ends the copy: no window begins behind it.
func (j *job) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.err = err
		j.stop()
	}
}

// report tells the progress.
func (j *job) report() {
	if j.progress != nil {
		j.tell.Lock()
		defer j.tell.Unlock()
		j.progress(j.look())
	}
}

// look is the progress of now.
func (j *job) look() Progress {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Progress{Done: j.done.sum() * 512, Total: j.res.Total, Offloaded: j.res.Offloaded, Emulated: j.res.Emulated + j.res.Zeroed, Elapsed: time.Since(j.began)}
}

// believe is how many of n bytes are certainly moved: whole blocks; and none, when all should be and yet there is an
// error. A transfer that is short has one.
func (j *job) believe(moved, n uint64, err error) (uint64, error) {
	switch {
	case err == nil && moved >= n:
		return n, nil
	case err == nil:
		err = errShort
	case moved >= n:
		moved = 0
	}
	return moved / j.block * j.block, err
}
