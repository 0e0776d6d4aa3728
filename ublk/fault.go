package ublk

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	faults "github.com/ublk-go/ublk-linear/fault"
	"github.com/ublk-go/ublk-linear/target"
)

// spoil is what of a queue is only there when some of its commands are to go wrong: without faults the queue pays one
// comparison with nil per command. A command that a rule hits is
//
//   - answered without being sent: put into done, and taken as if it had come back, at the end of the turn;
//   - sent cut (faultcut.go), and mended when it comes back;
//   - kept in late until its time has come, and then sent or answered. The thread does not wait: a timer rings the queue's
//     bell.
//
// A command that is sent again, after a short transfer or EAGAIN, is a command like the first, and may be hit like it.
type spoil struct {
	q     *queue
	set   *faults.Set
	block uint64 // bytes: nothing smaller is cut
	cuts  []cut  // by op
	done  []spoiled
	next  []spoiled // memory for done
	late  []spoiled
	alarm alarm
	stop  func() bool // hears no release any more
}

// spoiled is a command that is not with its disk.
type spoiled struct {
	op    uint32
	errno unix.Errno // the answer; 0 in late: it is sent when its time has come
	due   time.Time
}

// newSpoil is nil without rules.
func newSpoil(q *queue, set *faults.Set) *spoil {
	if set == nil || len(set.Rules()) == 0 {
		return nil
	}
	return &spoil{q: q, set: set, block: q.bounds.lbs * 512, cuts: make([]cut, len(q.ops))}
}

// open begins to hear the alarm, which rings the queue's bell until close.
func (s *spoil) open() {
	s.alarm.bell = &s.q.gate.bell
	s.alarm.open = true
	s.stop = afterRelease(s.set, s.alarm.ring)
}

// close lets nobody ring any more: behind it the bell's descriptor may be another file's.
func (s *spoil) close() {
	s.stop()
	s.alarm.close()
}

var faultOps = [...]faults.Op{kindRead: faults.Read, kindWrite: faults.Write, kindSync: faults.Flush, kindDiscard: faults.Discard, kindZero: faults.WriteZeroes}

// takes says whether a command is hit, and does with it what the rule says.
func (s *spoil) takes(i uint32) bool {
	o := &s.q.ops[i]
	r := target.Range{Start: o.at / 512, Len: (o.at%512 + o.left + 511) / 512}
	a, hit := s.set.Command(o.disk, faultOps[o.kind], r)
	if !hit {
		return false
	}
	switch a.Kind {
	case faults.Errno:
		s.done = append(s.done, spoiled{op: i, errno: a.Errno})
	case faults.Torn:
		if !s.cut(i, true) {
			s.done = append(s.done, spoiled{op: i, errno: unix.EIO})
			return true
		}
		s.q.issue(i)
	case faults.Short:
		if o.kind <= kindWrite { // nothing else has a number of bytes
			s.cut(i, false)
		}
		s.q.issue(i)
	case faults.Delay:
		s.later(spoiled{op: i}, a.For)
	case faults.Hang:
		s.later(spoiled{op: i, errno: unix.ETIMEDOUT}, a.For)
	default:
		return false // of a copy, which no queue has
	}
	return true
}

// later keeps a command for d.
func (s *spoil) later(c spoiled, d time.Duration) {
	c.due = time.Now().Add(d)
	s.late = append(s.late, c)
}

// turn does at the end of a turn what needs no disk: commands whose time has come are sent, and those that are answered are
// taken. That may start others that are answered, too; of those that come again for ever the queue has enough at some time.
func (s *spoil) turn() {
	s.wake()
	for len(s.done) > 0 {
		s.done, s.next = s.next[:0], s.done
		for _, c := range s.next {
			s.q.take(c.op, -int32(c.errno))
		}
		s.q.feed()
		s.wake()
	}
}

// wake ends the waiting of commands whose time has come, and sets the alarm for the next.
func (s *spoil) wake() {
	if len(s.late) == 0 {
		return
	}
	now, n := time.Now(), 0
	released := s.set.Released().Err() != nil
	var next time.Time
	for _, c := range s.late {
		switch {
		case !released && c.due.After(now):
			s.late[n] = c
			n++
			if next.IsZero() || c.due.Before(next) {
				next = c.due
			}
		case c.errno == 0:
			s.q.issue(c.op)
		default:
			s.done = append(s.done, c)
		}
	}
	if s.late = s.late[:n]; n > 0 {
		s.alarm.set(next.Sub(now))
	}
}

// alarm rings a bell later, from a goroutine of the runtime's.
type alarm struct {
	mu    sync.Mutex
	bell  *bell
	open  bool        // guarded by mu
	timer *time.Timer // the queue's
}

// set is for the queue's thread.
func (a *alarm) set(d time.Duration) {
	if a.timer == nil {
		a.timer = time.AfterFunc(d, a.ring)
		return
	}
	a.timer.Reset(d)
}

func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open {
		a.bell.ring()
	}
}

func (a *alarm) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = false
	if a.timer != nil {
		a.timer.Stop()
	}
}
