package config

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What the faults of a file say is in the File, and told again in words.
func TestFaults(t *testing.T) {
	text, err := os.ReadFile("testdata/good_faults.toml")
	if err != nil {
		t.Fatal(err)
	}
	f, ps := Parse("good_faults.toml", text)
	if len(ps) != 0 {
		t.Fatal(ps)
	}
	want := []Fault{
		{Pos: Pos{16, 3}, Disk: "a", Op: "any", Action: "errno", Errno: "EIO"},
		{Pos: Pos{20, 3}, Disk: "a", Op: "write", Start: 2048, Sectors: 128, Nth: 3, Action: "errno", Errno: "ENOSPC", Delay: 50 * time.Millisecond},
		{Pos: Pos{28, 3}, Disk: "b", Op: "copy", Start: 8, Sectors: 8, Every: 10, Count: 5, Action: "status", Status: 0x183, DW0: 2, Delay: time.Second},
		{Pos: Pos{38, 3}, Disk: "b", Op: "write", Probability: 0.01, Seed: 7, Action: "torn", Errno: "EIO", Bytes: 8192},
		{Pos: Pos{46, 3}, Disk: "a", Op: "read", Probability: 1, Count: 2, Action: "short", Bytes: 512},
		{Pos: Pos{54, 3}, Disk: "a", Op: "any", Action: "delay", Delay: 10 * time.Second},
		{Pos: Pos{60, 3}, Disk: "a", Op: "flush", Action: "hang"},
	}
	words := [][3]string{
		{"all", "always", "errno:EIO"},
		{"1MiB+64KiB", "nth 3", "errno:ENOSPC 50ms"},
		{"4KiB+4KiB", "every 10 count 5", "status:0x183 dw0 2 1s"},
		{"all", "probability 0.01 seed 7", "torn 8KiB"},
		{"all", "probability 1 seed 0 count 2", "short 512B"},
		{"all", "always", "delay 10s"},
		{"all", "always", "hang"},
	}
	if len(f.Faults) != len(want) {
		t.Fatalf("%d faults", len(f.Faults))
	}
	for i, x := range f.Faults {
		if diff := cmp.Diff(want[i], *x); diff != "" {
			t.Errorf("fault %d (-want +got):\n%s", i, diff)
		}
		if got := [3]string{x.Where(), x.When(), x.Does()}; got != words[i] {
			t.Errorf("fault %d: %q, want %q", i, got, words[i])
		}
	}
}

// What disks really are counts, as for devices.
func TestFaultFacts(t *testing.T) {
	f, ps := Parse("f.toml", []byte("version = 1\n[disk.a]\nfile = \"a.img\"\n[device.d]\ntable = \"0 8 linear a 0\"\n"+
		"[[fault]]\ndisk = \"a\"\nop = \"write\"\nrange = \"8KiB+8KiB\"\naction = \"torn\"\nbytes = \"1s\"\n"))
	if len(ps) != 0 {
		t.Fatal(ps)
	}
	for _, c := range []struct {
		facts Facts
		want  int
	}{{Facts{}, 0}, {Facts{Bytes: 16384, LogicalBlock: 512}, 0}, {Facts{Bytes: 16384 - 512}, 1}, {Facts{Bytes: 1 << 20, LogicalBlock: 4096}, 1}} {
		if ps := f.Check(map[string]Facts{"a": c.facts}).Errors(); len(ps) != c.want {
			t.Errorf("%+v: %v, want %d", c.facts, ps, c.want)
		}
	}
}
