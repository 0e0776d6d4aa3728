package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/ublk"
)

// bed is a file that runs, as far as that goes without devices: its disks are open.
type bed struct {
	t    testing.TB
	path string
	*running
}

// runFile opens the disks of a file in a folder of its own.
func runFile(t testing.TB, text string) *bed {
	t.Helper()
	b := &bed{t: t, path: filepath.Join(t.TempDir(), "v.toml")}
	f := b.write(text)
	ds, err := openDisks(t.Context(), f, &disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b.running = &running{file: f, disks: ds, resize: true, options: &disk.Options{}, links: links(t.TempDir()), inUse: func(string, string) error { return nil }}
	t.Cleanup(func() { b.disks.close() })
	tables, err := Tables(f)
	if err != nil {
		t.Fatal(err)
	}
	for i, conf := range f.Devices {
		l, err := ds.stack(tables[i], ds.bottoms(f))
		if err != nil {
			t.Fatal(err)
		}
		spec, err := deviceSpec(f, conf, tables[i], l, 0)
		if err != nil {
			t.Fatal(err)
		}
		if spec.ID < 0 {
			spec.ID = i
		}
		spec.Depth, spec.MaxIO = 128, 512<<10
		b.devices = append(b.devices, runningDevice{conf, tables[i], spec, fmt.Sprintf("/dev/nosuch%d", i)})
	}
	return b
}

// write changes the file, and reads it.
func (b *bed) write(text string) *config.File {
	b.t.Helper()
	if err := os.WriteFile(b.path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	f, err := loadFile(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

// noCreate leaves the sizes of the disks to the files that are there.
func noCreate(text string) string { return strings.ReplaceAll(text, "create = \"1MiB\"\n", "") }

const bedDisks = `version = 1
[disk.a]
file = "a.img"
create = "1MiB"
[disk.b]
file = "b.img"
create = "1MiB"
`

// bedFile is a file of two disks and the devices given as name, table, and so on.
func bedFile(devices ...string) string {
	out := bedDisks
	for i := 0; i < len(devices); i += 2 {
		out += fmt.Sprintf("[device.%s]\ntable = \"\"\"\n%s\n\"\"\"\n", devices[i], devices[i+1])
	}
	return out
}

// TestReloadRefused: all that is wrong is found, all of it at once, and nothing is opened or made.
func TestReloadRefused(t *testing.T) {
	old := bedFile("data", "0 1024 linear a 0", "side", "0 512 linear b 0")
	busy := fmt.Errorf("somebody has it: %w", unix.EBUSY)
	for _, c := range []struct {
		name, file string
		change     func(*bed, *ReloadRequest)
		want       []string // in the messages, each in one of its own
		busy       bool
	}{
		{"read-only", strings.Replace(old, "[device.data]", "[device.data]\nread_only = true", 1), nil, []string{"device data: read_only is false"}, false},
		{"many", noCreate(bedFile("data", "0 2048 linear a 0\n2048 104 linear b 0", "more", "0 16 linear b 2040", "third", "0 16 linear a 2048")), func(b *bed, _ *ReloadRequest) {
			b.resize, b.inUse = false, func(string, string) error { return busy }
		},
			[]string{"segment 1 of device \"more\" ends 4KiB past the end of disk \"b\"", "segment 1 of device \"third\" is at the end of disk \"a\"", "1024 sectors and cannot become 2152"}, false},
		{"shrink", bedFile("data", "0 1016 linear a 0", "side", "0 512 linear b 0"), nil, []string{"device data: it would shrink from 1024 to 1016 sectors"}, false},
		{"shrink what is used", bedFile("data", "0 1016 linear a 0", "side", "0 512 linear b 0"), func(b *bed, r *ReloadRequest) { r.Shrink, b.inUse = true, func(string, string) error { return busy } },
			[]string{"device data: it would shrink, and somebody has it"}, true},
		{"no resize", bedFile("data", "0 1032 linear a 0", "side", "0 512 linear b 0"), func(b *bed, _ *ReloadRequest) { b.resize = false }, []string{"device data: it has 1024 sectors and cannot become 1032: this kernel"}, false},
		{"goes, used", bedFile("data", "0 1024 linear a 0"), func(b *bed, _ *ReloadRequest) { b.inUse = func(string, string) error { return busy } }, []string{"somebody has it"}, true},
		{"declared", strings.Replace(old, "file = \"a.img\"\ncreate = \"1MiB\"", "size = \"1MiB\"", 1), nil, []string{"disk a is only declared"}, false},
		{"not there", strings.Replace(old, "file = \"a.img\"\ncreate = \"1MiB\"", "file = \"nosuch.img\"", 1), nil, []string{"v.toml:2:7: disk a: "}, false},
		{"another name", strings.ReplaceAll(strings.ReplaceAll(old, "[disk.a]", "[disk.z]"), "linear a", "linear z"), nil, []string{"which the server has open as disk a: a disk cannot get another name"}, false},
		{"replaced", bedFile("data", "0 1024 linear a 8", "side", "0 512 linear b 0"), func(b *bed, _ *ReloadRequest) {
			a := filepath.Join(filepath.Dir(b.path), "a.img")
			writeFile(b.t.(*testing.T), a+".new", strings.Repeat("x", 1<<20))
			if err := os.Rename(a+".new", a); err != nil {
				b.t.Fatal(err)
			}
		}, []string{"disk a is another one than the server has open"}, false},
		{"twice", strings.Replace(old, "[device.data]", "[disk.z]\nfile = \"link.img\"\n[device.z]\ntable = \"0 8 linear z 1024\"\n[device.data]", 1), func(b *bed, _ *ReloadRequest) {
			if err := os.Symlink("a.img", filepath.Join(filepath.Dir(b.path), "link.img")); err != nil {
				b.t.Fatal(err)
			}
		}, []string{"which the server has open as disk a"}, false},
		{"new ones twice", strings.Replace(old, "[device.data]", "[disk.y]\nfile = \"y.img\"\n[disk.z]\nfile = \"link.img\"\n[device.z]\ntable = \"0 8 linear z 0\\n8 8 linear y 8\"\n[device.data]", 1), func(b *bed, _ *ReloadRequest) {
			writeFile(b.t.(*testing.T), filepath.Join(filepath.Dir(b.path), "y.img"), strings.Repeat("x", 1<<16))
			if err := os.Symlink("y.img", filepath.Join(filepath.Dir(b.path), "link.img")); err != nil {
				b.t.Fatal(err)
			}
		}, []string{"are one file"}, false},
		{"id", old + "[device.more]\nid = 1\ntable = \"0 8 linear a 1024\"\n", nil, []string{"device more: id 1 is that of device side, and stays so"}, false},
		{"waits", old + "[device.more]\ntable = \"0 8 linear a 1024\"\n", func(b *bed, _ *ReloadRequest) { b.waiting = []string{"more"} }, []string{"device more: a dead server left it"}, true},
		{"link", old + "[device.more]\ntable = \"0 8 linear a 1024\"\n", func(b *bed, _ *ReloadRequest) {
			if err := os.Symlink("../null", b.links.path("more")); err != nil {
				b.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(filepath.Dir(string(b.links)), "null"), nil, 0o600); err != nil {
				b.t.Fatal(err)
			}
		}, []string{"is there and leads to"}, true},
		{"announced", strings.Replace(old, "[disk.a]", "[disk.a]\nlimits = { logical_block = 4096, volatile_cache = true }", 1), nil, []string{"logical_block_size: the device was announced with 512, and the new table needs 4096"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := runFile(t, old)
			r := &ReloadRequest{}
			f := b.write(c.file)
			if c.change != nil {
				c.change(b, r)
			}
			before := entries(t, filepath.Dir(b.path))
			_, err := planReload(b.running, f, r)
			e := (*ReloadError)(nil)
			if !errors.As(err, &e) {
				t.Fatalf("%v", err)
			}
			if errors.Is(err, unix.EBUSY) != c.busy || errors.Is(err, ErrReload) == c.busy {
				t.Errorf("busy %v: %v", errors.Is(err, unix.EBUSY), err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v\nhas no %q", err, w)
				}
			}
			if now := entries(t, filepath.Dir(b.path)); now != before {
				t.Errorf("files %s, were %s", now, before)
			}
		})
	}
}

func entries(t testing.TB, dir string) string {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(es)
}

// TestReloadAllAtOnce: problems of several kinds are told together.
func TestReloadAllAtOnce(t *testing.T) {
	b := runFile(t, bedFile("data", "0 1024 linear a 0", "side", "0 512 linear b 0"))
	b.resize = false
	b.inUse = func(name, _ string) error { return fmt.Errorf("device %s is mounted: %w", name, unix.EBUSY) }
	f := b.write(strings.Replace(bedFile("data", "0 1032 linear a 0"), "[device.data]", "[device.data]\ndepth = 3\non_crash = \"queue\"", 1))
	_, err := planReload(b.running, f, &ReloadRequest{})
	for _, w := range []string{"depth is 128, and cannot become 3", "on_crash is reissue", "1024 sectors and cannot become 1032", "device side is mounted"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%v\nhas no %q", err, w)
		}
	}
	if !errors.Is(err, ErrReload) {
		t.Error("not a file that is wrong")
	}
}

// TestReloadPlanGone: a disk that has vanished stays where it is, and keeps no other device from being changed.
func TestReloadPlanGone(t *testing.T) {
	b := runFile(t, bedFile("data", "0 64 linear a 0", "side", "0 64 linear b 0"))
	path := filepath.Join(filepath.Dir(b.path), "a.img")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	f := b.write(noCreate(bedFile("data", "0 64 linear a 0", "side", "0 32 linear b 0\n32 32 linear b 64")))
	if _, err := planReload(b.running, f, &ReloadRequest{}); !errors.Is(err, ErrReload) {
		t.Errorf("a disk that is not there, and is not known to be looked for: %v", err)
	}
	b.gone = func(d *disk.Disk) bool { return d == b.disks[0] }
	p, err := planReload(b.running, f, &ReloadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if p.seats[0].open != b.disks[0] || fmt.Sprint(p.remapped()) != "[side]" || len(p.disks) != 0 {
		t.Errorf("disk %v, remapped %v, disks %v", p.seats[0].open, p.remapped(), p.disks)
	}
	f = b.write(noCreate(strings.Replace(bedFile("data", "0 64 linear a 0"), `"a.img"`, `"c.img"`, 1)))
	if _, err := planReload(b.running, f, &ReloadRequest{}); !errors.Is(err, ErrReload) {
		t.Errorf("its name for another file: %v", err)
	}
}

// TestNoteMixed: when some devices keep their new table, the state names for each the one that it has, and of two disks by one
// name each device has its own.
func TestNoteMixed(t *testing.T) {
	b := runFile(t, bedFile("data", "0 64 linear a 0", "side", "0 64 linear a 64"))
	s := &Server{inst: instance(t, "v.toml", t.TempDir()), file: b.file, disks: b.disks, log: slog.New(slog.DiscardHandler)}
	for _, d := range b.devices {
		s.devices = append(s.devices, &device{conf: d.conf, table: d.table, dev: &ublk.Device{}})
	}
	f := b.write(strings.Replace(bedFile("data", "0 64 linear a 128", "side", "0 64 linear b 0"), `"a.img"`, `"c.img"`, 1))
	p, err := planReload(b.running, f, &ReloadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := p.seats.openNew(t.Context(), f, b.openOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closeAll(opened) })
	if err := p.fill(f, &ReloadRequest{}); err != nil {
		t.Fatal(err)
	}
	c := newServerChanges(s, p)
	for _, x := range []struct {
		fresh      bool
		kept       string
		data, side string
		disks      string
	}{
		{true, "", "a 128", "b 0", "[a c.img b b.img]"},
		{false, "", "a 0", "a 64", "[a a.img]"},
		{false, "data", "a 128", "a (old) 64", "[a (old) a.img a c.img]"},
		{false, "side", "a (old) 0", "b 0", "[a (old) a.img b b.img]"},
		{false, "data side", "a 128", "b 0", "[a c.img b b.img]"},
	} {
		kept := map[string]bool{}
		for _, k := range strings.Fields(x.kept) {
			kept[k] = true
		}
		if err := c.note(x.fresh, kept); err != nil {
			t.Fatal(err)
		}
		st := s.snapshot()
		got := map[string]string{}
		for _, d := range st.Devices {
			got[d.Name] = strings.TrimSpace(strings.TrimPrefix(d.Table, "0 64 linear "))
		}
		var on []string
		for _, d := range st.Disks {
			on = append(on, d.Name+" "+filepath.Base(d.Node))
		}
		slices.Sort(on)
		if got["data"] != x.data || got["side"] != x.side || fmt.Sprint(on) != x.disks {
			t.Errorf("%v, kept %q: %v on %v", x.fresh, x.kept, got, on)
		}
	}
}

// TestLoadFile: a file that cannot be read is nothing to reload, with every problem of its own.
func TestLoadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.toml")
	if _, err := loadFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	writeFile(t, path, "version = 1\n[device.x]\nidd = 3\nqueue = 1\ntable = \"0 8 linear nosuch 0\"\n")
	_, err := loadFile(path)
	e := (*ReloadError)(nil)
	if !errors.As(err, &e) || len(e.Invalid) < 3 || !strings.HasPrefix(e.Invalid[0].Error(), path+":3:1: unknown key idd") {
		t.Errorf("%v", err)
	}
}

// TestReloadPlan: what stays keeps its place among the disks, whatever the new file looks like; what comes gets one that is
// free; and the devices are as the new file says.
func TestReloadPlan(t *testing.T) {
	b := runFile(t, bedFile("data", "0 1024 linear a 0", "side", "0 512 linear b 0"))
	// The disks are turned around, one goes, two come, and one of the devices stays as it is.
	text := strings.Replace(bedFile("new", "0 64 linear c 0", "side", "0 512 linear b 0", "data", "0 512 linear a 0\n512 512 linear c 64"), `[disk.a]
file = "a.img"
create = "1MiB"
[disk.b]`, `[disk.c]
file = "c.img"
create = "1MiB"
[disk.z]
memory = "1MiB"
[disk.a]
file = "a.img"
create = "2MiB"
[disk.b]`, 1)
	grow(t, filepath.Join(filepath.Dir(b.path), "a.img"), 2<<20)
	f := b.write(text)
	p, err := planReload(b.running, f, &ReloadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(b.path), "c.img")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("comparing made a file: %v", err)
	}
	opened, err := p.seats.openNew(t.Context(), f, b.openOptions())
	if err != nil || len(opened) != 1 {
		t.Fatal(opened, err)
	}
	defer opened[0].Close()
	if err := p.fill(f, &ReloadRequest{}); err != nil {
		t.Fatal(err)
	}
	now := p.seats.disks()
	if now[0] != b.disks[0] || now[1] != b.disks[1] {
		t.Error("disks have moved")
	}
	var said []string
	for _, s := range p.steps {
		said = append(said, fmt.Sprintf("%s %s %d %d %v %v %v", s.name, s.diff.Change, s.diff.NewSectors, s.diff.Moved, s.diff.Gone, s.diff.Come, s.remaps()))
	}
	want := []string{"new added 64 0 [] [0 64 linear c 0] false", "side unchanged 512 0 [] [] false", "data changed 1024 512 [0 1024 linear a 0] [0 512 linear a 0 512 512 linear c 64] true"}
	if fmt.Sprint(said) != fmt.Sprint(want) {
		t.Errorf("%q\nwant %q", said, want)
	}
	if got := fmt.Sprint(p.disks); !strings.Contains(got, `{a changed file "`) || !strings.Contains(got, "4096 sectors, were 2048") || !strings.Contains(got, `{c added file "`) || len(p.disks) != 2 {
		t.Errorf("disks %v", got)
	}
	if side := p.steps[1]; side.table.Lines(slot) != b.devices[1].table.Lines(slot) {
		t.Errorf("what stays maps %s, and the server %s", side.table.Lines(slot), b.devices[1].table.Lines(slot))
	}
	if got := p.touched(); fmt.Sprint(got) != "[data]" {
		t.Errorf("touched %v", got)
	}
}

func grow(t testing.TB, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}

// TestReloadPlanRandom: of any two files, what the plan makes of the second is what the second says, and what did not change is
// mapped by the same numbers as before.
func TestReloadPlanRandom(t *testing.T) {
	stays, goes, holes := false, false, false
	run := func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "ul")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "v.toml")
		draw := func() *config.File {
			text := "version = 1\n"
			names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 1, 5, rapid.ID).Draw(rt, "disks")
			for _, n := range names {
				text += fmt.Sprintf("[disk.%s]\nfile = %q\ncreate = \"1MiB\"\n", n, n+".img")
			}
			for i := range rapid.IntRange(1, 3).Draw(rt, "devices") {
				d := rapid.SampledFrom([]string{"v0", "v1", "v2", "v3"}).Draw(rt, "device")
				if strings.Contains(text, "[device."+d+"]") {
					continue
				}
				text += fmt.Sprintf("[device.%s]\ntable = \"\"\"\n0 64 linear %s %d\n64 64 linear %s %d\n\"\"\"\n", d, rapid.SampledFrom(names).Draw(rt, "disk"), i*128, rapid.SampledFrom(names).Draw(rt, "disk"), i*128+64)
			}
			writeFile(t, path, text)
			f, err := loadFile(path)
			if err != nil {
				rt.Fatal(err, text)
			}
			return f
		}
		f := draw()
		ds, err := openDisks(t.Context(), f, &disk.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		r := &running{file: f, disks: ds, resize: true, options: &disk.Options{}, links: links(dir), inUse: func(string, string) error { return nil }}
		defer func() { r.disks.close() }()
		tables, err := Tables(f)
		if err != nil {
			rt.Fatal(err)
		}
		for i := range tables {
			l, err := ds.stack(tables[i], ds.bottoms(f))
			spec, err2 := deviceSpec(f, f.Devices[i], tables[i], l, 0)
			if err := errors.Join(err, err2); err != nil {
				rt.Fatal(err)
			}
			spec.ID = i
			r.devices = append(r.devices, runningDevice{f.Devices[i], tables[i], spec, "/dev/nosuch"})
		}
		for range 3 { // one behind the other: places are given again
			f := draw()
			want, err := Tables(f)
			if err != nil {
				rt.Fatal(err)
			}
			p, err := planReload(r, f, &ReloadRequest{})
			if err != nil {
				rt.Fatal(err)
			}
			if _, err := p.seats.openNew(t.Context(), f, r.options); err != nil {
				rt.Fatal(err)
			}
			if err := p.fill(f, &ReloadRequest{}); err != nil {
				rt.Fatal(err)
			}
			next := &running{file: p.file, disks: p.seats.disks(), resize: true, options: r.options, links: r.links, inUse: r.inUse}
			for i, conf := range f.Devices {
				s := &p.steps[i]
				if s.name != conf.Name || s.table.Lines(DiskName(p.file)) != want[i].Lines(DiskName(f)) {
					rt.Fatalf("%s is\n%s\nwant\n%s", s.name, s.table.Lines(DiskName(p.file)), want[i].Lines(DiskName(f)))
				}
				for _, k := range s.table.Disks() {
					if d := next.disks[k]; d == nil || d.FD() < 0 || d.Name() != p.file.Disks[k].Name {
						rt.Fatalf("%s: disk %d is not open, or another", s.name, k)
					}
				}
				if s.old != nil && !s.remaps() {
					stays = true
					if s.old.table.Lines(slot) != s.table.Lines(slot) {
						rt.Fatalf("%s does not change, and its numbers do", s.name)
					}
					for _, k := range s.table.Disks() {
						if next.disks[k] != r.disks[k] {
							rt.Fatalf("%s does not change, and its disk %d does", s.name, k)
						}
					}
				}
				next.devices = append(next.devices, runningDevice{s.conf, s.table, s.spec, "/dev/nosuch"})
			}
			for _, d := range unused(r.disks, next.disks) {
				goes = true
				_ = d.Close()
			}
			for _, d := range p.file.Disks {
				holes = holes || d.Name == ""
			}
			r = next
		}
	}
	for !stays || !goes || !holes {
		rapid.Check(t, run)
		if t.Failed() {
			return
		}
	}
}

// TestReloadKeptLength: a disk that has grown counts as what it is now, for the plan; for everybody else only when the reload
// is made.
func TestReloadKeptLength(t *testing.T) {
	b := runFile(t, bedFile("data", "0 1024 linear a 0"))
	grow(t, filepath.Join(filepath.Dir(b.path), "a.img"), 2<<20)
	f := b.write(noCreate(bedFile("data", "0 4000 linear a 0")))
	p, err := planReload(b.running, f, &ReloadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if n := b.disks[0].Sectors(); n != 2048 {
		t.Errorf("%d sectors before the reload is made", n)
	}
	c := newServerChanges(nil, p)
	if c.now.lengths[0] != 4096 || c.old.lengths[0] != 2048 {
		t.Errorf("lengths %v, were %v", c.now.lengths, c.old.lengths)
	}
}
