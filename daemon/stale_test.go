package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/ublk"
)

// sampleState is a state of a device on a block device and a file.
func sampleState(config string) *state {
	return &state{Schema: stateSchema, Config: config, PID: 812,
		Disks: []diskRecord{{Name: "a", Kind: "block", Node: "/dev/sda", Sectors: 4096, WWID: "eui.1", Rdev: 2048}, {Name: "b", Kind: "file", Node: "/b.img", Sectors: 2048, Dev: 3, Inode: 4}},
		Devices: []deviceRecord{{Name: "data", ID: 7, OnCrash: "reissue", Sectors: 24, Queues: 2, Depth: 128, MaxIO: 524288, Asked: shape{Queues: 4},
			LogicalBlock: 512, PhysicalBlock: 4096, Table: "0 8 linear a 8\n8 16 linear b 0\n", Disks: []string{"a", "b"}}}}
}

func writeSample(t *testing.T, path string, st *state) {
	t.Helper()
	if err := writeState(path, st); err != nil {
		t.Fatal(err)
	}
}

// TestStates: what servers wrote is read back; what is not a state is passed over.
func TestStates(t *testing.T) {
	dir := t.TempDir()
	if got := states(dir); got != nil {
		t.Errorf("of nothing: %v", got)
	}
	s := &Server{inst: instance(t, "v.toml", dir)}
	if err := s.saveState(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.inst.statePath())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	old := sampleState("/old.toml")
	writeSample(t, filepath.Join(dir, "z-old.json"), old)
	for name, text := range map[string]string{"y.json": "not JSON", "x.json": "", "w.json.tmp": "{}", "v.lock": "1"} {
		writeFile(t, filepath.Join(dir, name), text)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	want := []state{{Schema: stateSchema, Config: s.inst.Config, PID: os.Getpid(), Disks: []diskRecord{}, Devices: []deviceRecord{}}, *old}
	if d := cmp.Diff(want, states(dir)); d != "" {
		t.Error(d)
	}
	s.inst = instance(t, "v.toml", filepath.Join(dir, "nosuch"))
	if err := s.saveState(); err == nil {
		t.Error("a state in a folder that is not there")
	}
}

func TestServedBy(t *testing.T) {
	dir := t.TempDir()
	by := servedBy(dir)
	if got := by("ublkb7"); got != "" {
		t.Errorf("nobody serves: %q", got)
	}
	writeSample(t, filepath.Join(dir, "a.json"), sampleState("/a.toml"))
	two := sampleState("/b.toml")
	two.Devices = append(two.Devices, two.Devices[0])
	two.Devices[0].Name, two.Devices[0].ID, two.Devices[1].Name, two.Devices[1].ID = "x", 1, "y", 17
	writeSample(t, filepath.Join(dir, "b.json"), two)
	for node, want := range map[string]string{
		"ublkb7": "device data of /a.toml", "/dev/ublkb7": "device data of /a.toml", "ublkb17": "device y of /b.toml", "ublkb1": "device x of /b.toml", "ublkb2": "", "sda": "", "": "",
	} {
		if got := by(node); got != want {
			t.Errorf("%q: %q, want %q", node, got, want)
		}
	}
}

// TestListAll: servers that answer, servers that are dead and one that is ill.
func TestListAll(t *testing.T) {
	dir := runDir(t)
	l, err := ListAll(t.Context(), dir)
	if err != nil || l.Schema != 1 || l.Devices == nil {
		t.Errorf("of nothing: %+v %v", l, err)
	}
	start(t, instance(t, "a.toml", dir), routes(&fake{devices: []DeviceInfo{data}}))
	writeFile(t, filepath.Join(dir, "dead.sock"), "") // connection refused
	l, err = ListAll(t.Context(), dir)
	if d := cmp.Diff([]DeviceInfo{data}, l.Devices); err != nil || d != "" {
		t.Error(err, d)
	}
	ill := instance(t, "ill.toml", dir)
	start(t, ill, nil)
	l, err = ListAll(t.Context(), dir)
	if d := cmp.Diff([]DeviceInfo{data}, l.Devices); err == nil || d != "" {
		t.Error(err, d)
	}
}

// TestSweepWithoutDriver: where the kernel has no ublk, a dead server's files are all that can be left.
func TestSweepWithoutDriver(t *testing.T) {
	if _, err := os.Stat("/dev/ublk-control"); err == nil {
		t.Skip("this kernel has ublk: tests/e2e sweeps for real")
	}
	inst := instance(t, "v.toml", runDir(t))
	writeFile(t, inst.Socket(), "")
	writeFile(t, inst.statePath(), "{}")
	lock, err := inst.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sweep(t.Context(), inst, false); err == nil {
		t.Error("swept below a living server")
	} else if _, ok := errors.AsType[*ServedError](err); !ok {
		t.Error(err)
	}
	lock.Close()
	gone, err := Sweep(t.Context(), inst, false)
	if err != nil || gone == nil || len(gone) != 0 {
		t.Error(gone, err)
	}
	if inst.Served() || len(states(inst.dir)) != 0 {
		t.Error("something is left")
	}
	if _, err := Features(); !errors.Is(err, ublk.ErrNoDriver) {
		t.Error(err)
	}
}
