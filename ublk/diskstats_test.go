package ublk

import (
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

func TestBucket(t *testing.T) {
	for ns, want := range map[int64]int{math.MinInt64: 0, -1: 0, 0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 1023: 9, 1024: 10, 1 << 39: 39, 1 << 40: 39, math.MaxInt64: 39} {
		if got := bucket(ns); got != want {
			t.Errorf("%d ns are in bucket %d, want %d", ns, got, want)
		}
	}
}

// Every command that a disk had is counted once, however often it was sent, and who failed is told.
func TestDiskStatsOfTheModel(t *testing.T) {
	type failure struct {
		disk   target.Disk
		op     target.Op
		sector uint64
		errno  unix.Errno
	}
	k := boot(t, setup{shape: mixed, seed: 5})
	stats := make([]DiskStats, 3)
	for i := range stats {
		k.q.disks[i].Stats = &stats[i]
	}
	var told []failure
	k.q.diskFailed = func(disk target.Disk, op target.Op, sector uint64, errno unix.Errno) {
		told = append(told, failure{disk, op, sector, errno})
	}
	var want [3][5]struct{ commands, bytes, errors uint64 }
	var failed []failure
	rough := k.roughly(true)
	k.fault = func(c *command) fault {
		f := rough(c)
		op := c.ask.op
		if c.op == uapi.IORING_OP_FSYNC {
			op = target.Flush
		}
		if c.op == uapi.IORING_OP_FSYNC || op.Ranged() {
			f.short, f.zero = 0, false
		}
		w := &want[c.disk][op]
		switch {
		case (f.errno == unix.EAGAIN || f.errno == unix.EINTR) && c.agains < maxRetries:
		case f.errno != 0 || f.zero:
			errno := f.errno
			if f.zero {
				errno = unix.EIO
			}
			w.commands++
			w.errors++
			failed = append(failed, failure{c.disk, op, c.at / 512, errno})
		case f.short != 0 && f.short < c.n:
		default:
			w.commands++
		}
		return f
	}
	var asks []*ask
	for i := range uint64(400) {
		asks = append(asks, []*ask{write(k, i%200, 60), read(k, i%200, 60), flush(k), discard(k, i%100, 90), zeroes(k, i%100, 90)}[i%5])
	}
	k.serve(asks...)
	if len(failed) < 10 {
		t.Fatalf("%d failures", len(failed))
	}
	seen := map[failure]int{}
	for _, f := range failed {
		seen[f]++
	}
	for _, f := range told {
		seen[f]--
	}
	for f, n := range seen {
		if n != 0 {
			t.Errorf("%+v: %d too few told", f, n)
		}
	}
	for d := range stats {
		for op := range stats[d].Ops {
			o, w := &stats[d].Ops[op], want[d][op]
			var n uint64
			for i := range o.Latency {
				n += o.Latency[i].Load()
			}
			if o.Commands.Load() != w.commands || o.Errors.Load() != w.errors || n != w.commands {
				t.Errorf("disk %d %v: %d commands, %d errors, %d in the histogram; want %+v", d, target.Op(op), o.Commands.Load(), o.Errors.Load(), n, w)
			}
		}
		e, ok := stats[d].LastError()
		if !ok || e.Errno == 0 || time.Since(e.Time) > time.Hour {
			t.Errorf("disk %d: last error %+v %v", d, e, ok)
		}
	}
	for i := range k.q.flights {
		if k.q.flights[i].sent.Load() != 0 {
			t.Errorf("op %d is still seen", i)
		}
	}
	if _, ok := new(DiskStats).LastError(); ok {
		t.Error("an error that never was")
	}
}

// The bytes are those of the whole command, also when it came in pieces.
func TestDiskStatsBytes(t *testing.T) {
	k := boot(t, setup{shape: shape{lin(0, 0, 100)}, blank: true})
	var s DiskStats
	k.q.disks[0].Stats = &s
	k.fault = func(c *command) fault {
		if c.try < 3 {
			return fault{short: 512}
		}
		return fault{}
	}
	k.serve(read(k, 0, 8), discard(k, 0, 50))
	if n := s.Ops[target.Read].Bytes.Load(); n != 8*512 {
		t.Errorf("%d bytes read", n)
	}
	if n := s.Ops[target.Discard].Bytes.Load(); n != 50*512 {
		t.Errorf("%d bytes discarded", n)
	}
}
