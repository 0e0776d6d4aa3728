package ublk

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/target"
)

// A fence is its ranges one by one.
func TestFence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SampledFrom([]uint64{0, math.MaxUint64 - 60}).Draw(t, "base")
		var hs []Hold
		for range rapid.IntRange(0, 8).Draw(t, "holds") {
			hs = append(hs, Hold{target.Range{Start: base + rapid.Uint64Range(0, 50).Draw(t, "start"), Len: rapid.SampledFrom([]uint64{0, 1, 2, 5, 9, 20, math.MaxUint64}).Draw(t, "len")}, rapid.Bool().Draw(t, "reads")})
		}
		f := fenceOf(hs)
		for _, rs := range [][]target.Range{f.writes, f.reads} {
			for i, r := range rs {
				if r.Len == 0 || r.End() < r.Start || i > 0 && rs[i-1].End() >= r.Start {
					t.Fatalf("%v becomes %v", hs, rs)
				}
			}
		}
		at := rapid.Uint64Range(0, 50).Draw(t, "at")
		r := target.Range{Start: base + at, Len: rapid.Uint64Range(1, 58-at).Draw(t, "n")}
		for _, op := range []target.Op{target.Read, target.Write, target.Flush, target.Discard, target.WriteZeroes} {
			want := op != target.Flush && slices.ContainsFunc(hs, func(h Hold) bool {
				if op == target.Read && !h.Reads {
					return false
				}
				for s := r.Start; s < r.End(); s++ {
					if s >= h.Start && s-h.Start < h.Len {
						return true
					}
				}
				return false
			})
			if got := f.stops(op, r); got != want {
				t.Fatalf("%v %v against %v: %v", op, r, hs, got)
			}
		}
	})
}
