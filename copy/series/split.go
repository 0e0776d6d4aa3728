package series

import (
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// run is a part of a request that is one range on both devices, in sectors: what a design without lists is asked for at a
// time.
type run struct {
	offset   uint64 // of the request
	src, dst target.Range
}

// total is the sum of the source and of the destination segments, in bytes, modulo 2^64.
func (r *Request) total() (src, dst uint64) {
	for _, s := range r.SrcSegs {
		src += s.Len
	}
	for _, s := range r.DstSegs {
		dst += s.Len
	}
	return src, dst
}

// runs cuts the segments of both sides against each other, in the order of the request, rounded down to sectors. It goes
// as far as the shorter side.
func (r *Request) runs() []run {
	var out []run
	var at, in, jn uint64
	for i, j := 0, 0; i < len(r.SrcSegs) && j < len(r.DstSegs); {
		s, d := r.SrcSegs[i], r.DstSegs[j]
		n := min(s.Len/512-in, d.Len/512-jn)
		if n > 0 {
			out = append(out, run{at, target.Range{Start: s.Pos/512 + in, Len: n}, target.Range{Start: d.Pos/512 + jn, Len: n}})
		}
		at, in, jn = at+n, in+n, jn+n
		if in == s.Len/512 {
			i, in = i+1, 0
		}
		if jn == d.Len/512 {
			j, jn = j+1, 0
		}
	}
	return out
}

// split cuts a range of a device where dm does: at the edges of targets, and of chunks in a stripe (max_io_len of dm.c,
// stripe_map of dm-stripe.c). Segments are in order and know their offset in the range. The range lies on the device.
func (d *Device) split(r target.Range) []target.Segment {
	var out []target.Segment
	buf := make([]target.Segment, 0, max(64, d.Table.Fan()))
	for done := uint64(0); done < r.Len; {
		segs, n := d.Table.Map(buf[:0], target.Read, target.Range{Start: r.Start + done, Len: r.Len - done})
		if n == 0 {
			break
		}
		for _, s := range segs {
			s.Offset += done
			out = append(out, s)
		}
		done += n
	}
	return out
}

// room is how many of a range's sectors, from its first, lie before the next edge of the device (max_io_len of dm.c), and
// the place on the bottom disk where they are.
func (d *Device) room(r target.Range) target.Extent {
	var buf [1]target.Segment
	segs, n := d.Table.Map(buf[:0], target.Read, r)
	if n == 0 {
		return target.Extent{}
	}
	return target.Extent{Disk: segs[0].Disk, Range: target.Range{Start: segs[0].Sector, Len: n}}
}

// place is where a range is on its bottom disk; false if it crosses an edge.
func (d *Device) place(r target.Range) (target.Extent, bool) {
	e := d.room(r)
	return e, e.Len == r.Len && r.Len > 0
}

// chop cuts a range into parts of at most n sectors, from its start. Nothing comes of n = 0: a limit of nothing must not
// become a loop (Le Moal, 2022).
func chop(r target.Range, n uint64) []target.Range {
	var out []target.Range
	for n > 0 && r.Len > 0 {
		k := min(r.Len, n)
		out = append(out, target.Range{Start: r.Start, Len: k})
		r.Start, r.Len = r.Start+k, r.Len-k
	}
	return out
}

// pieces cuts a run at the edges of both devices, in order: what lies together on one disk on both sides. Offsets are of
// the run.
func (r *Request) pieces(x run) []remap.Piece {
	var out []remap.Piece
	p := remap.NewPieces(remap.Side{Table: r.Src.Table, Ranges: []target.Range{x.src}}, remap.Side{Table: r.Dst.Table, Ranges: []target.Range{x.dst}})
	for {
		q, ok := p.Next()
		if !ok {
			return out
		}
		out = append(out, q)
	}
}

// crosses says whether a range has more than one place.
func (d *Device) crosses(r target.Range) bool { _, ok := d.place(r); return !ok }
