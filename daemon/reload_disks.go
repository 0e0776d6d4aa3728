package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// A disk keeps its place in the list, and so its number in every table and queue, for as long as it is open: devices that
// do not change are not touched by a reload, though they share the list with those that do. So the disks of a reloaded file
// stand in the order of the places, not of the file, and there may be places without a disk.

// maxDisks is how many places there are: target.Disk is 16 bits.
const maxDisks = 1 << 16

// seat is a disk of the new file.
type seat struct {
	conf   *config.Disk
	used   bool // some device lies on it
	spec   disk.Spec
	open   *disk.Disk // the running server has it; nil: it is to be opened, or not used
	info   disk.Info
	bottom limits.Bottom // without what the file says over it
}

// seating is the disks of a new file by their places. A place without a disk has the zero seat, with a conf that no name
// leads to.
type seating []seat

// errAt puts the place of a disk or a device in the file before an error.
func errAt(f *config.File, pos config.Pos, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s:%d:%d: %w", f.Path, pos.Line, pos.Col, err)
}

// sameSource says whether the file says the same of where a disk is.
func sameSource(a, b *config.Disk) bool {
	return a.Kind == b.Kind && a.Path == b.Path && maps.Equal(a.Match, b.Match) && a.File == b.File && (a.Kind != config.KindMemory || a.Memory == b.Memory)
}

// source says it.
func source(d *config.Disk) string {
	switch d.Kind {
	case config.KindPath:
		return "path " + strconv.Quote(d.Path)
	case config.KindFile:
		return "file " + strconv.Quote(d.File)
	case config.KindMemory:
		return fmt.Sprintf("memory %v", d.Memory)
	case config.KindMatch:
		var out []string
		for _, k := range slices.Sorted(maps.Keys(d.Match)) {
			out = append(out, k+" "+strconv.Quote(d.Match[k]))
		}
		return "match " + strings.Join(out, ", ")
	}
	return ""
}

// seatDisks finds a place for every disk of the new file, and looks at those that are not open yet. Nothing is opened. What
// is wrong with disks is in the ReloadError.
func seatDisks(from *running, f *config.File, wrong *ReloadError) (seating, *config.File) {
	have := from.disks
	used, written := users(f)
	out := make(seating, len(have), len(have)+len(f.Disks))
	var later []seat
	for _, d := range f.Disks {
		s := seat{conf: d, used: used[d.Name], spec: specOf(d, written[d.Name])}
		s.info.Name = d.Name
		at := -1
		if s.used {
			var err error
			if at, err = s.look(from); err != nil {
				wrong.add(errAt(f, d.Pos, err))
			}
		}
		if at >= 0 {
			out[at] = s
		} else {
			later = append(later, s)
		}
	}
	for i := range out { // what nobody has had open until now
		if out[i].conf == nil && have[i] == nil && len(later) > 0 {
			out[i], later = later[0], later[1:]
		}
	}
	out = append(out, later...)
	if len(out) > maxDisks {
		wrong.add(fmt.Errorf("%s: %d disks at once, with those that are in use until the new ones are, are more than %d", f.Path, len(out), maxDisks))
	}
	var infos []disk.Info
	seated := *f
	seated.Disks = nil
	for i := range out {
		if out[i].conf == nil {
			out[i].conf = &config.Disk{}
		}
		if out[i].used && out[i].info.Node != "" && out[i].conf.Kind != config.KindMemory {
			infos = append(infos, out[i].info)
		}
		seated.Disks = append(seated.Disks, out[i].conf)
	}
	wrong.add(disk.ApartInfos(infos))
	return out, &seated
}

// look finds the open disk that s is, and its place; -1 for one that is to be opened, which is looked at.
func (s *seat) look(from *running) (at int, err error) {
	old, have, o := from.file, from.disks, from.options
	if s.conf.Kind == config.KindDeclared {
		return -1, fmt.Errorf("disk %s is only declared (size = %v): it can be mapped and planned with, not served", s.conf.Name, s.conf.Declared)
	}
	mine := slices.IndexFunc(have, func(d *disk.Disk) bool { return d != nil && d.Name() == s.conf.Name })
	same := mine >= 0 && sameSource(old.Disks[mine], s.conf)
	if s.conf.Kind == config.KindMemory && same {
		return mine, s.keep(have[mine], o)
	}
	if same && from.isGone(have[mine]) { // what is at its place, if anything, the keeper judges
		s.open, s.info, s.bottom = have[mine], have[mine].Info(), have[mine].Bottom(o)
		return mine, nil
	}
	if s.info, s.bottom, err = disk.InspectLimits(s.spec, o); err != nil || s.conf.Kind == config.KindMemory {
		return -1, err
	}
	for i, d := range have {
		if d == nil {
			continue
		}
		its := d.Info()
		why := disk.ApartInfos([]disk.Info{its, s.info})
		switch {
		case why == nil:
		case its.Kind == disk.Block && its.Rdev != s.info.Rdev:
			return -1, fmt.Errorf("%w: both cannot be held, and %s is, until the reload is done: take its devices down first", why, d.Name())
		case i == mine:
			return i, s.keep(d, o)
		default:
			return -1, fmt.Errorf("disk %s is %s, which the server has open as disk %s: a disk cannot get another name while it is served", s.conf.Name, its.Node, d.Name())
		}
	}
	if same {
		return -1, fmt.Errorf("disk %s is another one than the server has open by that name and place: now it is %s, and was %s when it was opened", s.conf.Name, s.info.Node, have[mine].Node())
	}
	return -1, nil
}

// keep is s with an open disk. It may be longer by now than when it was opened.
func (s *seat) keep(d *disk.Disk, o *disk.Options) error {
	s.open, s.info, s.bottom = d, d.Info(), d.Bottom(o)
	n, err := d.Measure()
	if err != nil {
		return err
	}
	s.info.Sectors, s.bottom.Sectors = n, n
	if d.ReadOnly() && !s.spec.ReadOnly {
		return fmt.Errorf("disk %s is open for reading only, since only read-only devices used it: it cannot be written to while it is served", d.Name())
	}
	return nil
}

// openNew opens the disks that are not open. The error has all that fail, and then none stays open.
func (s seating) openNew(ctx context.Context, f *config.File, o *disk.Options) (opened []*disk.Disk, err error) {
	var wrong ReloadError
	for i := range s {
		x := &s[i]
		if !x.used || x.open != nil {
			continue
		}
		d, err := openDisk(ctx, x.spec, o)
		if err != nil {
			wrong.add(errAt(f, x.conf.Pos, err))
			continue
		}
		opened = append(opened, d)
		x.open, x.info, x.bottom = d, d.Info(), d.Bottom(o)
	}
	if err := wrong.or(); err != nil {
		return nil, errors.Join(err, closeAll(opened))
	}
	return opened, nil
}

func closeAll(ds []*disk.Disk) error {
	var errs []error
	for _, d := range ds {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// disks are the open disks.
func (s seating) disks() disks {
	out := make(disks, len(s))
	for i := range s {
		out[i] = s[i].open
	}
	return out
}

// infos is what is known of the disks that are used, by name.
func (s seating) infos() map[string]disk.Info {
	out := map[string]disk.Info{}
	for i := range s {
		if x := &s[i]; x.used {
			out[x.conf.Name] = x.info
		}
	}
	return out
}

// facts are those that config.Check asks for.
func (s seating) facts() map[string]config.Facts {
	out := map[string]config.Facts{}
	for i := range s {
		if x := &s[i]; x.used && x.info.Sectors != 0 {
			out[x.conf.Name] = config.Facts{Bytes: x.info.Sectors * 512, LogicalBlock: override(x.bottom.Limits, x.conf.Limits).LogicalBlock, ReadOnly: x.info.ReadOnly}
		}
	}
	return out
}

// bottoms are what the disks bring into stacking.
func (s seating) bottoms() []limits.Bottom {
	out := make([]limits.Bottom, len(s))
	for i := range s {
		out[i] = s[i].bottom
		out[i].Limits = override(out[i].Limits, s[i].conf.Limits)
	}
	return out
}

func (s seating) name(d target.Disk) string { return s[d].conf.Name }

// diff is what changes of the disks.
func (s seating) diff(old *config.File, have disks) []DiskDiff {
	out := []DiskDiff{}
	for i := range s {
		x := &s[i]
		if i < len(have) && have[i] != nil && (!x.used || x.open != have[i]) {
			out = append(out, DiskDiff{Name: have[i].Name(), Change: Removed, Source: source(old.Disks[i])})
		}
		switch {
		case !x.used:
		case i >= len(have) || have[i] == nil || x.open != have[i]:
			out = append(out, DiskDiff{Name: x.conf.Name, Change: Added, Source: source(x.conf)})
		default:
			if what := said(old.Disks[i], x.conf, have[i], x.info.Sectors); len(what) > 0 {
				out = append(out, DiskDiff{Name: x.conf.Name, Change: Changed, Source: source(x.conf), What: strings.Join(what, ", ")})
			}
		}
	}
	return out
}

// said is what is different of a disk that stays.
func said(was, now *config.Disk, d *disk.Disk, sectors uint64) (out []string) {
	if !sameSource(was, now) {
		out = append(out, "was "+source(was))
	}
	if !reflect.DeepEqual(was.Limits, now.Limits) {
		out = append(out, "limits")
	}
	if !reflect.DeepEqual(was.Copy, now.Copy) {
		out = append(out, "copy")
	}
	if sectors != d.Sectors() {
		out = append(out, fmt.Sprintf("%d sectors, were %d", sectors, d.Sectors()))
	}
	return out
}

// busyWith says that a device is in use, if it is.
func busyWith(name, node string) error {
	if hs := disk.Holders(node, &disk.Options{}); len(hs) > 0 {
		return fmt.Errorf("device %s: %w", name, &disk.BusyError{Node: node, Holders: hs})
	}
	return nil
}
