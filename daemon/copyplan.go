package daemon

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
)

// PlanCopy plans a copy of a checked file, served or not, and touches nothing: disks are looked at, not held, as Limits
// does. Errors: fs.ErrNotExist for a device that is not in the file, those of the disks, and blkcopy.NewPlan's.
func PlanCopy(f *config.File, r *CopyRequest) (*blkcopy.Plan, error) {
	w, _, err := lookAt(f, r)
	if err != nil {
		return nil, err
	}
	return w.plan(r)
}

// lookAt is what a copy of a checked file meets: its devices, and the limits of the disks that they use, by their place in
// the file. Disks are looked at, not held.
func lookAt(f *config.File, r *CopyRequest) (*copyWorld, []DiskLimits, error) {
	f, err := onlyCopied(f, r)
	if err != nil {
		return nil, nil, err
	}
	tables, err := Tables(f)
	if err != nil {
		return nil, nil, err
	}
	w := &copyWorld{file: f, blocks: make([]uint32, len(f.Disks)), real: make([]limits.Copy, len(f.Disks)), queues: make([]uint64, len(f.Disks))}
	all := make([]DiskLimits, len(f.Disks))
	used, written := users(f)
	var errs []error
	for i, d := range f.Disks {
		if !used[d.Name] {
			continue
		}
		bare := *d // its own ability: the file's is put over it when it is known what may be used
		bare.Copy = nil
		if all[i], err = (&LimitsOptions{}).diskLimits(&bare, written[d.Name]); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d:%d: %w", f.Path, d.Pos.Line, d.Pos.Col, err))
		}
		w.blocks[i], w.real[i] = all[i].LogicalBlock, all[i].Copy
	}
	if len(errs) > 0 {
		return nil, nil, errors.Join(errs...)
	}
	for i, t := range tables {
		dev := f.Devices[i]
		l, err := deviceLimits(t, dev, all, limits.CopyMin)
		if err != nil {
			return nil, nil, fmt.Errorf("%s:%d:%d: device %s: %w", f.Path, dev.Pos.Line, dev.Pos.Col, dev.Name, err)
		}
		w.devices = append(w.devices, &blkcopy.Device{Name: dev.Name, Table: t, LogicalBlock: l.Limits.LogicalBlock,
			ReadOnly: dev.ReadOnly || l.Limits.ReadOnly, Zoned: l.Limits.Zoned})
	}
	return w, all, nil
}

// onlyCopied is the file with no devices but those of a copy, so that nobody looks at the disks of others.
func onlyCopied(f *config.File, r *CopyRequest) (*config.File, error) {
	one := *f
	one.Devices = nil
	for _, d := range f.Devices {
		if d.Name == r.Source.Device || d.Name == r.Destination.Device {
			one.Devices = append(one.Devices, d)
		}
	}
	for _, name := range []string{r.Source.Device, r.Destination.Device} {
		if f.Device(name) == nil {
			return nil, fmt.Errorf("no device %q in %s: %w", name, f.Path, fs.ErrNotExist)
		}
	}
	return &one, nil
}
