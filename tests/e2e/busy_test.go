package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// refused runs an `up` that must fail with an exit code and say all of some words; then nothing must be left of it.
func refused(t testing.TB, toml string, code int, say ...string) {
	t.Helper()
	before, _ := filepath.Glob("/sys/class/ublk-char/*")
	s, err := tryUp(t, writeConfig(t, toml))
	if err == nil {
		t.Error("it came up")
		s.down()
		return
	}
	if got := exitStatus(s.rc); !s.gone || got != code {
		t.Errorf("exit %d, want %d\n%s", got, code, s.err)
	}
	for _, w := range say {
		if !strings.Contains(s.err.String(), w) {
			t.Errorf("does not say %q:\n%s", w, s.err)
		}
	}
	t.Log(strings.TrimSpace(s.err.String()))
	within(t, "only the devices from before", func() bool {
		after, _ := filepath.Glob("/sys/class/ublk-char/*")
		return len(after) == len(before)
	})
}

// A disk that somebody has is refused with the name of who has it.
func TestBusyDisk(t *testing.T) {
	anyKernel(t)
	a := nullBlk(t, 64)
	toml := pathDisks(a) + tableDevice("data", "0 2048 linear a 0")
	t.Run("mounted", func(t *testing.T) {
		words(t, "mkfs.ext4 -q -F", a)
		dir := filepath.Join(t.TempDir(), "busy mount")
		mount(t, a, dir, "ext4")
		refused(t, toml, 4, a, dir)
	})
	t.Run("swap", func(t *testing.T) {
		words(t, "mkswap -q", a)
		sh(t, "swapon", a)
		defer sh(t, "swapoff", a)
		refused(t, toml, 4, a, "swap")
	})
	t.Run("dm", func(t *testing.T) {
		dmCreate(t, "holder-of-it", "0 2048 linear "+a+" 0")
		refused(t, toml, 4, a, "holder-of-it")
	})
	t.Run("server", func(t *testing.T) {
		s := up(t, pathDisks(a)+tableDevice("first", "0 2048 linear a 0"))
		refused(t, toml, 4, a, fmt.Sprint(s.cmd.Process.Pid), filepath.Base(s.dev["first"]))
	})
	t.Run("ours", func(t *testing.T) {
		s := up(t, pathDisks(a)+tableDevice("below", "0 4096 linear a 0"))
		refused(t, pathDisks(s.dev["below"])+tableDevice("above", "0 2048 linear a 0"), 1, s.dev["below"], "device below of "+s.file)
		// And through dm.
		dm := dmCreate(t, "between", "0 4096 linear "+s.dev["below"]+" 0")
		refused(t, pathDisks(dm)+tableDevice("above", "0 2048 linear a 0"), 1, "device below of "+s.file)
	})
	t.Run("file", func(t *testing.T) {
		img := filepath.Join(t.TempDir(), "x.img")
		file := fmt.Sprintf("version = 1\n[disk.a]\nfile = %q\ncreate = \"4MiB\"\n", img)
		s := up(t, file+tableDevice("first", "0 2048 linear a 0"))
		refused(t, file+tableDevice("second", "0 2048 linear a 0"), 4, img, fmt.Sprint(s.cmd.Process.Pid))
	})
	nothingLeft(t, a)
}

// Starts that cannot be: every one says why, and leaves what was there as it was.
func TestFailedStart(t *testing.T) {
	anyKernel(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	toml := pathDisks(a) + tableDevice("data", "0 2048 linear a 0")
	t.Run("id taken", func(t *testing.T) {
		s := up(t, pathDisks(b)+"[device.first]\nid = 5\ntable = \"0 2048 linear a 0\"\n")
		if s.dev["first"] != "/dev/ublkb5" {
			t.Errorf("id = 5 is %s", s.dev["first"])
		}
		refused(t, pathDisks(a)+"[device.second]\nid = 5\ntable = \"0 2048 linear a 0\"\n", 4, "id 5", "second")
	})
	t.Run("second of two", func(t *testing.T) {
		up(t, pathDisks(b)+"[device.first]\nid = 5\ntable = \"0 2048 linear a 0\"\n")
		refused(t, pathDisks(a)+"[device.good]\nid = 3\ntable = \"0 2048 linear a 0\"\n[device.bad]\nid = 5\ntable = \"0 2048 linear a 4096\"\n", 4, "id 5", "bad")
		if _, err := os.Stat("/dev/ublkb3"); err == nil {
			t.Error("the first device is still there")
		}
		if to, err := os.Readlink("/dev/ublk-linear/first"); err != nil || to != "../ublkb5" {
			t.Errorf("the other server's link: %q, %v", to, err)
		}
		if _, err := os.Lstat("/dev/ublk-linear/good"); err == nil {
			t.Error("the first device's link is still there")
		}
		isFree(t, a)
	})
	t.Run("served already", func(t *testing.T) {
		s := up(t, toml)
		out, err := exec.Command("ublk-linear", "up", "-c", s.file).CombinedOutput()
		if exitStatus(err) != 4 || !strings.Contains(string(out), fmt.Sprint(s.cmd.Process.Pid)) {
			t.Errorf("exit %d: %s", exitStatus(err), out)
		}
		// The first one goes on.
		if st := status(t, s, "data"); st.Errors != 0 {
			t.Errorf("%d errors", st.Errors)
		}
	})
	t.Run("too large", func(t *testing.T) {
		refused(t, pathDisks(a)+tableDevice("data", "0 131072 linear a 1024"), 3, `disk "a"`, "start=1024, len=131072, dev_size=131072", "65024KiB")
	})
	t.Run("no such disk", func(t *testing.T) {
		refused(t, pathDisks("/dev/disk/by-id/none")+tableDevice("data", "0 2048 linear a 0"), 5, "/dev/disk/by-id/none")
	})
	t.Run("name taken", func(t *testing.T) {
		up(t, pathDisks(b)+tableDevice("data", "0 2048 linear a 0"))
		refused(t, toml, 4, "/dev/ublk-linear/data")
	})
	nothingLeft(t, a, b)
	t.Run("no driver", func(t *testing.T) {
		sh(t, "rmmod", "ublk_drv")
		defer sh(t, "modprobe", "ublk_drv")
		refused(t, toml, 1, "modprobe ublk_drv")
	})
	t.Run("with the driver again", func(t *testing.T) {
		within(t, "/dev/ublk-control", func() bool { _, err := os.Stat("/dev/ublk-control"); return err == nil })
		up(t, toml)
	})
	nothingLeft(t, a, b)
}

// `down` leaves a device that is used alone, says who uses it, and takes it down by force.
func TestDownInUse(t *testing.T) {
	anyKernel(t)
	down := func(s *server, flags ...string) (int, string) {
		out, err := exec.Command("ublk-linear", append([]string{"down", "-c", s.file}, flags...)...).CombinedOutput()
		return exitStatus(err), string(out)
	}
	a := nullBlk(t, 64)
	toml := pathDisks(a) + tableDevice("data", "0 65536 linear a 0")
	t.Run("mounted", func(t *testing.T) {
		s := up(t, toml)
		words(t, "mkfs.ext4 -q -F", s.dev["data"])
		dir := filepath.Join(t.TempDir(), "m")
		unmount := mount(t, s.dev["data"], dir, "ext4")
		if code, out := down(s); code != 4 || !strings.Contains(out, dir) {
			t.Errorf("exit %d: %s", code, out)
		}
		want := bytes.Repeat([]byte("still there"), 1000)
		if err := os.WriteFile(filepath.Join(dir, "x"), want, 0o644); err != nil {
			t.Errorf("after the refusal: %v", err)
		}
		unix.Sync()
		unmount()
		if code, out := down(s); code != 0 {
			t.Errorf("exit %d: %s", code, out)
		}
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
	// Nobody who still has the device open holds up the server's end, or the next start.
	for _, c := range []string{"mounted by force", "open by force", "open and SIGTERM", "open and SIGKILL"} {
		t.Run(c, func(t *testing.T) {
			nothingLeft(t, a)
			s, err := tryUp(t, writeConfig(t, onCrash(toml, "remove")))
			if err != nil {
				t.Fatal(err)
			}
			var leave func()
			if strings.HasPrefix(c, "mounted") {
				words(t, "mkfs.ext4 -q -F", s.dev["data"])
				leave = mount(t, s.dev["data"], filepath.Join(t.TempDir(), "m"), "ext4")
			} else {
				f, err := os.OpenFile(s.dev["data"], os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				leave = func() { _ = f.Close() }
				if code, out := down(s); code != 4 || !strings.Contains(out, fmt.Sprint(os.Getpid())) {
					t.Errorf("down while it is open: exit %d: %s", code, out)
				}
			}
			start := time.Now()
			if strings.HasSuffix(c, "SIGTERM") {
				s.signal(unix.SIGTERM)
			} else if strings.HasSuffix(c, "SIGKILL") {
				s.signal(unix.SIGKILL)
				_ = s.wait()
				if s, err = tryUp(t, s.file); err != nil {
					t.Errorf("up after %v: %v", time.Since(start).Round(time.Millisecond), err)
				} else if code, out := down(s); code != 0 {
					t.Errorf("down of the next one: exit %d: %s", code, out)
				}
			} else if code, out := down(s, "--force"); code != 0 {
				t.Errorf("after %v exit %d: %s", time.Since(start).Round(time.Millisecond), code, out)
			}
			if err := s.wait(); err != nil {
				t.Errorf("the server: %v\n%s", err, s.err)
			}
			t.Logf("it took %v", time.Since(start).Round(time.Millisecond))
			leave() // only now
			nothingLeft(t, a)
			// Its file can be served again.
			if s, err = tryUp(t, s.file); err != nil {
				t.Error(err)
				return
			}
			s.down()
			nothingLeft(t, a)
		})
	}
}
