package ublk

import (
	"context"

	"github.com/ublk-go/ublk-linear/target"
)

// Hold is a range of a device that requests keep out of: writes, discards and write-zeroes always, reads too if Reads is
// set. A flush has no range and is never kept out. An empty range holds nothing.
type Hold struct {
	target.Range
	Reads bool
}

// Hold keeps new requests that conflict out of the ranges, and returns when those under way have ended. Requests kept out
// wait inside the queue, in order of arrival, without holding up others; release lets them go on.
//
// When Hold returns without an error, every conflicting request that a queue had taken before is complete and its answer
// is on the way, whether its client knows yet or not, and none begins before release. So who holds finds on the disks
// all that was acknowledged before, and also what was not yet acknowledged but had begun.
//
// Several holds may be active at once, with ranges that overlap or do not: a request waits as long as any of them
// conflicts. They do not keep each other out; that is for the callers to arrange. A hold may be taken before Start, and
// then is there for the first request. What waits is not answered, and its clients wait with it: a hold is for a while.
//
// Hold and release may be called from any goroutine at any time, also while Stop runs. Stop takes all holds away before
// the device ends, so whoever relies on one releases it first. A second call of release, or one after the device's end,
// does nothing.
//
// With an error nothing is held, release is nil, and what had waited goes on. Errors: ctx.Err(), or an OpError with
// ErrEnded when the device is being stopped or a queue of it has ended.
func (d *Device) Hold(ctx context.Context, ranges ...Hold) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, ok := d.holds.take(ranges)
	if !ok {
		return nil, &OpError{"hold", d.id, ErrEnded}
	}
	if err := d.holds.await(ctx, h); err != nil {
		if err == ErrEnded {
			err = &OpError{"hold", d.id, err}
		}
		return nil, err
	}
	return func() { d.holds.drop(h) }, nil
}

// await waits until a hold is settled. With an error it is dropped.
func (s *holds) await(ctx context.Context, h *hold) error {
	for !h.settled() {
		var err error
		select {
		case <-h.wake:
			continue
		case <-s.over:
			err = ErrEnded
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.drop(h)
		return err
	}
	return nil
}

// hold is one call of Hold.
type hold struct {
	fence
	born  uint64        // the version of the snapshot that it came with
	gates []*gate       // the queues that may have had requests under way then
	wake  chan struct{} // holds one token: a queue has got further
}

// tell says that a queue has got further.
func (h *hold) tell() {
	select {
	case h.wake <- struct{}{}:
	default: // it has not yet looked since the last one
	}
}

// drained is settled for who does not mind that a queue has ended: nothing of that is under way either.
func (h *hold) drained() bool {
	for _, g := range h.gates {
		if !g.gone.Load() && g.settled.Load() < h.born {
			return false
		}
	}
	return true
}

// settled says whether every queue has said that nothing under way conflicts.
func (h *hold) settled() bool {
	for _, g := range h.gates {
		if g.settled.Load() < h.born {
			return false
		}
	}
	return true
}
