package blkcopy

import (
	"cmp"
	"slices"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// Footprints: what ranges of a device cover of its disks. Overlap is judged there, and not on the device only, since two
// places of one table, or of two, may be one block of a disk.

// footprint is what ranges of a table cover of every disk, in order of disk and sector. A block that is there twice has
// two places among the ranges.
func footprint(t *remap.Table, ranges []target.Range) []target.Extent {
	var out []target.Extent
	buf := make([]target.Segment, 0, max(64, t.Fan()))
	for _, r := range joined(ranges) {
		for done := uint64(0); done < r.Len; {
			// A ranged op is one segment per leg, however many chunks there are.
			segs, n := t.Map(buf, target.Discard, target.Range{Start: r.Start + done, Len: r.Len - done})
			if n == 0 {
				break
			}
			for _, g := range segs {
				out = append(out, target.Extent{Disk: g.Disk, Range: target.Range{Start: g.Sector, Len: g.Sectors}})
			}
			done += n
		}
	}
	slices.SortFunc(out, func(a, b target.Extent) int {
		return cmp.Or(cmp.Compare(a.Disk, b.Disk), cmp.Compare(a.Start, b.Start))
	})
	return out
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

// twice finds a block that a footprint has two times.
func twice(es []target.Extent) (target.Extent, bool) {
	for i := 1; i < len(es); i++ {
		if es[i].Disk == es[i-1].Disk && es[i].Start < es[i-1].End() {
			return es[i], true
		}
	}
	return target.Extent{}, false
}

// common finds a block that two footprints have.
func common(as, bs []target.Extent) (target.Extent, bool) {
	for i, j := 0, 0; i < len(as) && j < len(bs); {
		a, b := as[i], bs[j]
		switch {
		case a.Disk == b.Disk && a.Start < b.End() && b.Start < a.End():
			at := max(a.Start, b.Start)
			return target.Extent{Disk: a.Disk, Range: target.Range{Start: at, Len: min(a.End(), b.End()) - at}}, true
		case a.Disk < b.Disk || a.Disk == b.Disk && a.Start < b.Start: // no b that comes later meets it
			i++
		default:
			j++
		}
	}
	return target.Extent{}, false
}
