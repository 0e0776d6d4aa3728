package daemon

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// idle is EBUSY while copies are under way.
func (c *copies) idle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idleLocked()
}

func (c *copies) idleLocked() error {
	if n := len(c.active); n > 0 {
		return fmt.Errorf("%d copies are under way (--wait waits for them): %w", n, unix.EBUSY)
	}
	return nil
}

// pause lets no copy begin until unpause, which is refused with why. Copies under way are waited for, or are EBUSY; give
// ends the waiting.
func (c *copies) pause(why error, wait bool, give func() bool) error {
	for {
		c.mu.Lock()
		err := c.idleLocked()
		if err == nil {
			c.paused = why
		}
		c.mu.Unlock()
		switch {
		case err == nil || !wait:
			return err
		case give():
			return errStopping
		}
		time.Sleep(upgradePoll)
	}
}

func (c *copies) unpause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = nil
}
