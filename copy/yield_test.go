package blkcopy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// narrowWindows is how many windows a narrowCase has at defaults.
const narrowWindows = 5

// narrowCase copies all of disk 0 to disk 1, which takes 64 KiB at once. Reads and offloads take a millisecond.
func narrowCase(t testing.TB, p Policy) *copyCase {
	t.Helper()
	const n = narrowWindows * EmulatedWindow / 512
	c := &copyCase{w: newWorld(1, 2, n, 512), disks: []Disk{{Name: "a"}, {Name: "b", QueueBytes: 64 << 10}}}
	c.req = &Request{Src: line(t, "src", 512, n, 0), Dst: line(t, "dst", 512, n, 1), SrcSegs: []Seg{{0, n * 512}}, DstSegs: []Seg{{0, n * 512}}, Policy: p}
	c.w.faults = []*fault{{op: "read", disk: -1, ok: true, delay: time.Millisecond}, {op: "file", disk: -1, ok: true, delay: time.Millisecond}}
	return c.ready()
}

// TestYield: at defaults, one window is under way while others use a disk that takes little, and two otherwise; nobody is asked
// of other disks, or where the policy or an offload says what is under way.
func TestYield(t *testing.T) {
	always, never := func(int) bool { return true }, func(int) bool { return false }
	for _, c := range []struct {
		name  string
		pol   Policy
		used  func(n int) bool // the n-th look
		more  func(*copyCase)
		ahead int
		asked bool
	}{
		{"used", Policy{}, always, nil, 1, true},
		{"not used", Policy{}, never, nil, 2, true},
		{"used at first", Policy{}, func(n int) bool { return n < 2 }, nil, 2, true},
		{"used at a rate", Policy{Rate: 1 << 40}, always, nil, 1, true},
		{"the source takes little", Policy{}, always, func(c *copyCase) { c.disks[0], c.disks[1] = c.disks[1], c.disks[0] }, 1, true},
		{"both take little", Policy{}, always, func(c *copyCase) { c.disks[0].QueueBytes = 512 }, 1, true},
		{"just too little", Policy{}, always, func(c *copyCase) { c.disks[1].QueueBytes = EmulatedInFlight - 1 }, 1, true},
		{"enough", Policy{}, always, func(c *copyCase) { c.disks[1].QueueBytes = EmulatedInFlight }, 2, false},
		{"unknown", Policy{}, always, func(c *copyCase) { c.disks[1].QueueBytes = 0 }, 2, false},
		{"nobody to ask", Policy{}, nil, nil, 2, false},
		{"window given", Policy{Window: EmulatedWindow}, always, nil, narrowWindows, false},
		{"in flight given", Policy{InFlight: EmulatedInFlight}, always, nil, 2, false},
		{"offload", Policy{Rate: 1 << 40}, always, func(c *copyCase) {
			for i := range c.disks {
				c.disks[i].Copy = limits.Copy{Method: limits.FileCopy, Domain: "all"}
			}
		}, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := narrowCase(t, c.pol)
				if c.more != nil {
					c.more(x)
				}
				asked := 0
				if c.used != nil {
					x.req.Used = func(d target.Disk) bool {
						if n := x.disks[d].QueueBytes; n == 0 || n >= EmulatedInFlight {
							t.Errorf("asked of disk %d", d)
						}
						asked++
						return c.used(asked - 1)
					}
				}
				r, err := x.run(t, t.Context(), nil)
				if err != nil || r.Bytes != r.Total || x.lock.ahead != c.ahead || (asked > 0) != c.asked || asked > 2*narrowWindows {
					t.Errorf("%d of %d bytes, %v; %d windows under way, want %d; asked %d times, want %v", r.Bytes, r.Total, err, x.lock.ahead, c.ahead, asked, c.asked)
				}
			})
		})
	}
}

// TestYieldComesAndGoes: whenever others come and go, no window begins beside another right after a look that found them, and the
// copy is whole.
func TestYieldComesAndGoes(t *testing.T) {
	for pattern := range 1 << 3 {
		synctest.Test(t, func(t *testing.T) {
			c := narrowCase(t, Policy{})
			n, last := 0, false
			c.req.Used = func(target.Disk) bool {
				last = pattern>>(n%3)&1 != 0
				n++
				return last
			}
			c.lock.before = func() { // between this window's look and the next one's, since there are two workers
				c.lock.mu.Lock()
				defer c.lock.mu.Unlock()
				if len(c.lock.held) > 0 && last {
					t.Errorf("pattern %03b: a window begins beside another after look %d", pattern, n)
				}
			}
			if r, err := c.run(t, t.Context(), nil); err != nil || r.Bytes != r.Total {
				t.Errorf("pattern %03b: %d of %d bytes, %v", pattern, r.Bytes, r.Total, err)
			}
		})
	}
}

// TestYieldCancel: the window that waits for another does not begin when the copy is cancelled meanwhile.
func TestYieldCancel(t *testing.T) {
	for name, locked := range map[string]bool{"locked": true, "not locked": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := narrowCase(t, Policy{})
				c.req.Used = func(target.Disk) bool { return true }
				c.w.lock = nil
				var lock Locker
				if locked {
					lock, c.w.lock = c.lock, c.lock
				}
				e := NewEngine(c.w.ios(), &c.o)
				defer e.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond/2)
				defer cancel()
				r, err := e.Run(ctx, c.plan(t), lock, nil)
				if !errors.Is(err, context.DeadlineExceeded) || r.Bytes != EmulatedWindow || c.w.reads != 1 || c.lock.calls > 1 {
					t.Errorf("%d bytes, %v, %d reads, %d locks", r.Bytes, err, c.w.reads, c.lock.calls)
				}
			})
		})
	}
}

// TestYieldFailure: nor does it when the other fails.
func TestYieldFailure(t *testing.T) {
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			c := narrowCase(t, Policy{})
			c.req.Used = func(target.Disk) bool { return true }
			c.w.faults = []*fault{{op: "write", disk: 1, delay: time.Millisecond}}
			r, err := c.run(t, t.Context(), nil)
			if _, ok := errors.AsType[*Failure](err); !ok || r.Bytes == r.Total || c.lock.calls != 1 {
				t.Errorf("%d bytes, %v, %d locks", r.Bytes, err, c.lock.calls)
			}
		})
	}
}
