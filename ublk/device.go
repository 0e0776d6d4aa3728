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

// Device is one ublk device that this process serves. Its methods are called by one goroutine at a time; but Hold, and the
// release that it returns, by any at any time.
type Device struct {
	c      *Control
	id     int
	spec   Spec
	info   uapi.DevInfo
	lost   []Inexpressible
	charFD int
	queues []*server
	holds  *holds
	ended  chan struct{}
	errMu  sync.Mutex
	err    error // guarded by errMu; the first queue failure
	stop   bool  // guarded by errMu; the end is wanted
}

// Add makes a device: ADD_DEV and SET_PARAMS. Nothing can be read or written yet. When it fails, no device is left.
// Errors: an OpError with what Spec.Validate says, EEXIST when the id is taken, or the driver's errno.
func (c *Control) Add(ctx context.Context, s *Spec) (*Device, error) {
	d := &Device{c: c, spec: *s, charFD: -1, holds: newHolds(), ended: make(chan struct{})}
	d.spec.setDefaults()
	if err := d.spec.Validate(); err != nil {
		return nil, &OpError{"spec", s.ID, err}
	}
	d.info = uapi.DevInfo{NrHwQueues: uint16(d.spec.Queues), QueueDepth: uint16(d.spec.Depth), MaxIOBufBytes: d.spec.MaxIO,
		DevID: uint32(int32(s.ID)), UblksrvPID: int32(os.Getpid()), UblksrvFlags: s.Mark,
		Flags: uapi.UBLK_F_CMD_IOCTL_ENCODE}
	err := c.do(ctx, &job{op: uapi.UBLK_U_CMD_ADD_DEV, cmd: uapi.CtrlCmd{DevID: d.info.DevID}, data: infoBytes(&d.info)}, slowDeadline)
	if err != nil {
		return nil, &OpError{"add", s.ID, err}
	}
	d.id = int(d.info.DevID)
	d.spec.ID = d.id
	d.spec.Queues, d.spec.Depth, d.spec.MaxIO = int(d.info.NrHwQueues), int(d.info.QueueDepth), d.info.MaxIOBufBytes
	if err := d.setParams(ctx); err != nil {
		return nil, errors.Join(err, c.Delete(context.WithoutCancel(ctx), d.id))
	}
	return d, nil
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

// Spec is the device as the driver granted it.
func (d *Device) Spec() Spec { return d.spec }

// Flags is what the driver granted.
func (d *Device) Flags() Features { return Features(d.info.Flags) }

// Start serves the device: queues are set up and fetch, the device is started, and its node can be opened when Start
// returns. When it fails, everything is taken back, and no device is left.
func (d *Device) Start(ctx context.Context, m Mapper, disks []Backing) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if m.Sectors() != d.spec.Sectors {
		return &OpError{"start", d.id, fmt.Errorf("the table has %d sectors, the device %d", m.Sectors(), d.spec.Sectors)}
	}
	if d.charFD, err = openNode(ctx, d.c.dev+"/ublkc"+strconv.Itoa(d.id)); err != nil {
		return &OpError{"open", d.id, err}
	}
	for i := range d.spec.Queues {
		mask, err := d.affinity(ctx, i)
		if err != nil {
			return &OpError{"get queue affinity", d.id, err}
		}
		s := &server{dev: d, id: i, mask: mask, mapper: m, disks: disks, done: make(chan struct{})}
		if err := s.start(); err != nil {
			return &OpError{fmt.Sprintf("start queue %d", i), d.id, err}
		}
		d.queues = append(d.queues, s)
	}
	go d.watch()
	if err := d.command(ctx, uapi.UBLK_U_CMD_START_DEV, uint64(os.Getpid()), slowDeadline); err != nil {
		return &OpError{"start", d.id, err}
	}
	if err := waitNode(ctx, d.Node()); err != nil {
		return &OpError{"wait for node", d.id, err}
	}
	return nil
}

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

func (d *Device) wantStop() {
	d.errMu.Lock()
	d.stop = true
	d.errMu.Unlock()
}

// Stop takes the device down. First all holds are taken away, and none can be had any more: STOP_DEV would wait for the
// requests that they keep out, so a hold that nobody releases must not be in its way. Whoever relies on one releases it
// before. What a fault keeps hanging fails with EIO now. Then, in the order that the driver needs: STOP_DEV while the queues
// still serve, so that I/O under way can finish; the queues end and give their memory and rings back; the character device
// is closed; and only then DEL_DEV, which waits for all of that. It goes as far as it can and joins what failed; a second
// call goes on where the first stopped. A device that was started halfway, or never, is taken down the same way.
func (d *Device) Stop(ctx context.Context) error {
	d.wantStop()
	for _, s := range d.queues {
		s.faults.release() // before the bells, which holds.end rings
	}
	d.holds.end()
	var errs []error
	if err := d.command(ctx, uapi.UBLK_U_CMD_STOP_DEV, 0, slowDeadline); err != nil && !errors.Is(err, unix.ENODEV) {
		errs = append(errs, &OpError{"stop", d.id, err})
	}
	for _, s := range d.queues {
		if err := s.wait(ctx, slowDeadline); err != nil {
			errs = append(errs, &OpError{fmt.Sprintf("end queue %d", s.id), d.id, err})
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...) // memory and the node are still in use: DEL_DEV would wait for ourselves
	}
	for _, s := range d.queues {
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

// affinity is the mask of CPUs whose requests a queue gets.
func (d *Device) affinity(ctx context.Context, queue int) (unix.CPUSet, error) {
	var mask unix.CPUSet
	b := make([]byte, len(mask)*8)
	err := d.c.do(ctx, &job{op: uapi.UBLK_U_CMD_GET_QUEUE_AFFINITY, cmd: uapi.CtrlCmd{DevID: uint32(d.id), Data: uint64(queue)}, data: b}, quickDeadline)
	for cpu := range len(b) * 8 {
		if b[cpu/8]>>(cpu%8)&1 == 1 {
			mask.Set(cpu)
		}
	}
	return mask, err
}

// openNode opens a character device that udev may not have made yet, or may hold for a moment.
func openNode(ctx context.Context, path string) (int, error) {
	end := time.Now().Add(quickDeadline)
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EINTR) && (time.Now().After(end) || ctx.Err() != nil ||
			!errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EACCES)) {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// waitNode waits for a node to appear. It never opens it: the server must not open its own device.
func waitNode(ctx context.Context, path string) error {
	end := time.Now().Add(quickDeadline)
	for {
		_, err := os.Stat(path)
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil || !errors.Is(err, unix.ENOENT) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}
