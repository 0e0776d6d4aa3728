package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBoot boots every kernel. It installs, downloads and takes its time: only when asked for.
func TestBoot(t *testing.T) {
	if os.Getenv("UBLK_LINEAR_VM") != "1" {
		t.Skip("boots guests: set UBLK_LINEAR_VM=1")
	}
	ctx := t.Context()
	if err := Install(ctx, Needs(), t.Output()); err != nil {
		t.Fatal(err)
	}
	dir, err := DefaultCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range AllSeries() {
		k, err := (&Cache{Dir: dir, Log: t.Output()}).Kernel(ctx, s, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name, script string
			timeout      time.Duration
			code         int
			err          error
		}{
			{name: "ok", script: `[ -e /dev/ublk-control ] && [ -b /dev/nvme0n1 ] && [ "$(uname -r)" = "$UBLK_LINEAR_GUEST" ] && touch made && echo hello`},
			{name: "exit", script: "echo hello; exit 3", code: 3},
			{name: "signal", script: "echo hello; kill -9 $$", code: 137},
			{name: "warning", script: "echo hello; echo WARNING: x > /dev/kmsg", err: ErrKernel},
			{name: "panic", script: "echo hello; sleep 1; echo c > /proc/sysrq-trigger", code: -1, err: ErrGuest},
			{name: "timeout", script: "echo hello; sleep 1000", timeout: 15 * time.Second, code: -1, err: context.DeadlineExceeded},
			{name: "daemon", script: "echo hello; sleep 1000 &"},
		} {
			t.Run(s.Name+"/"+tt.name, func(t *testing.T) {
				dir := t.TempDir()
				script := filepath.Join(dir, "job.sh")
				if err := os.WriteFile(script, []byte("#!/bin/bash\n"+tt.script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				m := &Machine{Kernel: k, Drives: []Drive{{Kind: "nvme", Size: 1 << 20}}, Timeout: tt.timeout, Log: t.Output()}
				res, err := m.Run(ctx, Job{Program: script, Folder: filepath.Join(dir, "results"), Output: &out})
				if res.ExitCode != tt.code || !errors.Is(err, tt.err) || (err != nil) != (tt.err != nil) {
					t.Errorf("exit %d, %v; want %d, %v", res.ExitCode, err, tt.code, tt.err)
				}
				if !strings.HasPrefix(out.String(), "hello\n") {
					t.Errorf("output %q", out.String())
				}
				if _, err := os.Stat(filepath.Join(dir, "results", "made")); tt.name == "ok" && err != nil {
					t.Error(err)
				}
			})
		}
	}
}
