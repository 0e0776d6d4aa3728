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
	s.world = newCopyWorld(s.file, s.disks, devices)
	s.engine = s.disks.engine(s.file, s.faults)
}

// startCopy plans a copy and lists it; it is done by the job's run, which is called once. Errors: fs.ErrNotExist for a
// device that is not served, EBUSY, and those of blkcopy.NewPlan.
func (s *Server) startCopy(ctx context.Context, r *CopyRequest) (context.Context, *copyJob, error) {
	src, err := s.place(r.Source.Device)
	if err != nil {
		return nil, nil, err
	}
	dst, err := s.place(r.Destination.Device)
	if err != nil {
		return nil, nil, err
	}
	plan, err := s.world.plan(r)
	if err != nil {
		return nil, nil, err
	}
	j := newCopyJob(r, plan.Bytes())
	ctx, err = s.copies.add(ctx, j)
	if err != nil {
		return nil, nil, err
	}
	lock := &regionLock{regions: &s.regions, src: src, dst: dst}
	j.run = func(ctx context.Context, progress func(blkcopy.Progress)) *CopyResult {
		defer s.faults.during(ctx)()
		return s.world.result(s.engine.Run(ctx, plan, lock, progress))
	}
	return ctx, j, nil
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
func (s *Server) doCopy(ctx context.Context, j *copyJob) *CopyResult { return s.copies.do(ctx, j) }

// place is where a served device is held.
func (s *Server) place(name string) (place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d.conf.Name == name {
			return place{d.dev.ID(), d.dev}, nil
		}
	}
	return place{}, fmt.Errorf("no device %q: %w", name, fs.ErrNotExist)
}

// copyList is the copies under way, of one device or all.
func (s *Server) copyList(device string) []CopyInfo { return s.copies.list(device) }

// cancelCopy asks a copy to end. Errors: os.ErrNotExist.
func (s *Server) cancelCopy(id uint64) error { return s.copies.cancel(id) }
