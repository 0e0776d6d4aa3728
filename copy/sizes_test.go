package blkcopy

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// apart is able disks of which those from the n-th on are in another domain.
func apart(disks []Disk, n int) []Disk {
	for i := n; i < len(disks); i++ {
		disks[i].Copy.Domain = "y"
	}
	return disks
}

// TestSizes: the window and what is in flight are the policy's, or else what the disks have use for.
func TestSizes(t *testing.T) {
	const mib, n = 1 << 20, 60 << 11 // sectors: whole rows of 3, 4 and 5 legs
	linear := func(d target.Disk) *remap.Table { return linearOf(t, n, d, 0) }
	stripe := func(legs int) (s, d *remap.Table) {
		return stripeOf(t, n, 128, 0, legs, 0), stripeOf(t, n, 128, 0, legs, 1<<20)
	}
	two, twoTo := stripe(2)
	three, threeTo := stripe(3)
	four, fourTo := stripe(4)
	five, fiveTo := stripe(5)
	swapped := stripeOf(t, n, 128, 1, 2, 1<<20) // disks 1 and 2
	qemu, large, none := able(5, 512, 128, 128, 127), able(5, 512, 8192, 8192, 127), make([]Disk, 5)
	otherWay := able(5, 512, 128, 128, 127)
	otherWay[1].Copy.Method = "xcopy"
	nowhere := able(5, 512, 128, 128, 127)
	for i := range nowhere {
		nowhere[i].Copy.Domain = ""
	}
	plain := able(5, 512, 128, 128, 127)
	for i := range plain {
		plain[i].Copy.Method = ""
	}
	unlike := able(5, 512, 8192, 8192, 127)
	unlike[1].Copy.MCL = 2048
	oneUnable := able(5, 512, 8192, 8192, 127)
	oneUnable[1] = Disk{}
	for _, c := range []struct {
		name             string
		src, dst         *remap.Table
		disks            []Disk
		pol              Policy
		window, inFlight uint64
	}{
		{"no disk copies", linear(0), linear(1), none, Policy{}, 1 * mib, 2 * mib},
		{"no disk of the source copies", linear(1), linear(0), oneUnable, Policy{}, 1 * mib, 2 * mib},
		{"no disk of the destination copies", linear(0), linear(1), oneUnable, Policy{}, 1 * mib, 2 * mib},
		{"two domains", linear(0), linear(1), apart(able(5, 512, 128, 128, 127), 1), Policy{}, 1 * mib, 2 * mib},
		{"two methods", linear(0), linear(1), otherWay, Policy{}, 1 * mib, 2 * mib},
		{"many stripes, none copies", four, fourTo, none, Policy{}, 1 * mib, 2 * mib},
		{"no method", linear(0), linear(1), plain, Policy{}, 1 * mib, 2 * mib},
		{"no domain", linear(0), linear(1), nowhere, Policy{}, 1 * mib, 2 * mib},
		{"64 KiB", linear(0), linear(1), qemu, Policy{}, 4 * mib, 16 * mib},
		{"64 KiB on three legs", three, threeTo, qemu, Policy{}, 22 * 3 * mib / 16, 16 * mib},
		{"4 MiB", linear(0), linear(1), large, Policy{}, 4 * mib, 16 * mib},
		{"4 MiB on two legs", two, twoTo, large, Policy{}, 8 * mib, 16 * mib},
		{"4 MiB on two legs, each a domain", two, twoTo, apart(able(5, 512, 8192, 8192, 127), 1), Policy{}, 8 * mib, 16 * mib},
		{"4 MiB on three legs", three, threeTo, large, Policy{}, 12 * mib, 24 * mib},
		{"4 MiB on four legs", four, fourTo, large, Policy{}, 16 * mib, 32 * mib},
		{"4 MiB on five legs", five, fiveTo, large, Policy{}, 16 * mib, 32 * mib},
		{"1 MiB on three legs", three, threeTo, able(5, 512, 2048, 2048, 127), Policy{}, 6 * mib, 16 * mib},
		{"ranges, not MCL", four, fourTo, able(5, 512, 1024, 1<<20, 2), Policy{}, 6 * mib, 16 * mib},
		{"MCL, not ranges", four, fourTo, able(5, 512, 1024, 2048, 127), Policy{}, 4 * mib, 16 * mib},
		{"no bound", linear(0), linear(1), able(5, 512, 0, 0, 127), Policy{}, 16 * mib, 32 * mib},
		{"4 MiB on four legs, at a rate", four, fourTo, large, Policy{Rate: 1}, 4 * mib, 16 * mib},
		{"no bound on four legs", four, fourTo, able(5, 512, 0, 0, 127), Policy{}, 16 * mib, 32 * mib},
		{"4 MiB and 1 MiB", two, twoTo, apart(unlike, 1), Policy{}, 8 * mib, 16 * mib},
		{"a leg that cannot", two, twoTo, oneUnable, Policy{}, 4 * mib, 16 * mib},
		{"legs of two domains that do not meet", two, swapped, apart(able(5, 512, 8192, 8192, 127), 1), Policy{}, 4 * mib, 16 * mib},
		{"onto itself, one window after the other", two, two, large, Policy{}, 4 * mib, 16 * mib},
		{"onto itself, emulated", two, two, none, Policy{}, 4 * mib, 16 * mib},
		{"onto itself, little in flight", two, two, none, Policy{InFlight: 2 * mib}, 2 * mib, 2 * mib},

		{"window given, emulated", linear(0), linear(1), none, Policy{Window: 2 * mib}, 2 * mib, 16 * mib},
		{"largest window given, emulated", linear(0), linear(1), none, Policy{Window: 32 * mib}, 32 * mib, 32 * mib},
		{"window given", four, fourTo, large, Policy{Window: mib / 2}, mib / 2, 16 * mib},
		{"largest window given", four, fourTo, large, Policy{Window: 32 * mib}, 32 * mib, 32 * mib},
		{"both given", four, fourTo, large, Policy{Window: 2 * mib, InFlight: 3 * mib}, 2 * mib, 3 * mib},
		{"in flight given, emulated", linear(0), linear(1), none, Policy{InFlight: 64 * mib}, 1 * mib, 64 * mib},
		{"little in flight given, emulated", linear(0), linear(1), none, Policy{InFlight: mib / 2}, mib / 2, mib / 2},
		{"in flight given", four, fourTo, large, Policy{InFlight: 12 * mib}, 12 * mib, 12 * mib},
		{"in flight given, not of whole blocks", linear(0), linear(1), none, Policy{InFlight: 64<<10 + 512}, 64 << 10, 64<<10 + 512},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := whole(c.src, c.dst, 0, 0, n-8)
			if c.src == c.dst {
				r.DstSegs[0].Pos = 4096
			}
			r.Src.LogicalBlock, r.Policy = 4096, c.pol
			p, err := NewPlan(r, c.disks)
			if err != nil {
				t.Fatal(err)
			}
			var w Window
			if p.Next(&w); p.window != c.window || p.inFlight != c.inFlight || w.Offset == 0 && w.Bytes() > c.window {
				t.Errorf("window of %d bytes, %d in flight; want %d, %d; the first has %d", p.window, p.inFlight, c.window, c.inFlight, w.Bytes())
			}
		})
	}
}

// TestSizesCommands: at defaults, stripes of one phase take a command per leg and limit unit.
func TestSizesCommands(t *testing.T) {
	for _, c := range []struct {
		legs, mib, limit uint64 // sectors a command
		want             int
	}{{2, 64, 8192, 16}, {3, 66, 2048, 66}, {4, 66, 128, 1056}, {4, 80, 8192, 20}} {
		n, l := c.mib<<11, uint32(c.limit)
		src, dst := stripeOf(t, n, 128, 0, int(c.legs), 0), stripeOf(t, n, 128, target.Disk(c.legs), int(c.legs), 0)
		_, got, _ := planAll(t, whole(src, dst, 0, 0, n), able(2*int(c.legs), 512, l, l, 127))
		if got != c.want {
			t.Errorf("%d legs, %d sectors a command: %d commands, want %d", c.legs, c.limit, got, c.want)
		}
	}
}

// TestSizesTogether: what must be read before any of it is written may be as much as the default window, whatever the disks do.
func TestSizesTogether(t *testing.T) {
	const n = DefaultWindow / 512
	table := linearOf(t, 4*n, 0, 0)
	for _, disks := range [][]Disk{make([]Disk, 1), able(1, 512, 8192, 8192, 127)} {
		for _, c := range []struct {
			half     uint64
			inFlight uint64
			ok       bool
		}{{n / 2, 0, true}, {n/2 + 1, 0, false}, {n / 2, DefaultWindow, true}, {n / 4, DefaultWindow / 2, true}, {n/4 + 1, DefaultWindow / 2, false}} {
			r := whole(table, table, 0, 0, 1)
			r.SrcSegs, r.DstSegs, r.InFlight = sectors(0, c.half, 2*n, c.half), sectors(2*n, c.half, 0, c.half), c.inFlight
			p, err := NewPlan(r, disks)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrOverlap) {
				t.Errorf("a swap of %d sectors, %d bytes in flight: %v", c.half, c.inFlight, err)
				continue
			}
			var w Window
			if c.ok && (!p.Next(&w) || w.Sectors != 2*c.half || !w.Bounce) {
				t.Errorf("a window of %d sectors, want %d", w.Sectors, 2*c.half)
			}
		}
	}
}

// most is a lock that counts the sectors that are in it, and in one window.
type most struct {
	mu               sync.Mutex
	now, all, window uint64
	wait             chan struct{} // closed when all that may be is under way
	want             uint64
}

func (m *most) Lock(_ context.Context, _, dst []target.Range) (func(), error) {
	var n uint64
	for _, r := range dst {
		n += r.Len
	}
	m.mu.Lock()
	m.now += n
	if m.all, m.window = max(m.all, m.now), max(m.window, n); m.all >= m.want && m.wait != nil {
		close(m.wait)
		m.wait = nil
	}
	m.mu.Unlock()
	return func() { m.mu.Lock(); m.now -= n; m.mu.Unlock() }, nil
}

// patient is a disk that reads only a while after all that may be is under way, for which it waits a second.
type patient struct {
	nullIO
	wait chan struct{}
}

func (p patient) Readv(bufs [][]byte, _ uint64) (uint64, error) {
	select {
	case <-p.wait:
	case <-time.After(time.Second):
	}
	time.Sleep(20 * time.Millisecond) // in which more would begin
	return size(bufs), nil
}

// TestSizesRun: an emulated copy at defaults has EmulatedInFlight bytes under way in windows of EmulatedWindow, and all of
// them; and memory for that, in huge pages.
func TestSizesRun(t *testing.T) {
	const n = 8 << 11
	p, err := NewPlan(whole(linearOf(t, n, 0, 0), linearOf(t, n, 1, 0), 0, 0, n), make([]Disk, 2))
	if err != nil {
		t.Fatal(err)
	}
	m := &most{wait: make(chan struct{}), want: EmulatedInFlight / 512}
	e := NewEngine([]IO{patient{wait: m.wait}, nullIO{}}, &Options{})
	defer e.Close()
	if _, err := e.Run(t.Context(), p, m, nil); err != nil {
		t.Fatal(err)
	}
	if m.all != EmulatedInFlight/512 || m.window != EmulatedWindow/512 {
		t.Errorf("%d sectors under way, %d in a window", m.all, m.window)
	}
	if e.pool.held > 2*EmulatedInFlight {
		t.Errorf("%d bytes of buffers", e.pool.held)
	}
}
