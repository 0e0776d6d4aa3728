package ublk

import (
	"sync/atomic"
	"time"

	"github.com/ublk-go/ublk-linear/target"
)

// Stall is a command that a disk has had for long.
type Stall struct {
	Queue  int
	Disk   target.Disk
	Op     target.Op
	Sector uint64 // of the disk, 512 bytes; the low 48 bits of it
	Age    time.Duration
}

// Stalled is the oldest command of each queue and disk that is in flight for longer than that, sent again or not. It only
// reads: it works as well when a queue's thread is stuck. It may be called from any goroutine behind Start.
func (d *Device) Stalled(than time.Duration) []Stall {
	var out []Stall
	now := clock()
	for _, s := range d.queues {
		first := len(out)
		fs := *s.q.watched.Load()
		for i := range fs {
			x, ok := fs[i].look(now)
			if !ok || x.Age <= than {
				continue
			}
			x.Queue = s.id
			out = older(out, first, x)
		}
	}
	return out
}

// older puts a stall among those from first on, of which there is one per disk: the oldest.
func older(out []Stall, first int, x Stall) []Stall {
	for i := first; i < len(out); i++ {
		if out[i].Disk == x.Disk {
			if out[i].Age < x.Age {
				out[i] = x
			}
			return out
		}
	}
	return append(out, x)
}

// flight is a command in flight as others see it. Only the queue's thread writes it.
type flight struct {
	sent  atomic.Int64  // when, in ns of clock, the operation in the lowest three bits; 0: not in flight
	where atomic.Uint64 // sector, and the disk in the 16 highest bits
}

const (
	opBits     = 7
	sectorBits = 1<<48 - 1
)

// start notes that a command is sent.
// hot path
func (f *flight) start(o *op, now int64) {
	f.where.Store(o.at/512&sectorBits | uint64(o.disk)<<48)
	f.sent.Store(now&^opBits | int64(o.kind))
}

// look is what is in flight; false when nothing is, or it changed meanwhile.
func (f *flight) look(now int64) (Stall, bool) {
	v := f.sent.Load()
	w := f.where.Load()
	if v == 0 || f.sent.Load() != v {
		return Stall{}, false
	}
	return Stall{Disk: target.Disk(w >> 48), Op: target.Op(v & opBits), Sector: w & sectorBits, Age: time.Duration(now - v&^opBits)}, true
}

// clock is the monotonic clock in ns, never 0 to 7. One read of it.
// hot path
func clock() int64 { return int64(time.Since(clockBase)) + opBits + 1 }

var clockBase = time.Now()

// clock is the time of the queue's turn: what it sends and what has come back are timed by one reading of the clock. A turn is
// as long as the work on what came back together, some microseconds a request; a wait begins another.
// hot path
func (q *queue) clock() int64 {
	if q.now == 0 {
		q.now = clock()
	}
	return q.now
}
