package blkcopy

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// TestLockFails: without its lock a window is not begun, and what was done before is told.
func TestLockFails(t *testing.T) {
	c := pairCase(t, "nvme", Policy{Flush: true})
	c.lock.fails = 4
	r, err := c.run(t, t.Context(), nil)
	if !errors.Is(err, errLock) || r.Bytes != 3*windowBytes || len(r.Failed) > 0 || len(c.w.synced) != 1 {
		t.Errorf("%d bytes, %v, failed %v", r.Bytes, err, r.Failed)
	}
}

// TestCancelInLock: who is cancelled while it waits for its lock does not begin, though the lock lets it in.
func TestCancelInLock(t *testing.T) {
	c := pairCase(t, "nvme", Policy{})
	ctx, cancel := context.WithCancel(t.Context())
	c.lock.before = func() {
		if c.lock.calls == 3 {
			cancel()
		}
	}
	r, err := c.run(t, ctx, nil)
	if !errors.Is(err, context.Canceled) || r.Bytes != 3*windowBytes || c.lock.calls != 4 {
		t.Errorf("%d bytes, %v, %d locks", r.Bytes, err, c.lock.calls)
	}
}

// TestDeadline: the error is ctx's own.
func TestDeadline(t *testing.T) {
	c := pairCase(t, "nvme", Policy{Rate: 1 << 20})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	r, err := c.run(t, ctx, nil)
	if !errors.Is(err, context.DeadlineExceeded) || r.Bytes > windowBytes {
		t.Errorf("%d bytes, %v", r.Bytes, err)
	}
}

// TestRate: the last window begins when the bytes before it have had their time.
func TestRate(t *testing.T) {
	c := pairCase(t, "nvme", Policy{Rate: 4 << 20, InFlight: 4 * MinWindow})
	r, err := c.run(t, t.Context(), nil)
	if least := 7 * time.Second * MinWindow / (4 << 20); err != nil || r.Duration < least {
		t.Errorf("%v, %v; at least %v", err, r.Duration, least)
	}
}

// TestFailureWakes: a worker that waits for its turn does not begin after another has failed, and does not wait either.
func TestFailureWakes(t *testing.T) {
	c := pairCase(t, "", Policy{Rate: 1 << 10, InFlight: 4 * MinWindow}) // a window per minute
	c.w.faults = []*fault{{op: "write", disk: 1, delay: 20 * time.Millisecond}}
	began := time.Now()
	r, err := c.run(t, t.Context(), nil)
	if _, ok := errors.AsType[*Failure](err); !ok || time.Since(began) > 10*time.Second || c.lock.calls != 1 || len(r.Failed) != 1 {
		t.Errorf("%v after %v, %d locks", err, time.Since(began), c.lock.calls)
	}
}

// TestProgress: it comes once for each window, one at a time, and never goes back.
func TestProgress(t *testing.T) {
	c := pairCase(t, "nvme", Policy{InFlight: 8 * MinWindow})
	var inside atomic.Int32
	var last Progress
	calls := 0
	r, err := c.run(t, t.Context(), func(p Progress) {
		if inside.Add(1) > 1 {
			t.Error("two at a time")
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond) // for another to come in, which must not be
		if calls++; p.Done < last.Done || p.Elapsed < last.Elapsed || p.Total != allBytes {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
		inside.Add(-1)
	})
	if err != nil || calls != 8 || last.Done != r.Bytes || last.Offloaded != r.Offloaded {
		t.Errorf("%d calls, %+v, %v", calls, last, err)
	}
}

// TestCounters (35): what was offloaded, emulated and through memory.
func TestCounters(t *testing.T) {
	c := pairCase(t, "nvme", Policy{})
	c.w.faults = []*fault{{op: "nvme", disk: 1, skip: 4, times: 2, done: 7}}
	r, err := c.run(t, t.Context(), nil)
	const fell = 2 * (32 - 7) * 512
	if err != nil || r.Offloaded != allBytes-fell || r.Emulated != fell || r.HostRead != fell || r.HostWritten != fell || r.Commands["nvme"] != 32 || r.Commands[Emulated] != 2 || r.Reads != 2 || len(r.Fallbacks) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestIsolation: of a read of many places only the bad ones are missing.
func TestIsolation(t *testing.T) {
	c := pairCase(t, "", Policy{})
	c.req.SrcSegs, c.req.DstSegs = nil, nil
	for i := range uint64(8) { // neighbours in the source, in pairs; apart in the destination
		c.req.SrcSegs = append(c.req.SrcSegs, Seg{i * 16 * 512, 16 * 512})
		c.req.DstSegs = append(c.req.DstSegs, Seg{(7 - i) * 32 * 512, 16 * 512})
	}
	c.ready()
	c.w.faults = []*fault{{op: "read", disk: 0, area: target.Range{Start: 40, Len: 1}}, {op: "read", disk: 0, area: target.Range{Start: 90, Len: 1}}}
	r, err := c.run(t, t.Context(), nil)
	if err == nil || len(r.Failed) != 2 || r.Failed[0].Offset != 40*512 || r.Failed[0].Bytes != 8*512 || r.Failed[1].Offset != 90*512 || r.Failed[1].Bytes != 6*512 || r.Bytes != 40*512 {
		t.Errorf("%+v, %v", r, err)
	}
}

// strange is an error that cannot be compared.
type strange []string

func (strange) Error() string { return "strange" }

// oddMethod fails as it likes.
type oddMethod struct{ done uint64 }

func (m oddMethod) Copy(*Command, *Policy) (uint64, error) { return m.done, strange{"a", "b"} }

// TestStrangeErrors: failures that touch are held against each other, whatever their errors are.
func TestStrangeErrors(t *testing.T) {
	for _, done := range []uint64{0, 3, 32, 33, 1 << 63, 1<<55 + 3} {
		c := pairCase(t, "nvme", Policy{AfterFailure: Fail})
		c.o.Methods = map[limits.Method]Method{"nvme": oddMethod{done}}
		e := NewEngine(c.w.ios(), &c.o)
		r, err := e.Run(t.Context(), c.plan(t), nil, nil)
		if want := map[uint64]uint64{3: 3 * 512}[done]; r.Bytes != want || err == nil || r.Commands["nvme"] != 4 {
			t.Errorf("done %d: %d bytes, %v", done, r.Bytes, err)
		}
	}
}

// TestManyFailures: the list of failures ends, and says so.
func TestManyFailures(t *testing.T) {
	c := pairCase(t, "nvme", Policy{})
	c.w.copy.MCL, c.disks[0].Copy.MCL, c.disks[1].Copy.MCL = 1, 1, 1
	c.w.faults = []*fault{{op: "nvme", disk: 1}}
	r, err := NewEngine(c.w.ios(), &c.o).Run(t.Context(), c.plan(t), nil, nil)
	if err != nil || len(r.Fallbacks) != maxFailures || r.More != 1024-maxFailures || r.Offloaded != 0 {
		t.Errorf("%d fallbacks and %d, %v", len(r.Fallbacks), r.More, err)
	}
}

// TestVectors: one read takes no more places than the kernel does.
func TestVectors(t *testing.T) {
	const n = 1100
	c := &copyCase{w: newWorld(1, 2, 2*n, 512), disks: []Disk{{Name: "a"}, {Name: "b"}}}
	c.req = &Request{Src: line(t, "src", 512, 2*n, 0), Dst: line(t, "dst", 512, 2*n, 1), SrcSegs: []Seg{{0, n * 512}}}
	for i := range uint64(n) {
		c.req.DstSegs = append(c.req.DstSegs, Seg{i * 1024, 512})
	}
	if r, err := c.ready().run(t, t.Context(), nil); err != nil || r.Reads != 2 {
		t.Errorf("%d reads, %v", r.Reads, err)
	}
}
