package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func needGCC(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc")
	}
}

func TestCompile(t *testing.T) {
	needGCC(t)
	out := filepath.Join(t.TempDir(), "plugin.so")
	if err := compile(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	// What QEMU looks for.
	said, err := exec.Command("nm", "-D", "--defined-only", out).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" T qemu_plugin_install", " D qemu_plugin_version"} {
		if !strings.Contains(string(said), want) {
			t.Errorf("no %s in\n%s", want, said)
		}
	}
}

// Each block is the task's that its processor runs: in the kernel, in user mode, on the kernel's first steps, behind a
// switch, and whichever processor it is. testdata/guest.c is what happens.
func TestPlugin(t *testing.T) {
	needGCC(t)
	dir := t.TempDir()
	guest, counts := filepath.Join(dir, "guest"), filepath.Join(dir, countsFile)
	if said, err := exec.Command("gcc", "-O1", "-o", guest, "testdata/guest.c", "plugin/plugin.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if said, err := exec.Command(guest, "out="+counts).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	f, err := os.Open(counts)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := readCounts(f)
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]uint64
	for _, c := range all {
		w := map[string]uint64{}
		for _, b := range c.blocks {
			w[fmt.Sprintf("%s: %x, %d", c.names[b.who], b.at, b.insns)] += b.times
		}
		for name, n := range c.switches {
			if n > 0 {
				w[name+": switches"] = uint64(n)
			}
		}
		got = append(got, w)
	}
	want := []map[string]uint64{{
		"insnprof-window: 401000, 1":            2, // it opens the window, and another's code is there
		"a server: 402000, 5":                   1,
		"a server: ffffffff81000100, 7":         4,
		"insnprof-window: ffffffff81000100, 7":  1,
		"fio: ffffffff81000000, 10":             1,
		"fio: ffffffff81000100, 7":              2,
		"fio: switches":                         1,
		"insnprof-window: ffffffff81000000, 10": 1,
		"insnprof-window: switches":             1,
	}, {
		"insnprof-window: 401000, 1": 1,
		"fio: ffffffff81000100, 7":   1,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// devbench has the function that the plugin waits for, and calls it with what the plugin expects.
func TestDoor(t *testing.T) {
	out := filepath.Join(t.TempDir(), "devbench")
	cmd := exec.Command("go", "build", "-o", out, "../devbench")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if at, err := address(out, "main.door"); err != nil || at == 0 {
		t.Errorf("%x, %v", at, err)
	}
	text, err := os.ReadFile("../devbench/profile.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, both := range []string{"0x75626c6b2d70726f", `"insnprof-window"`} {
		if !strings.Contains(string(text), both) || !strings.Contains(source, both) {
			t.Errorf("%s is not in both", both)
		}
	}
}
