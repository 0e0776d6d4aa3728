package ublk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Quiesce is UBLK_CMD_QUIESCE_DEV: the driver takes the device from this server. New requests do not come here any more:
// they wait for a successor (RecoveryReissue, RecoveryQueue) or fail (RecoveryFail). Those under way here go on and are
// answered. Detach then completes it; what else is possible behind it is Stop.
//
// The driver needs one tag of every queue that is not under way here, to tell the queue, and waits timeout for it (0: 30 s):
// no Hold or Suspend that can fill a queue may be active. An error with EBUSY means that there was none. Then the driver has
// stopped sending requests all the same, and only Detach and Recover, or Stop, help.
//
// Errors: an OpError with a FeatureError where the driver cannot (before Linux 6.16), or with the driver's errno.
func (d *Device) Quiesce(ctx context.Context, timeout time.Duration) error {
	d.change.Lock()
	defer d.change.Unlock()
	switch {
	case d.spec.Recovery == NoRecovery:
		return &OpError{"quiesce", d.id, ErrNoRecovery}
	case !d.Flags().Has(CanQuiesce):
		return &OpError{"quiesce", d.id, &FeatureError{Features(0).Missing(CanQuiesce)}}
	}
	if timeout <= 0 || timeout > slowDeadline {
		timeout = slowDeadline
	}
	was := d.wantStop()
	d.quiesced = true // whatever comes of it: the driver may have stopped sending
	// The answer comes when the driver's own wait is over, which sleeps in steps.
	if err := d.command(ctx, uapi.UBLK_U_CMD_QUIESCE_DEV, uint64(max(1, timeout.Milliseconds())), timeout+quickDeadline); err != nil {
		if !errors.Is(err, ErrTimeout) {
			d.unwantStop(was)
		}
		return &OpError{"quiesce", d.id, err}
	}
	return nil
}

// Detach ends serving and leaves the device to a successor, this process or another: requests under way are waited for,
// the queues end, and memory and the character device are given back. Nothing is stopped or deleted, and the disks are not
// used any more when it returns. The Device cannot be used any more; Stop of it then does nothing.
//
// Requests that come meanwhile, or that a Hold keeps out, are not answered: the driver keeps them for the successor under
// RecoveryReissue. Under RecoveryQueue and RecoveryFail it fails those that had reached a queue. To lose none under
// RecoveryQueue too, Quiesce first.
//
// Waiting for requests under way is bounded by ctx and 30 s: with an error of that the device goes on as before. What
// follows is bounded by 30 s a step; after an error there a second call goes on where the first stopped.
//
// Errors: an OpError with ErrNoRecovery for a device that would go with its server, ctx.Err() or ErrTimeout.
func (d *Device) Detach(ctx context.Context) error {
	d.change.Lock()
	defer d.change.Unlock()
	if d.spec.Recovery == NoRecovery {
		return &OpError{"detach", d.id, ErrNoRecovery}
	}
	if d.detached {
		return nil
	}
	if d.mapper != nil && !d.letting {
		if d.quiesced {
			if err := d.caughtUp(ctx); err != nil {
				return &OpError{"wait for requests under way", d.id, err}
			}
		}
		h, _ := d.holds.put(fence{all: true}, true)
		if err := d.drained(ctx, h); err != nil {
			d.holds.drop(h)
			return &OpError{"wait for requests under way", d.id, err}
		}
	}
	return d.letGo(ctx)
}

// caughtUp waits until every queue has taken the requests that the driver sent before QUIESCE_DEV returned: they may still be
// task work of a queue's ring then (ublk_cancel_cmd leaves what is started to that), nobody keeps them for a successor, and
// RecoveryQueue fails what is not answered. Task work runs in the order in which it was queued, so that whoever hears the bell
// has heard them. The hold keeps nothing out; it rings.
func (d *Device) caughtUp(ctx context.Context) error {
	h, _ := d.holds.put(fence{}, true)
	defer d.holds.drop(h)
	return d.drained(ctx, h)
}

// drained waits for a hold, also when queues have ended.
func (d *Device) drained(ctx context.Context, h *hold) error {
	t := time.NewTimer(d.patience)
	defer t.Stop()
	for !h.drained() {
		select {
		case <-h.wake:
		case <-t.C:
			return ErrTimeout
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// letGo ends the queues, in which nothing begins any more, and gives back what ties the device to this process: the driver
// notices when the rings and the character device are closed.
func (d *Device) letGo(ctx context.Context) error {
	d.letting = true
	d.wantStop()
	d.holds.ask(func(g *gate) { g.leave.Store(true) })
	var errs []error
	for _, s := range d.queues {
		s.cancel()
		if err := s.wait(ctx, d.patience); err != nil {
			errs = append(errs, fmt.Errorf("end queue %d: %w", s.id, err))
		}
	}
	if len(errs) > 0 {
		return &OpError{"detach", d.id, errors.Join(errs...)}
	}
	d.holds.end()
	for _, s := range d.queues {
		if err := s.closeRing(ctx, d.patience); err != nil {
			return &OpError{"detach", d.id, err}
		}
	}
	for _, s := range d.queues {
		s.free()
	}
	if d.charFD >= 0 {
		_ = unix.Close(d.charFD)
		d.charFD = -1
	}
	d.detached = true
	return d.orphaned(ctx)
}

// orphaned waits until the driver has noticed that nobody serves the device.
func (d *Device) orphaned(ctx context.Context) error {
	for end := time.Now().Add(d.patience); ; time.Sleep(2 * time.Millisecond) {
		i, err := d.c.Info(ctx, d.id)
		switch {
		case err != nil:
			return err
		case i.State != Live:
			return nil
		case ctx.Err() != nil:
			return &OpError{"wait for the driver to let go", d.id, ctx.Err()}
		case time.Now().After(end):
			return &OpError{"wait for the driver to let go", d.id, ErrTimeout}
		}
	}
}

// closeRing closes a ring that still has fetches, which the driver then ends. The thread that sent them is gone by then, as
// when a server is killed: 6.12 has crashed in io_ring_exit_work when it still was there.
func (s *server) closeRing(ctx context.Context, d time.Duration) error {
	if err := s.exited(ctx, d); err != nil {
		return fmt.Errorf("end the thread of queue %d: %w", s.id, err)
	}
	if s.ring != nil {
		_ = s.ring.Close()
		s.ring = nil
	}
	return nil
}

// exited waits until the queue's thread is gone. Its goroutine ends a moment before, and START_USER_RECOVERY of kernels
// before 6.16 warns about a server whose thread lives.
func (s *server) exited(ctx context.Context, d time.Duration) error {
	if s.tid == 0 {
		return nil
	}
	for end := time.Now().Add(d); ; time.Sleep(time.Millisecond) {
		switch err := unix.Tgkill(os.Getpid(), s.tid, 0); {
		case errors.Is(err, unix.ESRCH):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return ErrTimeout
		}
	}
}
