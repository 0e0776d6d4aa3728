package blkcopy

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/target"
)

// spreadCase copies disk 0 to disks 1 and 2, half each.
func spreadCase(t testing.TB, p Policy) *copyCase {
	t.Helper()
	const n = 512
	c := &copyCase{w: newWorld(3, 3, 2*n, 512), disks: []Disk{{Name: "a"}, {Name: "b"}, {Name: "c"}}}
	p.Window, p.InFlight = MinWindow, MinWindow
	c.req = &Request{Src: line(t, "src", 512, 2*n, 0), Dst: line(t, "dst", 512, n, 1, 2), SrcSegs: []Seg{{0, 2 * n * 512}}, DstSegs: []Seg{{0, 2 * n * 512}}, Policy: p}
	return c.ready()
}

// TestFlushFailsOnOneDisk: what lies on the others is durable, and claimed.
func TestFlushFailsOnOneDisk(t *testing.T) {
	for _, d := range []int{1, 2} {
		c := spreadCase(t, Policy{Flush: true})
		c.w.faults = []*fault{{op: "sync", disk: d}}
		r, err := c.run(t, t.Context(), nil)
		want := map[int]uint64{1: 0, 2: allBytes / 2}[d]
		if f, ok := errors.AsType[*Failure](err); !ok || f.Method != Flushing || f.Disk != target.Disk(d) || f.Offset != want || r.Bytes != want || len(r.Failed) != 1 || r.Failed[0].Bytes != allBytes/2 {
			t.Errorf("disk %d: %d bytes, %v, failed %v", d, r.Bytes, err, r.Failed)
		}
		c.survives(t, r)
	}
}

// TestFlushOnlyWritten: a copy that ended before it came to a disk does not flush it; nor the source.
func TestFlushOnlyWritten(t *testing.T) {
	c := spreadCase(t, Policy{Flush: true})
	c.w.faults = []*fault{{op: "write", disk: 1, skip: 3}, {op: "sync", disk: 1}}
	r, err := c.run(t, t.Context(), nil)
	if len(c.w.synced) != 1 || c.w.synced[0] != 1 || r.Bytes != 0 || len(r.Failed) != 2 {
		t.Errorf("flushed %v, %d bytes, failed %v", c.w.synced, r.Bytes, r.Failed)
	}
	if f, ok := errors.AsType[*Failure](err); !ok || f.Method != Emulated || !errors.Is(err, r.Failed[1].Err) {
		t.Errorf("%v", err)
	}
}

// TestFlushOnto: what was there already is durable as well.
func TestFlushOnto(t *testing.T) {
	c := pairCase(t, "", Policy{Flush: true})
	c.req.Dst = c.req.Src
	c.ready()
	d := c.w.disks[0]
	clear(d.durable)
	for i := range d.dirty {
		d.dirty[i] = true
	}
	r, err := c.run(t, t.Context(), nil)
	if err != nil || r.Onto != allBytes || r.Bytes != allBytes || len(c.w.synced) != 1 {
		t.Errorf("%+v, %v, flushed %v", r, err, c.w.synced)
	}
	c.survives(t, r)
}

// TestFlushErrorIsEverybodys: a disk tells an error once, and to one. Who wrote before that is not told that all is well;
// who wrote after is not blamed.
func TestFlushErrorIsEverybodys(t *testing.T) {
	c := pairCase(t, "nvme", Policy{Flush: true})
	c.w.faults = []*fault{{op: "sync", disk: 1, times: 1}}
	e := NewEngine(c.w.ios(), &c.o)
	two := pairCase(t, "nvme", Policy{Flush: true})
	two.w, two.lock.w = c.w, c.w
	n := 0
	two.lock.before = func() {
		if n++; n == 8 { // the other begins, ends, and hears of the error, in the middle of this one
			if r, err := e.Run(context.Background(), c.plan(t), nil, nil); err == nil || r.Bytes != 0 {
				t.Errorf("%d bytes, %v", r.Bytes, err)
			}
		}
	}
	c.w.lock = nil
	r, err := e.Run(t.Context(), two.plan(t), two.lock, nil)
	if f, ok := errors.AsType[*Failure](err); !ok || f.Method != Flushing || r.Bytes != 0 {
		t.Errorf("it lost what it wrote, and was told: %d bytes, %v", r.Bytes, err)
	}
	time.Sleep(time.Millisecond) // so that the next begins after the failure, whatever the clock's grain
	if r, err := e.Run(t.Context(), c.plan(t), nil, nil); err != nil || r.Bytes != allBytes {
		t.Errorf("after the failure: %d bytes, %v", r.Bytes, err)
	}
}

// TestZeroesDurable: zeroing has no FUA, so that with FUA all is written; with Flush it is zeroed.
func TestZeroesDurable(t *testing.T) {
	for i := range 4 {
		fua := i%2 == 1
		c := pairCase(t, "", Policy{Zeroes: true, FUA: fua, Flush: !fua, InFlight: allBytes})
		if i > 1 {
			c.req.Window = allBytes // some of a command is zeroed
		}
		s := c.w.disks[0]
		clear(s.data[64<<10 : 192<<10])
		clear(s.durable[64<<10 : 192<<10])
		s.sparse, s.holes = true, []target.Range{{Start: 100 << 10, Len: 64 << 10}}
		c.w.disks[1].sparse = true
		c.ready()
		r, err := c.run(t, t.Context(), nil)
		if want := map[bool]uint64{true: 0, false: 128 << 10}[fua]; err != nil || r.Zeroed != want || r.HostRead != allBytes-64<<10 {
			t.Errorf("FUA %v: %+v, %v", fua, r, err)
		}
		c.survives(t, r)
	}
}

// TestZeroFails: what could not be zeroed is written.
func TestZeroFails(t *testing.T) {
	c := pairCase(t, "", Policy{Zeroes: true})
	clear(c.w.disks[0].data)
	c.w.disks[1].sparse = true
	c.w.faults = []*fault{{op: "zero", disk: 1, times: 3}}
	c.ready()
	r, err := c.run(t, t.Context(), nil)
	if err != nil || r.Zeroed != 5*MinWindow || r.Emulated != 3*MinWindow {
		t.Errorf("%+v, %v", r, err)
	}
}

// oddHoles answers as no Holes should, and with blocks that are smaller than the disk's.
type oddHoles struct {
	zeroDisk
	start, end int64 // from at; below 0: from limit
	err        error
}

func (d oddHoles) NextData(at, limit uint64) (uint64, uint64, error) {
	from := func(n int64) uint64 {
		if n < 0 {
			return limit + uint64(n+1)
		}
		return at + uint64(n)
	}
	return from(d.start), from(d.end), d.err
}

// TestHolesOdd: what makes no sense is read.
func TestHolesOdd(t *testing.T) {
	for _, o := range []oddHoles{{start: 0, end: 0}, {start: 512, end: 512}, {start: 1024, end: 512}, {start: -1, end: -2}, {start: -513, end: 1 << 40}, {err: errLock, start: -1, end: -1}, {start: 0, end: 512}} {
		c := pairCase(t, "", Policy{Zeroes: true})
		ios := c.w.ios()
		o.zeroDisk = zeroDisk{c.w.disks[0]}
		ios[0] = o
		r, err := NewEngine(ios, &c.o).Run(t.Context(), c.plan(t), c.lock, nil)
		c.check(t, r, err)
		if err != nil || r.HostRead != allBytes {
			t.Errorf("%+v: %d bytes read, %v", o, r.HostRead, err)
		}
	}
}

// TestHolesOfLargeBlocks: what is read is of whole blocks, however large those are.
func TestHolesOfLargeBlocks(t *testing.T) {
	c := pairCase(t, "", Policy{Zeroes: true})
	c.w.block = 16 << 10
	c.req.Src.LogicalBlock, c.req.Dst.LogicalBlock = 16<<10, 16<<10
	s := c.w.disks[0]
	s.sparse, s.holes = true, []target.Range{{Start: 4 << 10, Len: 64 << 10}}
	clear(s.data[4<<10 : 68<<10])
	c.ready()
	if r, err := c.run(t, t.Context(), nil); err != nil || r.HostRead != allBytes-48<<10 {
		t.Errorf("%+v, %v", r, err)
	}
}
