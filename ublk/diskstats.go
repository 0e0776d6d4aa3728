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
		c.Commands.Add(1)
		if errno == 0 {
			c.Bytes.Add(o.bytes)
		}
		c.Latency[bucket(clock()-f.sent.Load()&^opBits)].Add(1)
	}
	f.sent.Store(0)
	if errno != 0 {
		q.blame(o, errno)
	}
}

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
