package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/ublk-go/ublk-linear/disk"
)

// MaxLease bounds for how long a device may be suspended without being asked for again.
const MaxLease = 10 * time.Minute

// SuspendRequest asks for a device to be suspended, or to stay so.
type SuspendRequest struct {
	Seconds float64 `json:"seconds"` // until it resumes by itself; above 0, up to MaxLease
}

// SuspendResult is a suspended device, or one that was resumed.
type SuspendResult struct {
	Schema int `json:"schema"`
	DeviceInfo
	Renewed bool    `json:"renewed"`       // it was suspended before
	Drain   float64 `json:"drain_seconds"` // until the I/O under way had ended and the disks were flushed
	Was     bool    `json:"was_suspended"` // of resume
}

// lease is a suspended device.
type lease struct {
	resume func()
	until  time.Time
	timer  *time.Timer
}

// leases are the devices that are suspended for somebody. Each resumes by itself, whoever asked for it is still there or
// not. The zero value is ready.
type leases struct {
	mu    sync.Mutex
	of    map[string]*lease // guarded by mu
	ended bool              // guarded by mu
}

// renew gives a lease another end, if there is one.
func (l *leases) renew(name string, d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.of[name]
	if x == nil {
		return false
	}
	x.until = time.Now().Add(d)
	x.timer.Reset(d)
	return true
}

// grant makes a lease. At its end the device resumes and said is called. It is false when the server ends.
func (l *leases) grant(name string, d time.Duration, resume, said func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	if l.of == nil {
		l.of = map[string]*lease{}
	}
	x := &lease{resume: resume, until: time.Now().Add(d)}
	x.timer = time.AfterFunc(d, func() {
		if l.expire(name, x) {
			x.resume()
			said()
		}
	})
	l.of[name] = x
	return true
}

// expire takes a lease away whose timer has fired. It is false when it was renewed, or taken away, in that moment.
func (l *leases) expire(name string, x *lease) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[name] != x || time.Now().Before(x.until) {
		return false
	}
	delete(l.of, name)
	return true
}

// forget ends a lease, if there is one, and resumes the device.
func (l *leases) forget(name string) bool {
	l.mu.Lock()
	x := l.of[name]
	delete(l.of, name)
	l.mu.Unlock()
	if x == nil {
		return false
	}
	x.timer.Stop()
	x.resume()
	return true
}

// resumeAll ends all leases.
func (l *leases) resumeAll() {
	l.mu.Lock()
	var names []string
	for name := range l.of {
		names = append(names, name)
	}
	l.mu.Unlock()
	for _, name := range names {
		l.forget(name)
	}
}

// end is resumeAll, and there are no more leases.
func (l *leases) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.resumeAll()
}

// left is what is left of a lease; 0: there is none. One that is about to end has a moment yet.
func (l *leases) left(name string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.of[name]; x != nil {
		return max(time.Until(x.until), time.Millisecond)
	}
	return 0
}

// suspendable is what a suspension works on: a device with its disks, and the copies that are kept out.
type suspendable struct {
	name    string
	freeze  func(ctx context.Context) (thaw func(), err error)
	suspend func(ctx context.Context) (resume func(), err error)
	disks   []interface{ Sync() error }
	expired func() // called when nobody resumed it in time; nil: nothing
}

// suspend keeps requests and copies out of a device for a while, renewable. When it returns, nothing of the device is under
// way on its disks, nothing comes until it resumes, and everything that was written is durable: the disks are flushed,
// since a snapshot of them would not have what is in their caches.
func (l *leases) suspend(ctx context.Context, d *suspendable, last time.Duration, log *slog.Logger) (renewed bool, err error) {
	if l.renew(d.name, last) {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, drainWait)
	defer cancel()
	thaw, err := d.freeze(ctx)
	if err != nil {
		return false, fmt.Errorf("device %s: copies under way did not let go of it: %w", d.name, err)
	}
	resume, err := d.suspend(ctx)
	if err != nil {
		thaw()
		return false, fmt.Errorf("device %s: %w", d.name, err)
	}
	both := sync.OnceFunc(func() {
		resume()
		thaw()
	})
	var errs []error
	for _, k := range d.disks {
		errs = append(errs, k.Sync())
	}
	if err := errors.Join(errs...); err != nil {
		both()
		return false, fmt.Errorf("device %s is not suspended: %w", d.name, err)
	}
	began := time.Now()
	said := func() {
		log.Warn("the suspension has ended by itself: nobody resumed the device", "name", d.name, "after", time.Since(began).Round(time.Millisecond))
		if d.expired != nil {
			d.expired()
		}
	}
	if !l.grant(d.name, last, both, said) {
		both()
		return false, errStopping
	}
	return false, nil
}

// Suspend suspends a device, or lets it stay suspended, for some time from now. Errors: os.ErrNotExist, EBUSY, what is wrong
// with the time (ErrReload), or what kept it from being suspended; then it is not.
func (s *Server) Suspend(ctx context.Context, name string, r SuspendRequest) (*SuspendResult, error) {
	if !(r.Seconds > 0 && r.Seconds <= MaxLease.Seconds()) {
		return nil, &ReloadError{Invalid: []error{fmt.Errorf("seconds %v is not above 0 and up to %v", r.Seconds, MaxLease.Seconds())}}
	}
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	e := s.device(name)
	if e == nil {
		return nil, fmt.Errorf("no device %q: %w", name, os.ErrNotExist)
	}
	if err := s.goneUnder(name); err != nil {
		return nil, err
	}
	d := &suspendable{name: name, suspend: e.dev.Suspend,
		freeze: func(ctx context.Context) (func(), error) { return s.regions.freeze(ctx, e.dev.ID()) },
		expired: func() {
			s.events.publish(Event{Kind: DeviceResumed, Device: name, Node: e.dev.Node(), Error: "nobody resumed it in time"})
		}}
	for _, k := range s.disksOf(e) {
		if !k.ReadOnly() {
			d.disks = append(d.disks, k)
		}
	}
	began := time.Now()
	renewed, err := s.leases.suspend(ctx, d, time.Duration(r.Seconds*float64(time.Second)), s.log)
	if err != nil {
		return nil, err
	}
	if !renewed {
		s.log.Info("device is suspended", "name", name, "seconds", r.Seconds)
		s.events.publish(Event{Kind: DeviceSuspended, Device: name, Node: e.dev.Node(), Seconds: r.Seconds})
	}
	out := &SuspendResult{Schema: Schema, Renewed: renewed, Was: renewed, Drain: time.Since(began).Seconds()}
	out.DeviceInfo = s.infoOf(e)
	return out, nil
}

// Resume resumes a device. One that is not suspended stays as it is. Errors: os.ErrNotExist.
func (s *Server) Resume(name string) (*SuspendResult, error) {
	e := s.device(name)
	if e == nil {
		return nil, fmt.Errorf("no device %q: %w", name, os.ErrNotExist)
	}
	was := s.leases.forget(name)
	if was {
		s.log.Info("device is resumed", "name", name)
		s.events.publish(Event{Kind: DeviceResumed, Device: name, Node: e.dev.Node()})
	}
	out := &SuspendResult{Schema: Schema, Was: was}
	out.DeviceInfo = s.infoOf(e)
	return out, nil
}

func (s *Server) infoOf(e *device) DeviceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info(e)
}

// disksOf are the disks of a device's table.
func (s *Server) disksOf(e *device) (out []*disk.Disk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range e.table.Disks() {
		out = append(out, s.disks[i])
	}
	return out
}
