package sim

import (
	"sync"
	"time"
)

// Clock is the time that a device goes by.
type Clock interface {
	Now() time.Time
	Sleep(d time.Duration)
}

// RealClock is the host's.
type RealClock struct{}

// Now is the time.
func (RealClock) Now() time.Time { return time.Now() }

// Sleep waits.
func (RealClock) Sleep(d time.Duration) { time.Sleep(d) }

// VirtualClock counts time instead of waiting for it. It begins at the zero time.
type VirtualClock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

// Now is the time.
func (c *VirtualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Sleep lets the time pass at once.
func (c *VirtualClock) Sleep(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// hang is what "hangs" adds to every hangEvery-th command: 10 s more than nvme_core.io_timeout.
const (
	hang      = 40 * time.Second
	hangEvery = 8
)

// pass lets the time pass that a command takes which moves so many bytes: the latency, and its turn at the rate, which all
// commands of the device share.
func (d *Device) pass(bytes uint64) {
	now := d.clock.Now()
	d.mu.Lock()
	until := now.Add(d.c.Latency)
	if d.c.Rate > 0 {
		if d.busy.Before(now) {
			d.busy = now
		}
		d.busy = d.busy.Add(transferTime(bytes, d.c.Rate))
		until = d.busy.Add(d.c.Latency)
	}
	d.commands++
	if d.bad[hangs] && d.commands%hangEvery == 0 {
		until = until.Add(hang)
	}
	d.mu.Unlock()
	if wait := until.Sub(now); wait > 0 {
		d.clock.Sleep(wait)
	}
}

// transferTime is how long bytes take at a rate in bytes per second; at most a century.
func transferTime(bytes, rate uint64) time.Duration {
	const century = 100 * 365 * 24 * time.Hour
	s := float64(bytes) / float64(rate)
	if s > century.Seconds() {
		return century
	}
	return time.Duration(s * float64(time.Second))
}
