package remap

import (
	"cmp"
	"slices"

	"github.com/ublk-go/ublk-linear/target"
)

// Footprint is what ranges of a device cover of its disks, in order of disk and sector, as often as they cover it. Overlap
// is judged there, and not on the device only, since two places of one table, or of two, may be one block of a disk.
type Footprint []target.Extent

// Footprint is what ranges cover of every disk. They lie inside the device; the caller has checked that.
func (t *Table) Footprint(ranges []target.Range) Footprint {
	var out Footprint
	buf := make([]target.Segment, 0, max(64, t.Fan()))
	for _, r := range ranges {
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

// Twice finds what a footprint has two times.
func (f Footprint) Twice() (target.Extent, bool) {
	for i := 1; i < len(f); i++ {
		if f[i].Disk == f[i-1].Disk && f[i].Start < f[i-1].End() {
			return f[i], true
		}
	}
	return target.Extent{}, false
}

// Common finds what two footprints both have. Extents of each may overlap each other.
func (f Footprint) Common(g Footprint) (target.Extent, bool) {
	for i, j := 0, 0; i < len(f) && j < len(g); {
		a, b := f[i], g[j]
		switch {
		case a.Disk == b.Disk && a.Start < b.End() && b.Start < a.End():
			at := max(a.Start, b.Start)
			return target.Extent{Disk: a.Disk, Range: target.Range{Start: at, Len: min(a.End(), b.End()) - at}}, true
		case a.Disk < b.Disk || a.Disk == b.Disk && a.Start < b.Start: // apart, and all of g from here on is behind it
			i++
		default:
			j++
		}
	}
	return target.Extent{}, false
}
