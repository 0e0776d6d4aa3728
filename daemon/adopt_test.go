package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/ublk"
)

const adoptTOML = `version = 1
[disk.a]
path = "/dev/disk/by-id/a"
[disk.b]
file = "/srv/b.img"
[device.data]
table = "0 8 linear a 8\n8 16 linear b 0"
[device.more]
id = 9
queues = 4
on_crash = "queue"
table = "0 24 linear b 64"
[device.new]
table = "0 8 linear a 64"
`

// world is a file, and what a dead server of it left.
type world struct {
	claims
	text  string // of the file
	disks map[string]diskRecord
}

func parse(t testing.TB, text string) (*config.File, []*remap.Table) {
	t.Helper()
	f, ps := config.Parse("/v.toml", []byte(text))
	if bad := ps.Errors(); len(bad) > 0 {
		t.Fatal(bad)
	}
	tables, err := Tables(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, tables
}

// newWorld is the devices data and more as orphans 7 and 9 of the file, and a device that nobody left.
func newWorld(t testing.TB) *world {
	t.Helper()
	f, tables := parse(t, adoptTOML)
	w := &world{text: adoptTOML, disks: map[string]diskRecord{
		"a": {Name: "a", Kind: "block", Node: "/dev/sda", Sectors: 4096, WWID: "eui.1", Rdev: 2048},
		"b": {Name: "b", Kind: "file", Node: "/srv/b.img", Sectors: 2048, Dev: 3, Inode: 4}}}
	st := &state{Schema: stateSchema, Config: "/v.toml", PID: 1, Disks: []diskRecord{w.disks["a"], w.disks["b"]}}
	w.claims = claims{file: f, tables: tables, state: st, look: func(d *config.Disk) (diskRecord, error) {
		k, ok := w.disks[d.Name]
		if !ok {
			return k, fmt.Errorf("disk %s: %w", d.Name, fs.ErrNotExist)
		}
		return k, nil
	}}
	for i, id := range []int{7, 9} {
		r := recordOf(f, f.Devices[i], tables[i])
		r.ID, r.Queues, r.Depth, r.MaxIO, r.LogicalBlock, r.PhysicalBlock = id, 2, 128, 524288, 512, 4096
		st.Devices = append(st.Devices, r)
		w.orphans = append(w.orphans, orphan{info: ublk.Info{ID: id, State: ublk.Quiesced, Queues: r.Queues, Depth: r.Depth, MaxIO: r.MaxIO, Sectors: r.Sectors,
			Flags: recoveries[r.OnCrash].Flags()}})
	}
	for i := range st.Devices {
		w.orphans[i].rec = &st.Devices[i]
	}
	return w
}

// since is one thing that is another than when the server died, and what is to be said of it.
type since struct {
	name string
	do   func(t testing.TB, w *world)
	want string
	more int // devices that it concerns besides one
}

func rewrite(from, to string) func(t testing.TB, w *world) {
	return func(t testing.TB, w *world) {
		w.text = strings.Replace(w.text, from, to, 1)
		w.file, w.tables = parse(t, w.text)
	}
}

var sinceThen = []since{
	{"id", rewrite("[device.data]\n", "[device.data]\nid = 3\n"), `device "data" waits for its server as /dev/ublkb7: id 7 → 3`, 0},
	{"policy", rewrite("[device.data]\n", "[device.data]\non_crash = \"fail\"\n"), "on_crash reissue → fail", 0},
	{"read-only", rewrite("[device.data]\n", "[device.data]\nread_only = true\n"), "read_only false → true", 0},
	{"queues", rewrite("queues = 4", "queues = 3"), `device "more" waits for its server as /dev/ublkb9: queues 2 → 3`, 0},
	{"depth", rewrite("[device.data]\n", "[device.data]\ndepth = 64\n"), "depth 128 → 64", 0},
	{"max_io", rewrite("[device.data]\n", "[device.data]\nmax_io = \"4KiB\"\n"), "max_io 524288 → 4096", 0},
	{"table", rewrite("linear a 8\\n", "linear a 16\\n"), `line 1 of the table was "0 8 linear a 8", is "0 8 linear a 16"`, 0},
	{"table's end", rewrite("0 24 linear b 64", "0 24 linear b 72"), `the table was "0 24 linear b 64", is "0 24 linear b 72"`, 0},
	{"disk", func(_ testing.TB, w *world) { w.with("a", func(d *diskRecord) { d.WWID = "eui.2" }) }, `disk a was "eui.1" (/dev/sda), is "eui.2" (/dev/sda)`, 0},
	{"file", func(_ testing.TB, w *world) { w.with("b", func(d *diskRecord) { d.Inode++ }) }, "disk b was the file /srv/b.img, is another one", 1},
	{"driver's size", func(_ testing.TB, w *world) { w.orphans[0].info.Sectors = 32 }, "32 sectors → 24", 0},
}

func (w *world) with(name string, f func(*diskRecord)) {
	d := w.disks[name]
	f(&d)
	w.disks[name] = d
}

// TestPlanSame: what is as it was is taken over, also when it has become better, or is said more loosely.
func TestPlanSame(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t testing.TB, w *world)
	}{
		{"same", func(testing.TB, *world) {}},
		{"another node", func(_ testing.TB, w *world) { w.with("a", func(d *diskRecord) { d.Node, d.Rdev = "/dev/sdq", 1 }) }},
		{"grown", func(_ testing.TB, w *world) { w.with("a", func(d *diskRecord) { d.Sectors++ }) }},
		{"the same queues, said", rewrite("[device.data]\n", "[device.data]\nqueues = 2\ndepth = 128\nid = 7\n")},
		{"queues not said any more", rewrite("queues = 4\n", "")},
		{"dying", func(_ testing.TB, w *world) { w.orphans[0].info.State = ublk.Live }},
		{"fail-io", func(_ testing.TB, w *world) { w.orphans[1].info.State = ublk.FailIO }},
		{"a reload that had grown it was broken off", func(_ testing.TB, w *world) { w.orphans[0].info.Sectors = 16 }},
		{"moved in the file", rewrite("[device.data]\ntable = \"0 8 linear a 8\\n8 16 linear b 0\"\n", "[device.aaa]\ntable = \"0 8 linear a 1024\"\n[device.data]\ntable = \"0 8 linear a 8\\n8 16 linear b 0\"\n")},
	} {
		w := newWorld(t)
		c.do(t, w)
		plan, ps := w.plan()
		got := map[string]int{}
		for at, o := range plan {
			got[w.file.Devices[at].Name] = o.info.ID
		}
		if d := cmp.Diff(map[string]int{"data": 7, "more": 9}, got); len(ps) > 0 || d != "" {
			t.Errorf("%s: %v %s", c.name, ps, d)
		}
	}
}

// TestPlanChanges: any set of changes is refused with a line for each, and none more.
func TestPlanChanges(t *testing.T) {
	all := make([]int, len(sinceThen))
	for i := range sinceThen {
		all[i] = i
		w := newWorld(t)
		sinceThen[i].do(t, w)
		if _, ps := w.plan(); len(ps) != 1+sinceThen[i].more || !strings.Contains(ps[0].Message, sinceThen[i].want) || ps[0].Hint == "" {
			t.Errorf("%s: %v, want %s", sinceThen[i].name, ps, sinceThen[i].want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, len(all), rapid.ID).Draw(rt, "changes")
		for _, i := range some {
			sinceThen[i].do(t, w)
		}
		_, ps := w.plan()
		text := ps.Error()
		n := 0
		for _, i := range some {
			n += 1 + sinceThen[i].more
			if !strings.Contains(text, sinceThen[i].want) {
				rt.Errorf("%s: not in\n%s", sinceThen[i].name, text)
			}
		}
		if len(ps) != n {
			rt.Errorf("%d changes, %d problems, want %d:\n%s", len(some), len(ps), n, text)
		}
		if !slices.IsSortedFunc(ps, func(a, b config.Problem) int { return a.Line - b.Line }) {
			rt.Errorf("not sorted:\n%s", text)
		}
	})
}

// TestPlanMissing: an orphan that the file does not have, one of which nothing is known, and an id that is taken.
func TestPlanMissing(t *testing.T) {
	w := newWorld(t)
	rewrite("[device.data]", "[device.dat]")(t, w)
	if _, ps := w.plan(); len(ps) != 1 || !strings.Contains(ps[0].Message, `device "data" waits for its server as /dev/ublkb7, and the file has it no more`) || !strings.Contains(ps[0].Hint, "remove --orphan data") {
		t.Error(ps)
	}
	w = newWorld(t)
	rewrite("[device.new]", "[device.new]\nid = 7")(t, w)
	if _, ps := w.plan(); len(ps) != 1 || !strings.Contains(ps[0].Message, `id 7 is that of device "data"`) {
		t.Error(ps)
	}
	w = newWorld(t)
	delete(w.disks, "a")
	if _, ps := w.plan(); len(ps) != 1 || !strings.Contains(ps[0].Message, "cannot be found") {
		t.Error(ps)
	}
	w = newWorld(t)
	w.with("b", func(d *diskRecord) { d.Dev, d.Inode = 0, 0 }) // `create` would make a new one
	if _, ps := w.plan(); len(ps) != 2 {
		t.Error("a file that is gone:", ps)
	}
	w = newWorld(t)
	w.orphans[0].info.State, w.orphans[1].info.Flags = ublk.Dead, 0 // nothing waits
	w.disks = nil
	if plan, ps := w.plan(); len(plan) != 0 || len(ps) != 0 {
		t.Error(plan, ps)
	}
}

// TestPlanTrust: without a state only a device that the file gives the orphan's id is taken, only when that is asked for, and
// only as far as the driver knows no better.
func TestPlanTrust(t *testing.T) {
	lost := func(trust bool) *world {
		w := newWorld(t)
		w.state, w.trust = nil, trust
		w.orphans = w.orphans[1:]
		w.orphans[0].rec = nil
		return w
	}
	w := lost(false)
	if _, ps := w.plan(); len(ps) != 1 || !strings.Contains(ps[0].Message, "its state is lost") || !strings.Contains(ps[0].Hint, "--trust-file") {
		t.Error(ps)
	}
	w = lost(true)
	w.orphans[0].info.Queues = 4
	plan, ps := w.plan()
	if o, ok := plan[1]; !ok || o.info.ID != 9 || len(ps) > 0 {
		t.Error(plan, ps)
	}
	for want, change := range map[string]func(i *ublk.Info){
		"queues 3 → 4":                     func(i *ublk.Info) { i.Queues = 3 },
		"25 sectors → 24":                  func(i *ublk.Info) { i.Sectors++ },
		"on_crash reissue → queue":         func(i *ublk.Info) { i.Flags = ublk.RecoveryReissue.Flags() },
		"read_only true → false":           func(i *ublk.Info) { i.ReadOnly = true },
		"no device of the file has id = 8": func(i *ublk.Info) { i.ID = 8 },
	} {
		w := lost(true)
		w.orphans[0].info.Queues = 4
		change(&w.orphans[0].info)
		if _, ps := w.plan(); len(ps) != 1 || !strings.Contains(ps[0].Message, want) {
			t.Errorf("%v, want %s", ps, want)
		}
	}
}

// TestFit: what the file leaves open is the orphan's, and what only open disks tell is compared, too.
func TestFit(t *testing.T) {
	w := newWorld(t)
	plan, _ := w.plan()
	specs := make([]ublk.Spec, 3)
	for i := range specs {
		specs[i] = ublk.Spec{ID: -1, Queues: 1}
		specs[i].Limits.LogicalBlock, specs[i].Limits.PhysicalBlock = 512, 4096
	}
	if err := plan.fit(w.file, specs); err != nil {
		t.Error(err)
	}
	if s := specs[0]; s.ID != 7 || s.Queues != 2 || s.Depth != 128 || s.MaxIO != 524288 {
		t.Errorf("%+v", s)
	}
	if s := specs[2]; s.ID != -1 || s.Queues != 1 {
		t.Errorf("a new one: %+v", s)
	}
	w.orphans[0].info.Sectors = 16 // the driver was not told yet
	plan, _ = w.plan()
	specs[0].Sectors = 24
	if err := plan.fit(w.file, specs); err != nil || specs[0].Sectors != 16 {
		t.Error(specs[0].Sectors, err)
	}
	specs[0].Limits.LogicalBlock, specs[0].Limits.PhysicalBlock, specs[1].ReadOnly = 4096, 8192, true
	err := plan.fit(w.file, specs)
	ps, ok := errors.AsType[config.Problems](err)
	if !ok || len(ps) != 3 || !strings.Contains(err.Error(), "logical block 512 → 4096") || !strings.Contains(err.Error(), "physical block 4096 → 8192") || !strings.Contains(err.Error(), "read-only false → true") {
		t.Error(err)
	}
	if got := plan.order(3); !slices.Equal(got, []int{0, 1, 2}) {
		t.Error(got)
	}
	if got := (adoption{2: {}, 1: {}}).order(4); !slices.Equal(got, []int{1, 2, 0, 3}) {
		t.Error("somebody waits for them:", got)
	}
	one, tables, only := adoption{1: w.orphans[1]}.only(w.file, w.tables)
	if len(one.Devices) != 1 || one.Devices[0].Name != "more" || len(tables) != 1 || tables[0] != w.tables[1] || only[0].info.ID != 9 || len(w.file.Devices) != 3 {
		t.Error(one.Devices, only)
	}
	if d := cmp.Diff(map[string]string{"data": "/dev/ublkb7", "more": "/dev/ublkb9"}, plan.nodes(w.file)); d != "" {
		t.Error(d)
	}
}

// TestDiskDifference: who says who it is, is known by that; a grown disk is the same.
func TestDiskDifference(t *testing.T) {
	block := diskRecord{Name: "a", Kind: "block", Node: "/dev/sda", Sectors: 8, Serial: "s", Rdev: 5}
	bare := diskRecord{Name: "a", Kind: "block", Node: "/dev/nullb1", Sectors: 8, Rdev: 5}
	for _, c := range []struct {
		was    diskRecord
		change func(d *diskRecord)
		same   bool
	}{
		{block, func(*diskRecord) {}, true},
		{block, func(d *diskRecord) { d.Node, d.Rdev = "/dev/sdb", 6 }, true},
		{block, func(d *diskRecord) { d.Serial = "t" }, false},
		{block, func(d *diskRecord) { d.Serial = "" }, false},
		{block, func(d *diskRecord) { d.PartUUID = "p" }, false},
		{block, func(d *diskRecord) { d.Sectors = 7 }, false},
		{block, func(d *diskRecord) { d.Kind = "file" }, false},
		{bare, func(d *diskRecord) { d.Rdev = 6 }, false},
		{bare, func(d *diskRecord) { d.Sectors = 9 }, true},
	} {
		is := c.was
		c.change(&is)
		if d := c.was.difference(&is); (d == "") != c.same {
			t.Errorf("%+v → %+v: %q", c.was, is, d)
		}
	}
}

// TestLacking: a policy that the driver does not have is refused, with the kernel that has it.
func TestLacking(t *testing.T) {
	f, _ := parse(t, strings.Replace(adoptTOML, `"queue"`, `"fail"`, 1))
	old := ublk.RecoveryReissue.Flags()
	if ps := lacking(f, old); len(ps) != 1 || !strings.Contains(ps[0].Message, `on_crash = "fail" of device "more" needs USER_RECOVERY_FAIL_IO`) || !strings.Contains(ps[0].Message, "6.13") {
		t.Error(ps)
	}
	if ps := lacking(f, old|ublk.RecoveryFail.Flags()); len(ps) != 0 {
		t.Error(ps)
	}
}
