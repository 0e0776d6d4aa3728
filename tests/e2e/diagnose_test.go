package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// stallAfter is below the time after which the kernel reports a hung task, which ends the run before anybody could ask.
const stallAfter = 40 * time.Second

// notStalled prints, as long as the test runs, all that is known of a server's devices each time that count has not grown for
// stallAfter: what the driver and the server think they have of each other's. It judges nothing.
func notStalled(t testing.TB, what string, s func() *server, count *atomic.Int64) {
	var over atomic.Bool
	t.Cleanup(func() { over.Store(true) })
	go func() {
		last, since := int64(-1), time.Now()
		for ; !over.Load(); time.Sleep(time.Second) {
			if n := count.Load(); n != last {
				last, since = n, time.Now()
			} else if time.Since(since) > stallAfter {
				fmt.Printf("STALLED: %s: no %s for %v, at %v\n%s", t.Name(), what, stallAfter, time.Now().Format(time.TimeOnly), diagnosis(s()))
				since = time.Now()
			}
		}
	}()
}

// diagnosis is what debugfs says of the requests of every ublk device, what its server says of them, where each thread of the
// server is, and every task that runs or could. It changes nothing: a slow machine is no stall.
func diagnosis(s *server) string {
	var b strings.Builder
	file := func(pattern string) {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			if text, err := os.ReadFile(f); err != nil {
				fmt.Fprintf(&b, "%s: %v\n", f, err)
			} else if len(strings.TrimSpace(string(text))) > 0 {
				fmt.Fprintf(&b, "%s: %.4000s\n", f, strings.TrimSpace(string(text)))
			}
		}
	}
	for _, f := range []string{"state", "requeue_list", "rqos/wbt/*", "hctx*/state", "hctx*/flags", "hctx*/dispatch", "hctx*/busy", "hctx*/tags", "hctx*/sched_tags", "hctx*/active"} {
		file("/sys/kernel/debug/block/ublkb*/" + f)
	}
	file("/sys/block/ublkb*/inflight")
	file("/sys/block/ublkb*/stat")
	for range 2 { // whether every processor goes on
		file("/proc/interrupts")
		file("/proc/stat")
		time.Sleep(2 * time.Second)
	}
	for _, f := range []string{"task/*/wchan", "task/*/syscall", "task/*/stack", "fdinfo/*"} {
		file(fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, f))
	}
	runs, _ := filepath.Glob("/proc/[0-9]*/task/*/stat")
	for _, f := range runs {
		text, _ := os.ReadFile(f)
		if _, after, ok := strings.Cut(string(text), ") "); ok && after[0] == 'R' {
			fmt.Fprintf(&b, "it runs, or could: %s\n", text)
			file(filepath.Dir(f) + "/stack")
		}
	}
	for name := range s.dev {
		out, err := exec.Command("ublk-linear", "status", name, "--json", "-c", s.file).CombinedOutput()
		fmt.Fprintf(&b, "status %s: %v: %s\n", name, err, out)
	}
	fmt.Fprintf(&b, "server: %s\n", s.err)
	return b.String()
}
