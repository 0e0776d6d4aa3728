package ublk

import "context"

// Suspend is Hold of everything: it keeps every new request out, flushes too, and returns when those under way have ended.
// Nothing of the device is then under way on a disk until resume is called, except what others do there, copies among them.
// A request that a Hold keeps out is not under way, so a Suspend does not wait for a Hold to be released.
//
// It may be called from any goroutine, and several may be active at once, also beside Holds: requests wait for the last.
// What was said of Hold's release is true of resume. Errors: those of Hold.
func (d *Device) Suspend(ctx context.Context) (resume func(), err error) {
	h, err := d.suspend(ctx, "suspend")
	if err != nil {
		return nil, err
	}
	return func() { d.holds.drop(h) }, nil
}

func (d *Device) suspend(ctx context.Context, op string) (*hold, error) {
	if err := ctx.Err(); err != nil {
		return nil, &OpError{op, d.id, err}
	}
	h, ok := d.holds.put(fence{all: true}, false)
	if !ok {
		return nil, &OpError{op, d.id, ErrEnded}
	}
	if err := d.holds.await(ctx, h); err != nil {
		return nil, &OpError{op, d.id, err}
	}
	return h, nil
}
