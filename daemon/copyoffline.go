package daemon

import (
	"context"
	"fmt"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/remap"
)

// CopyOffline does a copy of a checked file that is not served, on its disks, without ublk. It has the instance for as long
// as it takes, so that no server can begin meanwhile. The disks of both devices are opened, held and checked as Up does,
// after the last I/O of a dead server has ended. What waits in its devices has not been written yet: disks of a device that
// waits for a server are refused without o.Force. Errors are as Server.Copy's, a ServedError, EBUSY with the devices that
// wait, and Up's of the disks.
func CopyOffline(ctx context.Context, f *config.File, r *CopyRequest, o *CopyOptions) (*CopyResult, error) {
	if err := FaultsAllowed(f, o.AllowFaults); err != nil {
		return nil, err
	}
	f, err := onlyCopied(f, r)
	if err != nil {
		return nil, err
	}
	if err := lost(f, r); err != nil {
		return nil, err
	}
	tables, err := Tables(f)
	if err != nil {
		return nil, err
	}
	inst, err := NewInstance(f.Path, o.RunDir)
	if err != nil {
		return nil, err
	}
	lock, err := inst.lockAs(copying)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if !o.Force {
		if err := noOrphans(ctx, f, inst); err != nil {
			return nil, err
		}
	}
	ds, err := openDisks(ctx, f, &disk.Options{Logger: o.logger(), Wait: diskWait, Served: servedBy(o.RunDir)})
	if err != nil {
		return nil, err
	}
	defer ds.close()
	if ps := f.Check(ds.facts(f)).Errors(); len(ps) > 0 {
		return nil, ps
	}
	devices, err := ds.devices(f, tables)
	if err != nil {
		return nil, err
	}
	w := newCopyWorld(f, ds, devices)
	plan, err := w.plan(r)
	if err != nil {
		return nil, err
	}
	faults := newInjection(f)
	faults.warn(o.logger())
	engine := ds.engine(f, faults)
	defer engine.Close()
	defer faults.during(ctx)()
	j := newCopyJob(r, plan.Bytes())
	defer watchCopy(j, o.Progress)()
	return w.result(engine.Run(ctx, plan, nil, j.tell)), nil
}

// devices are the devices as they would be served.
func (ds disks) devices(f *config.File, tables []*remap.Table) ([]*blkcopy.Device, error) {
	bottoms := ds.bottoms(f)
	var out []*blkcopy.Device
	for i, t := range tables {
		dev := f.Devices[i]
		l, err := ds.stack(t, bottoms)
		if err != nil {
			return nil, fmt.Errorf("%s:%d:%d: device %s: %w", f.Path, dev.Pos.Line, dev.Pos.Col, dev.Name, err)
		}
		out = append(out, &blkcopy.Device{Name: dev.Name, Table: t, LogicalBlock: l.LogicalBlock, ReadOnly: dev.ReadOnly || l.ReadOnly, Zoned: l.Zoned})
	}
	return out, nil
}

// lost refuses a source in memory: there is none without a server, and its zeroes would take the place of data.
func lost(f *config.File, r *CopyRequest) error {
	for _, s := range f.Device(r.Source.Device).Segments {
		for _, l := range s.Legs {
			if d := f.Disk(l.Disk); d.Kind == config.KindMemory {
				return fmt.Errorf("device %s lies on disk %s, which is memory, and holds nothing while no server runs: %w", r.Source.Device, d.Name, ErrNotServed)
			}
		}
	}
	return nil
}
