package limits

import (
	"testing"

	"pgregory.net/rapid"
)

func draw(t *rapid.T, label string) Limits {
	lbs := uint32(512) << rapid.IntRange(0, 3).Draw(t, label+" lbs")
	pbs := lbs << rapid.IntRange(0, 3).Draw(t, label+" pbs")
	l := Limits{LogicalBlock: lbs, PhysicalBlock: pbs, IOMin: pbs * rapid.Uint32Range(1, 8).Draw(t, label+" min"), MaxSegments: 128, MaxSegmentSize: 65536,
		MaxHWSectors: rapid.Uint32Range(8, 5000).Draw(t, label+" hw"), DMAAlignment: 511, IOOpt: pbs * rapid.Uint32Range(0, 64).Draw(t, label+" opt"),
		MaxWriteZeroesSectors: rapid.Uint32Range(0, 1<<20).Draw(t, label+" wz"), WriteCache: rapid.Bool().Draw(t, label+" wc"), FUA: rapid.Bool().Draw(t, label+" fua")}
	l.MaxSectors = l.MaxHWSectors
	if rapid.Bool().Draw(t, label+" discard") {
		l.DiscardGranularity = pbs
		l.MaxDiscardSectors = rapid.Uint32Range(8, 1<<20).Draw(t, label+" dmax")
		l.MaxHWDiscardSectors = l.MaxDiscardSectors
	}
	return l
}

// What is stacked is never looser than what it stands on.
func TestNeverLooser(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		top := Stacking()
		var legs []Limits
		for range rapid.IntRange(1, 5).Draw(t, "legs") {
			l := draw(t, "leg")
			legs = append(legs, l)
			top.Stack(l, 0)
		}
		top.Finish()
		for _, l := range legs {
			if top.LogicalBlock < l.LogicalBlock || top.PhysicalBlock < l.PhysicalBlock || top.DMAAlignment < l.DMAAlignment ||
				top.MaxHWSectors > max(l.MaxHWSectors, 8) || top.MaxSectors > max(l.MaxHWSectors, 8) || top.MaxWriteZeroesSectors > l.MaxWriteZeroesSectors ||
				l.WriteCache && !top.WriteCache || top.FUA && !top.WriteCache {
				t.Fatalf("leg %+v\ntop %+v", l, top)
			}
			if l.MaxHWDiscardSectors != 0 && top.MaxHWDiscardSectors > l.MaxHWDiscardSectors {
				t.Fatalf("discard: leg %+v\ntop %+v", l, top)
			}
		}
	})
}

// Stacking the same device again changes nothing.
func TestIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := draw(t, "leg")
		once := Stacking()
		once.Stack(l, 0)
		twice := once
		twice.Stack(l, 0)
		if once != twice {
			t.Fatalf("once %+v\ntwice %+v", once, twice)
		}
	})
}

// A discard cap of 0 on the top of a device with discard takes everything of discard away, and so does NoDiscard.
func TestNoDiscard(t *testing.T) {
	l := Default()
	l.DiscardGranularity, l.MaxHWDiscardSectors = 4096, 100
	l.Finish()
	if l.DiscardGranularity != 0 || l.MaxHWDiscardSectors != 0 {
		t.Errorf("%+v", l)
	}
}
