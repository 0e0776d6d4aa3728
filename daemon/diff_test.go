package daemon

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// drawTable is a small table over four disks, of few shapes, so that two of them often have lines in common.
func drawTable(t *rapid.T, label string) *remap.Table {
	var parts []remap.Part
	for range rapid.IntRange(1, 6).Draw(t, label+" parts") {
		at := uint64(rapid.IntRange(0, 3).Draw(t, "at") * 8)
		var x target.Target
		var err error
		n := uint64(rapid.IntRange(1, 2).Draw(t, "rows") * 16)
		if rapid.Bool().Draw(t, "linear") {
			x, err = linear.New(target.Disk(rapid.IntRange(0, 1).Draw(t, "disk")), target.Range{Start: at, Len: n})
		} else {
			x, err = stripe.New(n, 8, []stripe.Leg{{Disk: 0, Start: at}, {Disk: 1, Start: at}})
		}
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, remap.Part{Sectors: n, Target: x})
	}
	out, err := remap.NewTable(parts)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDiffApplied: the old lines without those that go, and with those that come, are the new ones; and nothing goes and
// comes again.
func TestDiffApplied(t *testing.T) {
	kept := 0
	name := func(d target.Disk) string { return "d" + slot(d) }
	check := func(t *rapid.T) {
		a, b := drawTable(t, "old"), drawTable(t, "new")
		gone, come := diffSpans(side{a, name}, side{b, name})
		left := strings.Split(strings.TrimSpace(a.Lines(name)), "\n")
		for _, s := range gone {
			i := slices.Index(left, s.String())
			if i < 0 {
				t.Fatalf("%v goes, and was not there", s)
			}
			left = slices.Delete(left, i, i+1)
			if slices.Contains(come, s) {
				t.Fatalf("%v goes and comes", s)
			}
		}
		kept += len(left)
		for _, s := range come {
			left = append(left, s.String())
		}
		want := strings.Split(strings.TrimSpace(b.Lines(name)), "\n")
		slices.SortFunc(want, cmp.Compare)
		slices.SortFunc(left, cmp.Compare)
		if !slices.Equal(left, want) {
			t.Fatalf("gone %v\ncome %v\nmake %v\nwant %v", gone, come, left, want)
		}
	}
	for kept == 0 {
		rapid.Check(t, check)
	}
}

// TestMoved: as many sectors lie elsewhere as a walk over every single one finds.
func TestMoved(t *testing.T) {
	some, none := false, false
	for !some || !none {
		rapid.Check(t, func(t *rapid.T) {
			a, b := drawTable(t, "old"), drawTable(t, "new")
			at := func(x *remap.Table, s uint64) target.Segment {
				out, _ := x.Map(make([]target.Segment, 0, 8), target.Read, target.Range{Start: s, Len: 1})
				return out[0]
			}
			var want uint64
			for s := range min(a.Sectors(), b.Sectors()) {
				if at(a, s) != at(b, s) {
					want++
				}
			}
			got, exact := moved(a, b)
			if got != want || !exact {
				t.Fatalf("%d (exact %v), want %d", got, exact, want)
			}
			if gone, come := diffSpans(side{a, slot}, side{b, slot}); want == 0 && len(gone)+len(come) > 0 {
				none = true // other words for the same places
			}
			some = some || want > 0
		})
	}
}

// TestMovedBounded: tables of very many chunks are not walked to their end, and the bound holds.
func TestMovedBounded(t *testing.T) {
	stripes := func(first uint64) *remap.Table {
		const sectors = 8 * 2 << 24
		s, err := stripe.New(sectors, 8, []stripe.Leg{{Disk: 0, Start: first}, {Disk: 1}})
		if err != nil {
			t.Fatal(err)
		}
		out, err := remap.NewTable([]remap.Part{{Sectors: sectors, Target: s}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	a, b := stripes(0), stripes(8)
	n, exact := moved(a, b)
	if exact || n < a.Sectors()/2 || n > a.Sectors() {
		t.Errorf("%d of %d, exact %v", n, a.Sectors(), exact)
	}
}
