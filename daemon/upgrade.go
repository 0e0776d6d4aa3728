package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk"
)

// An upgrade replaces the program of a running server, in its process:
//  1. all that could be in the way is looked for while everything runs: the new program reads the file, the file is what is
//     served, no copy is under way (upgrade_check.go);
//  2. the driver takes every device from this server, I/O under way ends, and the server lets the device go;
//  3. the new program is executed with the instance's lock in its hands (upgrade_handoff.go);
//  4. it takes the devices over as `up` does after a crash, and says how long each stood still.
//
// When a step before the third fails, or the third, this server takes its own devices over again.

const (
	leaveWait   = 30 * time.Second // for the I/O under way of a device that is let go
	upgradePoll = 50 * time.Millisecond
)

// UpgradeRequest asks a server to go on as another program.
type UpgradeRequest struct {
	Binary string `json:"binary"` // absolute path
	Wait   bool   `json:"wait"`   // for copies under way
	Force  bool   `json:"force"`  // also where requests fail meanwhile, by the device's policy
}

// UpgradeResult is how an upgrade goes. The new program has the stalls.
type UpgradeResult struct {
	Schema  int            `json:"schema"`
	Token   string         `json:"token"` // of this upgrade
	Done    bool           `json:"done"`
	Error   string         `json:"error,omitempty"` // why the old program serves on
	From    string         `json:"from"`            // versions
	To      string         `json:"to"`
	Binary  string         `json:"binary"`
	PID     int            `json:"pid"`
	Stall   float64        `json:"stall_milliseconds"` // from the first device's suspension until the last is live
	Devices []UpgradeStall `json:"devices"`
}

// UpgradeStall is how long a device answered nothing.
type UpgradeStall struct {
	Name  string  `json:"name"`
	Node  string  `json:"node"`
	Stall float64 `json:"stall_milliseconds"`
}

// upgrades is a server's side of upgrading. The zero value cannot.
type upgrades struct {
	exec    func(binary string, env []string) error // returns only when it fails
	version string

	busy    sync.Mutex // while the devices are in nobody's hands
	mu      sync.Mutex
	going   bool           // guarded by mu
	closing bool           // guarded by mu; the server ends: nothing is begun
	last    *UpgradeResult // guarded by mu
}

// errUpgrading is why a server refuses what would change its devices.
var errUpgrading = fmt.Errorf("the server is being upgraded: %w", unix.EBUSY)

// begin takes the right to upgrade.
func (u *upgrades) begin() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.exec == nil:
		return errors.New("this server cannot be upgraded: it does not run as a program of its own")
	case u.going:
		return errUpgrading
	case u.closing:
		return errStopping
	}
	u.going = true
	return nil
}

func (u *upgrades) end(r *UpgradeResult) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.going = false
	if r != nil {
		u.last = r
	}
}

// look is the last upgrade, or the one that goes on.
func (u *upgrades) look() *UpgradeResult {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last
}

// upgrading says whether one goes on.
func (u *upgrades) upgrading() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.going
}

// close lets an upgrade that goes on end, one way or the other: after the execution nobody is there to return to.
func (u *upgrades) close() {
	u.mu.Lock()
	u.closing = true
	u.mu.Unlock()
	u.busy.Lock() // then the devices are ours again
	defer u.busy.Unlock()
}

func (u *upgrades) isClosing() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.closing
}

// requestUpgrade checks everything. When nothing is in the way, begin is to be called, and the upgrade goes on by itself: who
// asked must have the answer by then, since nobody is left to give it.
func (s *Server) requestUpgrade(ctx context.Context, r UpgradeRequest) (out UpgradeResult, begin func(), err error) {
	out = UpgradeResult{Schema: Schema, Token: rand.Text(), From: s.upgrade.version, Binary: r.Binary, PID: os.Getpid(), Devices: []UpgradeStall{}}
	_, end, err := s.changing.begin(context.WithoutCancel(ctx))
	if err != nil {
		return out, nil, err
	}
	if err := s.upgrade.begin(); err != nil {
		end()
		return out, nil, err
	}
	to, err := s.mayUpgrade(ctx, &r)
	if err == nil && !r.Wait {
		err = s.copies.idle()
	}
	if err != nil {
		s.upgrade.end(nil)
		end()
		return out, nil, err
	}
	out.To = to
	s.upgrade.mu.Lock()
	s.upgrade.last = &out
	s.upgrade.mu.Unlock()
	return out, func() {
		go func() {
			defer end()
			s.upgradeTo(out, r)
		}()
	}, nil
}

// upgradeTo does it. It returns only when this program goes on.
func (s *Server) upgradeTo(out UpgradeResult, r UpgradeRequest) {
	ctx := context.Background()
	err := s.copies.pause(errUpgrading, r.Wait, s.upgrade.isClosing)
	if err == nil {
		s.upgrade.busy.Lock()
		s.leases.resumeAll()
		err = s.replace(ctx, &out, &r)
		s.upgrade.busy.Unlock()
		s.copies.unpause()
	}
	s.log.Error("upgrade failed: this program goes on", "binary", r.Binary, "err", err)
	s.events.publish(Event{Kind: UpgradeFailed, From: out.From, To: out.To, Error: err.Error()})
	out.Done, out.Error = true, err.Error()
	s.upgrade.end(&out)
}

// replace lets the devices go and becomes the new program. Whatever fails, they are taken over again.
func (s *Server) replace(ctx context.Context, out *UpgradeResult, r *UpgradeRequest) error {
	if s.upgrade.isClosing() {
		return errStopping
	}
	if err := s.saveState(); err != nil {
		return err
	}
	h := &handoff{Schema: handoffSchema, Token: out.Token, From: out.From, To: out.To, Binary: r.Binary, PID: os.Getpid(), Began: map[string]int64{}}
	s.mu.Lock()
	mine := append([]*device(nil), s.devices...)
	s.mu.Unlock()
	var left []*device
	var err error
	for _, e := range mine {
		h.Began[e.conf.Name] = monotonic()
		if err = s.letGo(ctx, e); err != nil {
			left = append(left, e) // it may be gone or not: Recover tells
			err = fmt.Errorf("device %s: %w", e.conf.Name, err)
			break
		}
		left = append(left, e)
	}
	if err == nil && s.upgrade.isClosing() {
		err = errStopping
	}
	if err == nil {
		s.scheds.end() // the new program would not reap
		err = s.become(h)
	}
	return errors.Join(err, s.retake(ctx, left))
}

// quiesce has the driver take a device from this server, where it can.
func quiesce(ctx context.Context, d *ublk.Device, wait time.Duration) error {
	if !d.Flags().Has(ublk.CanQuiesce) {
		return nil
	}
	return d.Quiesce(ctx, wait)
}

// letGo gives a device to whoever comes next, with all I/O answered or in the driver's hands. With an error, it may still be
// served.
func (s *Server) letGo(ctx context.Context, e *device) error {
	ctx, cancel := context.WithTimeout(ctx, 2*leaveWait)
	defer cancel()
	if err := quiesce(ctx, e.dev, leaveWait); err != nil {
		// The driver sends it no more requests: only a new beginning helps.
		return errors.Join(err, e.dev.Detach(ctx))
	}
	err := e.dev.Detach(ctx)
	parked := e.dev.Parked()
	if len(parked) == 0 {
		return err
	}
	// Their disks are gone since a moment ago. The driver does not send the device requests any more, and these would be in the way
	// of going on with it: they fail.
	for d := range parked {
		e.dev.DiskLost(d)
	}
	return e.dev.Detach(ctx)
}

// retake takes devices over that this server has just let go, each as it was.
func (s *Server) retake(ctx context.Context, left []*device) error {
	var errs []error
	for _, e := range left {
		select {
		case <-e.dev.Ended():
		default:
			if !e.dev.Flags().Has(ublk.CanQuiesce) {
				continue // it could not be let go, and is served as before
			}
		}
		spec := e.dev.Spec()
		err := e.dev.Detach(ctx) // of one that was let go, nothing
		var d *ublk.Device
		if err == nil {
			d, err = s.control.Recover(ctx, spec.ID, &spec)
		}
		if err == nil {
			err = d.Start(ctx, e.table, s.health.backings(s.disks))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("device %s: it waits, and could not be taken over again (it is when this server is started anew): %w", e.conf.Name, err))
			continue
		}
		again := &device{conf: e.conf, table: e.table, dev: d, lost: e.lost}
		s.mu.Lock()
		for i := range s.devices {
			if s.devices[i] == e {
				s.devices[i] = again
			}
		}
		s.mu.Unlock()
		s.park()
		go s.watch(again, again.conf.Name)
		s.log.Warn("device is served again by this program", "name", e.conf.Name, "node", d.Node())
		s.events.publish(Event{Kind: DeviceRecovered, Device: e.conf.Name, Node: d.Node()})
	}
	return errors.Join(errs...)
}

// monotonic is CLOCK_MONOTONIC in nanoseconds, which two programs in one process share.
func monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}
