package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/ublk"
)

// A device that waits for a server has requests that nobody has answered. The driver sends them to whoever takes the device
// over, and they are written then: a copy that read one of its disks before has the older half of what its user wrote, and
// one that wrote there is overwritten. So no copy without a server touches a disk of such a device.

// noOrphans refuses a copy of f's devices while one that waits lies on their disks. The caller has the lock of inst, which is
// f's. Errors: EBUSY, with all such devices; a StateError; what the driver says when it cannot be asked.
func noOrphans(ctx context.Context, f *config.File, inst *Instance) error {
	ids := deviceIDs()
	if len(ids) == 0 {
		return nil
	}
	c, err := ublk.OpenControl(nil)
	if errors.Is(err, fs.ErrPermission) {
		if st, stErr := inst.stateOf(); st == nil && stErr == nil {
			return nil // nobody has served the file, so that only another's devices could lie on its disks
		}
	}
	if err != nil {
		return fmt.Errorf("whether devices wait for a server on these disks: %w", err)
	}
	defer c.Close()
	return orphansOn(ctx, c, ids, f, inst, diskLook(f))
}

// orphansOn does it with the devices of that driver. An orphan of another file of which nothing is written down may lie
// anywhere, and is not in the way; one of this file is.
func orphansOn(ctx context.Context, c devicer, ids []int, f *config.File, inst *Instance, look func(*config.Disk) (diskRecord, error)) error {
	st, stErr := inst.stateOf()
	mine, err := findOrphans(ctx, c, ids, inst.Mark(), st)
	if err != nil {
		return err
	}
	all := orphansOf(ctx, c, inst.dir, ids) // not those of inst, which we have locked
	others := len(all)
	for _, o := range mine {
		if waits(&o.info) && stErr != nil {
			return stErr
		}
		all = append(all, hostOrphan{orphan: o, inst: inst, config: inst.Config, state: st})
	}
	used, _ := users(f)
	have := map[string]diskRecord{}
	for _, d := range f.Disks {
		if !used[d.Name] || d.Kind == config.KindDeclared || d.Kind == config.KindMemory {
			continue
		}
		if r, err := look(d); err == nil { // one that cannot be looked at cannot be opened
			have[d.Name] = r
		}
	}
	var errs []error
	for i := range all {
		o := &all[i]
		if !waits(&o.info) {
			continue
		}
		if on := o.liesOn(f, have, i >= others); on != "" {
			errs = append(errs, fmt.Errorf("device %s (%s) of %s waits for its server, %s: what waits in it is written when it is taken over (`ublk-linear up -c %s`) and lost when it is removed (`ublk-linear remove --orphan %d`): %w",
				o.name(), nodeOf(o.info.ID), o.config, on, o.config, o.info.ID, unix.EBUSY))
		}
	}
	return errors.Join(errs...)
}

// liesOn says which of the disks an orphan has; "" for none.
func (o *hostOrphan) liesOn(f *config.File, have map[string]diskRecord, mine bool) string {
	if o.rec == nil {
		if mine {
			return "and on which disks it lies is written nowhere"
		}
		return ""
	}
	for _, name := range o.rec.Disks {
		was := o.state.disk(name)
		if was == nil {
			continue
		}
		for _, d := range f.Disks {
			if is, ok := have[d.Name]; ok && was.maybe(&is) {
				return fmt.Sprintf("and lies on disk %s (%s)", d.Name, is.Node)
			}
		}
	}
	return ""
}

// maybe says whether two records may be of one disk: what tells them apart is missing.
func (d *diskRecord) maybe(is *diskRecord) bool {
	switch {
	case d.Kind != is.Kind:
		return false
	case d.Kind == disk.File.String():
		return d.Dev == is.Dev && d.Inode == is.Inode
	case d.Rdev == is.Rdev:
		return true
	case d.PartUUID != "" && is.PartUUID != "" && d.PartUUID != is.PartUUID:
		return false
	case d.WWID != "" || is.WWID != "":
		return d.WWID == is.WWID
	}
	return d.Serial != "" && d.Serial == is.Serial
}
