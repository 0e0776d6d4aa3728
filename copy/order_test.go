package blkcopy

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/remap"
)

// A run that overlaps itself: windows as long as the shift from bounceBelow on, or where nothing may be emulated; whole
// windows that are read first below that.
func TestOrderShift(t *testing.T) {
	const n = 1 << 16 // sectors: 32 MiB
	table := linearOf(t, n, 0, 0)
	disks := able(1, 512, 128, 128, 127)
	for _, c := range []struct {
		name    string
		shift   uint64 // bytes
		policy  Fallback
		sectors uint64 // of the first window
		bounce  bool
	}{
		{"a sector", 512, Emulate, DefaultWindow / 512, true},
		{"a sector, offload only", 512, Fail, 1, false},
		{"below", bounceBelow - 512, Emulate, DefaultWindow / 512, true},
		{"below, offload only", bounceBelow - 512, Fail, bounceBelow/512 - 1, false},
		{"at", bounceBelow, Emulate, bounceBelow / 512, false},
		{"above", bounceBelow + 512, Emulate, bounceBelow/512 + 1, false},
		{"a window less a sector", DefaultWindow - 512, Emulate, DefaultWindow/512 - 1, false},
		{"a window", DefaultWindow, Emulate, DefaultWindow / 512, false},
		{"more than a window", DefaultWindow + 512, Emulate, DefaultWindow / 512, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, back := range []bool{false, true} {
				s := c.shift / 512
				from, to := s, uint64(0)
				if back {
					from, to = to, from
				}
				r := whole(table, table, from, to, n-s)
				r.WithoutOffload = c.policy
				p, err := NewPlan(r, disks)
				if err != nil {
					t.Fatal(err)
				}
				var w Window
				p.Next(&w)
				at := uint64(0)
				if back {
					at = n - s - c.sectors
				}
				if w.Sectors != c.sectors || w.Bounce != c.bounce || !w.Sequence || w.Offset != at {
					t.Errorf("back %v: window %d+%d, bounce %v", back, w.Offset, w.Sectors, w.Bounce)
				}
				p.Rewind()
				p.Next(&w)
				if w.Offset != at {
					t.Errorf("back %v: after Rewind the first window begins at %d", back, w.Offset)
				}
			}
		})
	}
	// The cut at a shift of bounceBelow and more, sector by sector.
	for _, to := range [][2]uint64{{0, 600}, {600, 0}} {
		r := whole(table, table, to[0], to[1], 3000)
		planned(t, r, disks)
	}
}

// Runs wait for those that read what they write, however long the chain is.
func TestOrderChain(t *testing.T) {
	table := linearOf(t, 4096, 0, 0)
	r := whole(table, table, 0, 0, 1)
	r.SrcSegs, r.DstSegs, r.Window = nil, nil, MinWindow
	for i := range uint64(100) { // every run writes what the one behind it reads; a rotation that is not closed
		k := (i*37 + 5) % 100
		r.SrcSegs = append(r.SrcSegs, sectors(k*20, 20)...)
		r.DstSegs = append(r.DstSegs, sectors((k+1)*20, 20)...)
	}
	ws := planned(t, r, able(1, 512, 8, 8, 0))
	for i, w := range ws {
		if want := uint64(99-i) * 20; w.Src[0].Start != want {
			t.Fatalf("window %d copies from %d, want %d", i, w.Src[0].Start, want)
		}
	}
	// Closed, it is a ring: no order, and too much to be read first.
	r.SrcSegs, r.DstSegs = append(r.SrcSegs, sectors(2000, 20)...), append(r.DstSegs, sectors(0, 20)...)
	refused(t, r, able(1, 512, 8, 8, 0), ErrOverlap, unix.EINVAL)
	r.Window = 0
	planned(t, r, able(1, 512, 8, 8, 0))
}

// More edges than are looked at: the request counts as one without an order.
func TestOrderTooManyEdges(t *testing.T) {
	table := linearOf(t, 1<<22, 0, 0)
	const k = 1024 // sectors, each written by a run of its own, and read by each of some more runs
	for readers, ok := range map[uint64]bool{maxEdges / k: true, maxEdges/k + 1: false} {
		r := whole(table, table, 0, 0, 1)
		r.SrcSegs, r.DstSegs = sectors(1<<21, k), nil
		for i := range uint64(k) {
			r.DstSegs = append(r.DstSegs, sectors((i*7)%k, 1)...)
		}
		for i := range readers {
			r.SrcSegs, r.DstSegs = append(r.SrcSegs, sectors(0, k)...), append(r.DstSegs, sectors((1+i)*k, k)...)
		}
		if _, err := NewPlan(r, make([]Disk, 1)); errors.Is(err, ErrOverlap) == ok || err != nil && !errors.Is(err, ErrOverlap) {
			t.Errorf("%d edges: %v", readers*k, err)
		}
	}
}

// What is copied onto itself is in no window, and needs no ability.
func TestOrderOnto(t *testing.T) {
	table := linearOf(t, 4096, 0, 0)
	r := whole(table, table, 100, 100, 1000)
	r.WithoutOffload = Fail
	p, err := NewPlan(r, make([]Disk, 1))
	if err != nil {
		t.Fatal(err)
	}
	var w Window
	if p.Next(&w) || p.Onto() != 1000*512 {
		t.Errorf("a window of %d sectors, %d bytes onto themselves", w.Sectors, p.Onto())
	}
	r.SrcSegs, r.DstSegs = sectors(0, 100, 500, 100, 200, 100), sectors(0, 100, 700, 100, 200, 100)
	r.WithoutOffload = Emulate
	if p, err = NewPlan(r, make([]Disk, 1)); err != nil {
		t.Fatal(err)
	}
	ws := newPlanModel(r, make([]Disk, 1)).judge(t, p, 1)
	// 500 to 700 has nothing to do with the rest; but with what is there, 0 to 0 is an overlap.
	if len(ws) != 1 || ws[0].Offset != 100 || p.Onto() != 200*512 {
		t.Errorf("%d windows, %d bytes onto themselves", len(ws), p.Onto())
	}
	// Two devices of the same blocks are not known to be one: what is read is written back.
	r = whole(linearOf(t, 100, 0, 0), linearOf(t, 100, 0, 0), 0, 0, 100)
	if p, err = NewPlan(r, make([]Disk, 1)); err != nil || !p.Next(&w) || !w.Bounce || p.Onto() != 0 {
		t.Errorf("bounce %v, %d bytes onto themselves, %v", w.Bounce, p.Onto(), err)
	}
	// A swap, and as much onto itself as does not fit the window: the swap does.
	r = whole(table, table, 0, 0, 1)
	r.Window = MinWindow
	r.SrcSegs, r.DstSegs = sectors(0, 64, 64, 64, 1000, 128), sectors(64, 64, 0, 64, 1000, 128)
	planned(t, r, make([]Disk, 1))
	r.SrcSegs[0].Len += 64 * 512
	if _, err := NewPlan(r, make([]Disk, 1)); !errors.Is(err, ErrRequest) || errors.Is(err, ErrOverlap) {
		t.Errorf("got %v", err)
	}
}

// TestOrderNames: a refusal names the disk as the file does, and by its number where it has no name.
func TestOrderNames(t *testing.T) {
	table := func(at uint64) *remap.Table { return linearOf(t, 64, 0, at) }
	for _, c := range []struct{ name, want string }{{"fast", "disk fast at sector 32"}, {"", "disk 0 at sector 32"}} {
		disks := able(1, 512, 128, 128, 127)
		disks[0].Name = c.name
		r := whole(table(0), table(32), 0, 0, 64)
		r.Overlap = RefuseOverlap
		if _, err := NewPlan(r, disks); !errors.Is(err, ErrOverlap) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, not %q", err, c.want)
		}
	}
}
