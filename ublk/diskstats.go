package ublk

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
)

// LatencyBuckets is the number of buckets of an OpStats' histogram.
const LatencyBuckets = 40

// DiskStats are what was asked of one disk, and how it went. All queues of a device share them; anyone may read.
type DiskStats struct {
	Ops [5]OpStats // by target.Op

	fua     atomic.Int64 // commands of Ops that were durable when they were answered
	flushed atomic.Int64 // of the others, how many had been answered when the last flush that succeeded was sent
	torn    atomic.Bool  // a write had come to the disk in part when its disk was gone

	mu   sync.Mutex
	last DiskError
}

// OpStats are the counters of one operation on a disk.
type OpStats struct {
	Commands atomic.Uint64 // answered
	Bytes    atomic.Uint64 // of commands that succeeded
	Errors   atomic.Uint64 // commands that failed
	// Latency counts commands by the time from sending to the answer: bucket n has those of 2^n ns up to 2^(n+1) ns,
	// bucket 0 also those below, and the last all beyond.
	Latency [LatencyBuckets]atomic.Uint64
}

// DiskError is one command that failed.
type DiskError struct {
	Errno  unix.Errno
	Op     target.Op
	Sector uint64 // of the disk, 512 bytes
	Time   time.Time
}

// LastError is the last command that failed; false when none did.
func (s *DiskStats) LastError() (DiskError, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.last.Errno != 0
}

// account ends a command: what others see of it, and the disk's counters.
// hot path
func (q *queue) account(i uint32, errno unix.Errno) {
	o, f := &q.ops[i], &q.flights[i]
	if s := q.disks[o.disk].Stats; s != nil {
		c := &s.Ops[o.kind]
		if o.kind == kindSync || o.dsync {
			s.durable(o, errno)
		}
		c.Commands.Add(1)
		if errno == 0 {
			c.Bytes.Add(o.bytes)
		}
		c.Latency[bucket(q.clock()-f.sent.Load()&^opBits)].Add(1)
	}
	f.sent.Store(0)
	if errno != 0 {
		q.blame(o, errno)
	}
}

// durable notes a flush or a FUA write that was answered.
// hot path
func (s *DiskStats) durable(o *op, errno unix.Errno) {
	switch {
	case o.kind != kindSync:
		s.fua.Add(1) // before it is counted as a command: written must not be more than it is
	case errno == 0:
		for was := s.flushed.Load(); was < o.mark && !s.flushed.CompareAndSwap(was, o.mark); was = s.flushed.Load() {
		}
	}
}

// written counts the writes, discards and zeroes that were answered and are durable only by a flush. It may be a few short
// while commands are being answered.
func (s *DiskStats) written() int64 {
	n := uint64(0)
	for _, op := range [...]target.Op{target.Write, target.Discard, target.WriteZeroes} {
		n += s.Ops[op].Commands.Load()
	}
	return int64(n) - s.fua.Load()
}

// Unflushed says whether the disk was written to, by the queues that count here, since the last flush that succeeded was sent.
// FUA writes do not count, and those that failed do. It is exact while none is in flight.
func (s *DiskStats) Unflushed() bool { return s.torn.Load() || s.written() > s.flushed.Load() }

// Returned says that what the disk has of writes that were never answered is accounted for: it is back, and they are done again.
// None is in flight. What was answered stays unflushed until a flush succeeds.
func (s *DiskStats) Returned() { s.torn.Store(false) }

// bucket of the histogram that a time in ns belongs to.
// hot path
func bucket(ns int64) int {
	return min(max(bits.Len64(uint64(max(ns, 0)))-1, 0), LatencyBuckets-1)
}

// blame notes a command's failure. The sector is where what is left of it begins.
func (q *queue) blame(o *op, errno unix.Errno) {
	e := DiskError{Errno: errno, Op: target.Op(o.kind), Sector: o.at / 512}
	if s := q.disks[o.disk].Stats; s != nil {
		s.Ops[o.kind].Errors.Add(1)
		e.Time = time.Now()
		s.mu.Lock()
		s.last = e
		s.mu.Unlock()
	}
	if q.diskFailed != nil {
		q.diskFailed(o.disk, e.Op, e.Sector, errno)
	}
}
