package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk"
)

// devicer is what is asked of ublk.Control about devices that this process does not serve.
type devicer interface {
	Info(ctx context.Context, id int) (ublk.Info, error)
	Delete(ctx context.Context, id int) error
}

var _ devicer = (*ublk.Control)(nil)

// orphan is a device of ours whose server is gone.
type orphan struct {
	info ublk.Info
	rec  *deviceRecord // nil: nothing is written down
}

// waits says whether a server can take the device over. One that cannot is of no use to anybody: its disk is gone, or was
// never there. A server that is still dying leaves its device live until its last file is closed.
func waits(i *ublk.Info) bool {
	return i.State != ublk.Dead && i.Flags.Has(ublk.UserRecovery)
}

// name is what the device was called, or else its node.
func (o *orphan) name() string {
	if o.rec != nil {
		return o.rec.Name
	}
	return nodeOf(o.info.ID)
}

// deviceIDs is every ublk device of the host.
func deviceIDs() []int {
	var ids []int
	names, _ := filepath.Glob("/sys/class/ublk-char/ublkc*")
	for _, n := range names {
		if id, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(n), "ublkc")); err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// findOrphans is the devices with a mark, of which the caller knows that no server has them. st may be nil.
func findOrphans(ctx context.Context, c devicer, ids []int, mark uint64, st *state) ([]orphan, error) {
	var out []orphan
	var errs []error
	for _, id := range ids {
		i, err := c.Info(ctx, id)
		if errors.Is(err, unix.ENODEV) || i.Mark != mark {
			continue
		}
		if err != nil && waits(&i) { // of one that was never given its parameters that is no surprise
			errs = append(errs, fmt.Errorf("a device that a dead server left: %w", err))
			continue
		}
		out = append(out, orphan{i, st.device(id)})
	}
	return out, errors.Join(errs...)
}

// servedBy names the device and file behind a ublk node that any ublk-linear server here has, from the states they wrote.
func servedBy(runDir string) func(node string) string {
	if runDir == "" {
		runDir = RunDir
	}
	return func(node string) string {
		for _, st := range states(runDir) {
			for _, d := range st.Devices {
				if filepath.Base(nodeOf(d.ID)) == filepath.Base(node) {
					return fmt.Sprintf("device %s of %s", d.Name, st.Config)
				}
			}
		}
		return ""
	}
}

// serverLives says whether the process that the driver names as a device's server still has its character device.
func serverLives(i *ublk.Info) bool {
	dir := fmt.Sprintf("/proc/%d/fd", i.PID)
	fds, err := os.ReadDir(dir)
	if i.PID <= 0 || err != nil {
		return false
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && to == fmt.Sprintf("/dev/ublkc%d", i.ID) {
			return true
		}
	}
	return false
}

// stateOf is what is written of an instance; nil, nil where there is nothing.
func (i *Instance) stateOf() (*state, error) {
	st, err := readState(i.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && st.Config != i.Config {
		return nil, &StateError{i.statePath(), fmt.Errorf("it is of %s", st.Config)}
	}
	return st, err
}
