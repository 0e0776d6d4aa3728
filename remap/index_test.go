package remap

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
)

// The span that is found is the one that holds the sector, whatever the lengths are: alike, or of all orders of magnitude.
func TestFind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parts []Part
		var most uint64 = 1 << rapid.IntRange(0, 40).Draw(t, "most")
		for range rapid.IntRange(1, 200).Draw(t, "spans") {
			n := rapid.Uint64Range(1, most).Draw(t, "sectors")
			l, err := linear.New(0, target.Range{Len: n})
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, Part{n, l})
		}
		tb, err := NewTable(parts)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(tb.dir); n > 2*len(parts)+1 {
			t.Fatalf("%d entries for %d spans", n, len(parts))
		}
		at := []uint64{0, tb.Sectors() - 1, rapid.Uint64Range(0, tb.Sectors()-1).Draw(t, "sector")}
		for _, end := range tb.ends[:len(tb.ends)-1] {
			at = append(at, end-1, end)
		}
		for b := range tb.dir[:len(tb.dir)-1] { // around what the directory knows
			s := uint64(b) << tb.shift
			at = append(at, s, s-min(s, 1))
		}
		for _, s := range at {
			want := slices.IndexFunc(tb.ends, func(end uint64) bool { return s < end })
			if got := tb.find(s); got != want {
				t.Fatalf("sector %d: span %d, want %d", s, got, want)
			}
		}
	})
}
