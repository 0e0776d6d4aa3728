package blkcopy

import (
	"slices"
	"sync"

	"github.com/ublk-go/ublk-linear/target"
)

// yield keeps a window from beginning beside another while others use a disk that takes little at once: what is sent to
// such a disk stands before all that comes later. nil keeps nobody.
type yield struct {
	used func() bool

	mu   sync.Mutex
	end  sync.Cond // of a window
	busy int       // guarded by mu; windows under way
}

// newYield is that of a run of the plan.
func (p *Plan) newYield() *yield {
	if len(p.narrow) == 0 || p.req.Used == nil {
		return nil
	}
	y := &yield{used: func() bool { return slices.ContainsFunc(p.narrow, p.req.Used) }}
	y.end.L = &y.mu
	return y
}

// enter returns when a window may begin: at once if none is under way. Else, while others use the disks, it waits until one
// ends, and that needs nothing of who waits here. A copy that is cancelled waits for its windows anyway.
func (y *yield) enter() {
	if y == nil {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	for y.busy > 0 && y.used() {
		y.end.Wait()
	}
	y.busy++
}

// leave is the end of a window.
func (y *yield) leave() {
	if y == nil {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.busy--
	y.end.Broadcast()
}

// takeLittle are the disks of both devices that take less at once than a plan has in flight that emulates. Of one that does not
// tell, nothing is known to be in the way.
func (p *Plan) takeLittle() (out []target.Disk) {
	for _, d := range slices.Concat(p.req.Src.Table.Disks(), p.req.Dst.Table.Disks()) {
		if n := p.pairs.disks[d].QueueBytes; n != 0 && n < EmulatedInFlight && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}
