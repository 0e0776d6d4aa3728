package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInstanceOfFile: paths to one file are one instance; other files, of the same name too, are others.
func TestInstanceOfFile(t *testing.T) {
	dir, run := t.TempDir(), t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, d := range []string{a, b} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(d, "v.toml"), "")
	}
	link, folder := filepath.Join(dir, "other.toml"), filepath.Join(dir, "folder")
	for to, from := range map[string]string{link: filepath.Join(a, "v.toml"), folder: a} {
		if err := os.Symlink(from, to); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(a)
	want, err := NewInstance(filepath.Join(a, "v.toml"), run)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"v.toml", "./v.toml", "../a/v.toml", link, filepath.Join(folder, "v.toml"), a + "//v.toml"} {
		got, err := NewInstance(path, run)
		if err != nil || *got != *want || got.Mark() != want.Mark() || got.Socket() != want.Socket() {
			t.Errorf("%s: %+v %v, want %+v", path, got, err, want)
		}
	}
	other, err := NewInstance(filepath.Join(b, "v.toml"), run)
	if err != nil || other.Socket() == want.Socket() || other.Mark() == want.Mark() {
		t.Errorf("another file: %+v %v", other, err)
	}
	if !strings.HasPrefix(filepath.Base(want.Socket()), "v-") || filepath.Dir(want.Socket()) != run {
		t.Errorf("socket %s", want.Socket())
	}
	if !Ours(want.Mark()) || Ours(0) || Ours(want.Mark()&0xffffffff) {
		t.Errorf("mark %#x", want.Mark())
	}
	gone, err := NewInstance("gone.toml", "") // a file that is away still has its server stopped
	if err != nil || gone.Config != filepath.Join(a, "gone.toml") || filepath.Dir(gone.Socket()) != RunDir {
		t.Errorf("%+v %v", gone, err)
	}
}

// TestInstanceSocketLength: whatever a file is called, its socket's path fits sun_path.
func TestInstanceSocketLength(t *testing.T) {
	for _, base := range []string{strings.Repeat("x", 200) + ".toml", strings.Repeat("ü", 100) + ".toml", strings.Repeat("語", 80) + ".toml", ".toml", "v"} {
		inst, err := NewInstance("/etc/"+base, "")
		if err != nil {
			t.Fatal(err)
		}
		if n := len(inst.Socket()); n > 107 {
			t.Errorf("%s: %d bytes", inst.Socket(), n)
		}
	}
}

func TestInstanceLock(t *testing.T) {
	inst := instance(t, "v.toml", filepath.Join(t.TempDir(), "run", "deep"))
	if inst.Served() {
		t.Fatal("served before anything was")
	}
	lock, err := inst.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if !inst.Served() {
		t.Error("locked, but not served")
	}
	_, err = inst.Lock()
	served, ok := errors.AsType[*ServedError](err)
	if !ok || served.PID != os.Getpid() || served.Config != inst.Config || !errors.Is(err, unix.EBUSY) {
		t.Fatalf("a second lock: %v", err)
	}
	if want := fmt.Sprintf("process %d", os.Getpid()); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "down -c "+inst.Config) {
		t.Errorf("message %q", err)
	}
	if !inst.Served() {
		t.Error("the refused lock took the instance away")
	}
	lock.Close()
	if inst.Served() {
		t.Error("served after the lock was closed")
	}
	again, err := inst.Lock()
	if err != nil {
		t.Fatal("a lock that was given up:", err)
	}
	again.Close()
}

// TestInstanceLockAfterLook: whoever only looks (Served of another process) does not keep a server from starting.
func TestInstanceLockAfterLook(t *testing.T) {
	inst := instance(t, "v.toml", t.TempDir())
	lock, err := inst.Lock()
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	look, err := os.Open(inst.lockPath())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(look.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	type result struct {
		lock *os.File
		err  error
	}
	done := make(chan result)
	go func() {
		lock, err := inst.Lock()
		done <- result{lock, err}
	}()
	look.Close()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	r.lock.Close()
}

func TestInstanceLockFails(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "file"), "")
	inst := instance(t, "v.toml", filepath.Join(dir, "file"))
	if _, err := inst.Lock(); err == nil || !strings.Contains(err.Error(), "run folder") {
		t.Error(err)
	}
	inst = instance(t, "v.toml", dir)
	if err := os.Mkdir(inst.lockPath(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := inst.Lock(); err == nil || !strings.Contains(err.Error(), "instance lock") {
		t.Error(err)
	}
}

// TestForget: the socket and the state go; the lock file stays, since a waiter may have it open.
func TestForget(t *testing.T) {
	inst := instance(t, "v.toml", t.TempDir())
	for _, p := range []string{inst.Socket(), inst.statePath(), inst.lockPath()} {
		writeFile(t, p, "x")
	}
	inst.forget()
	left, _ := filepath.Glob(filepath.Join(inst.dir, "*"))
	if len(left) != 1 || left[0] != inst.lockPath() {
		t.Errorf("left %v", left)
	}
}
