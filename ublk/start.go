package ublk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Start serves the device: queues are set up and fetch, the device is started, and its node can be opened when Start
// returns. When it fails, everything is taken back, and no device is left.
//
// A recovered device goes on where it stood: what waited for a server comes at once. The mapper may have more sectors than
// the device then. When it fails, the device is left as Recover had found it, to be recovered again or deleted, and this
// Device is done with. Errors then also: ErrUnrecoverable.
func (d *Device) Start(ctx context.Context, m Mapper, disks []Backing) (err error) {
	d.change.Lock()
	defer d.change.Unlock()
	defer func() {
		if err != nil {
			err = errors.Join(err, d.takeBack(context.WithoutCancel(ctx)))
		}
	}()
	if n := m.Sectors(); n != d.spec.Sectors && !(d.recovered && n > d.spec.Sectors) {
		return &OpError{"start", d.id, fmt.Errorf("the table has %d sectors, the device %d", n, d.spec.Sectors)}
	}
	if d.charFD, err = openNode(ctx, d.c.dev+"/ublkc"+strconv.Itoa(d.id)); err != nil {
		return &OpError{"open", d.id, err}
	}
	for i := range d.spec.Queues {
		mask, err := d.affinity(ctx, i)
		if err != nil {
			return &OpError{"get queue affinity", d.id, err}
		}
		s := newServer(d, i, mask, m, disks)
		if err := s.prepare(); err != nil {
			return &OpError{fmt.Sprintf("start queue %d", i), d.id, d.halfway(err)}
		}
		d.queues = append(d.queues, s)
	}
	// What can fail is behind us. Kernels before 6.16 cannot cope with a server that dies when some of its queues have
	// fetched and others have not, so all do at once.
	for _, s := range d.queues {
		close(s.begin)
	}
	var errs []error
	for _, s := range d.queues {
		if err := s.fetched(); err != nil {
			errs = append(errs, &OpError{fmt.Sprintf("start queue %d", s.id), d.id, d.halfway(err)})
		}
	}
	if errs != nil {
		return errors.Join(errs...)
	}
	go d.watch()
	d.mapper, d.disks = m, disks
	op, cmd := "start", uint32(uapi.UBLK_U_CMD_START_DEV)
	if d.recovered {
		op, cmd = "end recovery", uapi.UBLK_U_CMD_END_USER_RECOVERY
	}
	if err := d.command(ctx, cmd, uint64(os.Getpid()), slowDeadline); err != nil {
		return &OpError{op, d.id, err}
	}
	if err := waitNode(ctx, d.Node()); err != nil {
		return &OpError{"wait for node", d.id, err}
	}
	return nil
}

// halfway says what a queue's error means when another server had begun the recovery: the driver still has that one's
// address space (EINVAL) or some of its fetches (EBUSY).
func (d *Device) halfway(err error) error {
	if d.half && (errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINVAL)) {
		return errors.Join(ErrUnrecoverable, err)
	}
	return err
}

// takeBack undoes what Start did.
func (d *Device) takeBack(ctx context.Context) error {
	if d.recovered {
		return d.letGo(ctx)
	}
	return d.end(ctx)
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
