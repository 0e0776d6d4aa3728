package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/daemon"
)

// another is a copy of the program at another path.
func another(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("ublk-linear")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ublk-linear")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// An upgrade under load: nobody sees an error, nothing is lost, the process and the devices stay what they are.
func TestUpgrade(t *testing.T) {
	needGuest(t)
	s, file, disks := crashBed(t, "")
	next := another(t)
	plain := startBlocks(t, s.dev["life"], 40960, false)
	defer plain.end()
	var longest float64
	for i := range scaled(5, 20) {
		plain.moves(100)
		var out daemon.UpgradeResult
		args := []string{"upgrade", "-c", file}
		if i%2 == 0 {
			args = append(args, "--binary", next)
		}
		if code := tool(t, &out, args...); code != 0 {
			t.Fatalf("exit %d\n%s", code, s.err)
		}
		if out.PID != s.cmd.Process.Pid || len(out.Devices) != 2 || !out.Done || out.Stall <= 0 {
			t.Errorf("%+v", out)
		}
		for _, d := range out.Devices {
			if d.Stall <= 0 || d.Stall > out.Stall || s.dev[d.Name] != d.Node {
				t.Errorf("%+v", out)
			}
		}
		longest = max(longest, out.Stall)
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", out.PID))
		if err != nil || (exe == next) != (i%2 == 0) {
			t.Errorf("the program is %s (%v)", exe, err)
		}
	}
	plain.moves(100)
	plain.end()
	t.Logf("the longest stall was %.1f ms, the longest request took %v", longest, time.Duration(plain.longest.Load()).Round(time.Millisecond))
	s.down()
	nothingLeft(t, disks...)
}

// What cannot go well is refused, and the server serves on.
func TestUpgradeRefused(t *testing.T) {
	needGuest(t)
	cleared(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	toml := crashConfig(a, b)
	file := writeConfig(t, toml)
	exits(t, 5, "upgrade", "-c", file)
	s, err := tryUp(t, file)
	if err != nil {
		t.Fatal(err)
	}
	plain := startBlocks(t, s.dev["life"], 40960, false)
	defer plain.end()
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho hello\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// It says that it is the program, and is none that can be executed when the time comes.
	vanishing := filepath.Join(t.TempDir(), "vanishing")
	if err := os.WriteFile(vanishing, []byte("#!/bin/sh\ncase $1 in version) echo '{\"schema\":1,\"version\":\"v9\"}';; check) rm $0;; esac\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{5, []string{"--binary", "/nonexistent"}, "no such file"},
		{1, []string{"--binary", script}, "is not an answer of ublk-linear"},
		{1, []string{"--binary", vanishing}, "execute " + vanishing},
	} {
		out := exits(t, c.code, append([]string{"upgrade", "-c", file}, c.args...)...)
		if !strings.Contains(out, c.want) {
			t.Errorf("%v: %s", c.args, out)
		}
		plain.moves(50)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(toml, "0 65536 linear b 65536", "0 65000 linear b 65536", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := exits(t, 1, "upgrade", "-c", file); !strings.Contains(out, "the file has changed") {
		t.Error(out)
	}
	if err := os.WriteFile(file, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	c := startCopy(t, file)
	within(t, "a copy", func() bool { return strings.Contains(sh(t, "ublk-linear", "status", "life", "-c", file), "copies") })
	exits(t, 4, "upgrade", "-c", file)
	plain.moves(50)
	exits(t, 0, "upgrade", "--wait", "-c", file)
	c.kill()
	c.wait()
	plain.moves(50)
	plain.end()
	s.down()
	nothingLeft(t, a, b)

	s = up(t, onCrash(toml, "remove"))
	if out := exits(t, 1, "upgrade", "-c", s.file); !strings.Contains(out, "nothing is left to take over") {
		t.Error(out)
	}
}

// Killed anywhere in an upgrade, a server leaves devices that wait, and the next one has them with all their content.
func TestKillInUpgrade(t *testing.T) {
	needGuest(t)
	cleared(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	file := writeConfig(t, crashConfig(a, b))
	s, err := tryUp(t, file)
	if err != nil {
		t.Fatal(err)
	}
	old := !has616(t)
	plain := startBlocks(t, s.dev["life"], 40960, old)
	defer plain.end()
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range scaled(5, 20) {
		plain.moves(50)
		cmd := exec.Command("ublk-linear", "upgrade", "-c", file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
		s.signal(syscall.SIGKILL)
		_ = s.wait()
		_ = cmd.Wait()
		if s, err = tryUp(t, file); err != nil {
			plain.stop.Store(true)
			exits(t, 0, "remove", "--all", "--force")
			if old && strings.Contains(err.Error(), "cannot take it up again") {
				t.Logf("round %d: %v", i, err)
				return
			}
			t.Fatal(err)
		}
	}
	plain.moves(50)
	plain.end()
	s.down()
	nothingLeft(t, a, b)
}
