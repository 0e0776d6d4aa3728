package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The hook that opens a window is called once, when the load begins, however many jobs there are.
func TestBegun(t *testing.T) {
	if _, err := exec.LookPath("fio"); err != nil {
		t.Skip("needs fio")
	}
	b := &bencher{dir: t.TempDir()}
	file := filepath.Join(b.dir, "a")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	n := 0
	b.begun = func() { n++ }
	if _, err := b.round(job{"two", "randread", "4k", 1, 2}, 50*time.Millisecond, []*contender{{name: "a", node: file}}); err != nil || n != 1 {
		t.Errorf("called %d times, %v", n, err)
	}
}

func TestPick(t *testing.T) {
	if j, err := pick("5,2"); err != nil || len(j) != 2 || j[0] != big || j[1] != read32 {
		t.Errorf("%v, %v", j, err)
	}
	if j, err := pick(""); err != nil || len(j) != len(profileJobs) {
		t.Errorf("%v, %v", j, err)
	}
	for _, bad := range []string{"0", "6", "1,", "x"} {
		if _, err := pick(bad); err == nil {
			t.Errorf("%q is a job", bad)
		}
	}
}

func TestSymbol(t *testing.T) {
	const text = "ffffffff81000000 T __switch_to_asm\nffffffff81000100 T __switch_to\nffffffffc0000000 t __switch_to\t[x]\n"
	if at, err := symbol(text, "__switch_to"); err != nil || at != 0xffffffff81000100 {
		t.Errorf("%x, %v", at, err)
	}
	if _, err := symbol(text, "__switch"); err == nil {
		t.Error("a part of a name is a symbol")
	}
}

func TestTasks(t *testing.T) {
	own, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	got, err := tasks(&contender{pids: []int{os.Getpid()}})
	if err != nil || len(got) == 0 || got[0] != strings.TrimSpace(string(own)) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := tasks(&contender{pids: []int{1 << 30}}); err == nil {
		t.Error("a process that is not there has threads")
	}
}
