// Command init is the first process of a test guest. It loads the modules it needs to reach the host,
// is told its job over a virtio-serial port, puts the host's root folder underneath a throw-away
// overlay, runs the job in there as root, reports the exit code and turns the machine off.
//
// Nothing but the kernel is different from the host: every program installed there is in the guest.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/tests/guest"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the first process of a test guest, not for use elsewhere")
		os.Exit(2)
	}
	// The kernel gives its first process next to no environment.
	err := os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if err == nil {
		err = run()
	}
	if err != nil {
		// The console is all there is when the control port could not be had.
		fmt.Fprintln(os.Stderr, "guest init:", err)
	}
	go unstick()
	// Not sync: a disk that hangs is what some tests are about, and nothing here outlives the run.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintln(os.Stderr, "guest init: power off:", err)
	}
	select {} // an init that ends is a kernel panic; the host's patience is shorter than ours
}

func run() error {
	if err := mountKernel(); err != nil {
		return err
	}
	if err := loadBootModules(); err != nil {
		return err
	}
	control, err := openPort(guest.Control)
	if err != nil {
		return err
	}
	enc, dec := json.NewEncoder(control), json.NewDecoder(control)
	code, err := serve(enc, dec)
	if err != nil {
		return enc.Encode(guest.Event{Fail: err.Error()})
	}
	return enc.Encode(guest.Event{Exit: &guest.Exit{Code: code}})
}

// serve takes the job and sees it through.
func serve(enc *json.Encoder, dec *json.Decoder) (int, error) {
	var job guest.Job
	if err := dec.Decode(&job); err != nil {
		return 0, fmt.Errorf("read job: %w", err)
	}
	output, err := openPort(guest.Output)
	if err != nil {
		return 0, err
	}
	if err := enterRoot(job); err != nil {
		return 0, err
	}
	settle()
	missing := modprobe(job.Load)
	mountLate()
	boot := guest.Boot{Release: job.Release, Uptime: uptime(), Missing: missing}
	if err := enc.Encode(guest.Event{Boot: &boot}); err != nil {
		return 0, fmt.Errorf("report boot: %w", err)
	}
	p, err := start(job, output)
	if err != nil {
		return 0, err
	}
	go func() {
		for {
			var o guest.Order
			if dec.Decode(&o) != nil {
				return
			}
			if o.Stop {
				p.show()
			}
		}
	}()
	code, err := p.wait()
	leaveResults()
	return code, err
}

// unstick shows what a power-off waits for, and then resets the machine, which waits for nothing and
// with -no-reboot comes to the same.
func unstick() {
	time.Sleep(10 * time.Second)
	_ = os.WriteFile("/dev/kmsg", []byte(guest.StuckMark), 0)
	_ = os.WriteFile("/proc/sysrq-trigger", []byte("w"), 0)
	_ = os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0)
}

// uptime returns the seconds since boot.
func uptime() float64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano()).Seconds()
}
