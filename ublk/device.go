package ublk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Device is one ublk device that this process serves. Its methods are called by one goroutine at a time; but Hold and
// Suspend, what they return, and those that only look, by any at any time behind Start. Swap, Resize, Quiesce and Detach wait
// for each other.
type Device struct {
	c      *Control
	id     int
	spec   Spec
	info   uapi.DevInfo
	lost   []Inexpressible
	charFD int
	queues []*server
	holds  *holds
	loss   losses
	ended  chan struct{}
	errMu  sync.Mutex
	err    error // guarded by errMu; the first queue failure
	stop   bool  // guarded by errMu; the end is wanted

	recovered bool // by Recover, not made by Add
	half      bool // its recovery had been begun before
	change    sync.Mutex
	mapper    Mapper // guarded by change, as are the rest; nil before Start
	disks     []Backing
	unsure    bool          // the driver has not answered how many sectors there are: those of Spec, or fewer
	letting   bool          // Detach has begun what cannot be taken back
	quiesced  bool          // QUIESCE_DEV was sent
	detached  bool          // the device is a successor's
	patience  time.Duration // with the queues
}

// Add makes a device: ADD_DEV and SET_PARAMS. Nothing can be read or written yet. When it fails, no device is left.
// Errors: an OpError with what Spec.Validate says, EEXIST when the id is taken, or the driver's errno.
func (c *Control) Add(ctx context.Context, s *Spec) (*Device, error) {
	d, err := c.device(s)
	if err != nil {
		return nil, err
	}
	flags, err := c.flags(s.Recovery)
	if err != nil {
		return nil, &OpError{"add", s.ID, err}
	}
	path, err := d.spec.path(c.features)
	if err != nil {
		return nil, &OpError{"spec", s.ID, err}
	}
	d.info = uapi.DevInfo{NrHwQueues: uint16(d.spec.Queues), QueueDepth: uint16(d.spec.Depth), MaxIOBufBytes: d.spec.MaxIO,
		DevID: uint32(int32(s.ID)), UblksrvPID: int32(os.Getpid()), UblksrvFlags: s.Mark,
		Flags: uapi.UBLK_F_CMD_IOCTL_ENCODE | uint64(flags|path.Flags())}
	err = c.do(ctx, &job{op: uapi.UBLK_U_CMD_ADD_DEV, cmd: uapi.CtrlCmd{DevID: d.info.DevID}, data: infoBytes(&d.info)}, slowDeadline)
	if err != nil {
		return nil, &OpError{"add", s.ID, err}
	}
	d.id = int(d.info.DevID)
	d.spec.ID = d.id
	d.spec.Queues, d.spec.Depth, d.spec.MaxIO = int(d.info.NrHwQueues), int(d.info.QueueDepth), d.info.MaxIOBufBytes
	d.spec.DataPath = d.Flags().DataPath()
	if got := d.Flags().Recovery(); got != s.Recovery { // the driver drops flags that it does not know
		err := &OpError{"add", d.id, fmt.Errorf("recovery is %v, want %v", got, s.Recovery)}
		return nil, errors.Join(err, c.Delete(context.WithoutCancel(ctx), d.id))
	}
	if err := d.setParams(ctx); err != nil {
		return nil, errors.Join(err, c.Delete(context.WithoutCancel(ctx), d.id))
	}
	return d, nil
}

// device is a Device of a Spec that is in order.
func (c *Control) device(s *Spec) (*Device, error) {
	d := &Device{c: c, spec: *s, charFD: -1, holds: newHolds(), ended: make(chan struct{}), patience: slowDeadline}
	d.loss.suspect = s.DiskSuspect
	d.spec.setDefaults()
	if err := d.spec.Validate(); err != nil {
		return nil, &OpError{"spec", s.ID, err}
	}
	return d, nil
}

// flags is what to ask of the driver: all that the policy needs, and what else it has that a live device can use.
func (c *Control) flags(r Recovery) (Features, error) {
	want := r.Flags()
	if missing := c.features.Missing(want); missing != nil {
		return 0, &FeatureError{missing}
	}
	want |= c.features & UpdateSize
	if r != NoRecovery { // without, the driver refuses it
		want |= c.features & CanQuiesce
	}
	return want, nil
}

// setParams tells the driver the device's limits and asks back what it kept of them.
func (d *Device) setParams(ctx context.Context) error {
	p, lost := d.spec.params()
	if err := d.c.do(ctx, &job{op: uapi.UBLK_U_CMD_SET_PARAMS, cmd: uapi.CtrlCmd{DevID: d.info.DevID}, data: paramBytes(&p)}, quickDeadline); err != nil {
		return &OpError{"set params", d.id, err}
	}
	kept := uapi.Params{Len: p.Len}
	if err := d.c.do(ctx, &job{op: uapi.UBLK_U_CMD_GET_PARAMS, cmd: uapi.CtrlCmd{DevID: d.info.DevID}, data: paramBytes(&kept)}, quickDeadline); err != nil {
		return &OpError{"get params", d.id, err}
	}
	d.lost = append(lost, d.spec.ignored(p, kept)...)
	for _, l := range d.lost {
		d.c.log.Info("limit that ublk cannot say", "dev", d.id, "limit", l.Limit, "value", l.Value, "presented", l.Presented, "why", l.Why)
	}
	return nil
}

// Lost is the limits that the device shows otherwise than its Spec says, and why.
func (d *Device) Lost() []Inexpressible { return d.lost }

// ID is N of /dev/ublkbN.
func (d *Device) ID() int { return d.id }

// Node is the path of the block device.
func (d *Device) Node() string { return d.c.dev + "/ublkb" + strconv.Itoa(d.id) }

// Spec is the device as the driver granted it, with the sectors that Resize gave it.
func (d *Device) Spec() Spec {
	d.errMu.Lock()
	defer d.errMu.Unlock()
	return d.spec
}

func (d *Device) sectors() uint64 { return d.Spec().Sectors }

func (d *Device) setSectors(n uint64) {
	d.errMu.Lock()
	defer d.errMu.Unlock()
	d.spec.Sectors = n
}

// Flags is what the driver granted.
func (d *Device) Flags() Features { return Features(d.info.Flags) }

// Ended is closed when all queues have ended, wanted or not; Err then says why.
func (d *Device) Ended() <-chan struct{} { return d.ended }

// Err is the first failure of a queue, ErrAborted when the driver ended the device without Stop, or nil.
func (d *Device) Err() error {
	d.errMu.Lock()
	defer d.errMu.Unlock()
	return d.err
}

func (d *Device) fail(err error) {
	d.errMu.Lock()
	defer d.errMu.Unlock()
	if d.err == nil {
		d.err = err
	}
}

// watch closes Ended behind the last queue.
func (d *Device) watch() {
	for _, s := range d.queues {
		<-s.done
	}
	d.errMu.Lock()
	if d.err == nil && !d.stop {
		d.err = ErrAborted
	}
	d.errMu.Unlock()
	close(d.ended)
}

// Stats are the counters of every queue.
func (d *Device) Stats() []*Stats {
	var out []*Stats
	for _, s := range d.queues {
		out = append(out, s.q.stats)
	}
	return out
}

// wantStop notes that the end of the queues is wanted, and says whether it was before.
func (d *Device) wantStop() (was bool) {
	d.errMu.Lock()
	defer d.errMu.Unlock()
	was, d.stop = d.stop, true
	return was
}

func (d *Device) unwantStop(was bool) {
	d.errMu.Lock()
	defer d.errMu.Unlock()
	d.stop = was
}

// Stop takes the device down. First all holds are taken away, and none can be had any more: STOP_DEV would wait for the
// requests that they keep out, so a hold that nobody releases must not be in its way. Whoever relies on one releases it
// before. What a fault keeps hanging, and what waits for a disk that is gone, fails with EIO. Then, in the order that the driver needs: STOP_DEV while the queues still serve, so that I/O under way can
// finish; the queues end and give their memory and rings back; the character device is closed; and only then DEL_DEV,
// which waits for all of that. It goes as far as it can and joins what failed; a second call goes on where the first
// stopped. A device that was started halfway, or never, is taken down the same way; one that is detached is a successor's,
// and left alone.
//
// Under RecoveryReissue and RecoveryQueue the driver fails what comes behind STOP_DEV, also what del_gendisk writes back
// from the page cache for those who have the device open; under the others it lets it through.
func (d *Device) Stop(ctx context.Context) error {
	d.wantStop()
	d.release()   // before the bells, which holds.end rings
	d.holds.end() // first: who changes the device may be waiting for what they keep out
	d.change.Lock()
	defer d.change.Unlock()
	if d.detached {
		return nil
	}
	return d.end(ctx)
}

// release ends what faults keep hanging, and what waits for disks that are gone.
func (d *Device) release() {
	d.loss.over.Store(true)
	for _, s := range d.queues {
		s.faults.Load().release()
	}
}

func (d *Device) end(ctx context.Context) error {
	d.wantStop()
	d.release()
	d.holds.end()
	var errs []error
	if err := d.command(ctx, uapi.UBLK_U_CMD_STOP_DEV, 0, slowDeadline); err != nil && !errors.Is(err, unix.ENODEV) {
		errs = append(errs, &OpError{"stop", d.id, err})
	}
	for _, s := range d.queues {
		s.cancel()
		if err := s.wait(ctx, slowDeadline); err != nil {
			errs = append(errs, &OpError{fmt.Sprintf("end queue %d", s.id), d.id, err})
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...) // memory and the node are still in use: DEL_DEV would wait for ourselves
	}
	for _, s := range d.queues {
		if err := s.closeRing(ctx, slowDeadline); err != nil {
			return &OpError{"stop", d.id, err}
		}
		s.free()
	}
	if d.charFD >= 0 {
		_ = unix.Close(d.charFD)
		d.charFD = -1
	}
	return d.c.Delete(ctx, d.id)
}

// command sends a control command without a payload.
func (d *Device) command(ctx context.Context, op uint32, data uint64, deadline time.Duration) error {
	return d.c.do(ctx, &job{op: op, cmd: uapi.CtrlCmd{DevID: uint32(d.id), Data: data}}, deadline)
}
