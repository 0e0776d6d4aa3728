package blkcopy

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
)

// copier is a disk that does k commands side by side, each in a millisecond, and takes any number.
type copier struct {
	turn chan struct{}
	host time.Duration // between a command and the next, outside the disk
	room int           // refuses what is more at a time; 0: takes any number

	mu   sync.Mutex
	busy int // guarded by mu
	most int // guarded by mu
	no   int // guarded by mu; refused
}

func newCopier(k int) *copier { return &copier{turn: make(chan struct{}, k)} }

func (c *copier) Copy(cmd *Command, _ *Policy) (uint64, error) {
	c.mu.Lock()
	if c.room > 0 && c.busy == c.room {
		c.no++
		c.mu.Unlock()
		return 0, unix.EBUSY
	}
	c.busy++
	c.most = max(c.most, c.busy)
	turn := c.turn
	c.mu.Unlock()
	turn <- struct{}{}
	time.Sleep(time.Millisecond) // of a clock that is not real (synctest)
	<-turn
	time.Sleep(c.host) // likewise
	c.mu.Lock()
	c.busy--
	c.mu.Unlock()
	return cmd.Dst.Len, nil
}

// climbCase is a way to copy 512 commands of 4 KiB, and what was found of the disk.
func climbCase(t *testing.T, d *copier, depth int) (run func() time.Duration, found func() int) {
	const n = 2 << 20 / 512
	c := &copyCase{w: newWorld(1, 2, n, 512), o: Options{Depth: depth, Methods: map[limits.Method]Method{"nvme": d}}}
	c.req = &Request{Src: line(t, "src", 512, n, 0), Dst: line(t, "dst", 512, n, 1), Policy: Policy{Window: 1 << 20}}
	c.req.SrcSegs, c.req.DstSegs = []Seg{{0, n * 512}}, []Seg{{0, n * 512}}
	able := limits.Copy{Method: "nvme", MCL: 8, Domain: "all"}
	c.disks = []Disk{{Name: "a", Copy: able}, {Name: "b", Copy: able}}
	e, p := NewEngine([]IO{nullIO{}, nullIO{}}, &c.o), c.plan(t)
	run = func() time.Duration {
		began := time.Now()
		p.Rewind()
		if _, err := e.Run(t.Context(), p, nil, nil); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	return run, func() int { return e.lanes[1].offload.(*offers).climb.best }
}

// A disk that does k commands side by side is soon sent as many as it has use for, and less than twice as many.
func TestDepthIsFound(t *testing.T) {
	for _, k := range []int{1, 2, 3, 8, 12, 16, 32} {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newCopier(k)
				run, found := climbCase(t, d, 0)
				for range 3 {
					run()
				}
				if ideal, took := time.Duration(512/k)*time.Millisecond, run(); took > ideal*110/100 {
					t.Errorf("%v, and %v would do", took, ideal)
				}
				if n := found(); n < k || n >= 2*k {
					t.Errorf("%d commands at a time", n)
				}
				if bound := 2 * max(DefaultDepth, 2*k-1); d.most > bound { // one step is tried, not two
					t.Errorf("%d commands at a time were tried", d.most)
				}
			})
		})
	}
}

// A disk that refuses more than it has room for is asked no further.
func TestDepthRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCopier(32)
		d.room = 10
		run, found := climbCase(t, d, 0)
		run()
		run()
		if found() != DefaultDepth || d.most != d.room || d.no == 0 || d.no > 6 { // 16 were tried, and 10 taken
			t.Errorf("%d commands at a time; %d were tried, %d refused", found(), d.most, d.no)
		}
	})
}

// Copies of few commands say nothing of how many a disk has use for.
func TestDepthStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, d := newOffers(), newCopier(2)
		for range 1000 {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					o.enter()
					n, _ := d.Copy(&Command{}, nil)
					o.leave(n + 8)
				})
			}
			wg.Wait()
		}
		if o.climb.best != DefaultDepth {
			t.Errorf("%d commands at a time", o.climb.best)
		}
	})
}

// A disk that gets slower, or faster, is found out.
func TestDepthFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCopier(2)
		run, found := climbCase(t, d, 0)
		for _, k := range []int{16, 2, 16} {
			d.mu.Lock()
			d.turn = make(chan struct{}, k)
			d.mu.Unlock()
			for range 30 { // a rest of the longest epochs is between
				run()
			}
			if n := found(); n != k {
				t.Errorf("%d commands at a time to a disk that does %d", n, k)
			}
		}
	})
}

// Where the host takes as long as the disk, two commands keep a disk busy that does one.
func TestDepthCoversTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCopier(1)
		d.host = time.Millisecond
		run, found := climbCase(t, d, 0)
		for range 3 {
			run()
		}
		if n := found(); n != 2 {
			t.Errorf("%d commands at a time", n)
		}
	})
}

// Options.Depth is kept to, whatever the disk has use for.
func TestDepthIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCopier(32)
		run, _ := climbCase(t, d, 3)
		run()
		run()
		if d.most != 3 {
			t.Errorf("%d commands at a time", d.most)
		}
	})
}
