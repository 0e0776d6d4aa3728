package ublk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// ServedError is returned by Recover for a device whose server is alive. errors.Is finds EBUSY.
type ServedError struct {
	PID int // of the server
}

func (e *ServedError) Error() string {
	return fmt.Sprintf("process %d serves the device", e.PID)
}

// Unwrap is the errno that the driver has for it.
func (e *ServedError) Unwrap() error { return unix.EBUSY }

// Recover takes over the device id, which a server that is gone left behind. First what the driver has of it is compared
// with s: queues, depth, largest I/O, policy, sectors and every parameter; Mark and DiskFailed are not. Only then the
// recovery is begun (START_USER_RECOVERY), which the driver refuses while the old server's files are still being let go;
// that is waited for, 30 s at most. Start ends the recovery; until then the device is as it was, and Detach leaves it so.
//
// The caller has made sure that no I/O of the old server is under way on the disks, by opening them exclusively: a write of a
// dead server may be carried out seconds after its death, and over newer data.
//
// Errors: an OpError with ENODEV; ErrDead or ErrNoRecovery for a device that cannot be recovered; a ServedError; a
// MismatchError, and nothing is changed; EBUSY when the old server is not let go in time; or the driver's errno.
//
// Before Linux 6.16 a server that is killed between Recover and the end of Start may leave a device that can only be
// deleted: ErrUnrecoverable, of Recover or of Start.
func (c *Control) Recover(ctx context.Context, id int, s *Spec) (*Device, error) {
	d, err := c.device(s)
	if err != nil {
		return nil, err
	}
	d.id, d.spec.ID, d.recovered = id, id, true
	fail := func(err error) (*Device, error) { return nil, &OpError{"recover", id, err} }
	if d.info, err = c.info(ctx, id); err != nil {
		return nil, err
	}
	switch {
	case State(d.info.State) == Dead:
		return fail(ErrDead)
	case d.Flags().Recovery() == NoRecovery:
		return fail(ErrNoRecovery)
	case State(d.info.State) == Live && serves(int(d.info.UblksrvPID), id):
		return fail(&ServedError{int(d.info.UblksrvPID)})
	}
	have, err := c.params(ctx, id)
	if err != nil {
		return nil, err
	}
	if diff := d.compare(have); diff != nil {
		return fail(&MismatchError{diff})
	}
	// What the driver granted, which may be less than was asked for.
	d.spec.Queues, d.spec.Depth, d.spec.MaxIO = int(d.info.NrHwQueues), int(d.info.QueueDepth), d.info.MaxIOBufBytes
	d.spec.DataPath = d.Flags().DataPath()
	want, lost := d.spec.params()
	d.lost = append(lost, d.spec.ignored(want, have)...)
	if err := d.beginRecovery(ctx); err != nil {
		return nil, &OpError{"start recovery", id, err}
	}
	return d, nil
}

// beginRecovery is START_USER_RECOVERY, again and again while the driver still has the old server's files.
func (d *Device) beginRecovery(ctx context.Context) error {
	for end := time.Now().Add(d.patience); ; time.Sleep(5 * time.Millisecond) {
		half, err := false, error(nil)
		if d.info.NrHwQueues > 1 && !d.c.features.Has(UpdateSize) { // which came with a driver that copes
			half, err = d.halfFetched()
		}
		if err == nil && !half {
			err = d.command(ctx, uapi.UBLK_U_CMD_START_USER_RECOVERY, 0, slowDeadline)
		}
		switch {
		case half:
			return ErrUnrecoverable
		case errors.Is(err, unix.EINVAL):
			// Before 6.16 that is what a second one gets, when the server of the first has not fetched anything.
			d.half = true
			return nil
		case !errors.Is(err, unix.EBUSY):
			return err
		case ctx.Err() != nil:
			return errors.Join(err, ctx.Err())
		case time.Now().After(end):
			return fmt.Errorf("the old server is not let go: %w", err)
		}
	}
}

// Recovered says whether the device was taken over by Recover, not made by Add.
func (d *Device) Recovered() bool { return d.recovered }

// serves says whether a process has a device's character device open. A number alone says nothing: it may be another
// process's by now, or that of one which is ending.
func serves(pid, id int) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	fds, err := os.ReadDir(dir)
	if err != nil {
		return !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESRCH)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(dir + "/" + fd.Name()); err == nil && filepath.Base(to) == "ublkc"+strconv.Itoa(id) {
			return true
		}
	}
	return false
}
