package blkcopy

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/target"
)

// checkUntil checks a property, and goes on while its requests have not yet had what they are drawn for: a hundred of them may
// all be of one kind.
func checkUntil(t *testing.T, seen func() bool, property func(*rapid.T)) {
	t.Helper()
	for range 20 {
		if rapid.Check(t, property); seen() || t.Failed() {
			return
		}
	}
}

// TestRunRandom: without faults the bytes are memmove's, and the Result says what was done and nothing else.
func TestRunRandom(t *testing.T) {
	overlaps := 0
	checkUntil(t, func() bool { return overlaps > 0 }, func(t *rapid.T) {
		overlap := rapid.Bool().Draw(t, "overlap")
		c := drawCase(t, overlap)
		if c.req.Zeroes {
			c.drawZeroes(t)
		}
		c.ready()
		_, err := NewPlan(c.req, c.disks)
		if overlap && errors.Is(err, ErrOverlap) {
			return
		}
		n, ws := c.planned(t)
		if len(ws) > 0 && ws[0].Sequence {
			overlaps++
		}
		c.w.delays(t)
		r, err := c.run(t, t.Context(), nil)
		if err != nil || r.Bytes != r.Total || len(r.Fallbacks) > 0 {
			t.Fatalf("%d of %d bytes, %v, fallbacks %v", r.Bytes, r.Total, err, r.Fallbacks)
		}
		for m, k := range n {
			if !c.req.Zeroes && r.Commands[m] != k {
				t.Errorf("%d commands of %s, the plan has %d", r.Commands[m], m, k)
			}
		}
		c.locked(t, ws)
		c.survives(t, r)
	})
	if overlaps == 0 {
		t.Error("no request overlapped: the test has no worth")
	}
}

// delays makes some operations slow, so that what is under way ends in any order.
func (w *world) delays(t *rapid.T) {
	for range rapid.IntRange(0, 2).Draw(t, "delays") {
		op := rapid.SampledFrom([]string{"read", "write", "nvme", "file"}).Draw(t, "slow")
		w.faults = append(w.faults, &fault{op: op, disk: -1, skip: rapid.IntRange(0, 20).Draw(t, "skip"), times: 2, ok: true, delay: 200 * time.Microsecond})
	}
}

// locked holds the windows that were locked against the plan's.
func (c *copyCase) locked(t *rapid.T, ws []Window) {
	if len(c.lock.past) != len(ws) {
		t.Errorf("%d windows locked, the plan has %d", len(c.lock.past), len(ws))
	}
	for _, w := range ws {
		if !slices.ContainsFunc(c.lock.past, func(v *window) bool { return slices.Equal(v.src, w.Src) && slices.Equal(v.dst, w.Dst) }) {
			t.Errorf("window %v to %v was not locked", w.Src, w.Dst)
		}
		if w.Sequence && c.lock.ahead > 1 {
			t.Error("windows that have an order ran at once")
		}
	}
}

// survives cuts the power, and holds what is left against the Result.
func (c *copyCase) survives(t rapid.TB, r *Result) {
	if c.req.Flush || c.req.FUA {
		c.w.crash()
		c.right(t, c.claimed(t, r))
	}
}

// drawFaults draws what goes wrong.
func (c *copyCase) drawFaults(t *rapid.T) {
	ops := []string{"read", "write", "nvme", "file", "file", "zero"}
	if c.req.Flush {
		ops = append(ops, "sync")
	}
	for range rapid.IntRange(1, 3).Draw(t, "faults") {
		f := &fault{
			op: rapid.SampledFrom(ops).Draw(t, "op"), disk: rapid.IntRange(-1, len(c.w.disks)-1).Draw(t, "on"),
			skip: rapid.IntRange(0, 6).Draw(t, "skip"), times: rapid.IntRange(0, 2).Draw(t, "times"), done: rapid.Uint64Range(0, 200).Draw(t, "done"),
			side: rapid.SampledFrom([]string{UnknownSide, SourceSide, DestinationSide}).Draw(t, "side"),
		}
		f.all = rapid.IntRange(0, 3).Draw(t, "all") == 0
		f.quiet = !f.all && rapid.IntRange(0, 3).Draw(t, "quiet") == 0
		if d := f.disk; d >= 0 && rapid.Bool().Draw(t, "there") {
			n := uint64(len(c.w.disks[d].data)) / c.w.block
			unit := c.w.block / 512
			f.area.Start, f.area.Len, f.skip = rapid.Uint64Range(0, n-1).Draw(t, "sector")*unit, unit, 0
		}
		c.w.faults = append(c.w.faults, f)
	}
}

// TestRunFaults: whatever fails, and however it is told, the Result claims what is done and nothing else.
func TestRunFaults(t *testing.T) {
	var failed, fell, whole int
	checkUntil(t, func() bool { return failed > 0 && fell > 0 && whole > 0 }, func(t *rapid.T) {
		c := drawCase(t, rapid.Bool().Draw(t, "overlap"))
		if c.req.Zeroes {
			c.drawZeroes(t)
		}
		c.ready()
		if _, err := NewPlan(c.req, c.disks); errors.Is(err, ErrOverlap) {
			return
		}
		c.drawFaults(t)
		r, err := c.run(t, t.Context(), nil)
		if err != nil {
			failed++
		} else {
			whole++
		}
		fell += len(r.Fallbacks)
		c.blamed(t, r, err)
		c.survives(t, r)
	})
	if failed == 0 || fell == 0 || whole == 0 {
		t.Errorf("%d failed, %d fell back, %d did not fail: the test has no worth", failed, fell, whole)
	}
}

// blamed holds what the Result says of failures against the faults.
func (c *copyCase) blamed(t *rapid.T, r *Result, err error) {
	if err != nil {
		if _, ok := errors.AsType[*Failure](err); !ok || len(r.Failed) == 0 {
			t.Errorf("%T %v, %d failures", err, err, len(r.Failed))
		}
	}
	var fell uint64
	for _, f := range r.Fallbacks {
		fell += f.Bytes
		if c.req.AfterFailure == Fail || f.Method == Emulated {
			t.Errorf("fallback %v", &f)
		}
	}
	for _, f := range slices.Concat(r.Failed, r.Fallbacks) {
		e, ok := errors.AsType[*faultError](f.Err)
		switch {
		case !ok && !errors.Is(f.Err, errShort):
			t.Errorf("%v: whose error is that?", &f)
		case ok && e.f.disk >= 0 && f.Side != SourceSide && f.Disk != target.Disk(e.f.disk):
			t.Errorf("%v: it was disk %d", &f, e.f.disk)
		case ok && e.f.op == "read" && f.Side != SourceSide, ok && (e.f.op == "write" || e.f.op == "sync") && f.Side != DestinationSide, ok && Offloads(f.Method) && f.Method != Flushing && f.Side != e.side:
			t.Errorf("%v: wrong side, of %s", &f, e.f.op)
		case ok && f.Method == Emulated && e.f.area.Len > 0 && !e.f.all && (f.Disk != target.Disk(e.f.disk) || f.Sector != e.f.area.Start):
			t.Errorf("%v: the bad sector is %d of disk %d", &f, e.f.area.Start, e.f.disk)
		}
	}
	if r.More == 0 && fell > r.Emulated+r.Zeroed+c.failedBytes(r) {
		t.Errorf("%d bytes fell back, %d were emulated", fell, r.Emulated+r.Zeroed)
	}
	if fell == 0 && c.req.AfterFailure == Emulate {
		for _, f := range c.w.faults {
			if f.hits > f.skip && (f.op == "nvme" || f.op == "file") {
				t.Errorf("a fault of %s was met, and nothing is told of it", f.op)
			}
		}
	}
}

func (c *copyCase) failedBytes(r *Result) (n uint64) {
	for _, f := range r.Failed {
		n += f.Bytes
	}
	return n
}

// TestRunCancel: a copy that is cancelled begins no window more, and tells what is done.
func TestRunCancel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCase(t, false).ready()
		ctx, cancel := context.WithCancel(t.Context())
		at, n := rapid.IntRange(1, 6).Draw(t, "at"), 0
		touched := -1
		c.lock.before = func() {
			c.lock.mu.Lock()
			defer c.lock.mu.Unlock()
			if n++; n == at {
				cancel()
				touched = 0
			}
		}
		c.w.delays(t)
		_, err := c.run(t, ctx, nil)
		if touched == 0 && !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled in its lock %d: %v", at, err)
		}
		if n > at+int(c.req.InFlight/c.req.Window) {
			t.Errorf("%d locks after the one in which it was cancelled", n-at)
		}
	})
}
