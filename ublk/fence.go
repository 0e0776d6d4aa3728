package ublk

import (
	"cmp"
	"math"
	"slices"

	"github.com/ublk-go/ublk-linear/target"
)

// fence is where requests must not go. Its ranges ascend and lie apart, so that a request is looked up by bisection,
// however many windows are held.
type fence struct {
	all    bool           // every request is kept out, flushes too
	writes []target.Range // what a write, discard or write-zeroes keeps out of
	reads  []target.Range // what a read keeps out of; part of writes
}

func fenceOf(ranges []Hold) fence {
	var f fence
	for _, h := range ranges {
		f.writes = append(f.writes, h.Range)
		if h.Reads {
			f.reads = append(f.reads, h.Range)
		}
	}
	f.writes, f.reads = join(f.writes), join(f.reads)
	return f
}

// stops says whether a request runs into the fence.
// hot path
func (f *fence) stops(op target.Op, r target.Range) bool {
	if f.all {
		return true
	}
	in := f.writes
	switch op {
	case target.Flush:
		return false
	case target.Read:
		in = f.reads
	}
	lo, hi := 0, len(in) // the first range that ends behind the request's start
	for lo < hi {
		if m := (lo + hi) / 2; in[m].End() <= r.Start {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo < len(in) && in[lo].Start < r.End()
}

// join sorts ranges and makes one of those that touch, in place. Empty ones go; one that would end past the last sector
// there can be ends there.
func join(rs []target.Range) []target.Range {
	slices.SortFunc(rs, func(a, b target.Range) int { return cmp.Compare(a.Start, b.Start) })
	out := rs[:0]
	for _, r := range rs {
		r.Len = min(r.Len, math.MaxUint64-r.Start)
		if r.Len == 0 {
			continue
		}
		if n := len(out) - 1; n >= 0 && r.Start <= out[n].End() {
			out[n].Len = max(out[n].End(), r.End()) - out[n].Start
			continue
		}
		out = append(out, r)
	}
	return out
}
