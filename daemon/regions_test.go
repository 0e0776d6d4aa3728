package daemon

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// fakeDevice keeps account of what is held, sector by sector, and finds holds that must not be at once.
type fakeDevice struct {
	mu     sync.Mutex
	reads  map[uint64]int // holds that only keep writes out: somebody copies from here
	writes map[uint64]int // holds that keep reads out too: somebody copies to here
	clash  bool
	holds  int
	fail   error
}

func newFakeDevice() *fakeDevice {
	return &fakeDevice{reads: map[uint64]int{}, writes: map[uint64]int{}}
}

func (d *fakeDevice) Hold(ctx context.Context, ranges ...ublk.Hold) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return nil, d.fail
	}
	d.holds++
	count := func(by int) {
		for _, r := range ranges {
			for at := r.Start; at < r.End(); at++ {
				if r.Reads {
					d.writes[at] += by
				} else {
					d.reads[at] += by
				}
			}
		}
	}
	count(1)
	for _, r := range ranges {
		for at := r.Start; at < r.End(); at++ {
			if d.writes[at] > 1 || d.writes[at] == 1 && d.reads[at] > 0 {
				d.clash = true
			}
		}
	}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.holds--
		count(-1)
	}, nil
}

// TestMeet compares with the obvious way.
func TestMeet(t *testing.T) {
	ranges := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) target.Range {
		return target.Range{Start: rapid.Uint64Range(0, 60).Draw(t, "start"), Len: rapid.Uint64Range(1, 9).Draw(t, "len")}
	}), 0, 6)
	rapid.Check(t, func(t *rapid.T) {
		a, b := ranges.Draw(t, "a"), ranges.Draw(t, "b")
		want := false
		for _, x := range a {
			for _, y := range b {
				want = want || x.Start < y.End() && y.Start < x.End()
			}
		}
		if got := meet(sorted(a), sorted(b)); got != want {
			t.Fatalf("%v", got)
		}
	})
}

// randomRanges are a few that do not overlap.
func randomRanges(r *rand.Rand) (out []target.Range) {
	at := uint64(r.IntN(40))
	for range 1 + r.IntN(3) {
		n := uint64(1 + r.IntN(12))
		out = append(out, target.Range{Start: at, Len: n})
		at += n + uint64(r.IntN(10))
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// TestRegions: windows from many goroutines, on the same device and between two, some of them given up while they wait. No
// two that conflict are held at once (a window's own source and destination may be one place), all end, nothing is left.
func TestRegions(t *testing.T) {
	var r regions
	devices := []place{{id: 3, holder: newFakeDevice()}, {id: 7, holder: newFakeDevice()}}
	var wg sync.WaitGroup
	var got, gave atomic.Int64
	for g := range 24 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			for range 100 {
				l := &regionLock{regions: &r, src: devices[rnd.IntN(2)], dst: devices[rnd.IntN(2)]}
				src, dst := randomRanges(rnd), randomRanges(rnd)
				if l.src.id == l.dst.id && meet(sorted(src), sorted(dst)) {
					src = nil // what the fake device counts as a clash is one here, too
				}
				ctx, cancel := context.WithCancel(context.Background())
				if rnd.IntN(5) == 0 {
					time.AfterFunc(time.Duration(rnd.IntN(200))*time.Microsecond, cancel)
				}
				unlock, err := l.Lock(ctx, src, dst)
				if err == nil {
					got.Add(1)
					time.Sleep(time.Duration(rnd.IntN(20)) * time.Microsecond) // so that windows meet
					unlock()
					unlock() // a second call does nothing
				} else if gave.Add(1); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	for _, p := range devices {
		if d := p.holder.(*fakeDevice); d.clash || d.holds != 0 {
			t.Errorf("device %d: clash %v, %d holds left", p.id, d.clash, d.holds)
		}
	}
	if len(r.windows) != 0 || got.Load() == 0 || gave.Load() == 0 {
		t.Errorf("%d windows left, %d had, %d given up", len(r.windows), got.Load(), gave.Load())
	}
}

// TestRegionsFair: a wide window that waits is not overtaken for ever by narrow ones that come later.
func TestRegionsFair(t *testing.T) {
	var r regions
	dev := place{id: 0, holder: newFakeDevice()}
	l := &regionLock{regions: &r, src: dev, dst: dev}
	lock := func(ctx context.Context, start, n uint64) (func(), error) {
		return l.Lock(ctx, nil, []target.Range{{Start: start, Len: n}})
	}
	a, err := lock(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	wide := make(chan func(), 1)
	go func() {
		unlock, _ := lock(t.Context(), 0, 100)
		wide <- unlock
	}()
	for waiting := false; !waiting; {
		r.mu.Lock()
		waiting = len(r.windows) == 2
		r.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, 50, 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("a narrow window overtook the wide one:", err)
	}
	other, err := lock(t.Context(), 200, 10) // which does not conflict
	if err != nil {
		t.Fatal(err)
	}
	other()
	a()
	(<-wide)()
	if len(r.windows) != 0 {
		t.Error("windows are left")
	}
}

// TestRegionsSources: sources do not keep each other out, a destination keeps sources out, and devices are held in order.
func TestRegionsSources(t *testing.T) {
	var r regions
	a, b := newFakeDevice(), newFakeDevice()
	from := func(src, dst place) *regionLock { return &regionLock{regions: &r, src: src, dst: dst} }
	one := []target.Range{{Start: 0, Len: 8}}
	first, err := from(place{id: 0, holder: a}, place{id: 1, holder: b}).Lock(t.Context(), one, []target.Range{{Start: 100, Len: 8}})
	if err != nil {
		t.Fatal(err)
	}
	second, err := from(place{id: 0, holder: a}, place{id: 1, holder: b}).Lock(t.Context(), one, []target.Range{{Start: 200, Len: 8}})
	if err != nil {
		t.Fatal("two copies of one source:", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := from(place{id: 1, holder: b}, place{id: 0, holder: a}).Lock(ctx, nil, one); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("a source is written:", err)
	}
	first()
	second()

	// What fails on the second device is let go on the first.
	b.fail = ublk.ErrEnded
	for _, l := range []*regionLock{from(place{id: 0, holder: a}, place{id: 1, holder: b}), from(place{id: 1, holder: b}, place{id: 0, holder: a})} {
		if _, err := l.Lock(t.Context(), one, one); !errors.Is(err, ublk.ErrEnded) {
			t.Error(err)
		}
	}
	if a.holds != 0 || b.holds != 0 || len(r.windows) != 0 {
		t.Errorf("%d and %d holds, %d windows left", a.holds, b.holds, len(r.windows))
	}
}
