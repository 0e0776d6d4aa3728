package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"testing"
	"time"
)

// stuckAfter is several times what the longest test takes on a slow machine. The samples of a soak may take hours.
const stuckAfter = 8 * time.Minute

// notStuck ends the run when a test does not end: a thread that waits for a device without a server cannot be killed, and
// neither testing's own timeout nor the kernel's report of hung tasks (blk_wait_io wakes up in between) ends such a run.
func notStuck(t testing.TB) {
	if soak {
		return
	}
	timer := time.AfterFunc(stuckAfter, func() {
		fmt.Printf("STUCK: %s, for %v\n", t.Name(), stuckAfter)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
		fmt.Printf("STUCK: %s, for %v; its goroutines are above, the kernel's blocked tasks on the console\n", t.Name(), stuckAfter)
		_ = os.WriteFile("/proc/sysrq-trigger", []byte("w"), 0)
		// Should this process not be able to end.
		_ = exec.Command("sh", "-c", "sleep 20; echo b > /proc/sysrq-trigger").Start()
		os.Exit(2)
	})
	t.Cleanup(func() { timer.Stop() })
}
