package series

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ublk-go/ublk-linear/target"
)

// shared says where a request has blocks that it both reads and writes, or writes twice, on the disks: what no order of
// independent bios has a promised result for. Runs that are copied onto themselves do not count: nothing changes there.
// "" if there is nothing.
func (r *Request) shared(w *World) string {
	var src, dst, all []target.Range
	for _, x := range r.runs() {
		all = append(all, x.dst)
		if r.Src.Table != r.Dst.Table || x.src != x.dst {
			src, dst = append(src, x.src), append(dst, x.dst)
		}
	}
	written := r.Dst.footprint(all)
	for i := 1; i < len(written); i++ {
		if e := written[i]; e.Disk == written[i-1].Disk && e.Start < written[i-1].End() {
			return fmt.Sprintf("sector %d of %s is written twice", e.Start, w.name(e.Disk))
		}
	}
	written = r.Dst.footprint(dst)
	read := r.Src.footprint(src)
	for i, j := 0, 0; i < len(read) && j < len(written); {
		a, b := read[i], written[j]
		switch {
		case a.Disk == b.Disk && a.Start < b.End() && b.Start < a.End():
			return fmt.Sprintf("sector %d of %s is read and written", max(a.Start, b.Start), w.name(a.Disk))
		case cmp.Or(cmp.Compare(a.Disk, b.Disk), cmp.Compare(a.End(), b.End())) < 0:
			i++
		default:
			j++
		}
	}
	return ""
}

// footprint is what ranges of a device cover of its disks, in order of disk and sector, as often as they cover it. Read
// ranges may cover each other.
func (d *Device) footprint(ranges []target.Range) []target.Extent {
	var out []target.Extent
	buf := make([]target.Segment, 0, max(64, d.Table.Fan()))
	for _, r := range ranges {
		r = d.inside(r)
		for done := uint64(0); done < r.Len; {
			// A ranged op is one segment per leg, however many chunks there are.
			segs, n := d.Table.Map(buf[:0], target.Discard, target.Range{Start: r.Start + done, Len: r.Len - done})
			if n == 0 {
				break
			}
			for _, s := range segs {
				out = append(out, target.Extent{Disk: s.Disk, Range: target.Range{Start: s.Sector, Len: s.Sectors}})
			}
			done += n
		}
	}
	slices.SortFunc(out, func(a, b target.Extent) int {
		return cmp.Or(cmp.Compare(a.Disk, b.Disk), cmp.Compare(a.Start, b.Start))
	})
	return out
}

// inside is the part of a range that the device has.
func (d *Device) inside(r target.Range) target.Range {
	all := d.Table.Sectors()
	r.Start = min(r.Start, all)
	r.Len = min(r.Len, all-r.Start)
	return r
}

// overlap puts a finding about shared blocks into an outcome: the design promises nothing for them.
func (o *Outcome) overlap(w *World, r *Request, why string) {
	if s := r.shared(w); s != "" {
		o.fault("", "overlap: %s, and %s: the result is not memmove's by anybody's promise", s, why)
	}
}
