package daemon

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/ublk"
)

// deviceRecord is what a device is: for its user the size, the blocks and the content, for the driver the shape.
type deviceRecord struct {
	Name          string         `json:"name"`
	ID            int            `json:"id"`
	OnCrash       config.OnCrash `json:"on_crash"`
	Sectors       uint64         `json:"sectors"`
	ReadOnly      bool           `json:"read_only"`
	Queues        int            `json:"queues"` // as the driver granted, and the next two
	Depth         int            `json:"depth"`
	MaxIO         uint32         `json:"max_io"`
	Asked         shape          `json:"asked"` // as the file says
	LogicalBlock  uint32         `json:"logical_block"`
	PhysicalBlock uint32         `json:"physical_block"`
	Table         string         `json:"table"` // dmsetup's lines, disks by name
	Disks         []string       `json:"disks"` // of the table
	// Announced is what users of the device were told when it was started: a table that it was given since may need less.
	Announced *limits.Limits `json:"announced,omitempty"`
}

// shape is what a file may say of a device's queues and mode. What it does not say is 0.
type shape struct {
	Queues int    `json:"queues"`
	Depth  int    `json:"depth"`
	MaxIO  uint64 `json:"max_io"`

	ReadOnly bool `json:"read_only"`
}

// diskRecord tells a disk from all others.
type diskRecord struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"` // block, file, memory
	Node     string `json:"node"` // as the kernel names it; the path of a file
	Sectors  uint64 `json:"sectors"`
	Serial   string `json:"serial,omitempty"`
	WWID     string `json:"wwid,omitempty"`
	PartUUID string `json:"partuuid,omitempty"`
	Rdev     uint64 `json:"rdev,omitempty"` // of a block device
	Dev      uint64 `json:"dev,omitempty"`  // of a file: st_dev and st_ino
	Inode    uint64 `json:"inode,omitempty"`
}

func (d *deviceRecord) validate() error {
	spec := ublk.Spec{ID: d.ID, Queues: d.Queues, Depth: d.Depth, MaxIO: d.MaxIO, Sectors: d.Sectors}
	spec.Limits.LogicalBlock = d.LogicalBlock
	errs := []error{spec.Validate()}
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if d.Name == "" || len(d.Name) > 63 {
		bad("its name has %d characters", len(d.Name))
	}
	if d.ID < 0 || d.Queues == 0 || d.Depth == 0 || d.MaxIO == 0 {
		bad("id %d, queues %d, depth %d, max I/O %d", d.ID, d.Queues, d.Depth, d.MaxIO)
	}
	if !slices.Contains([]config.OnCrash{config.CrashReissue, config.CrashQueue, config.CrashFail, config.CrashRemove}, d.OnCrash) {
		bad("on_crash %q", d.OnCrash)
	}
	if d.Asked.Queues < 0 || d.Asked.Depth < 0 {
		bad("asked queues %d, depth %d", d.Asked.Queues, d.Asked.Depth)
	}
	return errors.Join(errs...)
}

func (d *diskRecord) validate() error {
	if d.Name == "" {
		return errors.New("no name")
	}
	if d.Kind != disk.Block.String() && d.Kind != disk.File.String() && d.Kind != disk.Memory.String() {
		return fmt.Errorf("kind %q", d.Kind)
	}
	return nil
}

// nodeOf is the node of a device of ours.
func nodeOf(id int) string { return fmt.Sprintf("/dev/ublkb%d", id) }

// recordOf is a device of the file as it would be served: without what only the driver and the open disks say.
func recordOf(f *config.File, conf *config.Device, t *remap.Table) deviceRecord {
	name := DiskName(f)
	r := deviceRecord{Name: conf.Name, ID: conf.ID, OnCrash: f.Crash(conf), Sectors: t.Sectors(), ReadOnly: conf.ReadOnly,
		Asked: shape{conf.Queues, conf.Depth, uint64(conf.MaxIO), conf.ReadOnly}, Table: t.Lines(name), Disks: []string{}}
	for _, i := range t.Disks() {
		r.Disks = append(r.Disks, name(i))
	}
	return r
}

// granted adds what the driver has.
func (d *deviceRecord) granted(s *ublk.Spec) {
	d.ID, d.Queues, d.Depth, d.MaxIO, d.ReadOnly = s.ID, s.Queues, s.Depth, s.MaxIO, s.ReadOnly
	d.LogicalBlock, d.PhysicalBlock = s.Limits.LogicalBlock, s.Limits.PhysicalBlock
	announced := s.Limits
	d.Announced = &announced
}

// identify is the record of a disk that was looked at, or is open as fd; -1: it is not. The path of an open one is left alone:
// it may lie on a device of ours that is suspended.
func identify(i *disk.Info, fd int) diskRecord {
	r := diskRecord{Name: i.Name, Kind: i.Kind.String(), Node: i.Node, Sectors: i.Sectors, Serial: i.Identity.Serial, WWID: i.Identity.WWID,
		PartUUID: i.Identity.PartUUID, Rdev: i.Rdev}
	if i.Kind == disk.File {
		var st unix.Stat_t
		if statOf(i.Node, fd, &st) == nil {
			r.Dev, r.Inode = st.Dev, st.Ino
		}
	}
	return r
}

func statOf(path string, fd int, st *unix.Stat_t) error {
	if fd >= 0 {
		return unix.Fstat(fd, st)
	}
	return unix.Stat(path, st)
}

// record is a served device, as it is now.
func (s *Server) record(e *device) deviceRecord {
	r := recordOf(s.file, e.conf, e.table)
	spec := e.dev.Spec()
	r.granted(&spec)
	return r
}

// snapshot is all that the state has to say: the devices that are served, and those that wait.
func (s *Server) snapshot() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &state{Schema: stateSchema, Config: s.inst.Config, PID: os.Getpid(), Disks: []diskRecord{}, Devices: slices.Clone(s.waiting)}
	if st.Devices == nil {
		st.Devices = []deviceRecord{}
	}
	for _, e := range s.devices {
		st.Devices = append(st.Devices, s.record(e))
	}
	slices.SortStableFunc(st.Devices, func(a, b deviceRecord) int { return a.ID - b.ID })
	known := map[string]diskRecord{}
	for _, d := range s.waitingDisks {
		known[d.Name] = d
	}
	for at, k := range s.disks {
		if k != nil {
			i := k.Info()
			i.Name = s.file.Disks[at].Name // as tables have it
			known[i.Name] = identify(&i, k.FD())
		}
	}
	used := map[string]bool{}
	for i := range st.Devices {
		for _, name := range st.Devices[i].Disks {
			if d, ok := known[name]; ok && !used[name] {
				st.Disks = append(st.Disks, d)
			}
			used[name] = true
		}
	}
	return st
}

// saveState writes down what is served and what waits. It is called before a device can be opened and after each change.
func (s *Server) saveState() error {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	return writeState(s.inst.statePath(), s.snapshot())
}

// await notes a device that may outlive this server without being served by it: before it starts, and after it is left.
func (s *Server) await(r deviceRecord) error {
	s.mu.Lock()
	s.waiting = append(slices.DeleteFunc(s.waiting, func(w deviceRecord) bool { return w.ID == r.ID }), r)
	s.mu.Unlock()
	return s.saveState()
}

// awaited takes the note back.
func (s *Server) awaited(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(w deviceRecord) bool { return w.ID == id })
}
