package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// disks are the open disks of a server: one entry per disk of the file, nil for one that no device uses.
type disks []*disk.Disk

// specOf says a disk of the file in disk's words. A disk is opened for writing only if some device writes through it.
func specOf(d *config.Disk, write bool) disk.Spec {
	file := d.File
	if abs, err := filepath.Abs(file); err == nil && file != "" {
		file = abs // as it is shown, whatever folder the server was started in
	}
	return disk.Spec{Name: d.Name, Path: d.Path, Match: d.Match, File: file, Create: uint64(d.Create), Memory: uint64(d.Memory),
		UnstablePath: d.UnstablePath, ReadOnly: (d.ReadOnly || !write) && d.Kind != config.KindMemory}
}

// users says of every disk whether a device uses it, and whether one writes through it.
func users(f *config.File) (used, written map[string]bool) {
	used, written = map[string]bool{}, map[string]bool{}
	for _, dev := range f.Devices {
		for _, s := range dev.Segments {
			for _, l := range s.Legs {
				used[l.Disk] = true
				if !dev.ReadOnly {
					written[l.Disk] = true
				}
			}
		}
	}
	return used, written
}

// openDisks opens every disk that the file uses, once. All that fail are reported, and then none stays open.
func openDisks(ctx context.Context, f *config.File, o *disk.Options) (_ disks, err error) {
	used, written := users(f)
	ds := make(disks, len(f.Disks))
	var errs []error
	if err := apart(f, used, written, o); err != nil {
		return nil, err // opened twice, the second would only be busy
	}
	for i, d := range f.Disks {
		if !used[d.Name] {
			continue
		}
		at := func(err error) { errs = append(errs, fmt.Errorf("%s:%d:%d: %w", f.Path, d.Pos.Line, d.Pos.Col, err)) }
		if d.Kind == config.KindDeclared {
			at(fmt.Errorf("disk %s is only declared (size = %v): it can be mapped and planned with, not served", d.Name, d.Declared))
			continue
		}
		if ds[i], err = openDisk(ctx, specOf(d, written[d.Name]), o); err != nil {
			at(err)
		}
	}
	if len(errs) > 0 {
		ds.close()
		return nil, errors.Join(errs...)
	}
	return ds, nil
}

// openDisk opens one disk and finds out how it is discarded.
func openDisk(ctx context.Context, spec disk.Spec, o *disk.Options) (*disk.Disk, error) {
	open, err := disk.Open(ctx, spec, o)
	if err != nil {
		return nil, err
	}
	if open.Kind() == disk.Block && !open.ReadOnly() {
		ok, err := ublk.HaveBlockDiscard(open.FD())
		if err != nil {
			return nil, errors.Join(err, open.Close())
		}
		open.SetDiscardByCommand(ok)
	}
	return open, nil
}

// apart refuses two names of one disk, and a disk beside its own partition.
func apart(f *config.File, used, written map[string]bool, o *disk.Options) error {
	var infos []disk.Info
	for _, d := range f.Disks {
		if !used[d.Name] || d.Kind == config.KindDeclared || d.Kind == config.KindMemory {
			continue
		}
		if i, err := disk.Inspect(specOf(d, written[d.Name]), o); err == nil {
			infos = append(infos, i)
		}
	}
	return disk.ApartInfos(infos)
}

// open is the list without the unused.
func (ds disks) open() []*disk.Disk {
	var out []*disk.Disk
	for _, d := range ds {
		if d != nil {
			out = append(out, d)
		}
	}
	return out
}

func (ds disks) close() {
	for _, d := range ds.open() {
		_ = d.Close()
	}
}

// backings is what the queues are given, indexed as the tables are.
func (ds disks) backings() []ublk.Backing {
	out := make([]ublk.Backing, len(ds))
	for i, d := range ds {
		out[i].FD = -1
		if d != nil {
			out[i] = ublk.Backing{FD: d.FD(), Name: d.Name(), Block: d.Kind() == disk.Block, NoZeroRange: !d.ZeroRange(), NonBlocking: d.NonBlocking()}
		}
	}
	return out
}

// facts is what the configuration's geometry rules are told of the disks.
func (ds disks) facts(f *config.File) map[string]config.Facts {
	out := map[string]config.Facts{}
	for i, d := range ds {
		if d != nil {
			l := override(d.Limits(), f.Disks[i].Limits)
			out[d.Name()] = config.Facts{Bytes: d.Sectors() * 512, LogicalBlock: l.LogicalBlock, ReadOnly: d.ReadOnly()}
		}
	}
	return out
}

// bottoms is what every disk brings into stacking. It is read once: a table may name a disk thousands of times.
func (ds disks) bottoms(f *config.File) []limits.Bottom {
	out := make([]limits.Bottom, len(ds))
	for i, d := range ds {
		if d != nil {
			out[i] = d.Bottom(nil)
			out[i].Limits = override(out[i].Limits, f.Disks[i].Limits)
		}
	}
	return out
}

// stack stacks the limits of a device.
func (ds disks) stack(t *remap.Table, bottoms []limits.Bottom) (limits.Limits, error) {
	return stack(t, bottoms, func(i target.Disk) string { return ds[i].Name() })
}

func stack(t *remap.Table, bottoms []limits.Bottom, name func(target.Disk) string) (limits.Limits, error) {
	for _, i := range t.Disks() {
		// A piece of a request begins at any logical block of its buffer, and the disk must take it from there.
		if b := &bottoms[i]; b.DMAAlignment >= b.LogicalBlock {
			return limits.Limits{}, fmt.Errorf("disk %s wants buffers aligned to %d bytes, more than its logical block of %d: that is not supported", name(i), b.DMAAlignment+1, b.LogicalBlock)
		}
	}
	return t.Limits(func(i target.Disk) limits.Bottom { return bottoms[i] })
}
