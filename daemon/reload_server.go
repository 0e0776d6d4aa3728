package daemon

import (
	"context"
	"errors"
	"slices"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// version is what a server tells of and writes down, by the old file or by the new one.
type version struct {
	file    *config.File
	disks   disks
	lengths map[int]uint64 // sectors of disks that are not what they were
	confs   map[string]*config.Device
	tables  map[string]*remap.Table
}

// serverChanges is what a reload does to a server.
type serverChanges struct {
	s       *Server
	plan    *reloadPlan
	old     version
	now     version
	stopped map[string]bool
}

var _ changes = (*serverChanges)(nil)

func newServerChanges(s *Server, p *reloadPlan) *serverChanges {
	c := &serverChanges{s: s, plan: p, stopped: map[string]bool{}}
	by := func(f *config.File, ds disks) version {
		return version{f, ds, map[int]uint64{}, map[string]*config.Device{}, map[string]*remap.Table{}}
	}
	c.old, c.now = by(p.from.file, p.from.disks), by(p.file, p.seats.disks())
	for i, d := range c.now.disks {
		if d != nil && p.seats[i].info.Sectors != d.Sectors() {
			c.old.lengths[i], c.now.lengths[i] = d.Sectors(), p.seats[i].info.Sectors
		}
	}
	for i := range p.steps {
		if st := &p.steps[i]; st.old != nil && st.conf != nil {
			c.old.confs[st.name], c.old.tables[st.name] = st.old.conf, st.old.table
			c.now.confs[st.name], c.now.tables[st.name] = st.conf, st.table
		}
	}
	return c
}

func (c *serverChanges) version(fresh bool) *version {
	if fresh {
		return &c.now
	}
	return &c.old
}

func (c *serverChanges) backings(fresh bool) []ublk.Backing {
	return c.s.faults.backings(c.s.health.backings(c.version(fresh).disks))
}

func (c *serverChanges) live(st *step) live { return c.s.device(st.name).dev }

func (c *serverChanges) freeze(ctx context.Context, st *step) (thaw func(), err error) {
	return c.s.regions.freeze(ctx, c.s.device(st.name).dev.ID())
}

// flush is of the disks that the new table does not have: whoever flushes the device flushes the others.
func (c *serverChanges) flush(st *step) error {
	var errs []error
	for _, i := range st.old.table.Disks() {
		d := c.old.disks[i]
		stays := slices.ContainsFunc(st.table.Disks(), func(k target.Disk) bool { return c.now.disks[k] == d })
		if !stays && !d.ReadOnly() {
			errs = append(errs, d.Sync())
		}
	}
	return errors.Join(errs...)
}

func (c *serverChanges) stop(ctx context.Context, st *step) error {
	if err := c.end(ctx, st.name); err != nil {
		return err
	}
	c.stopped[st.name] = true
	return nil
}

// restore is a new device in the place of one that was stopped: with its number, its table and its name.
func (c *serverChanges) restore(ctx context.Context, st *step) error {
	if !c.stopped[st.name] {
		return errors.New("it could not be stopped, and may be served or not")
	}
	return c.s.start(ctx, st.old.conf, st.old.table, st.old.spec, false)
}

func (c *serverChanges) start(ctx context.Context, st *step) error {
	err := c.s.start(ctx, st.conf, st.table, st.spec, false)
	if err != nil && c.s.device(st.name) != nil { // it is served, and has no link
		err = errors.Join(err, c.end(ctx, st.name))
	}
	return err
}

func (c *serverChanges) remove(ctx context.Context, st *step) error { return c.end(ctx, st.name) }

// end stops a device.
func (c *serverChanges) end(ctx context.Context, name string) error {
	s := c.s
	e := s.device(name)
	devLinks.remove(name, e.dev.Node())
	s.leases.forget(name)
	if err := e.dev.Stop(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.devices = slices.DeleteFunc(slices.Clone(s.devices), func(d *device) bool { return d == e })
	s.mu.Unlock()
	s.log.Info("device is down", "name", name, "node", e.dev.Node())
	s.events.publish(Event{Kind: DeviceDown, Device: name, Node: e.dev.Node()})
	return nil
}

// note is before the devices are swapped, and while they are suspended: a server that comes after a crash finds in the state
// what the file says, and as long as nothing was mapped by the new tables nobody can tell them from the old ones.
func (c *serverChanges) note(fresh bool, kept map[string]bool) error {
	v, s := c.version(fresh), c.s
	if len(kept) > 0 {
		v = c.mixed()
	}
	for i, n := range v.lengths {
		v.disks[i].SetSectors(n)
	}
	s.mu.Lock()
	s.file, s.disks = v.file, v.disks
	for _, e := range s.devices {
		of := c.version(fresh || kept[e.conf.Name])
		if conf := of.confs[e.conf.Name]; conf != nil {
			e.conf, e.table = conf, of.tables[e.conf.Name]
		}
	}
	s.inOrder()
	s.mu.Unlock()
	return s.saveState()
}

// mixed is the disks of both files, each in its place, with the lengths of the new one. Where both have a disk by one name
// that is not the same, the old one is told apart, so that no state takes it for the other.
func (c *serverChanges) mixed() *version {
	f := *c.old.file
	f.Disks = slices.Clone(c.now.file.Disks)
	v := &version{file: &f, disks: slices.Clone(c.now.disks), lengths: c.now.lengths}
	for i, d := range c.old.disks {
		if d == nil || v.disks[i] == d {
			continue
		}
		conf := *c.old.file.Disks[i]
		if slices.ContainsFunc(c.now.disks, func(n *disk.Disk) bool { return n != nil && n.Name() == conf.Name }) {
			conf.Name += " (old)"
		}
		f.Disks[i], v.disks[i] = &conf, d
	}
	return v
}

// done lets copies find the new tables. Those under way are on devices that have not changed, and end with what they began
// with.
func (c *serverChanges) done() {
	s := c.s
	s.mu.Lock()
	for i := range c.plan.steps {
		if st := &c.plan.steps[i]; st.remaps() {
			for _, e := range s.devices {
				if e.conf.Name == st.name {
					e.epoch.Add(1)
				}
			}
		}
	}
	before := s.renew()
	s.mu.Unlock()
	s.park()
	s.copies.behind(func() {
		if before != nil {
			before.Close()
		}
	})
	if err := s.saveState(); err != nil {
		s.log.Error("the state of devices that came could not be written", "err", err)
	}
}

// renew makes what copies find from now on, and returns the engine of those before. The caller has mu.
func (s *Server) renew() (before *blkcopy.Engine) {
	before = s.engine
	devices := make([]*blkcopy.Device, 0, len(s.devices))
	for _, e := range s.devices {
		spec := e.dev.Spec()
		devices = append(devices, &blkcopy.Device{Name: e.conf.Name, Table: e.table, LogicalBlock: spec.Limits.LogicalBlock, ReadOnly: spec.ReadOnly})
	}
	s.world, s.engine = s.servedWorld(devices), s.disks.engine(s.file, s.faults)
	return before
}
