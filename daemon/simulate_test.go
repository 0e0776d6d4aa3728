package daemon

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy/sim"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
)

// TestMisbehaviourNames: the file knows the names of the simulation, in its order.
func TestMisbehaviourNames(t *testing.T) {
	var names []string
	for _, m := range sim.Misbehaviours() {
		names = append(names, m.Name)
	}
	if !slices.Equal(names, config.Misbehaviours()) {
		t.Errorf("config\n%q\ncopy/sim\n%q", config.Misbehaviours(), names)
	}
}

// simWorld is two devices, s on disk a and d on disk b of memory, as they would be served.
type simWorld struct {
	w  *copyWorld
	ds disks
	f  *config.File
}

func newSimWorld(t *testing.T, copies string, keys ...any) *simWorld {
	t.Helper()
	f, ps := config.Parse("x.toml", fmt.Appendf(nil, "version = 1\n[disk.a]\nmemory = \"4MiB\"\n[disk.b]\nmemory = \"4MiB\"\n"+copies+
		"\n[device.s]\ntable = \"0 4096 linear a 0\"\n[device.d]\ntable = \"0 4096 linear b 0\"\n[device.t]\ntable = \"0 4096 linear a 4096\"\n", keys...))
	if len(ps.Errors()) > 0 {
		t.Fatal(ps)
	}
	ds, err := openDisks(t.Context(), f, &disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ds.close)
	tables, err := Tables(f)
	if err != nil {
		t.Fatal(err)
	}
	devices, err := ds.devices(f, tables)
	if err != nil {
		t.Fatal(err)
	}
	x := &simWorld{newCopyWorld(f, ds, devices), ds, f}
	for i, d := range ds {
		b, r := make([]byte, 4<<20), rand.New(rand.NewPCG(uint64(i), 0))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if _, err := d.Writev([][]byte{b}, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

func (x *simWorld) data(t *testing.T, disk int, at, n uint64) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := x.ds[disk].Readv([][]byte{b}, at); err != nil {
		t.Fatal(err)
	}
	return b
}

func (x *simWorld) copy(t *testing.T, from, to string, src, dst, n uint64) *CopyResult {
	t.Helper()
	r := &CopyRequest{Source: CopySide{Device: from, Segments: []CopySegment{{src, n}}}, Destination: CopySide{Device: to, Segments: []CopySegment{{dst, n}}}}
	plan, err := x.w.plan(r)
	if err != nil {
		t.Fatal(err)
	}
	e := x.ds.engine(x.f, nil)
	defer e.Close()
	return x.w.result(e.Run(t.Context(), plan, nil, nil))
}

const simCopy = "[disk.a.copy]\nmethod = \"nvme\"\nmssrl = 128\nmcl = 200\nmsrc = 3\n[disk.b.copy]\nmethod = \"nvme\"\nmssrl = 64\nmcl = 100\n"

// TestSimulatedCopy: disks in memory that say nvme copy by themselves, inside themselves and to each other where they share a
// domain, and the data is right.
func TestSimulatedCopy(t *testing.T) {
	for _, c := range []struct {
		name, copies, from, to string
		offload                bool
	}{
		{"itself", simCopy, "s", "t", true},
		{"two domains", simCopy, "s", "d", false},
		{"one domain", "[disk.a.copy]\nmethod = \"nvme\"\nmssrl = 128\ndomain = \"n\"\n[disk.b.copy]\nmethod = \"nvme\"\nmcl = 64\ndomain = \"n\"\n", "s", "d", true},
		{"nothing said", "", "s", "t", false},
		{"one of them", "[disk.a.copy]\nmethod = \"nvme\"\ndomain = \"n\"\n[disk.b.copy]\nmethod = \"xcopy\"\ndomain = \"n\"\n", "s", "d", false},
		{"4Kn", simCopy + "[disk.a.limits]\nlogical_block = \"4KiB\"\n", "s", "t", true},
	} {
		x := newSimWorld(t, c.copies)
		const at, to, n = 64 << 10, 128 << 10, 1 << 20
		want := x.data(t, 0, at, n)
		r := x.copy(t, c.from, c.to, at, to, n)
		if offloaded := r.Offloaded == n; !r.Complete || offloaded != c.offload || offloaded && r.Host != 0 {
			t.Errorf("%s: %+v", c.name, r)
		}
		disk, off := 1, uint64(to)
		if c.to == "t" {
			disk, off = 0, 2<<20+to
		}
		if !bytes.Equal(x.data(t, disk, off, n), want) {
			t.Errorf("%s: other data", c.name)
		}
		if p := x.w.disks(false)[0].Copy; c.name == "one domain" && (p.MSSRL != 128 || p.MCL != sim.MostMCL || p.MSRC != sim.MostMSRC || p.Method != limits.NVMeCopy) {
			t.Errorf("%+v", p)
		}
	}
}

// TestSimulatedMisbehaviour: what the file says that a disk does wrong it does: data is wrong behind success, or the copy
// falls back, and is right.
func TestSimulatedMisbehaviour(t *testing.T) {
	const at, to, n = 64 << 10, 128 << 10, 1 << 20
	for name, right := range map[string]bool{"copies-less": false, "mssrl-overstated": true, "mcl-zero": true, "fua-ignored": true, "torn-blocks": true} {
		x := newSimWorld(t, "[disk.a.copy]\nmethod = \"nvme\"\nmssrl = 128\nmcl = 128\nmsrc = 0\nmisbehave = [%q]\n", name)
		want := x.data(t, 0, at, n)
		r := x.copy(t, "s", "t", at, to, n)
		if got := bytes.Equal(x.data(t, 0, 2<<20+to, n), want); !r.Complete || got != right {
			t.Errorf("%s: right %v: %+v", name, got, r)
		}
		if refused := name == "mcl-zero" || name == "mssrl-overstated"; refused != (len(r.Fallbacks) > 0) || refused != (r.Emulated > 0) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestSimulatedTime: latency is waited for in the server.
func TestSimulatedTime(t *testing.T) {
	x := newSimWorld(t, "[disk.a.copy]\nmethod = \"nvme\"\nlatency = \"30ms\"\nrate = \"64KiB\"\n")
	began := time.Now()
	if r := x.copy(t, "s", "t", 0, 0, 4096); r.Offloaded != 4096 || time.Since(began) < 92*time.Millisecond {
		t.Errorf("%v: %+v", time.Since(began), r)
	}
}

// TestSimulatedDisk: as conform has it the device has a cache, and is the disk after a flush.
func TestSimulatedDisk(t *testing.T) {
	x := newSimWorld(t, "[disk.a.copy]\nmethod = \"nvme\"\nmssrl = 9\nmcl = 10\nmsrc = 11\nlatency = \"1h\"\n[disk.a.limits]\nlogical_block = \"4KiB\"\n")
	d, err := SimulatedDisk(x.ds[0], x.f.Disks[0])
	if err != nil {
		t.Fatal(err)
	}
	if c := d.Identify(); c.MSSRL != 9 || c.MCL != 10 || c.MSRC != 11 || d.Block() != 4096 || d.Bytes() != 4<<20 {
		t.Errorf("%+v, %d, %d", c, d.Block(), d.Bytes())
	}
	p, before := bytes.Repeat([]byte{7}, 4096), x.data(t, 0, 8192, 4096)
	if err := d.WriteAt(p, 8192); err != nil || !bytes.Equal(x.data(t, 0, 8192, 4096), before) {
		t.Error(err)
	}
	if err := d.Flush(); err != nil || !bytes.Equal(x.data(t, 0, 8192, 4096), p) {
		t.Error(err)
	}
	if _, err := d.Copy(nil, 0, false); err == nil { // an hour would be seen
		t.Error("no source")
	}
}
