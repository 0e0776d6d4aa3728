package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

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
	ids := slices.DeleteFunc(deviceIDs(), func(id int) bool { return served[id] })
	if len(ids) == 0 {
		return nil, nil
	}
	c, err := ublk.OpenControl(nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	known := map[int]DeviceInfo{}
	for _, st := range states(runDir) {
		for _, d := range st.Devices {
			known[d.ID] = d
		}
	}
	var out []DeviceInfo
	for _, id := range ids {
		i, err := c.Info(ctx, id)
		if err != nil || !Ours(i.Mark) {
			continue
		}
		d := known[id]
		d.ID, d.Node, d.State, d.PID, d.Bytes, d.Link = id, fmt.Sprintf("/dev/ublkb%d", id), i.State.String(), 0, i.Sectors*512, ""
		out = append(out, d)
	}
	return out, nil
}

// Sweep removes what a dead server of the instance left: devices, links, its state. Errors: a ServedError when it is not
// dead.
func Sweep(ctx context.Context, inst *Instance) ([]DeviceInfo, error) {
	lock, err := inst.Lock()
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
	known := map[int]DeviceInfo{}
	for _, st := range states(inst.dir) {
		if st.Config == inst.Config {
			for _, d := range st.Devices {
				known[d.ID] = d
			}
		}
	}
	ids, err := removeStale(ctx, c, inst)
	for _, id := range ids {
		d := known[id]
		d.ID, d.Node, d.State, d.PID = id, fmt.Sprintf("/dev/ublkb%d", id), "removed", 0
		gone = append(gone, d)
	}
	if err == nil {
		inst.forget()
	}
	return gone, err
}
