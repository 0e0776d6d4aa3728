package daemon

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/ublk"
)

// prepareCopies makes what copies need, once the disks are open and the devices' specs known.
func (s *Server) prepareCopies(tables []*remap.Table, specs []ublk.Spec) {
	devices := make([]*blkcopy.Device, len(tables))
	for i, t := range tables {
		devices[i] = &blkcopy.Device{Name: s.file.Devices[i].Name, Table: t, LogicalBlock: specs[i].Limits.LogicalBlock, ReadOnly: specs[i].ReadOnly}
	}
	s.world = s.servedWorld(devices)
	s.engine = s.disks.engine(s.file, s.faults)
}

// copyBase is what a copy is planned with and done by. A reload puts another in its place.
type copyBase struct {
	world    *copyWorld
	engine   *blkcopy.Engine
	faults   *injection
	src, dst place
}

// copyBase finds it for a request. Errors: fs.ErrNotExist for a device that is not served.
func (s *Server) copyBase(r *CopyRequest) (b copyBase, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.src, err = s.place(r.Source.Device); err != nil {
		return b, err
	}
	if b.dst, err = s.place(r.Destination.Device); err != nil {
		return b, err
	}
	b.world, b.engine, b.faults = s.world, s.engine, s.faults
	return b, nil
}

// startCopy plans a copy and lists it; it is done by the job's run, which is called once. Errors: fs.ErrNotExist for a
// device that is not served, EBUSY, and those of blkcopy.NewPlan.
func (s *Server) startCopy(ctx context.Context, r *CopyRequest) (context.Context, *copyJob, error) {
	for {
		b, err := s.copyBase(r)
		if err != nil {
			return nil, nil, err
		}
		plan, err := b.world.plan(r)
		if err != nil {
			return nil, nil, err
		}
		j := newCopyJob(r, plan.Bytes())
		on, err := s.copies.add(ctx, j)
		if err != nil {
			return nil, nil, err
		}
		now, err := s.copyBase(r)
		if err != nil || now.world != b.world { // a reload came between the plan and the list: what is listed, reloads wait for
			s.copies.remove(j)
			continue
		}
		lock := &regionLock{regions: &s.regions, src: b.src, dst: b.dst}
		j.run = func(ctx context.Context, progress func(blkcopy.Progress)) *CopyResult {
			defer b.faults.during(ctx)()
			return b.world.result(b.engine.Run(ctx, plan, lock, progress))
		}
		return on, j, nil
	}
}

// Copy does a copy between served devices. progress may be nil; it is called by one goroutine at a time. The result is
// nil if the copy was refused and nothing was done: see startCopy. When it began, it says what was done, whatever kept it
// from doing all, ctx being cancelled among that.
func (s *Server) Copy(ctx context.Context, r *CopyRequest, progress func(CopyProgress)) (*CopyResult, error) {
	ctx, j, err := s.startCopy(ctx, r)
	if err != nil {
		return nil, err
	}
	defer watchCopy(j, progress)()
	return s.doCopy(ctx, j), nil
}

// doCopy does what startCopy began.
func (s *Server) doCopy(ctx context.Context, j *copyJob) *CopyResult {
	now := j.look()
	s.events.publish(Event{Kind: CopyStarted, Copy: &now})
	r := s.copies.do(ctx, j)
	s.events.publish(copyEnded(now, r))
	return r
}

// copyEnded is the event of a copy's end.
func copyEnded(c CopyInfo, r *CopyResult) Event {
	c.Bytes, c.Offloaded, c.Emulated, c.Seconds = r.Bytes, r.Offloaded, r.Emulated, r.Seconds
	if r.Complete {
		return Event{Kind: CopyDone, Copy: &c}
	}
	return Event{Kind: CopyFailed, Copy: &c, Error: r.Error}
}

// place is where a served device is held. The caller has mu.
func (s *Server) place(name string) (place, error) {
	for _, d := range s.devices {
		if d.conf.Name == name {
			return newPlace(d.dev.ID(), d.dev, &d.epoch), nil
		}
	}
	return place{}, fmt.Errorf("no device %q: %w", name, fs.ErrNotExist)
}

// copyList is the copies under way, of one device or all.
func (s *Server) copyList(device string) []CopyInfo { return s.copies.list(device) }

// cancelCopy asks a copy to end. Errors: os.ErrNotExist.
func (s *Server) cancelCopy(id uint64) error { return s.copies.cancel(id) }
