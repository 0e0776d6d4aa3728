package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/ublk"
)

// fakeLive is what a device is for its users.
type fakeLive struct {
	w         *fakeWorld
	name      string
	table     string // its lines
	length    uint64 // of the table
	sectors   uint64 // that the driver knows
	fresh     bool   // has the disks of the new file
	has       bool   // has its new table
	suspended int
	frozen    int
	silent    int // how many resizes are not answered
}

// fakeWorld is a server's devices, and a fault: the call that fails, counted from 1; and, if broken, some of those behind it
// that take something back.
type fakeWorld struct {
	t       *rapid.T
	devices map[string]*fakeLive
	stopped map[string]*fakeLive
	noted   map[string]bool      // the devices whose new tables the state has; nil: none, of others neither
	names   []string             // of the devices of the new file
	torn    bool                 // the state could not be put right
	lengths map[string][2]uint64 // of the old and the new tables of devices that change
	isDone  bool
	calls   int
	fault   int
	broken  bool
	failed  bool
	said    []string
}

var errFault = errors.New("fault")

// adoptable fails when a server that died now would leave a device that is longer than the table that is written down: the
// next one would find neither the old nor the new.
func (w *fakeWorld) adoptable() {
	for name, l := range w.lengths {
		if d, written := w.devices[name], l[0]; d != nil {
			if w.noted[name] {
				written = l[1]
			}
			if d.sectors > written && !w.torn {
				w.t.Fatalf("%s has %d sectors, and its table as written down %d: %v", name, d.sectors, written, w.said)
			}
		}
	}
}

func (w *fakeWorld) call(format string, a ...any) error {
	w.said = append(w.said, fmt.Sprintf(format, a...))
	w.adoptable()
	if w.failed {
		if w.broken && rapid.Bool().Draw(w.t, "breaks") {
			return errFault
		}
		return nil
	}
	if w.calls++; w.calls == w.fault {
		w.failed = true
		return errFault
	}
	return nil
}

func (d *fakeLive) Suspend(context.Context) (func(), error) {
	if err := d.w.call("suspend %s", d.name); err != nil {
		return nil, err
	}
	if d.frozen == 0 {
		d.w.t.Fatal("suspended while copies may come")
	}
	d.suspended++
	return func() { d.suspended-- }, nil
}

func (d *fakeLive) Swap(_ context.Context, m ublk.Mapper, disks []ublk.Backing) error {
	if err := d.w.call("swap %s", d.name); err != nil {
		return err
	}
	if m.Sectors() < d.sectors {
		return fmt.Errorf("%s has %d sectors, the table %d", d.name, d.sectors, m.Sectors())
	}
	for _, x := range d.w.devices {
		if x.name[0] == 'c' && (x.suspended == 0 || x.frozen == 0) {
			d.w.t.Fatalf("%s is swapped while %s goes on: %v", d.name, x.name, d.w.said)
		}
		if x.name[0] == 'g' {
			d.w.t.Fatalf("%s is swapped while %s is there, which goes", d.name, x.name)
		}
	}
	d.table, d.length, d.fresh = m.(*remap.Table).Lines(slot), m.Sectors(), len(disks) == 2
	d.has = d.fresh
	return nil
}

func (d *fakeLive) Resize(_ context.Context, sectors uint64) error {
	if err := d.w.call("resize %s", d.name); err != nil {
		return err
	}
	if sectors > d.length {
		return fmt.Errorf("%s: table of %d sectors, not %d", d.name, d.length, sectors)
	}
	if d.silent > 0 { // the device counts as the larger
		d.silent--
		d.sectors = max(d.sectors, sectors)
		return ublk.ErrTimeout
	}
	d.sectors = sectors
	return nil
}

func (w *fakeWorld) put(name string, t *remap.Table, fresh bool) {
	w.devices[name] = &fakeLive{w: w, name: name, table: t.Lines(slot), length: t.Sectors(), sectors: t.Sectors(), fresh: fresh}
}

func (w *fakeWorld) stop(_ context.Context, s *step) error {
	err := w.call("stop %s", s.name)
	if err == nil {
		w.stopped[s.name] = w.devices[s.name]
		delete(w.devices, s.name)
	}
	return err
}

func (w *fakeWorld) restore(_ context.Context, s *step) error {
	if err := w.call("restore %s", s.name); err != nil {
		return err
	}
	if x := w.stopped[s.name]; x != nil {
		w.devices[s.name] = x
	}
	return nil
}

func (w *fakeWorld) start(_ context.Context, s *step) error {
	err := w.call("start %s", s.name)
	if err == nil {
		w.put(s.name, s.table, true)
		w.devices[s.name].has = true
	}
	return err
}

func (w *fakeWorld) remove(_ context.Context, s *step) error {
	err := w.call("remove %s", s.name)
	if err == nil {
		delete(w.devices, s.name)
	}
	return err
}

func (w *fakeWorld) live(s *step) live { return w.devices[s.name] }

func (w *fakeWorld) freeze(_ context.Context, s *step) (func(), error) {
	if err := w.call("freeze %s", s.name); err != nil {
		return nil, err
	}
	d := w.devices[s.name]
	d.frozen++
	return func() { d.frozen-- }, nil
}

func (w *fakeWorld) flush(s *step) error { return w.call("flush %s", s.name) }

func (w *fakeWorld) note(fresh bool, kept map[string]bool) error {
	err := w.call("note %v, kept %v", fresh, kept)
	if err == nil || fresh { // one that failed may be written, or not
		w.noted = map[string]bool{}
		for _, name := range w.names {
			w.noted[name] = fresh || kept[name]
		}
	}
	w.torn = err != nil && !fresh
	return err
}

func (w *fakeWorld) backings(fresh bool) []ublk.Backing {
	if fresh {
		return make([]ublk.Backing, 2)
	}
	return make([]ublk.Backing, 1)
}

func (w *fakeWorld) done() { w.isDone = true }

// served is the world for its users, by name.
func (w *fakeWorld) served() map[string]string {
	out := map[string]string{}
	for _, d := range w.devices {
		out[d.name] = fmt.Sprintf("%d sectors, new disks %v: %s", d.sectors, d.fresh, d.table)
	}
	return out
}

// TestApplyAllOrNothing: whatever is asked for, and whichever call fails, all devices are as the new file has them, or all
// are as they were; nothing stays suspended, and the state says the same. When what was done cannot be taken back either, the
// error says what is so.
func TestApplyAllOrNothing(t *testing.T) {
	seen := map[string]bool{}
	check := func(t *rapid.T) {
		w := &fakeWorld{t: t, devices: map[string]*fakeLive{}, stopped: map[string]*fakeLive{}, lengths: map[string][2]uint64{}, fault: rapid.IntRange(0, 25).Draw(t, "fault"), broken: rapid.IntRange(0, 4).Draw(t, "broken") == 0}
		f := &config.File{Disks: []*config.Disk{{Name: "d0"}, {Name: "d1"}}}
		p := &reloadPlan{from: &running{file: f}, file: f}
		add := func(name string, old, now *remap.Table) {
			s := step{name: name, table: now}
			if old != nil {
				s.old = &runningDevice{conf: &config.Device{Name: name}, table: old}
				w.put(name, old, false)
			}
			if now != nil {
				s.conf = &config.Device{Name: name}
			}
			p.compare(&s)
			p.steps = append(p.steps, s)
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "changed") {
			a, b := drawTable(t, "old"), drawTable(t, "new")
			for a.Lines(slot) == b.Lines(slot) {
				b = drawTable(t, "new")
			}
			add(fmt.Sprint("c", i), a, b)
			w.lengths[fmt.Sprint("c", i)] = [2]uint64{a.Sectors(), b.Sectors()}
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "come") {
			add(fmt.Sprint("n", i), nil, drawTable(t, "new"))
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "same") {
			x := drawTable(t, "same")
			add(fmt.Sprint("s", i), x, x)
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "go") {
			add(fmt.Sprint("g", i), drawTable(t, "old"), nil)
		}
		for i := range p.steps {
			if p.steps[i].conf != nil {
				w.names = append(w.names, p.steps[i].name)
			}
		}
		before := w.served()
		after := map[string]string{}
		for i := range p.steps {
			if s := &p.steps[i]; s.conf != nil {
				after[s.name] = fmt.Sprintf("%d sectors, new disks %v: %s", s.table.Sectors(), s.old == nil || s.remaps(), s.table.Lines(slot))
			}
		}
		_, err := (&applier{plan: p, out: w}).apply(t.Context())
		for _, d := range w.devices {
			if d.suspended != 0 || d.frozen != 0 {
				t.Fatalf("%s stays suspended: %v", d.name, w.said)
			}
		}
		want, what := after, "applied"
		mixed := (*MixedError)(nil)
		switch {
		case errors.As(err, &mixed):
			if !w.broken || len(mixed.Not) == 0 || !errors.Is(err, errFault) {
				t.Fatal(err)
			}
			said := strings.Join(mixed.Not, "\n")
			for name, is := range w.served() {
				if name[0] == 'c' && is != before[name] && !strings.Contains(said, "device "+name+" ") {
					t.Fatalf("%s is %s, and nobody says so: %v", name, is, err)
				}
			}
			both := map[bool]bool{}
			for name, d := range w.devices {
				if d.has != w.noted[name] && name[0] != 'g' && !w.torn {
					t.Fatalf("the state has the new table of %s %v, and the device %v: %v", name, w.noted[name], d.has, w.said)
				}
				both[d.has] = both[d.has] || name[0] == 'c'
			}
			if w.torn != strings.Contains(said, "the state") {
				t.Fatalf("the state is not what it should be %v: %v", w.torn, err)
			}
			seen["mixed"] = true
			if both[true] && both[false] && !w.torn {
				seen["mixed, one device with the old table and one with the new"] = true
			}
			return
		case err != nil:
			want, what = before, "taken back"
			if !w.failed || w.isDone {
				t.Fatal(err, w.isDone)
			}
			word, _, _ := strings.Cut(w.said[w.calls-1], " ")
			seen["failed "+word] = true
			if word == "resize" && slices.ContainsFunc(w.said[:w.calls], func(x string) bool { return strings.HasPrefix(x, "start ") }) {
				seen["failed to grow behind a start"] = true
			}
		default:
			if w.failed || !w.isDone {
				t.Fatal("it failed, and nobody says so", w.said)
			}
		}
		seen[what] = true
		if d := cmp.Diff(want, w.served()); d != "" {
			t.Fatalf("not %s (%v):\n%s\n%v", what, err, d, w.said)
		}
		for _, name := range w.names {
			if w.noted[name] != (err == nil) {
				t.Fatalf("the state is of the new file: %v, %v", w.noted, err)
			}
		}
	}
	for _, all := 0, []string{"mixed", "mixed, one device with the old table and one with the new", "applied", "taken back", "failed stop", "failed freeze", "failed suspend", "failed flush", "failed note", "failed swap", "failed start", "failed resize", "failed to grow behind a start"}; ; {
		rapid.Check(t, check)
		missing := false
		for _, x := range all {
			missing = missing || !seen[x]
		}
		if !missing || t.Failed() {
			return
		}
	}
}

// TestApplyUnanswered: a device that may have grown is made as long as it was, and gets its old table back; when the driver
// does not answer that either, it keeps the table that serves both lengths, which is the one that stays written down.
func TestApplyUnanswered(t *testing.T) {
	tables := func(sectors string) *remap.Table {
		ts, err := Tables(load(t, "version = 1\n[disk.a]\nmemory = \"1MiB\"\n[device.c]\ntable = \"0 "+sectors+" linear a 0\"\n"))
		if err != nil {
			t.Fatal(err)
		}
		return ts[0]
	}
	old, now := tables("512"), tables("1024")
	for silent, noted := range map[int]bool{1: false, 2: true} {
		rapid.Check(t, func(r *rapid.T) { // for the world's sake
			w := &fakeWorld{t: r, devices: map[string]*fakeLive{}, stopped: map[string]*fakeLive{}, fault: -1, names: []string{"c"}}
			w.put("c", old, false)
			d := w.devices["c"]
			d.silent = silent
			f := &config.File{Disks: []*config.Disk{{Name: "a"}}}
			s := step{name: "c", table: now, conf: &config.Device{Name: "c"}, old: &runningDevice{conf: &config.Device{Name: "c"}, table: old}}
			p := &reloadPlan{from: &running{file: f}, file: f}
			p.compare(&s)
			p.steps = append(p.steps, s)
			_, err := (&applier{plan: p, out: w}).apply(t.Context())
			mixed := (*MixedError)(nil)
			if !errors.Is(err, ublk.ErrTimeout) || errors.As(err, &mixed) != noted || w.isDone {
				r.Fatal(err)
			}
			if noted && (d.length != 1024 || len(mixed.Not) != 2) || !noted && (d.length != 512 || d.sectors != 512 || d.fresh) {
				r.Fatalf("%+v, %v", d, err)
			}
			if w.noted["c"] != noted {
				r.Fatalf("the state has the new table %v, the device %v", w.noted, noted)
			}
		})
	}
}
