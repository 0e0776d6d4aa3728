package ublk

import (
	"context"
	"errors"
	"fmt"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Resize gives the device another capacity, in 512-byte sectors: UBLK_CMD_UPDATE_SIZE. Nothing is suspended. The queues
// take requests up to the larger of the two while the driver is asked, so that none which the driver lets through is
// refused here. The mapper must have the sectors already: to grow, Swap first; to shrink, Resize first. Users of the device
// get no say: whoever shrinks it has made sure that nobody needs the end.
//
// A request beyond a new, smaller end that a Hold keeps out fails with EIO when it is released. With an error the size is
// the old one. After ErrTimeout it may be either, and may still change: the device counts as the larger, which the queues
// serve and which no smaller table can be swapped under, until a Resize to any size, also the old one, is answered.
//
// Errors: an OpError with a FeatureError where the driver cannot (before Linux 6.16), with what is wrong with sectors, or
// with the driver's errno.
func (d *Device) Resize(ctx context.Context, sectors uint64) error {
	d.change.Lock()
	defer d.change.Unlock()
	fail := func(err error) error { return &OpError{"resize", d.id, err} }
	if missing := d.c.features.Missing(UpdateSize); missing != nil {
		return fail(&FeatureError{missing})
	}
	now := d.sectors()
	switch lbs := uint64(d.spec.Limits.LogicalBlock) / 512; {
	case d.mapper == nil:
		return fail(errNotStarted)
	case sectors == 0 || sectors%lbs != 0:
		return fail(fmt.Errorf("%d sectors is not a positive multiple of the logical block size %d", sectors, lbs*512))
	case sectors > d.mapper.Sectors():
		return fail(fmt.Errorf("the table has %d sectors, fewer than %d", d.mapper.Sectors(), sectors))
	case sectors == now && !d.unsure:
		return nil
	}
	if sectors > now {
		if err := d.bound(sectors); err != nil {
			return fail(errors.Join(err, d.bound(now)))
		}
	}
	if err := d.command(ctx, uapi.UBLK_U_CMD_UPDATE_SIZE, sectors, slowDeadline); err != nil {
		switch {
		case errors.Is(err, ErrTimeout):
			d.unsure = true
			d.setSectors(max(now, sectors))
		case sectors > now:
			err = errors.Join(err, d.bound(now))
		}
		return fail(err)
	}
	d.unsure = false
	d.setSectors(sectors)
	if sectors < now {
		if err := d.bound(sectors); err != nil {
			return fail(err) // the device has the new size; the queues would still take more
		}
	}
	return nil
}

// bound gives the queues another end to check requests against, and waits until they have it.
func (d *Device) bound(sectors uint64) error {
	gates := d.holds.ask(func(g *gate) { g.sectors.Store(sectors) })
	return d.holds.heard(gates, len(d.queues), d.patience, func(g *gate) bool { return g.bound.Load() == sectors })
}
