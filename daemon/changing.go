package daemon

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// errOtherChange is returned when a server is being changed already.
var errOtherChange = fmt.Errorf("another reload, suspend or resume is under way: %w", unix.EBUSY)

// changing lets one call at a time change what a server serves: reload, suspend, resume. The zero value is ready.
type changing struct {
	mu     sync.Mutex
	busy   bool               // guarded by mu
	ended  bool               // guarded by mu
	cancel context.CancelFunc // guarded by mu; of the one that is busy, as long as it only waits
	done   sync.WaitGroup     // of the one that is busy
}

// begin takes the right until end. ctx is cancelled also when the server stops; what has begun to change things goes on
// with another. Errors: EBUSY.
func (c *changing) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended:
		return nil, nil, errStopping
	case c.busy:
		return nil, nil, errOtherChange
	}
	c.busy = true
	ctx, c.cancel = context.WithCancel(ctx)
	c.done.Add(1)
	return ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cancel()
		c.busy = false
		c.done.Done()
	}, nil
}

// idle is EBUSY while a change is under way.
func (c *changing) idle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy {
		return errOtherChange
	}
	return nil
}

// end lets the change under way end, and no other begin.
func (c *changing) end() {
	c.mu.Lock()
	c.ended = true
	if c.busy {
		c.cancel()
	}
	c.mu.Unlock()
	c.done.Wait()
}
