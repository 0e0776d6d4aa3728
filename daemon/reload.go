package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/ublk"
)

// Reload serves what the file says now. It is read and checked completely, and new disks are opened, before anything is
// touched; then everything is changed, or nothing is. The order of the parts:
//
//  1. the file is read, and compared with what runs (reload_plan.go);
//  2. copies on devices that change are waited for, or ended (reload_copies.go);
//  3. new disks are opened, and everything is checked again with what is open;
//  4. the changes are made (reload_apply.go);
//  5. disks that nothing uses any more are closed.
//
// Errors: a *ReloadError, EBUSY, fs.ErrNotExist when there is no file; then nothing has changed. Behind that point: what
// failed, or a *MixedError.
func (s *Server) Reload(ctx context.Context, r ReloadRequest) (*ReloadResult, error) {
	wait, err := r.wait()
	if err != nil {
		return nil, &ReloadError{Invalid: []error{err}}
	}
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	f, err := loadFile(s.file.Path)
	if err != nil {
		return nil, err
	}
	from := s.running()
	plan, err := planReload(from, f, &r)
	if err != nil {
		return nil, err
	}
	out := plan.result(r.Check)
	if r.Check || out.Changes == 0 {
		return out, nil
	}
	touched := plan.touched()
	if err := s.goneUnder(plan.remapped()...); err != nil {
		return nil, err
	}
	open := s.copies.shutOut(touched)
	defer open()
	if r.CancelCopies {
		out.Copies = s.copies.cancelOn(touched)
		wait = max(wait, drainWait) // for the windows under way
	}
	if err := s.copies.drain(ctx, touched, wait); err != nil {
		return nil, err
	}
	opened, err := plan.seats.openNew(ctx, f, from.openOptions())
	if err != nil {
		return nil, err
	}
	var made *serverChanges
	if err = plan.fill(f, &r); err == nil {
		var stall time.Duration
		made = newServerChanges(s, plan)
		stall, err = (&applier{plan: plan, out: made}).apply(context.WithoutCancel(ctx))
		s.scheds.settle(ctx)
		out.Stall = stall.Seconds()
	}
	if mixed := (*MixedError)(nil); errors.As(err, &mixed) {
		made.done() // copies go by what the devices have now
		s.log.Error("reload failed halfway", "err", err)
		s.events.publish(Event{Kind: ReloadFailed, Error: err.Error()})
		return nil, err // what is open may be in use
	}
	if err != nil {
		s.log.Warn("reload failed", "err", err)
		s.events.publish(Event{Kind: ReloadFailed, Error: err.Error()})
		s.health.forget(opened)
		return nil, errors.Join(err, closeAll(opened))
	}
	gone := unused(from.disks, s.disks)
	s.health.forget(gone)
	if err := closeAll(gone); err != nil {
		s.log.Warn("closing disks that are not used any more", "err", err)
	}
	s.log.Info("reloaded", "changes", out.Changes, "stall", time.Duration(out.Stall*float64(time.Second)).Round(time.Microsecond))
	plan.publish(&s.events)
	s.events.publish(Event{Kind: Reloaded, Changes: out.Changes, Seconds: out.Stall})
	return out, nil
}

// begin takes the right to change what is served.
func (s *Server) begin(ctx context.Context) (context.Context, func(), error) {
	ctx, end, err := s.changing.begin(ctx)
	if err == nil && s.upgrade.upgrading() {
		end()
		err = errUpgrading
	}
	return ctx, end, err
}

// running is what is served now.
func (s *Server) running() *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &running{file: s.file, disks: s.disks, resize: s.control.Features().Has(ublk.UpdateSize), mark: s.inst.Mark(), links: devLinks,
		options: &disk.Options{Logger: s.log, Served: servedBy(s.inst.dir)}, inUse: inUseForLong, gone: s.gone}
	for _, d := range s.devices {
		r.devices = append(r.devices, runningDevice{conf: d.conf, table: d.table, spec: d.dev.Spec(), node: d.dev.Node()})
	}
	for i := range s.waiting {
		r.waiting = append(r.waiting, s.waiting[i].Name)
	}
	return r
}

// openOptions are those of opening a disk: one that a killed program had is waited for.
func (r *running) openOptions() *disk.Options {
	o := *r.options
	o.Wait = diskWait
	return &o
}

// inUseForLong is busyWith that gives processes which look at a device a moment to be done.
func inUseForLong(name, node string) error {
	var err error
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		b := (*disk.BusyError)(nil)
		if err = busyWith(name, node); !errors.As(err, &b) || time.Now().After(end) {
			return err
		}
		for _, h := range b.Holders {
			if h.Kind != "process" {
				return err
			}
		}
	}
}

// unused are the open disks of before that are not among those of now.
func unused(before, now disks) (out []*disk.Disk) {
	for _, d := range before.open() {
		if !slices.Contains(now, d) {
			out = append(out, d)
		}
	}
	return out
}

// publish tells which devices are longer or shorter than before.
func (p *reloadPlan) publish(e *events) {
	for i := range p.steps {
		if st := &p.steps[i]; st.remaps() && st.old.table.Sectors() != st.table.Sectors() {
			e.publish(Event{Kind: DeviceResized, Device: st.name, Old: st.old.table.Sectors(), New: st.table.Sectors()})
		}
	}
}
