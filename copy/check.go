package blkcopy

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// maxProblems bounds the list: a request may have 2^17 segments, and something wrong with each.
const maxProblems = 100

// check finds everything that is wrong with a request, by what the designs refuse: empty lists and segments (2021, v6,
// v20), segments that are not on the larger logical block of both devices (all), that end past 2^64 or past the device
// (each of them, not only the first: 2025 missed it), totals that differ (2026), a destination that is read-only (EPERM in
// 2021 and v6). A policy out of its bounds is refused too.
func (r *Request) check() error {
	var ps []error
	more := 0
	bad := func(format string, a ...any) {
		if len(ps) == maxProblems {
			more++
			return
		}
		ps = append(ps, fmt.Errorf(format, a...))
	}
	if r.Dst.ReadOnly {
		ps = append(ps, &refusal{fmt.Sprintf("destination %s is read-only", r.Dst.Name), ErrRequest, unix.EPERM})
	}
	if r.Dst.Zoned {
		bad("destination %s is zoned: it is written at its zones' write pointers only", r.Dst.Name)
	}
	block := max(r.Src.block(), r.Dst.block())
	ps = append(ps, r.Policy.check(block)...)
	var totals [2]uint64
	summed := true
	for i, side := range [2]struct {
		name string
		dev  *Device
		segs []Seg
	}{{"source", r.Src, r.SrcSegs}, {"destination", r.Dst, r.DstSegs}} {
		if len(side.segs) == 0 {
			bad("%s: no segments", side.name)
			summed = false
		}
		if len(side.segs) > MaxSegs {
			bad("%s: %d segments, at most %d", side.name, len(side.segs), MaxSegs)
			summed = false
			continue
		}
		end := side.dev.Table.Sectors() * 512
		for _, s := range side.segs {
			at := fmt.Sprintf("%s %s:%d+%d", side.name, side.dev.Name, s.Pos, s.Len)
			if s.Len == 0 {
				bad("%s: zero length", at)
			}
			if (s.Pos|s.Len)%block != 0 {
				bad("%s: not a multiple of %d bytes, the larger logical block of %s", at, block, r.names())
			}
			switch {
			case s.Pos+s.Len < s.Pos:
				bad("%s: ends past 2^64", at)
			case s.Pos+s.Len > end:
				bad("%s: ends past the device, which has %d bytes", at, end)
			}
			if totals[i]+s.Len < totals[i] {
				bad("%s: the segments have 2^64 bytes and more", side.name)
				summed = false
				break
			}
			totals[i] += s.Len
		}
	}
	if summed && totals[0] != totals[1] {
		bad("the source has %d bytes, the destination %d", totals[0], totals[1])
	}
	if more > 0 {
		ps = append(ps, fmt.Errorf("and %d problems more", more))
	}
	if len(ps) > 0 {
		return &RequestError{ps}
	}
	return nil
}

func (p *Policy) check(block uint64) (ps []error) {
	w, f := p.Window, p.InFlight
	if w != 0 && (w < MinWindow || w > MaxWindow || w%block != 0) {
		ps = append(ps, fmt.Errorf("window of %d bytes: a multiple of %d from %d to %d", w, block, MinWindow, MaxWindow))
		w = 0
	}
	if w == 0 { // it will be no more than what may be in flight
		w = max(MinWindow, block)
	}
	if f != 0 && (f < w || f > MaxInFlight) {
		ps = append(ps, fmt.Errorf("%d bytes in flight: from one window (%d) to %d", f, w, MaxInFlight))
	}
	return ps
}

func (r *Request) names() string {
	if r.Src == r.Dst || r.Src.Name == r.Dst.Name {
		return r.Src.Name
	}
	return r.Src.Name + " and " + r.Dst.Name
}

func (d *Device) block() uint64 { return uint64(max(d.LogicalBlock, 512)) }

// side is segments in sectors.
func side(d *Device, segs []Seg) remap.Side {
	s := remap.Side{Table: d.Table, Ranges: make([]target.Range, 0, len(segs))}
	for _, g := range segs {
		s.Ranges = append(s.Ranges, target.Range{Start: g.Pos / 512, Len: g.Len / 512})
	}
	return s
}

// boundary finds a segment that a device has more than one place for.
func (r *Request) boundary() error {
	if r.AtBoundary == Split {
		return nil
	}
	for _, side := range [2]struct {
		name string
		dev  *Device
		segs []Seg
	}{{"source", r.Src, r.SrcSegs}, {"destination", r.Dst, r.DstSegs}} {
		var buf [2]target.Segment
		for _, s := range side.segs {
			// One place is enough, and room for no more: what it covers says where the edge is.
			_, n := side.dev.Table.Map(buf[:0:1], target.Read, target.Range{Start: s.Pos / 512, Len: s.Len / 512})
			if n*512 != s.Len {
				return &refusal{fmt.Sprintf("%s %s:%d+%d crosses the edge at %d", side.name, side.dev.Name, s.Pos, s.Len, s.Pos+n*512), ErrBoundary, unix.EIO}
			}
		}
	}
	return nil
}
