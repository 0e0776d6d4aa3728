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
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/ublk"
)

// removeWait bounds the removal of one device, whatever state it is in: stopping it fails what waits in it, and the driver
// lets go of the number with the last close.
const removeWait = 60 * time.Second

// RemoveRequest says which orphans to remove: by name or id, or all.
type RemoveRequest struct {
	Which  string // a name, or the number of an id; "" with All
	All    bool
	Force  bool // also those that are mounted, claimed or open
	RunDir string
}

// RemoveResult is what was removed.
type RemoveResult struct {
	Schema  int          `json:"schema"`
	Removed []DeviceInfo `json:"removed"`
}

// RemoveOrphans deletes devices whose server is gone, and what waits in them fails. Their disks are not touched. Errors:
// fs.ErrNotExist when there is no such orphan; EBUSY when its server lives, or somebody uses it and Force is not said.
// Nothing is removed when any of them is refused.
func RemoveOrphans(ctx context.Context, r RemoveRequest) (RemoveResult, error) {
	out := RemoveResult{Schema: Schema, Removed: []DeviceInfo{}}
	c, err := ublk.OpenControl(nil)
	if err != nil {
		return out, err
	}
	defer c.Close()
	defer devLinks.sweep() // whoever was killed in removing a device may have left its name
	runDir := r.RunDir
	if runDir == "" {
		runDir = RunDir
	}
	ids := deviceIDs()
	mine, err := pick(orphansOf(ctx, c, runDir, ids), &r)
	if errors.Is(err, fs.ErrNotExist) {
		return out, servedOne(ctx, c, runDir, ids, &r, err)
	}
	if err != nil {
		return out, err
	}
	release, err := lockAll(ctx, mine)
	if err != nil {
		return out, err
	}
	defer release()
	if err := refuseUsed(mine, r.Force, usersOf); err != nil {
		return out, err
	}
	out.Removed, err = removeAll(ctx, c, mine)
	err = errors.Join(err, forgetRemoved(mine, out.Removed))
	if r.All {
		release()
		forgetGone(ctx, c, runDir, deviceIDs)
	}
	return out, err
}

// pick finds the orphans that are meant.
func pick(all []hostOrphan, r *RemoveRequest) ([]hostOrphan, error) {
	if r.All {
		return all, nil
	}
	var out []hostOrphan
	for _, o := range all {
		if o.rec != nil && o.rec.Name == r.Which {
			out = append(out, o)
		}
	}
	if len(out) == 0 { // a name comes first: it may be all digits
		for _, o := range all {
			if strconv.Itoa(o.info.ID) == strings.TrimPrefix(r.Which, "/dev/ublkb") {
				out = append(out, o)
			}
		}
	}
	switch len(out) {
	case 1:
		return out, nil
	case 0:
		return nil, fmt.Errorf("no orphan %q (ublk-linear ls --orphans lists them): %w", r.Which, fs.ErrNotExist)
	}
	var ids []string
	for _, o := range out {
		ids = append(ids, fmt.Sprintf("%d of %s", o.info.ID, o.config))
	}
	return nil, fmt.Errorf("%d orphans are called %q: say the id: %s", len(out), r.Which, strings.Join(ids, ", "))
}

// servedOne is EBUSY for a device of that name or id which has a server, and otherwise what was found before.
func servedOne(ctx context.Context, c devicer, runDir string, ids []int, r *RemoveRequest, missing error) error {
	for _, id := range ids {
		i, err := c.Info(ctx, id)
		if err != nil || !Ours(i.Mark) {
			continue
		}
		name := ""
		if inst := instanceOf(runDir, i.Mark); inst != nil {
			if st, err := readState(inst.statePath()); err == nil {
				if rec := st.device(id); rec != nil {
					name = rec.Name
				}
			}
		}
		if name != "" && name == r.Which || strconv.Itoa(id) == strings.TrimPrefix(r.Which, "/dev/ublkb") {
			return fmt.Errorf("%s is no orphan: its server lives, as process %d (ublk-linear down stops it): %w", nodeOf(id), i.PID, unix.EBUSY)
		}
	}
	return missing
}

// lockAll takes every instance, so that no server adopts what is being removed.
func lockAll(ctx context.Context, all []hostOrphan) (release func(), err error) {
	var locks []*os.File
	release = func() {
		for _, l := range locks {
			_ = l.Close()
		}
	}
	seen := map[string]bool{}
	for _, o := range all {
		if o.inst == nil || seen[o.inst.lockPath()] {
			continue
		}
		seen[o.inst.lockPath()] = true
		l, err := o.inst.lockSoon(ctx)
		if err != nil {
			release()
			return nil, err
		}
		locks = append(locks, l)
	}
	return release, nil
}

// refuseUsed names the users of every device that waits and has some. One whose disk is gone has no users that count.
func refuseUsed(all []hostOrphan, force bool, users func(node string) []disk.Holder) error {
	if force {
		return nil
	}
	var errs []error
	for i := range all {
		o := &all[i]
		if !waits(&o.info) {
			continue
		}
		if hs := users(nodeOf(o.info.ID)); len(hs) > 0 {
			errs = append(errs, fmt.Errorf("device %s: %w (--force removes it all the same, and what waits in it fails)", o.name(), &disk.BusyError{Node: nodeOf(o.info.ID), Holders: hs}))
		}
	}
	return errors.Join(errs...)
}

// removeAll deletes each, and goes on where one fails.
func removeAll(ctx context.Context, c devicer, all []hostOrphan) ([]DeviceInfo, error) {
	gone := []DeviceInfo{}
	var errs []error
	for i := range all {
		o := &all[i]
		one, cancel := context.WithTimeout(ctx, removeWait)
		err := c.Delete(one, o.info.ID)
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("device %s: %w", o.name(), err))
			continue
		}
		if o.rec != nil {
			devLinks.remove(o.rec.Name, nodeOf(o.info.ID))
		}
		d := o.device()
		d.State = "removed"
		gone = append(gone, d)
	}
	return gone, errors.Join(errs...)
}

// forgetGone clears what dead servers have written down and have no device of any more, as one does that was killed in the last
// step of its end, or before the first device of its start. A server that lives has the lock.
func forgetGone(ctx context.Context, c devicer, runDir string, ids func() []int) {
	for _, kind := range []string{".json", ".json.tmp", ".sock"} {
		left, _ := filepath.Glob(filepath.Join(runDir, "*-????????"+kind))
		for _, path := range left {
			inst := &Instance{dir: runDir, name: strings.TrimSuffix(filepath.Base(path), kind)}
			sum, err := strconv.ParseUint(inst.name[len(inst.name)-8:], 16, 32)
			if err != nil {
				continue
			}
			lock, err := inst.Lock()
			if err != nil {
				continue
			}
			if !hasDevice(ctx, c, ids(), markMagic<<32|sum) {
				inst.forget()
			}
			_ = lock.Close()
		}
	}
}

// hasDevice says whether there is a device with a mark, or may be.
func hasDevice(ctx context.Context, c devicer, ids []int, mark uint64) bool {
	return slices.ContainsFunc(ids, func(id int) bool {
		i, err := c.Info(ctx, id)
		return i.Mark == mark || err != nil && !errors.Is(err, unix.ENODEV)
	})
}

// forgetRemoved takes the removed devices out of the states.
func forgetRemoved(all []hostOrphan, gone []DeviceInfo) error {
	var errs []error
	for _, o := range all {
		if o.inst == nil || o.rec == nil || !slices.ContainsFunc(gone, func(d DeviceInfo) bool { return d.ID == o.info.ID }) {
			continue
		}
		st, err := readState(o.inst.statePath()) // it may have lost another one just now
		if err != nil {
			continue
		}
		st.Devices = slices.DeleteFunc(st.Devices, func(d deviceRecord) bool { return d.ID == o.info.ID })
		if len(st.Devices) == 0 {
			o.inst.forget()
			continue
		}
		errs = append(errs, writeState(o.inst.statePath(), st))
	}
	return errors.Join(errs...)
}
