package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
)

// maxCopies is how many copies of a server are under way at a time: each has its windows' memory.
const maxCopies = 16

// errStopping is why copies end, and begin no more, when a server does.
var errStopping = fmt.Errorf("the server is stopping: %w", unix.EBUSY)

// copies are the copies under way in a server. The zero value is ready.
type copies struct {
	mu     sync.Mutex
	last   uint64              // guarded by mu; id of the newest
	active map[uint64]*copyJob // guarded by mu
	ended  bool                // guarded by mu
	shut   map[string]bool     // guarded by mu; devices that are being changed
	gone   chan struct{}       // guarded by mu; closed when one of active is removed, if somebody waits for that
	paused error               // guarded by mu; why no copy may begin for a while, nil: they may
	done   sync.WaitGroup      // of active; added to under mu, and not after ended
	afters sync.WaitGroup      // of what behind was told
}

// copyJob is one copy under way. Its progress may be asked for, and told, by anybody.
type copyJob struct {
	info   CopyInfo // what does not change
	began  time.Time
	cancel context.CancelCauseFunc
	run    func(ctx context.Context, progress func(blkcopy.Progress)) *CopyResult

	mu  sync.Mutex
	now blkcopy.Progress // guarded by mu

	over chan struct{} // closed when the copy is listed no more
}

// newCopyJob is a copy that no server lists.
func newCopyJob(r *CopyRequest, total uint64) *copyJob {
	return &copyJob{began: time.Now(), over: make(chan struct{}), info: CopyInfo{Source: r.Source.Device, Destination: r.Destination.Device, CopyProgress: CopyProgress{Total: total}}}
}

// tell notes progress. Windows end in no order, and so do their calls.
func (j *copyJob) tell(p blkcopy.Progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if p.Done >= j.now.Done {
		j.now = p
	}
}

func (j *copyJob) look() CopyInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.info
	out.Bytes, out.Offloaded, out.Emulated, out.Seconds = j.now.Done, j.now.Offloaded, j.now.Emulated, time.Since(j.began).Seconds()
	return out
}

// add lists a copy, which then has an id, until remove. Its context is cancelled by cancel and by end. Errors: EBUSY when
// there are too many, one of its devices is being changed, or the server is stopping.
func (c *copies) add(ctx context.Context, j *copyJob) (context.Context, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended:
		return nil, errStopping
	case c.shut[j.info.Source]:
		return nil, errChanging(j.info.Source)
	case c.shut[j.info.Destination]:
		return nil, errChanging(j.info.Destination)
	case c.paused != nil:
		return nil, c.paused
	case len(c.active) == maxCopies:
		return nil, fmt.Errorf("%d copies are under way, which is the most: %w", maxCopies, unix.EBUSY)
	}
	if c.active == nil {
		c.active = map[uint64]*copyJob{}
	}
	c.last++
	j.info.ID = c.last
	ctx, j.cancel = context.WithCancelCause(ctx)
	c.active[j.info.ID] = j
	c.done.Add(1)
	return ctx, nil
}

func (c *copies) remove(j *copyJob) {
	j.cancel(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.active, j.info.ID)
	if c.gone != nil {
		close(c.gone)
		c.gone = nil
	}
	close(j.over)
	c.done.Done()
}

// cancel asks one copy to end. Errors: os.ErrNotExist.
func (c *copies) cancel(id uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.active[id]
	if j == nil {
		return fmt.Errorf("no copy %d: %w", id, os.ErrNotExist)
	}
	j.cancel(context.Canceled)
	return nil
}

// end cancels all copies and waits for their windows under way: what a window holds of a device is let go by it alone, and
// a device that is being stopped would wait for what is held. No copy begins any more.
func (c *copies) end() {
	c.mu.Lock()
	c.ended = true
	for _, j := range c.active {
		j.cancel(errStopping)
	}
	c.mu.Unlock()
	c.done.Wait()
	c.afters.Wait()
}

// list is every copy, oldest first; of a device, if there is a name.
func (c *copies) list(device string) []CopyInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []CopyInfo{}
	for _, j := range c.active {
		if device == "" || j.info.Source == device || j.info.Destination == device {
			out = append(out, j.look())
		}
	}
	slices.SortFunc(out, func(a, b CopyInfo) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// any says whether there ever was a copy.
func (c *copies) any() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last > 0
}

// do runs the copy until its end and says what it did.
func (c *copies) do(ctx context.Context, j *copyJob) *CopyResult {
	defer c.remove(j)
	out := j.run(ctx, j.tell)
	switch cause := context.Cause(ctx); {
	case out.Complete:
	case errors.Is(cause, errStopping):
		out.Error = "the server is stopping"
	case errors.Is(cause, errReloadCancels):
		out.Error = errReloadCancels.Error()
	case errors.Is(cause, errDiskGone):
		out.Error = errDiskGone.Error()
	}
	return out
}
