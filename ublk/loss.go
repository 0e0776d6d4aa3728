package ublk

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ublk-go/ublk-linear/target"
)

// losses is what a device knows of disks that may be gone: what goes between those who judge that, on any goroutine, and the
// queues (aside.go).
//
//  1. A command fails with an errno that a vanished disk gives. Where the device parks, its queue puts it aside and tells
//     Spec.DiskSuspect.
//  2. Whoever is told looks at the disk, and says DiskThere, DiskAway, and later DiskBack or DiskLost.
//  3. What is said is a new snapshot in said, and every queue's bell is rung.
type losses struct {
	park    atomic.Bool
	over    atomic.Bool // the device is being stopped: nothing is put aside any more
	suspect func(target.Disk)
	said    atomic.Pointer[saying] // nil: nothing was ever said
	owed    atomic.Uint32          // the era whose first flush is to fail; 0: none

	mu     sync.Mutex
	parked map[target.Disk]int // guarded by mu; commands aside
}

// saying is what was said of all disks. It never changes.
type saying struct {
	disks map[target.Disk]word
	era   uint32 // how often a disk came back that may have lost what was written
}

// word is the last that was said of one disk.
type word struct {
	fate    fate
	asOf    int64    // of clock: what was put aside later is not meant
	resend  bool     // what is aside is sent again; otherwise it has failed as it did
	backing *Backing // what the disk is from now on; nil: what it was
}

// fate of a disk.
type fate uint8

const (
	there fate = iota
	away       // its commands are put aside
	lost       // its commands fail
)

// count notes commands that were put aside, or taken from there. Only for commands of a disk that has failed one.
func (l *losses) count(d target.Disk, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parked == nil {
		l.parked = map[target.Disk]int{}
	}
	if l.parked[d] += n; l.parked[d] == 0 {
		delete(l.parked, d)
	}
}

// say puts a word of a disk into a new snapshot. The caller has Device.change.
func (l *losses) say(d target.Disk, w word, newEra bool) *saying {
	s := &saying{disks: map[target.Disk]word{}}
	if was := l.said.Load(); was != nil {
		maps.Copy(s.disks, was.disks)
		s.era = was.era
	}
	s.disks[d] = w
	if newEra {
		s.era++
		l.owed.Store(s.era) // before any queue is in it
	}
	l.said.Store(s)
	return s
}

// now is the era that was last said to begin.
func (l *losses) now() uint32 {
	if s := l.said.Load(); s != nil {
		return s.era
	}
	return 0
}

// replacing says whether a disk has a new backing that not every queue is known to have taken.
func (l *losses) replacing() bool {
	if s := l.said.Load(); s != nil {
		for _, w := range s.disks {
			if w.backing != nil {
				return true
			}
		}
	}
	return false
}

// Park says whether commands are put aside that fail as those of a vanished disk do: EIO, ENODEV, ENXIO, ENOLINK, EREMOTEIO,
// ETIMEDOUT, of reads and writes ENOSPC, and of discards and zeroes EINVAL, which a disk of no capacity gives. Then
// Spec.DiskSuspect must be set, and whoever is called must answer with DiskThere, DiskAway or DiskLost: until then the
// request waits. Only block devices' commands are. It may be called at any time; what is aside stays there.
//
// A new device does not park. Start does not return before the driver has read the device, and the answers wait for Start: so
// Park is called behind it.
func (d *Device) Park(on bool) { d.loss.park.Store(on) }

// DiskThere says that a disk has been there all the time: commands that were put aside before asOf fail with what they had
// failed with. It does not wait for the queues.
func (d *Device) DiskThere(disk target.Disk, asOf time.Time) {
	d.tellLoss(disk, word{fate: there, asOf: clockOf(asOf)})
}

// DiskAway says that a disk is gone and may come back: what is aside stays there, and new commands for it are put aside
// without being sent. It does not wait for the queues.
func (d *Device) DiskAway(disk target.Disk) { d.tellLoss(disk, word{fate: away}) }

// DiskLost says that a disk is gone and nobody waits for it: what is aside fails with EIO, and so do new commands, at once. It
// does not wait for the queues. DiskBack can still follow.
func (d *Device) DiskLost(disk target.Disk) { d.tellLoss(disk, word{fate: lost}) }

func (d *Device) tellLoss(disk target.Disk, w word) {
	d.change.Lock()
	defer d.change.Unlock()
	d.loss.say(disk, w, false)
	d.holds.ask(func(*gate) {})
}

// DiskBack says that a disk is back, as fresh or, if that is nil, as it was: what is aside is sent again. Each queue takes it
// when none of its commands is in flight on the old one; when DiskBack returns without an error, nothing uses the old one any
// more. With ErrTimeout it may still be used, and the call is to be repeated with the same fresh.
//
// unflushed says that writes which were answered may be gone with the disk's cache. Then no flush that began before succeeds,
// nor the first that begins afterwards; and a request that was under way and has written something is done again as a whole.
//
// It waits for the queues for as long as ctx allows, 5 s at most. Errors: ctx.Err(), an OpError with ErrEnded, ErrTimeout.
func (d *Device) DiskBack(ctx context.Context, disk target.Disk, fresh *Backing, unflushed bool) error {
	d.change.Lock()
	defer d.change.Unlock()
	if d.mapper == nil || int(disk) >= len(d.disks) {
		return &OpError{"take a disk back", d.id, errNotStarted}
	}
	s := d.loss.said.Load()
	if s == nil || fresh == nil || s.disks[disk].backing == nil || *s.disks[disk].backing != *fresh { // else it is a repetition
		s = d.loss.say(disk, word{fate: there, asOf: clock(), resend: true, backing: fresh}, unflushed)
	}
	gates := d.holds.ask(func(*gate) {})
	if len(gates) < len(d.queues) {
		return &OpError{"take a disk back", d.id, ErrEnded}
	}
	for end := time.Now().Add(quickDeadline); ; {
		if heeded(gates, s) {
			break
		}
		var err error
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-d.holds.over:
			err = ErrEnded
		case <-time.After(time.Millisecond):
			if time.Now().After(end) {
				err = ErrTimeout
			}
		}
		if err != nil {
			return &OpError{"take a disk back", d.id, err}
		}
	}
	if fresh == nil {
		return nil
	}
	now := append([]Backing(nil), d.disks...)
	now[disk] = *fresh
	d.disks = now
	for _, x := range d.queues {
		x.disks = now
	}
	d.loss.say(disk, word{}, false) // a later world has disks of its own
	return nil
}

// heeded says whether all queues have done what a snapshot says.
func heeded(gates []*gate, s *saying) bool {
	for _, g := range gates {
		if g.heeded.Load() != s {
			return false
		}
	}
	return true
}

// Parked is how many commands wait for a disk, by disk; those that nobody has judged yet among them.
func (d *Device) Parked() map[target.Disk]int {
	d.loss.mu.Lock()
	defer d.loss.mu.Unlock()
	return maps.Clone(d.loss.parked)
}

// InFlight is how many commands are with a disk: neither answered nor put aside. It only looks, as Stalled does.
func (d *Device) InFlight(disk target.Disk) (n int) {
	for _, s := range d.queues {
		fs := *s.q.watched.Load()
		for i := range fs {
			if fs[i].on(disk) {
				n++
			}
		}
	}
	return n
}

// on says whether a command is in flight on a disk.
func (f *flight) on(d target.Disk) bool {
	return f.sent.Load() != 0 && target.Disk(f.where.Load()>>48) == d
}

// clockOf is a time as clock would have had it.
func clockOf(t time.Time) int64 { return int64(t.Sub(clockBase)) + opBits + 1 }
