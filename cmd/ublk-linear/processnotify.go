package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/coreos/go-systemd/v22/daemon"
)

// heartbeat is what tells systemd's watchdog that the server's own loop runs (WatchdogSec= of the unit). It says nothing
// of the disks: a server whose disk hangs must not be killed for it.
type heartbeat struct {
	beats chan struct{}
}

// newHeartbeat is nil where nobody watches. It lives as long as the process.
func newHeartbeat() *heartbeat {
	if every, err := daemon.SdWatchdogEnabled(false); err != nil || every <= 0 {
		return nil
	}
	h := &heartbeat{make(chan struct{}, 1)}
	go func() { // a send may wait for systemd: not in the loop that is told of
		for range h.beats {
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
	}()
	return h
}

// beat never waits.
func (h *heartbeat) beat() {
	if h == nil {
		return
	}
	select {
	case h.beats <- struct{}{}:
	default:
	}
}

// sayReloading tells systemd that the server reloads, or that it has ended (sd_notify(3), Type=notify-reload).
func sayReloading(now bool) {
	if !now {
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
		return
	}
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	_, _ = daemon.SdNotify(false, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, t.Nano()/1000))
}
