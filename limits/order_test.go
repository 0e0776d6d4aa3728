package limits

import (
	"testing"

	"pgregory.net/rapid"
)

// Where the kernel does not care for the order of the legs, neither do we: whole disks from their first sector on, without
// atomic writes (whose first device sets the tone) and with chunks that are whole physical blocks of every leg.
func TestOrderFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var legs []Limits
		for range rapid.IntRange(2, 5).Draw(t, "legs") {
			l := draw(t, "leg")
			l.IOMin = 65536 << rapid.IntRange(0, 3).Draw(t, "min") // one grid for all: none is misaligned to another
			l.IOOpt = 65536 * rapid.Uint32Range(0, 8).Draw(t, "opt")
			l.ChunkSectors = 128 * rapid.Uint32Range(0, 9).Draw(t, "chunk")
			legs = append(legs, l)
		}
		stack := func(order []Limits) Limits {
			top := Stacking()
			for _, l := range order {
				top.Stack(l, 0)
			}
			top.Finish()
			return top
		}
		want := stack(legs)
		if got := stack(rapid.Permutation(legs).Draw(t, "order")); got != want {
			t.Fatalf("\n%+v\n%+v", got, want)
		}
	})
}
