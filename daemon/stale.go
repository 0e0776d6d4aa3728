package daemon

import (
	"context"
	"errors"
	"fmt"
)

// removeStale deletes what no server can take over of a dead server's devices: those that went with it, and those that it
// never came to start. The caller holds the instance's lock. Disks are not touched, and devices that wait are let wait.
func removeStale(ctx context.Context, c devicer, all []orphan) (removed []int, err error) {
	var errs []error
	for i := range all {
		o := &all[i]
		if waits(&o.info) {
			continue
		}
		if err := c.Delete(ctx, o.info.ID); err != nil {
			errs = append(errs, fmt.Errorf("a device that a dead server left: %w", err))
			continue
		}
		removed = append(removed, o.info.ID)
	}
	devLinks.sweep()
	return removed, errors.Join(errs...)
}
