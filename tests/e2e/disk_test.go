package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var serial atomic.Int64

// The program comes over 9p, and every start would read it from there: in memory it starts ten times as fast.
func init() {
	const dir = "/run/e2e"
	program, err := exec.LookPath("ublk-linear")
	if !inGuest || err != nil {
		return
	}
	b, err := os.ReadFile(program)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(dir+"/ublk-linear", b, 0o755)
	}
	if err == nil {
		err = os.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	}
	if err != nil {
		panic(err)
	}
}

// sh runs a command and returns its output; a failure ends the test.
func sh(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// withCache is an attribute of nullBlk: a disk with a write cache, which takes in all of the disk. A smaller one makes room
// whenever it is full, and that hangs kernels which do not preempt (6.12): who makes room gives the processor away while he has
// locked pages of the cache, and a flush on the same processor then looks for others for ever (null_make_cache_space; docs/soak.md).
const withCache = "cache"

// nullBlk makes a memory-backed null_blk disk of a size in MiB and returns its node. More attributes as "key=value".
func nullBlk(t testing.TB, mib int, attrs ...string) string {
	t.Helper()
	name := fmt.Sprintf("e%d", serial.Add(1))
	dir := filepath.Join("/sys/kernel/config/nullb", name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	set := func(k, v string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, k), []byte(v), 0); err != nil {
			t.Fatalf("null_blk %s=%s: %v", k, v, err)
		}
	}
	set("size", strconv.Itoa(mib))
	set("memory_backed", "1")
	set("discard", "1")
	for _, a := range attrs {
		if a == withCache {
			a = fmt.Sprintf("cache_size=%d", mib+1)
		}
		k, v, _ := strings.Cut(a, "=")
		set(k, v)
	}
	set("power", "1")
	b, err := os.ReadFile(filepath.Join(dir, "index"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(filepath.Join(dir, "power"), []byte("0"), 0); err != nil {
			t.Errorf("null_blk off: %v", err)
		}
		if err := os.Remove(dir); err != nil {
			t.Errorf("null_blk remove: %v", err)
		}
	})
	// Since 6.11 or so the node is named after the configfs folder.
	for _, node := range []string{"/dev/" + name, "/dev/nullb" + strings.TrimSpace(string(b))} {
		if _, err := os.Stat(node); err == nil {
			return node
		}
	}
	t.Fatalf("null_blk %s has no node", name)
	return ""
}

// dmCreate makes a dm device and returns its node. It is removed at the end of the test.
func dmCreate(t testing.TB, name, table string) string {
	t.Helper()
	cmd := exec.Command("dmsetup", "create", name, "--noudevsync")
	cmd.Stdin = strings.NewReader(table)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dmsetup create %s: %v\n%s\n%s", name, err, out, table)
	}
	t.Cleanup(func() { dmRemove(t, name) })
	minor := strings.TrimSpace(sh(t, "dmsetup", "info", "-c", "--noheadings", "-o", "minor", name))
	return "/dev/dm-" + minor
}

func dmRemove(t testing.TB, name string) {
	t.Helper()
	var out []byte
	var err error
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(100 * time.Millisecond) { // a probe of udev's, or the last reference, may hold it for a moment
		if out, err = exec.Command("dmsetup", "remove", "--noudevsync", name).CombinedOutput(); err == nil {
			return
		}
	}
	t.Errorf("dmsetup remove %s: %v\n%s", name, err, out)
}
