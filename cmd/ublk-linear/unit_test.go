package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/daemon"
)

const unitFile = "../../packaging/ublk-linear@.service"

// unit is the unit's keys and values; a key may come more than once.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			out[key] = append(out[key], value)
		}
	}
	return out
}

// TestUnit: what the unit says is what the program knows.
func TestUnit(t *testing.T) {
	u := unit(t)
	one := func(key string) string {
		t.Helper()
		if len(u[key]) != 1 {
			t.Fatalf("%s is said %d times", key, len(u[key]))
		}
		return u[key][0]
	}
	if got := "/run/" + one("RuntimeDirectory"); got != daemon.RunDir || one("RuntimeDirectoryPreserve") != "yes" {
		t.Errorf("%s, the program has %s, and its files must outlive it", got, daemon.RunDir)
	}
	for _, key := range []string{"ExecStart", "ExecReload"} {
		words := strings.Fields(one(key))
		cmd, _, err := newRoot().Find(words[1:2])
		if err != nil || cmd.Name() != words[1] || filepath.Base(words[0]) != "ublk-linear" {
			t.Errorf("%s=%s: %v", key, one(key), err)
			continue
		}
		if err := cmd.ParseFlags([]string{"-c", "x"}); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		if key == "ExecStart" && !servesDevices(words[1:]) {
			t.Errorf("%s does not serve", one(key))
		}
	}
	if one("OOMScoreAdjust") != "-1000" || one("LimitMEMLOCK") != "infinity" || one("Type") != "notify" || one("PrivateMounts") != "yes" {
		t.Error("the process is not what it should be")
	}
	if one("RestartPreventExitStatus") != "3" { // 2 is also that of a Go program that panics
		t.Errorf("not started again after %s: an invalid file is 3", one("RestartPreventExitStatus"))
	}
	if one("DefaultDependencies") != "no" || !strings.Contains(one("Before"), "local-fs.target") || strings.Contains(strings.Join(u["Before"], " "), "local-fs-pre.target") {
		t.Error("a filesystem of fstab could not lie on a device, or a disk be a file of one")
	}
}

// TestUnitVerify asks systemd, where it is installed.
func TestUnitVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	verify := func(edit *strings.Replacer) (string, error) {
		t.Helper()
		b, err := os.ReadFile(unitFile)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		program := filepath.Join(dir, "ublk-linear")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "ublk-linear@v.service")
		text := edit.Replace(strings.ReplaceAll(string(b), "/usr/local/bin/ublk-linear", program))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", path).CombinedOutput()
		return string(out), err
	}
	if out, err := verify(strings.NewReplacer()); err != nil || strings.Contains(out, "ublk-linear@") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := verify(strings.NewReplacer("WatchdogSec=60", "WatchdogSec=often")); err == nil && !strings.Contains(out, "WatchdogSec") {
		t.Errorf("it would not see a mistake: %s", out)
	}
}
