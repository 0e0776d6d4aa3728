package blkcopy

import (
	"cmp"
	"slices"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// footprint is what ranges of a table cover of its disks. A block that is there twice has two places among the ranges.
func footprint(t *remap.Table, ranges []target.Range) remap.Footprint {
	return t.Footprint(joined(ranges))
}

// joined is ranges in ascending order, without those that touch or overlap.
func joined(ranges []target.Range) []target.Range {
	rs := slices.Clone(ranges)
	slices.SortFunc(rs, func(a, b target.Range) int { return cmp.Compare(a.Start, b.Start) })
	out := rs[:0]
	for _, r := range rs {
		if n := len(out); n > 0 && r.Start <= out[n-1].End() {
			out[n-1].Len = max(out[n-1].End(), r.End()) - out[n-1].Start
			continue
		}
		out = append(out, r)
	}
	return out
}
