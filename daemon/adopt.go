package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/ublk"
)

// Adoption: a new server takes over the devices that a dead one of the same file left waiting. In this order:
//  1. the orphans are found by their mark, and what they were in the state file;
//  2. they are compared with the file and the disks: all differences are reported, and nothing is touched;
//  3. what no server can take over is deleted;
//  4. the disks are opened exclusively. This is the fence: the open waits until the last I/O of the dead server has ended;
//  5. only then is the driver told that there is a server, and sends again what was under way.

// adoption is which device of the file takes over which orphan: by the place in the file.
type adoption map[int]orphan

// claims is what is compared with the orphans.
type claims struct {
	file    *config.File
	tables  []*remap.Table
	orphans []orphan
	state   *state                                   // nil: there is none
	look    func(d *config.Disk) (diskRecord, error) // at a disk, without opening it
	trust   bool                                     // orphans of which nothing is written down are taken over by id
}

// plan finds the device of every orphan that waits, or says all that is in the way.
func (c *claims) plan() (adoption, config.Problems) {
	out := adoption{}
	var ps config.Problems
	for i := range c.orphans {
		o := &c.orphans[i]
		if !waits(&o.info) {
			continue
		}
		at, bad := c.match(o)
		ps = append(ps, bad...)
		if at >= 0 {
			out[at] = *o
		}
	}
	for i, d := range c.file.Devices {
		if _, ok := out[i]; ok || d.ID < 0 {
			continue
		}
		for at, o := range out {
			if o.info.ID == d.ID {
				ps = append(ps, problem(c.file, d, "id", fmt.Sprintf("id %d is that of device %q, which waits for its server", d.ID, c.file.Devices[at].Name), "leave id out, or give another"))
			}
		}
	}
	slices.SortStableFunc(ps, func(a, b config.Problem) int { return a.Line - b.Line })
	return out, ps
}

// match finds the place of an orphan's device in the file, -1 where there is none, and how the two differ.
func (c *claims) match(o *orphan) (int, config.Problems) {
	if o.rec == nil {
		return c.trusted(o)
	}
	at := slices.IndexFunc(c.file.Devices, func(d *config.Device) bool { return d.Name == o.rec.Name })
	if at < 0 {
		return -1, config.Problems{{File: c.file.Path, Line: 1, Col: 1, Key: "device", Message: fmt.Sprintf(
			"device %q waits for its server as %s, and the file has it no more", o.rec.Name, nodeOf(o.info.ID)), Hint: wayOut(o)}}
	}
	conf := c.file.Devices[at]
	want := recordOf(c.file, conf, c.tables[at])
	diffs := o.rec.differences(&want, &o.info)
	diffs = append(diffs, c.diskDifferences(o.rec)...)
	return at, c.problems(conf, o, diffs)
}

// trusted matches by id alone: nothing is known of the orphan but what the driver says.
func (c *claims) trusted(o *orphan) (int, config.Problems) {
	if !c.trust {
		return -1, config.Problems{{File: c.file.Path, Line: 1, Col: 1, Key: "device", Message: fmt.Sprintf(
			"%s waits for its server, and what it was made of is written nowhere: its state is lost", nodeOf(o.info.ID)),
			Hint: "if the file is what it was, with id = " + fmt.Sprint(o.info.ID) + " for this device, `ublk-linear adopt --trust-file` takes it over; `ublk-linear remove --orphan " + fmt.Sprint(o.info.ID) + "` drops it and what waits in it"}}
	}
	at := slices.IndexFunc(c.file.Devices, func(d *config.Device) bool { return d.ID == o.info.ID })
	if at < 0 {
		return -1, config.Problems{{File: c.file.Path, Line: 1, Col: 1, Key: "device", Message: fmt.Sprintf(
			"%s waits for its server, and no device of the file has id = %d", nodeOf(o.info.ID), o.info.ID), Hint: "give the device that it was its id, or " + wayOut(o)}}
	}
	conf := c.file.Devices[at]
	want := recordOf(c.file, conf, c.tables[at])
	return at, c.problems(conf, o, o.driverRecord(&want).differences(&want, &o.info))
}

func (c *claims) problems(conf *config.Device, o *orphan, diffs []string) config.Problems {
	var ps config.Problems
	for _, d := range diffs {
		ps = append(ps, problem(c.file, conf, "", fmt.Sprintf("device %q waits for its server as %s: %s", conf.Name, nodeOf(o.info.ID), d), wayOut(o)))
	}
	return ps
}

func problem(f *config.File, d *config.Device, key, message, hint string) config.Problem {
	path := "device." + d.Name
	if key != "" {
		path += "." + key
	}
	return config.Problem{File: f.Path, Line: max(d.Pos.Line, 1), Col: max(d.Pos.Col, 1), Key: path, Message: message, Hint: hint}
}

// wayOut is what to do with an orphan that cannot be taken over.
func wayOut(o *orphan) string {
	return fmt.Sprintf("bring it back as it was: a changed table can be loaded when the device is served again; or drop it and what waits in it: `ublk-linear remove --orphan %s`", o.name())
}

// diskLook is a disk of the file as it is now.
func diskLook(f *config.File) func(d *config.Disk) (diskRecord, error) {
	_, written := users(f)
	return func(d *config.Disk) (diskRecord, error) {
		i, err := disk.Inspect(specOf(d, written[d.Name]), &disk.Options{})
		if err != nil {
			return diskRecord{}, err
		}
		return identify(&i, -1), nil
	}
}

// adopt does steps 1 to 3 for Up. The caller holds the instance's lock.
func (s *Server) adopt(ctx context.Context, tables []*remap.Table, trust bool) (adoption, error) {
	st, stErr := s.inst.stateOf()
	all, err := findOrphans(ctx, s.control, deviceIDs(), s.inst.Mark(), st)
	if err != nil {
		return nil, err
	}
	if stErr != nil && !trust && slices.ContainsFunc(all, func(o orphan) bool { return waits(&o.info) }) {
		return nil, stErr
	}
	c := &claims{file: s.file, tables: tables, orphans: all, state: st, look: diskLook(s.file), trust: trust}
	plan, ps := c.plan()
	if len(ps) > 0 {
		return nil, ps
	}
	removed, err := removeStale(ctx, s.control, all)
	for _, id := range removed {
		s.log.Info("removed a device of a server that is gone", "dev", id)
	}
	if err != nil {
		return nil, err
	}
	s.clear = true
	for _, o := range plan {
		if o.rec == nil { // what it was is not written down before it has been taken over
			s.clear = false
			continue
		}
		s.waiting = append(s.waiting, *o.rec)
	}
	if st != nil {
		s.waitingDisks = st.Disks
	}
	return plan, nil
}

// fit makes the specs those of the orphans, where the file leaves it open, and compares what only the open disks say.
func (a adoption) fit(f *config.File, specs []ublk.Spec) error {
	var ps config.Problems
	c := &claims{file: f}
	for i := range specs {
		o, ok := a[i]
		if !ok {
			continue
		}
		s := &specs[i]
		s.ID, s.Queues, s.Depth, s.MaxIO = o.info.ID, o.info.Queues, o.info.Depth, o.info.MaxIO
		if was := o.info.Flags.DataPath(); s.DataPath != ublk.AutoPath && s.DataPath != was {
			ps = append(ps, problem(f, f.Devices[i], "data_path", fmt.Sprintf("device %q waits with data_path %v, and the file says %v", f.Devices[i].Name, was, s.DataPath), "say what it was, or auto"))
		}
		s.DataPath = o.info.Flags.DataPath()
		s.Sectors = min(s.Sectors, o.info.Sectors)
		if o.rec != nil {
			s.Limits = o.rec.announced(s)
			ps = append(ps, c.problems(f.Devices[i], &o, o.rec.blocks(s))...)
		}
	}
	if len(ps) > 0 {
		return ps
	}
	return nil
}

// nodes is which node each device of the file has already.
func (a adoption) nodes(f *config.File) map[string]string {
	out := map[string]string{}
	for i, o := range a {
		out[f.Devices[i].Name] = nodeOf(o.info.ID)
	}
	return out
}

// only is the file, the tables and the adoption without the devices that nobody left.
func (a adoption) only(f *config.File, tables []*remap.Table) (*config.File, []*remap.Table, adoption) {
	one, out := *f, adoption{}
	one.Devices = nil
	var kept []*remap.Table
	for i, d := range f.Devices {
		if o, ok := a[i]; ok {
			out[len(one.Devices)] = o
			one.Devices, kept = append(one.Devices, d), append(kept, tables[i])
		}
	}
	return &one, kept, out
}

// order is in which order devices are started: those that somebody waits for first.
func (a adoption) order(n int) []int {
	var first, rest []int
	for i := range n {
		if _, ok := a[i]; ok {
			first = append(first, i)
		} else {
			rest = append(rest, i)
		}
	}
	return append(first, rest...)
}

// leave gives a device up without ending it: it waits for the next server as it did for this one. Errors are logged: the
// driver takes it from us anyway.
func (s *Server) leave(ctx context.Context, e *device) error {
	ctx, cancel := context.WithTimeout(ctx, leaveWait)
	defer cancel()
	if err := quiesce(ctx, e.dev, leaveWait); err != nil {
		s.log.Warn("device is left with I/O under way", "name", e.conf.Name, "node", e.dev.Node(), "err", err)
	}
	return e.dev.Detach(context.WithoutCancel(ctx))
}

// leaveAdopted gives up every device that was taken over, after a start that failed: who waits for it goes on waiting.
func (s *Server) leaveAdopted(ctx context.Context) error {
	s.mu.Lock()
	var mine []*device
	s.devices = slices.DeleteFunc(s.devices, func(e *device) bool {
		if e.dev.Recovered() {
			mine = append(mine, e)
			s.waiting = append(s.waiting, s.record(e))
		}
		return e.dev.Recovered()
	})
	s.mu.Unlock()
	var errs []error
	for _, e := range mine {
		if err := s.leave(ctx, e); err != nil {
			errs = append(errs, fmt.Errorf("device %s: %w", e.conf.Name, err))
			continue
		}
		s.log.Info("device waits again", "name", e.conf.Name, "node", e.dev.Node())
	}
	return errors.Join(errs...)
}
