package blkcopy

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
)

// until waits for what must come soon.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not in 10 seconds: %s", what)
		}
	}
}

// TestTwoSubmitters (31): copies in one Engine, all on the same disks, do not mix.
func TestTwoSubmitters(t *testing.T) {
	const n, each = 1024, 8
	w := newWorld(2, 2, n, 512)
	w.copy = limits.Copy{Method: "nvme", MCL: 16, Domain: "all"}
	disks := []Disk{{Name: "a", Copy: w.copy}, {Name: "b", Copy: w.copy}}
	e := NewEngine(w.ios(), &Options{Methods: w.methods(), Depth: 2})
	var cs []*copyCase
	for i := range uint64(each) { // even: from 0 to 1; odd: from 1 to 0; none where another is
		at := i * n / each
		c := &copyCase{w: w, disks: disks}
		src, dst := line(t, "src", 512, n, int(i%2)), line(t, "dst", 512, n, 1-int(i%2))
		seg := []Seg{{at * 512, n / each * 512}}
		c.req = &Request{Src: src, Dst: dst, SrcSegs: seg, DstSegs: seg, Policy: Policy{Window: MinWindow, Flush: true}}
		if i%4 > 1 {
			c.disks = []Disk{{Name: "a"}, {Name: "b"}}
		}
		cs = append(cs, c.ready())
	}
	w.lock = nil
	for range 20 {
		var wg sync.WaitGroup
		for _, c := range cs {
			wg.Go(func() {
				r, err := e.Run(context.Background(), c.plan(t), c.lock, nil)
				if err != nil || r.Bytes != n/each*512 || r.Offloaded+r.Emulated != r.Bytes {
					t.Errorf("%+v, %v", r, err)
				}
			})
		}
		wg.Wait()
		for _, s := range w.wrong {
			t.Error(s)
		}
		for _, c := range cs {
			for i, p := range c.dst {
				if !bytes.Equal(w.disks[p.Disk].data[p.Sector*512:p.Sector*512+512], c.want[i]) {
					t.Fatalf("%d bytes: sector %d is wrong", len(c.dst)*512, i)
				}
			}
		}
		if w.most > 2 {
			t.Errorf("%d writes at a time to one disk, the depth is 2", w.most)
		}
		for _, d := range w.disks {
			copy(d.data, cs[0].before[d.id])
		}
	}
}

// TestCancelHanging (32): what hangs in a disk is waited for, and nothing else is begun.
func TestCancelHanging(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, op := range []string{"read", "write", "nvme"} {
		c := pairCase(t, limits.Method(map[bool]string{true: "nvme"}[op == "nvme"]), Policy{InFlight: 2 * MinWindow})
		c.o.Depth = 0
		f := &fault{op: op, disk: -1, skip: 2, hang: make(chan struct{}), ok: true}
		c.w.faults = []*fault{f}
		ctx, cancel := context.WithCancel(t.Context())
		var ended atomic.Bool
		var locks int
		go func() {
			until(t, "both workers hang", func() bool { c.w.mu.Lock(); defer c.w.mu.Unlock(); return f.hits >= 4 })
			cancel()
			// Time for what must not be: a window more, or an end.
			time.Sleep(20 * time.Millisecond)
			if ended.Load() {
				t.Errorf("%s: it ended while a disk had its memory", op)
			}
			c.lock.mu.Lock()
			locks = c.lock.calls
			c.lock.mu.Unlock()
			close(f.hang)
		}()
		r, err := c.run(t, ctx, nil)
		ended.Store(true)
		if !errors.Is(err, context.Canceled) || r.Bytes == r.Total || c.lock.calls != locks {
			t.Errorf("%s: %d bytes, %v; %d locks, and %d when it was cancelled", op, r.Bytes, err, c.lock.calls, locks)
		}
	}
}

// TestInFlight (33): as many bytes as allowed are under way, and no more, and no more than the depth at one disk.
func TestInFlight(t *testing.T) {
	c := pairCase(t, "", Policy{InFlight: 3 * MinWindow})
	c.o.Depth = 0
	f := &fault{op: "write", disk: 1, times: 3, hang: make(chan struct{}), ok: true}
	c.w.faults = []*fault{f}
	go func() {
		until(t, "three windows under way", func() bool { c.w.mu.Lock(); defer c.w.mu.Unlock(); return f.hits == 3 })
		// Time for what must not be: a fourth.
		time.Sleep(10 * time.Millisecond)
		close(f.hang)
	}()
	if _, err := c.run(t, t.Context(), nil); err != nil {
		t.Error(err)
	}
	if c.lock.most*512 != 3*MinWindow || c.w.most != 3 {
		t.Errorf("%d bytes and %d writes under way", c.lock.most*512, c.w.most)
	}
}

// TestMemory (34): buffers are as large as what is in flight, and used again; a window in a thousand places needs no more.
func TestMemory(t *testing.T) {
	c := scattered(t)
	c.o.Depth = 0
	e := NewEngine(c.w.ios(), &c.o)
	var mapped, maps atomic.Int64
	e.pool.mapped = func(n uint64) ([]byte, error) {
		mapped.Add(int64(n))
		maps.Add(1)
		return mapMemory(n)
	}
	began := runtime.NumGoroutine()
	for range 3 {
		if _, err := e.Run(t.Context(), c.plan(t), c.lock, nil); err != nil {
			t.Fatal(err)
		}
	}
	if mapped.Load() != MinWindow || maps.Load() != 1 {
		t.Errorf("%d bytes in %d buffers", mapped.Load(), maps.Load())
	}
	if c.w.routines > began+2*DefaultDepth || c.w.most > DefaultDepth || c.w.reading > DefaultDepth {
		t.Errorf("%d goroutines, %d before; %d writes and %d reads at a time to one disk", c.w.routines, began, c.w.most, c.w.reading)
	}
	for _, s := range c.w.wrong {
		t.Error(s)
	}
	e.Close()
	if e.pool.held != 0 || len(e.pool.free) != 0 {
		t.Errorf("%d bytes kept after Close", e.pool.held)
	}
}

// scattered is a copy whose sectors, one by one, lie apart on both disks.
func scattered(t testing.TB) *copyCase {
	c := pairCase(t, "", Policy{})
	c.req.SrcSegs, c.req.DstSegs = nil, nil
	for i := range uint64(256) {
		c.req.SrcSegs = append(c.req.SrcSegs, Seg{(i*4 + 1) * 512, 512})
		c.req.DstSegs = append(c.req.DstSegs, Seg{(255 - i) * 4 * 512, 512})
	}
	return c.ready()
}

// TestNoMemory: what there is no memory for fails, and is told.
func TestNoMemory(t *testing.T) {
	c := pairCase(t, "", Policy{})
	e := NewEngine(c.w.ios(), &c.o)
	n := 0
	e.pool.mapped = func(uint64) ([]byte, error) { return nil, unix.ENOMEM }
	c.lock.before = func() {
		if n++; n == 2 {
			e.pool.close()
		}
	}
	b, err := mapMemory(MinWindow)
	if err != nil {
		t.Fatal(err)
	}
	e.pool.put(b)
	r, err := e.Run(t.Context(), c.plan(t), c.lock, nil)
	c.check(t, r, err)
	if !errors.Is(err, unix.ENOMEM) || r.Bytes != windowBytes || r.Failed[0].Side != UnknownSide {
		t.Errorf("%d bytes, %v", r.Bytes, err)
	}
}

// TestDisksSideBySide: a disk that hangs does not keep a window from the others.
func TestDisksSideBySide(t *testing.T) {
	const n = 512
	c := &copyCase{w: newWorld(1, 2, 2*n, 512)}
	c.req = &Request{Src: line(t, "src", 512, 2*n, 0, 1), Dst: line(t, "dst", 512, n, 0, 1), Policy: Policy{Window: 1 << 20}}
	c.req.SrcSegs, c.req.DstSegs = []Seg{{n * 512, n * 512}, {3 * n * 512, n * 512}}, []Seg{{0, 2 * n * 512}}
	c.w.copy = limits.Copy{Method: "nvme", MCL: 8, Domain: "all"}
	c.disks = []Disk{{Name: "a", Copy: c.w.copy}, {Name: "b", Copy: c.w.copy}}
	c.ready()
	f := &fault{op: "nvme", disk: 0, hang: make(chan struct{}), ok: true}
	c.w.faults = []*fault{f}
	go func() {
		until(t, "all of the other disk", func() bool {
			c.w.mu.Lock()
			defer c.w.mu.Unlock()
			return f.hits == DefaultDepth && c.w.bytes.offloaded == n*512
		})
		close(f.hang)
	}()
	if _, err := c.run(t, t.Context(), nil); err != nil {
		t.Error(err)
	}
	if got := c.w.most; got != DefaultDepth {
		t.Errorf("%d commands at a time", got)
	}
}
