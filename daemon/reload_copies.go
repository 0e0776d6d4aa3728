package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errReloadCancels is why a copy ends that a reload was told to end.
var errReloadCancels = errors.New("a reload ended the copy")

func errChanging(device string) error {
	return fmt.Errorf("device %s is being reloaded: %w", device, unix.EBUSY)
}

// on says whether a copy is on one of the devices.
func (j *copyJob) on(devices []string) bool {
	return slices.Contains(devices, j.info.Source) || slices.Contains(devices, j.info.Destination)
}

// shutOut refuses new copies on the devices (EBUSY) until open. One caller at a time.
func (c *copies) shutOut(devices []string) (open func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = map[string]bool{}
	for _, d := range devices {
		c.shut[d] = true
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.shut = nil
	}
}

// cancelOn asks the copies on the devices to end, and lists them.
func (c *copies) cancelOn(devices []string) []CopyInfo { return c.endOn(devices, errReloadCancels) }

// endOn is cancelOn for a reason of its own.
func (c *copies) endOn(devices []string, why error) []CopyInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []CopyInfo{}
	for _, j := range c.active {
		if j.on(devices) {
			j.cancel(why)
			out = append(out, j.look())
		}
	}
	slices.SortFunc(out, func(a, b CopyInfo) int { return int(int64(a.ID) - int64(b.ID)) })
	return out
}

// drain returns when there is no copy on the devices. Errors: EBUSY with those that are, after the wait, and ctx's.
func (c *copies) drain(ctx context.Context, devices []string, wait time.Duration) error {
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		var left []string
		c.mu.Lock()
		for _, j := range c.active {
			if j.on(devices) {
				i := j.look()
				left = append(left, fmt.Sprintf("copy %d from %s to %s, %d of %d bytes done", i.ID, i.Source, i.Destination, i.Bytes, i.Total))
			}
		}
		if len(left) == 0 {
			c.mu.Unlock()
			return nil
		}
		if c.gone == nil {
			c.gone = make(chan struct{})
		}
		gone := c.gone
		c.mu.Unlock()
		select {
		case <-gone:
		case <-t.C:
			slices.Sort(left)
			return fmt.Errorf("copies are under way on devices that change, after %v: %s (wait longer, or let the reload end them: --wait, --cancel-copies): %w", wait, strings.Join(left, "; "), unix.EBUSY)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// behind does something when all copies that are under way now have ended.
func (c *copies) behind(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := slices.Collect(maps.Values(c.active))
	c.afters.Go(func() {
		for _, j := range now {
			<-j.over
		}
		do()
	})
}
