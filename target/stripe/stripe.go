// Package stripe is dm-stripe's arithmetic: chunks of the target go to its legs in turn.
package stripe

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// Errors of New, in dm-stripe's words (stripe_ctr).
var (
	ErrNoLegs      = errors.New("not enough destinations specified")
	ErrChunk       = errors.New("invalid chunk_size")
	ErrNotByLegs   = errors.New("target length not divisible by number of stripes")
	ErrNotByChunks = errors.New("target length not divisible by chunk size")
)

// Leg is where one stripe begins: a sector of a disk. One disk may hold several legs.
type Leg struct {
	Disk  target.Disk
	Start uint64
}

// Stripe maps chunk c of the target to row c/n of leg c%n (stripe_map_sector). The chunk phase is relative to the
// target's start, not to the device's.
type Stripe struct {
	legs   []Leg
	chunk  uint64 // sectors
	width  uint64 // sectors of each leg
	pow2   bool   // chunk is a power of two: shift instead of dividing
	shift  uint8
	npow2  bool
	nshift uint8
}

// New makes a striped target of length sectors over legs, chunk sectors at a time. Neither chunk nor the number of legs
// needs to be a power of two. Errors: ErrNoLegs, ErrChunk, ErrNotByLegs, ErrNotByChunks, target.ErrZeroLength,
// target.ErrTooLong.
func New(length uint64, chunk uint32, legs []Leg) (*Stripe, error) {
	n := uint64(len(legs))
	switch {
	case n == 0:
		return nil, ErrNoLegs
	case chunk == 0:
		return nil, ErrChunk
	case length == 0:
		return nil, target.ErrZeroLength
	case length > target.MaxSectors:
		return nil, target.ErrTooLong
	case length%n != 0:
		return nil, ErrNotByLegs
	case length/n%uint64(chunk) != 0:
		return nil, ErrNotByChunks
	}
	s := &Stripe{legs: append([]Leg(nil), legs...), chunk: uint64(chunk), width: length / n}
	for i, l := range legs {
		if l.Start > target.MaxSectors-s.width {
			return nil, fmt.Errorf("leg %d: %w", i+1, target.ErrTooLong)
		}
	}
	if s.pow2 = chunk&(chunk-1) == 0; s.pow2 {
		s.shift = uint8(bits.TrailingZeros32(chunk))
	}
	if s.npow2 = n&(n-1) == 0; s.npow2 {
		s.nshift = uint8(bits.TrailingZeros64(n))
	}
	return s, nil
}

// at finds the leg, its row's first sector and the offset inside the chunk of a target sector.
// hot path
func (s *Stripe) at(sector uint64) (leg, row, off uint64) {
	var c uint64
	if s.pow2 {
		c, off = sector>>s.shift, sector&(s.chunk-1)
	} else {
		c = sector / s.chunk
		off = sector - c*s.chunk
	}
	if s.npow2 {
		return c & (1<<s.nshift - 1), (c >> s.nshift) * s.chunk, off
	}
	n := uint64(len(s.legs))
	q := c / n
	return c - q*n, q * s.chunk, off
}

// Map implements target.Target.
// hot path
func (s *Stripe) Map(dst []target.Segment, op target.Op, r target.Range) ([]target.Segment, uint64) {
	if op.Ranged() {
		return s.mapRange(dst, r)
	}
	leg, row, off := s.at(r.Start)
	n := uint64(len(s.legs))
	var done uint64
	for done < r.Len && len(dst) < cap(dst) {
		length := min(s.chunk-off, r.Len-done)
		l := s.legs[leg]
		dst = append(dst, target.Segment{Sector: l.Start + row + off, Sectors: length, Offset: done, Disk: l.Disk})
		done += length
		off = 0
		if leg++; leg == n {
			leg, row = 0, row+s.chunk
		}
	}
	return dst, done
}

// mapRange gives each leg the one range that the request covers on it (stripe_map_range): a discard is not cut per
// chunk. A leg that the range does not touch gets nothing.
func (s *Stripe) mapRange(dst []target.Segment, r target.Range) ([]target.Segment, uint64) {
	if cap(dst)-len(dst) < len(s.legs) {
		return dst, 0
	}
	bleg, brow, boff := s.at(r.Start)
	eleg, erow, eoff := s.at(r.End())
	for i, l := range s.legs {
		leg := uint64(i)
		begin, end := s.edge(leg, bleg, brow, boff), s.edge(leg, eleg, erow, eoff)
		if begin >= end {
			continue
		}
		dst = append(dst, target.Segment{Sector: l.Start + begin, Sectors: end - begin, Offset: s.logical(leg, begin) - r.Start, Disk: l.Disk})
	}
	return dst, r.Len
}

// edge is the first sector of leg at or after the target sector that lies at (sleg, row, off).
func (s *Stripe) edge(leg, sleg, row, off uint64) uint64 {
	switch {
	case leg == sleg:
		return row + off
	case leg < sleg:
		return row + s.chunk
	}
	return row
}

// logical is the inverse of at.
func (s *Stripe) logical(leg, sector uint64) uint64 {
	row := sector / s.chunk
	return (row*uint64(len(s.legs))+leg)*s.chunk + sector%s.chunk
}

// Extents implements target.Target.
func (s *Stripe) Extents(yield func(target.Extent) bool) {
	for _, l := range s.legs {
		if !yield(target.Extent{Disk: l.Disk, Range: target.Range{Start: l.Start, Len: s.width}}) {
			return
		}
	}
}

// Hints implements target.Target as stripe_io_hints does: the chunk is the preferred minimum, a row the optimum, and a
// discard may be as many times larger as there are legs. Sizes that overflow 32 bits leave the stacked values.
func (s *Stripe) Hints(l *limits.Limits) {
	n := uint64(len(s.legs))
	l.ChunkSectors = uint32(s.chunk)
	if hi, opt := bits.Mul64(s.chunk*512, n); hi == 0 && opt <= 1<<32-1 {
		l.IOMin, l.IOOpt = uint32(s.chunk*512), uint32(opt)
	}
	if hw := uint64(l.MaxHWDiscardSectors); hw >= s.chunk {
		row := s.chunk * n
		if hi, scaled := bits.Mul64(hw, n); hi == 0 && scaled <= 1<<32-1 && row <= 1<<32-1 {
			l.MaxHWDiscardSectors = uint32(scaled / row * row)
		} else {
			l.MaxHWDiscardSectors = (1<<32 - 1) >> 9
		}
		l.MaxDiscardSectors = l.MaxHWDiscardSectors
	}
}

// Type implements target.Target.
func (s *Stripe) Type() string { return "striped" }

// Params implements target.Target: "<n> <chunk> [<disk> <start>]...".
func (s *Stripe) Params(name func(target.Disk) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d", len(s.legs), s.chunk)
	for _, l := range s.legs {
		fmt.Fprintf(&b, " %s %d", name(l.Disk), l.Start)
	}
	return b.String()
}

var _ target.Target = (*Stripe)(nil)
