package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ublk-go/ublk-linear/ublk"
)

// ListAll is the devices of every server on the host, then those that dead servers left: their pid is 0. Without root it
// has what can be seen. A server that does not answer is skipped, and its error joined.
func ListAll(ctx context.Context, runDir string) (List, error) {
	if runDir == "" {
		runDir = RunDir
	}
	out := List{Schema: Schema, Devices: []DeviceInfo{}}
	var errs []error
	served := map[int]bool{}
	sockets, _ := filepath.Glob(filepath.Join(runDir, "*.sock"))
	for _, p := range sockets {
		l, err := newClient(nil, p).List(ctx)
		if errors.Is(err, ErrNotServed) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p, err))
			continue
		}
		for _, d := range l.Devices {
			served[d.ID] = true
		}
		out.Devices = append(out.Devices, l.Devices...)
	}
	orphans, err := orphans(ctx, runDir, served)
	if err != nil {
		errs = append(errs, err)
	}
	out.Devices = append(out.Devices, orphans...)
	return out, errors.Join(errs...)
}

// orphans are our devices that no server has.
func orphans(ctx context.Context, runDir string, served map[int]bool) ([]DeviceInfo, error) {
	all, err := allOrphans(ctx, runDir, served)
	var out []DeviceInfo
	for i := range all {
		out = append(out, all[i].device())
	}
	return out, err
}

// Sweep removes what a dead server of the instance left: devices, those that wait among them, links, its state. Errors: a
// ServedError when it is not dead; EBUSY, with who uses a device that waits, unless forced: nothing is removed then.
func Sweep(ctx context.Context, inst *Instance, force bool) ([]DeviceInfo, error) {
	lock, err := inst.lockSoon(ctx)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	gone := []DeviceInfo{}
	c, err := ublk.OpenControl(nil)
	if errors.Is(err, ublk.ErrNoDriver) {
		inst.forget()
		return gone, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	st, _ := inst.stateOf() // what cannot be read only has names
	all, err := findOrphans(ctx, c, deviceIDs(), inst.Mark(), st)
	if err != nil {
		return gone, err
	}
	left := make([]hostOrphan, len(all))
	for i := range all {
		left[i] = hostOrphan{orphan: all[i], inst: inst}
		if st != nil {
			left[i].config = st.Config
		}
	}
	if err := refuseUsed(left, force, usersOf); err != nil {
		return gone, err
	}
	gone, err = removeAll(ctx, c, left)
	devLinks.sweep()
	if err == nil {
		inst.forget()
	}
	return gone, err
}
