// Package e2e tests ublk-linear on a real kernel: ublk, device-mapper, file systems. It runs as root in a guest that
// tests/cmd/vmrun boots; elsewhere every test says that it is skipped, and `make test`, which must boot the guest, fails
// when it cannot.
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hang is how long anything may take that is not stuck, on the slowest machine. No test fails for being slower than usual.
const hang = 2 * time.Minute

// inGuest is set by the guest's init.
var inGuest = os.Getenv("UBLK_LINEAR_GUEST") != ""

func TestMain(m *testing.M) {
	code := m.Run()
	if inGuest && code == 0 {
		code = leftovers()
	}
	os.Exit(code)
}

// leftovers fails the run when any test left a device, a process or a reference to the driver behind.
func leftovers() int {
	bad := 0
	say := func(format string, a ...any) {
		fmt.Printf("LEFT BEHIND: "+format+"\n", a...)
		bad = 1
	}
	var devs []string
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(100 * time.Millisecond) { // the last references go asynchronously
		devs, _ = filepath.Glob("/sys/class/ublk-char/*")
		ref, _ := os.ReadFile("/sys/module/ublk_drv/refcnt")
		if len(devs) == 0 && strings.TrimSpace(string(ref)) == "0" {
			break
		}
	}
	if len(devs) > 0 {
		say("ublk devices %v", devs)
	}
	if ref, err := os.ReadFile("/sys/module/ublk_drv/refcnt"); err != nil || strings.TrimSpace(string(ref)) != "0" {
		who := driverUsers()
		if err != nil || len(who) > 0 || len(devs) > 0 {
			say("ublk_drv is referenced %s times (%v): %v", strings.TrimSpace(string(ref)), err, who)
		} else {
			// Seen once on 6.12, behind servers that were killed in the middle of recoveries: nobody has the driver open.
			fmt.Printf("the kernel keeps %s references to ublk_drv, and no process has it open\n", strings.TrimSpace(string(ref)))
		}
	}
	if links, _ := filepath.Glob("/dev/ublk-linear/*"); len(links) > 0 {
		say("links %v", links)
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, p := range procs {
		if b, _ := os.ReadFile(p); strings.TrimSpace(string(b)) == "ublk-linear" {
			say("process %s", filepath.Dir(p))
		}
	}
	return bad
}

// driverUsers are the processes that have a file of the driver open.
func driverUsers() (out []string) {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "/dev/ublk") {
			out = append(out, fd+" is "+to)
		}
	}
	return out
}
