package series

import (
	"fmt"

	"github.com/ublk-go/ublk-linear/remap"
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
	if e, ok := r.Dst.footprint(all).Twice(); ok {
		return fmt.Sprintf("sector %d of %s is written twice", e.Start, w.name(e.Disk))
	}
	if e, ok := r.Src.footprint(src).Common(r.Dst.footprint(dst)); ok {
		return fmt.Sprintf("sector %d of %s is read and written", e.Start, w.name(e.Disk))
	}
	return ""
}

// footprint is what ranges of a device cover of its disks, as far as the device goes. Read ranges may cover each other.
func (d *Device) footprint(ranges []target.Range) remap.Footprint {
	in := make([]target.Range, len(ranges))
	for i, r := range ranges {
		in[i] = d.inside(r)
	}
	return d.Table.Footprint(in)
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
