package daemon

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/ublk"
)

// running is what a server serves, as a reload begins from it.
type running struct {
	file    *config.File
	disks   disks
	devices []runningDevice
	waiting []string      // devices that wait to be taken over
	resize  bool          // the driver has UBLK_CMD_UPDATE_SIZE
	mark    uint64        // Spec.Mark
	options *disk.Options // of looking at disks
	links   links
	inUse   func(name, node string) error // EBUSY, and by whom
	gone    func(*disk.Disk) bool         // it has vanished, and is looked for; nil: none has
}

// runningDevice is one device of it.
type runningDevice struct {
	conf  *config.Device
	table *remap.Table
	spec  ublk.Spec // as the driver granted it
	node  string
}

// step is what a reload does to one device. old is nil of one that comes, conf of one that goes.
type step struct {
	name  string
	old   *runningDevice
	conf  *config.Device
	table *remap.Table
	spec  ublk.Spec // of one that comes
	diff  DeviceDiff
}

// reloadPlan is a new file that was compared with what runs.
type reloadPlan struct {
	from  *running
	file  *config.File // its disks by place
	seats seating
	steps []step // in the order of the new file, then those that go
	disks []DiskDiff
}

// planReload compares a new file, which was parsed without errors, with what runs. Everything that keeps it from being
// served is in the error. Nothing is opened.
func planReload(from *running, f *config.File, r *ReloadRequest) (*reloadPlan, error) {
	var wrong ReloadError
	p := &reloadPlan{from: from}
	p.seats, p.file = seatDisks(from, f, &wrong)
	keepFaults(from.file, p.file, &wrong)
	if len(wrong.Invalid)+len(wrong.Busy) > 0 {
		p.checkFacts(f, &wrong)
		return nil, &wrong
	}
	return p, p.fill(f, r)
}

// checkFacts runs the geometry rules with what is known of the disks.
func (p *reloadPlan) checkFacts(f *config.File, wrong *ReloadError) bool {
	ps := f.Check(p.seats.facts()).Errors()
	wrong.addEach(ps)
	return len(ps) == 0
}

// fill makes the steps. It is called again when the new disks are open: they may be otherwise than they looked.
func (p *reloadPlan) fill(f *config.File, r *ReloadRequest) error {
	var wrong ReloadError
	p.steps, p.disks = nil, p.seats.diff(p.from.file, p.from.disks)
	fits := p.checkFacts(f, &wrong) // if not, the limits of what cannot be are nobody's concern
	wrong.addEach(unknowable(f, os.DirFS("/sys"), p.seats.infos()))
	tables, err := Tables(p.file)
	if err != nil {
		wrong.add(err)
		return &wrong
	}
	bottoms := p.seats.bottoms()
	fresh := *f // the devices that come
	fresh.Devices = nil
	for i, conf := range f.Devices {
		s := step{name: conf.Name, conf: conf, table: tables[i], old: p.from.device(conf.Name)}
		at := func(err error) {
			if err != nil {
				wrong.add(errAt(f, conf.Pos, fmt.Errorf("device %s: %w", conf.Name, err)))
			}
		}
		var l limits.Limits
		if fits {
			l, err = stack(s.table, bottoms, p.seats.name)
		} else if s.old != nil {
			l = s.old.spec.Limits
		}
		if err == nil && (fits || s.old != nil) {
			s.spec, err = deviceSpec(p.file, conf, s.table, l, p.from.mark)
		}
		if err != nil {
			at(err)
			continue
		}
		if s.old == nil {
			fresh.Devices = append(fresh.Devices, conf)
			at(p.fresh(&s))
		} else {
			for _, err := range p.change(&s, r) {
				at(err)
			}
		}
		p.compare(&s)
		p.steps = append(p.steps, s)
	}
	wrong.add(p.from.links.check(&fresh, nil))
	for i := range p.from.devices {
		old := &p.from.devices[i]
		if f.Device(old.conf.Name) != nil {
			continue
		}
		if err := p.from.inUse(old.conf.Name, old.node); err != nil && !r.Force {
			wrong.add(fmt.Errorf("%w (the new file does not have it: put it back, stop who uses it, or --force)", err))
		}
		s := step{name: old.conf.Name, old: old}
		p.compare(&s)
		p.steps = append(p.steps, s)
	}
	return wrong.or()
}

func (r *running) isGone(d *disk.Disk) bool { return r.gone != nil && r.gone(d) }

func (r *running) device(name string) *runningDevice {
	i := slices.IndexFunc(r.devices, func(d runningDevice) bool { return d.conf.Name == name })
	if i < 0 {
		return nil
	}
	return &r.devices[i]
}

// fresh checks a device that comes.
func (p *reloadPlan) fresh(s *step) error {
	if slices.Contains(p.from.waiting, s.name) {
		return fmt.Errorf("a dead server left it, and it waits to be taken over: that is done when the server starts (ublk-linear ls --orphans): %w", unix.EBUSY)
	}
	for i := range p.from.devices {
		if old := &p.from.devices[i]; s.conf.ID >= 0 && old.spec.ID == s.conf.ID && p.file.Device(old.conf.Name) != nil {
			return fmt.Errorf("id %d is that of device %s, and stays so: %w", s.conf.ID, old.conf.Name, unix.EEXIST)
		}
	}
	return nil
}

// change checks a device that stays.
func (p *reloadPlan) change(s *step, r *ReloadRequest) []error {
	live := &s.old.spec
	errs := fixed(p.from.file, p.file, s.old.conf, s.conf, live, &s.spec)
	s.spec.Queues, s.spec.Depth, s.spec.MaxIO, s.spec.DataPath = live.Queues, live.Depth, live.MaxIO, live.DataPath
	errs = append(errs, stricter(live, &s.spec)...)
	was, now := s.old.table.Sectors(), s.table.Sectors()
	if was == now {
		return errs
	}
	if !p.from.resize {
		errs = append(errs, fmt.Errorf("it has %d sectors and cannot become %d: this kernel's ublk cannot resize a device (UBLK_CMD_UPDATE_SIZE, Linux 6.16)", was, now))
	}
	if block := uint64(live.Limits.LogicalBlock) / 512; block > 0 && now%block != 0 {
		errs = append(errs, fmt.Errorf("%d sectors are not whole logical blocks of %d bytes, with which it was announced", now, live.Limits.LogicalBlock))
	}
	if now > was {
		return errs
	}
	if !r.Shrink {
		errs = append(errs, fmt.Errorf("it would shrink from %d to %d sectors: what lies behind is lost to its users (--shrink allows it)", was, now))
	}
	if err := p.from.inUse(s.name, s.old.node); err != nil {
		errs = append(errs, fmt.Errorf("it would shrink, and %w", err))
	}
	return errs
}

// compare says what is different.
func (p *reloadPlan) compare(s *step) {
	d := DeviceDiff{Name: s.name, Change: Unchanged, Gone: []Span{}, Come: []Span{}, Settings: []string{}, MovedExact: true}
	before, after := DiskName(p.from.file), DiskName(p.file)
	switch {
	case s.old == nil:
		d.Change, d.NewSectors = Added, s.table.Sectors()
		for i := range s.table.Spans() {
			d.Come = append(d.Come, side{s.table, after}.line(i))
		}
	case s.conf == nil:
		d.Change, d.OldSectors = Removed, s.old.table.Sectors()
		for i := range s.old.table.Spans() {
			d.Gone = append(d.Gone, side{s.old.table, before}.line(i))
		}
	default:
		d.OldSectors, d.NewSectors = s.old.table.Sectors(), s.table.Sectors()
		gone, come := diffSpans(side{s.old.table, before}, side{s.table, after})
		d.Gone, d.Come = append(d.Gone, gone...), append(d.Come, come...)
		d.Moved, d.MovedExact = moved(s.old.table, s.table)
		d.Settings = append(d.Settings, settings(s.old.conf, s.conf)...)
		if len(d.Gone)+len(d.Come)+len(d.Settings) > 0 {
			d.Change = Changed
		}
	}
	s.diff = d
}

// settings are the keys of a device, but its table, that the new file says otherwise.
func settings(was, now *config.Device) (out []string) {
	a, b := reflect.ValueOf(*was), reflect.ValueOf(*now)
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		if x, y := a.Field(i).Interface(), b.Field(i).Interface(); !slices.Contains(notSettings, name) && !reflect.DeepEqual(x, y) {
			out = append(out, fmt.Sprintf("%s: %v, now %v", key(name), x, y))
		}
	}
	return out
}

// notSettings are the fields of config.Device that say what it is and where that stands.
var notSettings = []string{"Name", "Pos", "Segments", "FromTable"}

// key is a field's name as the file has it: MaxIO is max_io.
func key(field string) string {
	var b strings.Builder
	for i, r := range field {
		if unicode.IsUpper(r) && i > 0 && !unicode.IsUpper(rune(field[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// remaps says whether requests of a device that stays go elsewhere, or are said in other words.
func (s *step) remaps() bool {
	return s.old != nil && s.conf != nil && len(s.diff.Gone)+len(s.diff.Come) > 0
}

// touched are the devices whose copies must have ended: those that go, and those that are mapped otherwise.
func (p *reloadPlan) touched() (names []string) {
	for i := range p.steps {
		if s := &p.steps[i]; s.remaps() || s.conf == nil {
			names = append(names, s.name)
		}
	}
	return names
}

// result is the plan for its reader.
func (p *reloadPlan) result(check bool) *ReloadResult {
	out := &ReloadResult{Schema: Schema, Config: p.file.Path, Check: check, Devices: []DeviceDiff{}, Disks: p.disks, Copies: []CopyInfo{}, Changes: len(p.disks)}
	for i := range p.steps {
		d := p.steps[i].diff
		out.Devices = append(out.Devices, d)
		if d.Change != Unchanged {
			out.Changes++
		}
	}
	return out
}

// loadFile reads and parses the file again. Errors: fs.ErrNotExist, a ReloadError.
func loadFile(path string) (*config.File, error) {
	f, ps, err := config.Load(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var wrong ReloadError
	wrong.add(err)
	bad := ps.Errors()
	for i := range bad {
		wrong.add(bad[i : i+1])
	}
	return f, wrong.or()
}
