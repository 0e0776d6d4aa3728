package daemon

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// schedulerSys is a /sys with devices by name: what queue/scheduler says ("": there is none), and what inflight says.
func schedulerSys(t *testing.T, devices map[string][2]string) (sys string, scheduler func(name string) string) {
	t.Helper()
	sys = t.TempDir()
	file := func(name string) string { return filepath.Join(sys, "block", name, "queue", "scheduler") }
	for name, is := range devices {
		if err := os.MkdirAll(filepath.Dir(file(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if is[0] != "" {
			writeFile(t, file(name), is[0])
		}
		if is[1] != "" {
			writeFile(t, filepath.Join(sys, "block", name, "inflight"), is[1])
		}
	}
	return sys, func(name string) string {
		b, _ := os.ReadFile(file(name))
		return string(b)
	}
}

// Only the kernel's own choice is taken out, and only while nothing is in flight.
func TestNoScheduler(t *testing.T) {
	const kernels, quiet = "none [mq-deadline] kyber \n", "       0        0\n"
	for name, c := range map[string]struct {
		is, inflight string
		set          bool
		err          error
	}{
		"the kernel's":        {kernels, quiet, true, nil},
		"several queues":      {"[none] mq-deadline kyber \n", quiet, false, nil},
		"a rule's":            {"none mq-deadline kyber [bfq] \n", quiet, false, nil},
		"without schedulers":  {"none\n", quiet, false, nil},
		"no such file":        {"", quiet, false, nil},
		"a read in flight":    {kernels, "       1        0\n", false, errInFlight},
		"a write in flight":   {kernels, "       0        7\n", false, errInFlight},
		"nothing of requests": {kernels, "", false, os.ErrNotExist},
	} {
		sys, scheduler := schedulerSys(t, map[string][2]string{"ublkb0": {c.is, c.inflight}})
		err := noScheduler(filepath.Join(sys, "block", "ublkb0"), 10*time.Millisecond, make(chan struct{}, 1))
		want := c.is
		if c.set {
			want = "none" + c.is[4:]
		}
		if got := scheduler("ublkb0"); got != want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, want %q; %v", name, got, want, err)
		}
	}
}

// A device that waits holds up no other, and is done when its requests are answered.
func TestNoSchedulersSideBySide(t *testing.T) {
	const kernels = "[mq-deadline] none"
	sys, scheduler := schedulerSys(t, map[string][2]string{"ublkb0": {kernels, "1 0\n"}, "ublkb1": {kernels, "0 0\n"}, "ublkb2": {kernels, "what\n"}})
	in, ask := io.Pipe()
	answers, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- NoSchedulers(sys, in, out)
		out.Close()
	}()
	lines := bufio.NewScanner(answers)
	next := func() string { lines.Scan(); return lines.Text() }
	_, _ = io.WriteString(ask, "ublkb0\nublkb1\n")
	if got := next(); got != "ublkb1" || !strings.HasPrefix(scheduler("ublkb1"), "none") || scheduler("ublkb0") != kernels {
		t.Errorf("%q; %q, %q", got, scheduler("ublkb0"), scheduler("ublkb1"))
	}
	_, _ = io.WriteString(ask, "ublkb2\n")
	if got := next(); !strings.HasPrefix(got, "ublkb2 inflight of ublkb2: ") {
		t.Errorf("%q", got)
	}
	ask.Close()
	inflight := filepath.Join(sys, "block", "ublkb0", "inflight")
	writeFile(t, inflight+".new", "0 0\n") // sysfs is never seen half written
	if err := os.Rename(inflight+".new", inflight); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "ublkb0" || !strings.HasPrefix(scheduler("ublkb0"), "none") {
		t.Errorf("%q %q", got, scheduler("ublkb0"))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// testSchedulers has a shell script for a writer.
func testSchedulers(script string, limit time.Duration) (*schedulers, *lockedLog) {
	log := &lockedLog{}
	return &schedulers{command: []string{"/bin/sh", "-c", script}, limit: limit, log: slog.New(slog.NewTextHandler(log, nil))}, log
}

// The devices of one start have one writer, which is asked for each and reaped.
func TestSchedulersAsk(t *testing.T) {
	dir := t.TempDir()
	c, log := testSchedulers(`echo $$ >>`+dir+`/pid; while read n; do echo $n >>`+dir+`/asked; echo $n; done`, time.Minute)
	for _, n := range []string{"ublkb0", "ublkb7"} {
		c.ask(n)
		c.wait(t.Context(), n)
	}
	c.ask("ublkb8")
	c.settle(t.Context())
	c.end()
	b, _ := os.ReadFile(dir + "/asked")
	if pid, _ := os.ReadFile(dir + "/pid"); string(b) != "ublkb0\nublkb7\nublkb8\n" || bytes.Count(pid, []byte("\n")) != 1 || log.String() != "" {
		t.Errorf("asked for %q, processes %q, said %q", b, pid, log)
	}
	c.ask("ublkb9") // of a reload: another one
	c.settle(t.Context())
	c.end()
	if pid, _ := os.ReadFile(dir + "/pid"); bytes.Count(pid, []byte("\n")) != 2 || log.String() != "" {
		t.Errorf("processes %q, said %q", pid, log)
	}
	none := &schedulers{}
	none.ask("ublkb0")
	none.wait(t.Context(), "ublkb0")
	none.end()
}

// Whatever becomes of a writer, a start goes on, in bounded time, and it is told of.
func TestSchedulersFail(t *testing.T) {
	for script, want := range map[string]string{
		`read n; echo $n it is busy`:  "it is busy",
		`exit 3`:                      "exit status 3",
		`read n; kill -9 $$`:          "signal: killed",
		`read n; echo something else`: "has not answered",
		`read n; while read m; do :; done; exec sleep 0.05`: "not done after 50ms",
	} {
		limit := time.Minute
		if strings.Contains(want, "50ms") {
			limit = 50 * time.Millisecond
		}
		c, log := testSchedulers(script, limit)
		c.ask("ublkb0")
		c.wait(t.Context(), "ublkb0")
		c.end()
		if got := log.String(); !strings.Contains(got, want) || strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "device=ublkb0") {
			t.Errorf("%s: %q", script, got)
		}
		c.writers.Wait()
	}
	c, log := testSchedulers("", time.Minute)
	c.command = []string{"/nosuch"}
	c.ask("ublkb0")
	c.settle(t.Context())
	c.end()
	if !strings.Contains(log.String(), "no such file") {
		t.Errorf("%q", log)
	}
}

// A writer that is gone is replaced, and one that does not end is not waited for.
func TestSchedulersAgain(t *testing.T) {
	dir := t.TempDir()
	c, log := testSchedulers(`[ -e `+dir+`/one ] || { >`+dir+`/one; exit; }; read n; echo $n; while [ ! -e `+dir+`/end ]; do :; done`, time.Minute)
	c.ask("ublkb0")
	c.wait(t.Context(), "ublkb0")
	c.writers.Wait()
	c.ask("ublkb1")
	c.wait(t.Context(), "ublkb1")
	if got := log.String(); strings.Count(got, "WARN") != 1 {
		t.Errorf("%q", got)
	}
	begun := time.Now()
	c.end()
	if took := time.Since(begun); took < reapWait || took > 20*reapWait {
		t.Errorf("the end took %v", took)
	}
	writeFile(t, dir+"/end", "")
	c.writers.Wait()
}
