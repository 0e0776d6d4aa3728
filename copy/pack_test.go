package blkcopy

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// planAll counts what a plan has, without keeping it.
func planAll(tb testing.TB, r *Request, disks []Disk) (windows, commands, pieces int) {
	tb.Helper()
	p, err := NewPlan(r, disks)
	if err != nil {
		tb.Fatal(err)
	}
	var w Window
	for p.Next(&w) {
		windows++
		commands += len(w.Commands)
		pieces += len(w.Pieces)
	}
	return windows, commands, pieces
}

// Large copies have the number of commands that division says.
func TestPackFormulas(t *testing.T) {
	const n = 8 << 20 / 512 * 10 // 80 MiB
	up := func(a, b uint64) uint64 { return (a + b - 1) / b }
	for _, c := range []struct {
		mssrl, mcl, msrc uint32
		most             uint64 // sectors of a command whose sources lie together
	}{
		{0, 0, 0, 1 << 40}, {128, 128, 0, 128}, {128, 128, 127, 128}, {128, 1024, 7, 1024}, {128, 1000, 7, 1000},
		{128, 2000, 7, 1024}, {100, 0, 2, 300}, {0, 777, 0, 777}, {1, 1, 0, 1}, {1, 5, 9, 5}, {1, 9, 4, 5},
	} {
		for _, window := range []uint64{64 << 10, 4 << 20, 32 << 20} {
			t.Run(fmt.Sprintf("mssrl %d mcl %d msrc %d window %d", c.mssrl, c.mcl, c.msrc, window), func(t *testing.T) {
				w := window / 512
				r := whole(linearOf(t, n, 0, 0), linearOf(t, n, 1, 0), 0, 0, n)
				r.Window = window
				_, got, _ := planAll(t, r, able(8, 512, c.mssrl, c.mcl, c.msrc))
				want := n / w * up(w, c.most)
				if n%w != 0 {
					want += up(n%w, c.most)
				}
				if uint64(got) != want {
					t.Errorf("linear: %d commands, want %d", got, want)
				}
				r = whole(stripeOf(t, n, 32, 0, 4, 0), stripeOf(t, n, 32, 4, 4, 0), 0, 0, n)
				r.Window = window
				_, got, _ = planAll(t, r, able(8, 512, c.mssrl, c.mcl, c.msrc))
				want = n / w * 4 * up(w/4, c.most)
				if n%w != 0 {
					want += 4 * up(n%w/4, c.most)
				}
				if uint64(got) != want {
					t.Errorf("four legs in phase: %d commands, want %d", got, want)
				}
			})
		}
	}
}

// Limits that are no multiples of the block are rounded down: files of two blocks.
func TestPackRounds(t *testing.T) {
	disks := able(2, 512, 30, 45, 1)
	disks[0].Copy.Method, disks[1].Copy.Method = limits.FileCopy, limits.FileCopy
	disks[0].LogicalBlock = 4096 // MSSRL 240, MCL 45 → 40
	r := whole(linearOf(t, 4096, 0, 0), linearOf(t, 4096, 1, 0), 0, 0, 4096)
	r.Src.LogicalBlock = 4096
	if _, got, _ := planAll(t, r, disks); got != (4096+39)/40 {
		t.Errorf("%d commands", got)
	}
}

// What windows cost: at an edge between two windows at most one run of each disk that is written is cut, and that is at
// most one command more than the request would have in one piece.
func TestPackWindowEdges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		next := target.Disk(0)
		device := func() *remap.Table { // every leg on a disk of its own
			var parts []remap.Part
			for range rapid.IntRange(1, 2).Draw(t, "spans") {
				chunk, rows := rapid.Uint64Range(1, 40).Draw(t, "chunk"), rapid.Uint64Range(1, 12).Draw(t, "rows")
				legs := make([]stripe.Leg, rapid.IntRange(1, 3).Draw(t, "legs"))
				for i := range legs {
					legs[i] = stripe.Leg{Disk: next}
					next++
				}
				n := chunk * rows * uint64(len(legs))
				var x target.Target
				var err error
				if len(legs) == 1 {
					x, err = linear.New(legs[0].Disk, target.Range{Len: n})
				} else {
					x, err = stripe.New(n, uint32(chunk), legs)
				}
				if err != nil {
					t.Fatal(err)
				}
				parts = append(parts, remap.Part{Sectors: n, Target: x})
			}
			tb, err := remap.NewTable(parts)
			if err != nil {
				t.Fatal(err)
			}
			return tb
		}
		src, dst := device(), device()
		n := rapid.Uint64Range(1, min(src.Sectors(), dst.Sectors())).Draw(t, "n")
		r := whole(src, dst, rapid.Uint64Range(0, src.Sectors()-n).Draw(t, "from"), rapid.Uint64Range(0, dst.Sectors()-n).Draw(t, "to"), n)
		r.Window = MinWindow
		disks := able(int(next), 512, rapid.Uint32Range(1, 50).Draw(t, "mssrl"), rapid.Uint32Range(1, 90).Draw(t, "mcl"), rapid.Uint32Range(0, 5).Draw(t, "msrc"))
		p, err := NewPlan(r, disks)
		if err != nil {
			t.Fatal(err)
		}
		m := newPlanModel(r, disks)
		windows := m.judge(t, p, 1)
		all, least := map[remap.Place]bool{}, map[[2]target.Disk]int{}
		for _, p := range m.to {
			all[p] = true
		}
		m.fewest(t, &Window{}, all, least)
		sum := 0
		for _, k := range least {
			sum += k
		}
		if got, most := len(commandsOf(windows)), sum+(len(windows)-1)*len(dst.Disks()); got > most {
			t.Fatalf("%d commands in %d windows; %d in one piece, at most %d", got, len(windows), sum, most)
		}
	})
}

// A pair that takes another's place in the cache does not change the command that is open: 0 to 31 and 1 to 0 have one
// place there, as have 1 to 32 and 2 to 1.
func TestPackCachedPairs(t *testing.T) {
	disks := able(33, 512, 8, 8, 0)
	disks[31].Copy = limits.Copy{Method: limits.NoCopy}
	part := func(d target.Disk, start uint64) remap.Part {
		l, err := linear.New(d, target.Range{Start: start, Len: 16})
		if err != nil {
			t.Fatal(err)
		}
		return remap.Part{Sectors: 16, Target: l}
	}
	src := tableOf(t, part(1, 0), part(0, 0))
	dst := tableOf(t, part(0, 100), part(31, 100)) // an offload, then an emulation
	r := whole(src, dst, 0, 0, 32)
	p, err := NewPlan(r, disks)
	if err != nil {
		t.Fatal(err)
	}
	newPlanModel(r, disks).judge(t, p, 1)
	if p, err = NewPlan(r, disks); err != nil {
		t.Fatal(err)
	}
	cs := commandsOf(windowsOf(p))
	if len(cs) != 3 || cs[0].Method != limits.NVMeCopy || cs[1].Method != limits.NVMeCopy || cs[2].Method != Emulated {
		t.Errorf("%+v", cs)
	}
}

// Segments that are neighbours on both sides, but not in the request, are one source once they are sorted: cut at the
// bound of a range, and not before.
func TestPackJoinsAfterSorting(t *testing.T) {
	r := whole(linearOf(t, 100, 0, 0), linearOf(t, 100, 1, 0), 0, 0, 1)
	r.SrcSegs, r.DstSegs = sectors(40, 20, 0, 20, 20, 20), sectors(40, 20, 0, 20, 20, 20)
	ws := planned(t, r, able(2, 512, 50, 0, 7))
	cs := commandsOf(ws)
	if len(cs) != 1 || len(cs[0].Sources) != 2 || cs[0].Sources[0].Len != 50 || cs[0].Sources[1].Len != 10 {
		t.Errorf("%+v", cs)
	}
	if got := len(commandsOf(planned(t, r, able(2, 512, 50, 0, 0)))); got != 2 {
		t.Errorf("%d commands of one range", got)
	}
}
