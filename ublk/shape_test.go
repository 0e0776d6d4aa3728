package ublk

import (
	"cmp"
	"slices"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// tester is what the fakes need of a *testing.T, a *testing.F's T and a *rapid.T.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// shape is a table in plain numbers: what the real one is made from, and a second opinion on where a sector lies.
type shape []place

// place is one target of a shape; chunk 0 is a linear one.
type place struct {
	sectors, chunk uint64
	legs           []stripe.Leg
}

// lin and striped make the places that tests write by hand. Every leg of a striped one begins at sector 0 of a disk.
func lin(disk target.Disk, start, sectors uint64) place {
	return place{sectors, 0, []stripe.Leg{{Disk: disk, Start: start}}}
}

func striped(chunk, rows uint64, disks ...target.Disk) place {
	p := place{sectors: chunk * rows * uint64(len(disks)), chunk: chunk}
	for _, d := range disks {
		p.legs = append(p.legs, stripe.Leg{Disk: d})
	}
	return p
}

func (s shape) table(t tester) *remap.Table {
	t.Helper()
	var parts []remap.Part
	for _, p := range s {
		var to target.Target
		var err error
		if p.chunk == 0 {
			to, err = linear.New(p.legs[0].Disk, target.Range{Start: p.legs[0].Start, Len: p.sectors})
		} else {
			to, err = stripe.New(p.sectors, uint32(p.chunk), p.legs)
		}
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		parts = append(parts, remap.Part{Sectors: p.sectors, Target: to})
	}
	tb, err := remap.NewTable(parts)
	if err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	return tb
}

// at is where a sector of the device lies.
func (s shape) at(sector uint64) (target.Disk, uint64) {
	for _, p := range s {
		if sector >= p.sectors {
			sector -= p.sectors
			continue
		}
		if p.chunk == 0 {
			return p.legs[0].Disk, p.legs[0].Start + sector
		}
		c, n := sector/p.chunk, uint64(len(p.legs))
		l := p.legs[c%n]
		return l.Disk, l.Start + c/n*p.chunk + sector%p.chunk
	}
	panic("past the end")
}

// disks is one more than the highest disk.
func (s shape) disks() (n int) {
	for _, p := range s {
		for _, l := range p.legs {
			n = max(n, int(l.Disk)+1)
		}
	}
	return n
}

// used is what the shape uses of each disk, ascending, neighbours joined.
func (s shape) used() [][]target.Range {
	out := make([][]target.Range, s.disks())
	for _, p := range s {
		for _, l := range p.legs {
			out[l.Disk] = append(out[l.Disk], target.Range{Start: l.Start, Len: p.sectors / uint64(len(p.legs))})
		}
	}
	for i, rs := range out {
		slices.SortFunc(rs, func(a, b target.Range) int { return cmp.Compare(a.Start, b.Start) })
		var joined []target.Range
		for _, r := range rs {
			if n := len(joined); n > 0 && r.Start <= joined[n-1].End() {
				joined[n-1].Len = max(joined[n-1].End(), r.End()) - joined[n-1].Start
				continue
			}
			joined = append(joined, r)
		}
		out[i] = joined
	}
	return out
}

// drawShape draws a table in which no two places share a sector of a disk. Everything in it is a multiple of unit.
func drawShape(t *rapid.T, unit uint64) shape {
	free := make([]uint64, rapid.IntRange(1, 6).Draw(t, "disks"))
	leg := func(length uint64) stripe.Leg {
		d := rapid.IntRange(0, len(free)-1).Draw(t, "disk")
		at := free[d] + unit*rapid.SampledFrom([]uint64{0, 0, 1, 7}).Draw(t, "skip")
		free[d] = at + length
		return stripe.Leg{Disk: target.Disk(d), Start: at}
	}
	var s shape
	for range rapid.IntRange(1, 5).Draw(t, "spans") {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			n := unit * rapid.Uint64Range(1, 120).Draw(t, "length")
			s = append(s, place{n, 0, []stripe.Leg{leg(n)}})
		case 1: // a run of targets of one block each
			for range rapid.IntRange(1, 30).Draw(t, "singles") {
				s = append(s, place{unit, 0, []stripe.Leg{leg(unit)}})
			}
		default:
			most := 5
			if rapid.IntRange(0, 7).Draw(t, "wide") == 0 {
				most = 40
			}
			p := place{chunk: unit * rapid.Uint64Range(1, 20).Draw(t, "chunk")}
			rows := rapid.Uint64Range(1, 6).Draw(t, "rows")
			for range rapid.IntRange(1, most).Draw(t, "legs") {
				p.legs = append(p.legs, leg(rows*p.chunk))
			}
			p.sectors = rows * p.chunk * uint64(len(p.legs))
			s = append(s, p)
		}
	}
	return s
}
