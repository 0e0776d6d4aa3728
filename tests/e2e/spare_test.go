package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// spare makes a server ready to be killed at a random moment of its start, outside START_DEV where that must not be
// (scansWithin): it is stopped, what it has begun gets the time to get there, and it goes on for a moment when it is there.
func spare(t testing.TB, pid int) {
	t.Helper()
	if !scansWithin(t) {
		return
	}
	for end := time.Now().Add(hang); time.Now().Before(end); {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
		time.Sleep(100 * time.Millisecond) // for a START_DEV that is on its way
		if !starting(pid) {
			return
		}
		_ = syscall.Kill(pid, syscall.SIGCONT)
		time.Sleep(20 * time.Millisecond) // so that it is answered
	}
	t.Fatal("START_DEV does not end")
}

// starting says whether the driver makes a block device for a process.
func starting(pid int) bool {
	stacks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stack", pid))
	for _, f := range stacks {
		if b, _ := os.ReadFile(f); bytes.Contains(b, []byte("device_add_disk")) {
			return true
		}
	}
	return false
}
