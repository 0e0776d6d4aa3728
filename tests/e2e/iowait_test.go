package e2e

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// iowait is the time that CPUs have been idle with a task of theirs waiting for I/O, of all of them: in /proc/stat the fifth
// number, in hundredths of a second.
func iowait(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(text))
	if len(f) < 6 || f[0] != "cpu" {
		t.Fatalf("/proc/stat: %q", text)
	}
	n, err := strconv.Atoi(f[5])
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n) * 10 * time.Millisecond
}

// A server that nobody asks anything waits for requests, not for I/O.
func TestIdleIsNotIOWait(t *testing.T) {
	needGuest(t)
	var u unix.Utsname
	var major, minor int
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	if major < 6 || major == 6 && minor < 15 {
		t.Skip("a wait that is none for I/O: Linux 6.15")
	}
	took := time.Duration(scaled(2, 15)) * time.Second
	up(t, pathDisks(nullBlk(t, 64))+tableDevice("idle", "0 131072 linear a 0"))
	time.Sleep(time.Second) // udev and the partition scan have looked at the device
	before := iowait(t)
	time.Sleep(took)
	got := iowait(t) - before
	t.Logf("%v of I/O wait in %v on %d CPUs", got, took, runtime.NumCPU())
	if got > took/20 {
		t.Errorf("%v of I/O wait in %v, while nothing was asked of the device", got, took)
	}
}
