package remap

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/target"
)

// TestFootprint: what is found twice, or in both, is what a count of single sectors finds, and it is found if there is any.
func TestFootprint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		place := func(d target.Disk, s uint64) [2]uint64 { return [2]uint64{uint64(d), s} }
		draw := func() (Footprint, map[[2]uint64]int) {
			table := drawTable(t)
			var ranges []target.Range
			count := map[[2]uint64]int{}
			for range rapid.IntRange(1, 4).Draw(t, "ranges") {
				start := rapid.Uint64Range(0, table.Sectors()-1).Draw(t, "start")
				r := target.Range{Start: start, Len: rapid.Uint64Range(1, min(table.Sectors()-start, 200)).Draw(t, "length")}
				ranges = append(ranges, r)
				for s := range r.Len {
					segs, _ := table.Map(make([]target.Segment, 0, 8), target.Read, target.Range{Start: r.Start + s, Len: 1})
					count[place(segs[0].Disk, segs[0].Sector)]++
				}
			}
			f := table.Footprint(ranges)
			var sum uint64
			for i, e := range f {
				sum += e.Len
				if i > 0 && (e.Disk < f[i-1].Disk || e.Disk == f[i-1].Disk && e.Start < f[i-1].Start) {
					t.Fatalf("not in order: %v", f)
				}
			}
			for _, n := range count {
				sum -= uint64(n)
			}
			if sum != 0 {
				t.Fatalf("%v: not as many sectors as the ranges have", f)
			}
			return f, count
		}
		f, in := draw()
		g, other := draw()
		twice, both := false, false
		for p, n := range in {
			twice = twice || n > 1
			both = both || other[p] > 0
		}
		if e, ok := f.Twice(); ok != twice || ok && in[place(e.Disk, e.Start)] < 2 {
			t.Fatalf("twice: %v %v, want %v, of %v", e, ok, twice, f)
		}
		e, ok := f.Common(g)
		if ok != both || ok && (in[place(e.Disk, e.Start)] == 0 || other[place(e.Disk, e.Start)] == 0) {
			t.Fatalf("common: %v %v, want %v, of %v and %v", e, ok, both, f, g)
		}
	})
}
