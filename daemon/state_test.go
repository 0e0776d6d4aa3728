package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/config"
)

// TestParseState: what is not exactly a state of this version is refused.
func TestParseState(t *testing.T) {
	good, err := json.Marshal(sampleState("/v.toml"))
	if err != nil {
		t.Fatal(err)
	}
	st, err := parseState(good)
	if d := cmp.Diff(sampleState("/v.toml"), st); err != nil || d != "" {
		t.Fatal(err, d)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"schema":2`, `"schema":1`, "schema 1, and this program reads 2"},
		{`"schema":2`, `"schema":3`, "schema 3, and this program reads 2"},
		{`"schema":2,`, ``, "no schema"},
		{`"on_crash":"reissue"`, `"on_crash":"reissue","more":1`, `unknown field "more"`},
		{`"pid":812`, `"pid":0`, "pid 0"},
		{`"config":"/v.toml"`, `"config":"v.toml"`, "not an absolute path"},
		{`"id":7`, `"id":-1`, "id -1"},
		{`"id":7`, `"id":1048576`, "id 1048576"},
		{`"queues":2`, `"queues":129`, "queues 129"},
		{`"queues":2`, `"queues":0`, "queues 0"},
		{`"depth":128`, `"depth":5000`, "depth 5000"},
		{`"max_io":524288`, `"max_io":1`, "max I/O 1"},
		{`"logical_block":512`, `"logical_block":0`, "logical block size 0"},
		{`"sectors":24`, `"sectors":0`, "0 sectors"},
		{`"on_crash":"reissue"`, `"on_crash":""`, `on_crash ""`},
		{`"name":"data"`, `"name":""`, "its name has 0 characters"},
		{`"disks":["a","b"]`, `"disks":["a","c"]`, `its disk "c" is not there`},
		{`"name":"b"`, `"name":"a"`, `disk "a" is there twice`},
		{`"kind":"file"`, `"kind":"tape"`, `kind "tape"`},
		{`}]}`, `}]}{}`, "after top-level value"},
		{`}]}`, `}]`, "unexpected end"},
	} {
		text := strings.Replace(string(good), c.from, c.to, 1)
		if text == string(good) {
			t.Fatalf("%s is not in %s", c.from, good)
		}
		if st, err := parseState([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s → %s: %v %v, want %s", c.from, c.to, st, err, c.want)
		}
	}
	two := sampleState("/v.toml")
	two.Devices = append(two.Devices, two.Devices[0])
	if err := two.validate(); err == nil || !strings.Contains(err.Error(), "there twice") {
		t.Error(err)
	}
}

// TestReadState: none is told from one that cannot be used, and that says what can be done.
func TestReadState(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.json")
	if _, err := readState(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	check := func(what string) {
		t.Helper()
		_, err := readState(path)
		if x, ok := errors.AsType[*StateError](err); !ok || x.Path != path || !strings.Contains(err.Error(), "--trust-file") || !strings.Contains(err.Error(), "remove --orphan") {
			t.Errorf("%s: %v", what, err)
		}
	}
	writeFile(t, path, "{")
	check("not JSON")
	if err := os.Truncate(path, maxStateBytes+2); err != nil {
		t.Fatal(err)
	}
	check("too large")
	os.Remove(path)
	if err := os.Symlink("/dev/zero", path); err != nil {
		t.Fatal(err)
	}
	check("a link")
	os.Remove(path)
	inst := instance(t, "v.toml", dir)
	writeSample(t, inst.statePath(), sampleState("/other.toml"))
	if st, err := inst.stateOf(); err == nil || st != nil || !strings.Contains(err.Error(), "/other.toml") {
		t.Error("another file's state:", st, err)
	}
}

// TestWriteState: a write that fails leaves the state before.
func TestWriteState(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.json")
	writeSample(t, path, sampleState("/v.toml"))
	if err := os.Mkdir(path+".tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	next := sampleState("/v.toml")
	next.Devices[0].Sectors = 48
	if err := writeState(path, next); err == nil {
		t.Error("written through a folder")
	}
	st, err := readState(path)
	if d := cmp.Diff(sampleState("/v.toml"), st); err != nil || d != "" {
		t.Error(err, d)
	}
	os.Remove(path + ".tmp")
	writeSample(t, path, next)
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Error("left", names)
	}
}

// drawState is any state that a server may write.
func drawState(t *rapid.T) *state {
	st := &state{Schema: stateSchema, Config: "/" + rapid.String().Draw(t, "config"), PID: rapid.IntRange(1, 1<<22).Draw(t, "pid"), Disks: []diskRecord{}, Devices: []deviceRecord{}}
	st.Config = strings.ToValidUTF8(st.Config, "")
	for i := range rapid.IntRange(0, 4).Draw(t, "disks") {
		st.Disks = append(st.Disks, diskRecord{Name: fmt.Sprintf("k%d", i), Kind: rapid.SampledFrom([]string{"block", "file", "memory"}).Draw(t, "kind"),
			Node: strings.ToValidUTF8(rapid.String().Draw(t, "node"), ""), Sectors: rapid.Uint64().Draw(t, "sectors"), Serial: rapid.StringMatching(`[ -~]{0,20}`).Draw(t, "serial"),
			WWID: rapid.StringMatching(`[ -~]{0,20}`).Draw(t, "wwid"), Rdev: rapid.Uint64().Draw(t, "rdev"), Dev: rapid.Uint64().Draw(t, "dev"), Inode: rapid.Uint64().Draw(t, "ino")})
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "devices") {
		d := deviceRecord{Name: fmt.Sprintf("d%d", i), ID: i*1000 + rapid.IntRange(0, 999).Draw(t, "id"), OnCrash: rapid.SampledFrom([]config.OnCrash{"reissue", "queue", "fail", "remove"}).Draw(t, "policy"),
			Sectors: 8 * rapid.Uint64Range(1, 1<<50).Draw(t, "sectors"), ReadOnly: rapid.Bool().Draw(t, "ro"), Queues: rapid.IntRange(1, 128).Draw(t, "queues"), Depth: rapid.IntRange(1, 4096).Draw(t, "depth"),
			MaxIO: 4096 * rapid.Uint32Range(1, 256).Draw(t, "max_io"), LogicalBlock: 512 << rapid.IntRange(0, 3).Draw(t, "lbs"), PhysicalBlock: rapid.Uint32().Draw(t, "pbs"),
			Asked: shape{rapid.IntRange(0, 128).Draw(t, "q"), rapid.IntRange(0, 4096).Draw(t, "d"), rapid.Uint64().Draw(t, "m"), rapid.Bool().Draw(t, "r")},
			Table: rapid.StringMatching(`([ -~]{0,30}\n){0,3}`).Draw(t, "table"), Disks: []string{}}
		for _, k := range st.Disks {
			if rapid.Bool().Draw(t, "uses") {
				d.Disks = append(d.Disks, k.Name)
			}
		}
		st.Devices = append(st.Devices, d)
	}
	return st
}

// TestStateRoundTrip: what is written is what is read.
func TestStateRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json")
	rapid.Check(t, func(t *rapid.T) {
		st := drawState(t)
		if err := writeState(path, st); err != nil {
			t.Fatal(err)
		}
		got, err := readState(path)
		if d := cmp.Diff(st, got); err != nil || d != "" {
			t.Fatal(err, d)
		}
	})
}

// FuzzState: whatever is in the run folder, reading it ends, and what is taken is valid and is read again as it is.
func FuzzState(f *testing.F) {
	good, err := json.Marshal(sampleState("/v.toml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"schema":2,"config":"/x","pid":1,"disks":null,"devices":null}`))
	f.Add([]byte(`{"schema":1,"config":"/x.toml","pid":9,"devices":[{"name":"data","node":"/dev/ublkb4000","id":4000}]}`))
	f.Add([]byte(`{"schema":2,"schema":1}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseState(b)
		if err != nil {
			if st != nil && st.validate() == nil {
				t.Error("refused, and valid:", err)
			}
			return
		}
		if err := st.validate(); err != nil {
			t.Error("taken, and not valid:", err)
		}
		again, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseState(again)
		if d := cmp.Diff(st, got); err != nil || d != "" {
			t.Errorf("%v\n%s", err, d)
		}
		for _, d := range st.Devices {
			if st.device(d.ID) == nil {
				t.Error("not found")
			}
		}
	})
}
