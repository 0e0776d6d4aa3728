package remap

import (
	"sort"

	"github.com/ublk-go/ublk-linear/target"
)

// Side is one side of a copy: ranges of one device, in the order of the request. Every range lies inside the table and
// has sectors; the caller has checked that.
type Side struct {
	Table  *Table
	Ranges []target.Range
}

// Sectors is the sum of the ranges.
func (s Side) Sectors() uint64 {
	var n uint64
	for _, r := range s.Ranges {
		n += r.Len
	}
	return n
}

// Place is a sector of a disk.
type Place struct {
	Disk   target.Disk
	Sector uint64
}

// Piece is a part of a copy that lies together on one disk on both sides: what is left when a request is cut at every
// edge of a range, target or chunk of either device.
type Piece struct {
	Src, Dst Place
	Sectors  uint64
	Offset   uint64 // of its first sector from the request's first
}

// piecesAhead is how many segments of a side are mapped at a time.
const piecesAhead = 256

// Pieces walks both sides of a copy at once, in request order. Its memory does not grow with the copy.
type Pieces struct {
	src, dst cursor
	at, end  uint64
	cap      uint64
}

// NewPieces stands at the start of the copy from src to dst; Seek moves it. It covers no more than the shorter side.
func NewPieces(src, dst Side) *Pieces {
	p := &Pieces{src: newCursor(src), dst: newCursor(dst), cap: ^uint64(0)}
	p.Seek(0, min(p.src.total(), p.dst.total()))
	return p
}

// Cap cuts pieces to at most n sectors, counted from where each begins; 0 takes the bound away.
func (p *Pieces) Cap(n uint64) {
	if p.cap = n; n == 0 {
		p.cap = ^uint64(0)
	}
}

// Seek goes on with the sectors [at, end) of the request.
func (p *Pieces) Seek(at, end uint64) {
	p.at, p.end = at, end
	p.src.seek(at)
	p.dst.seek(at)
}

// Next is the next piece, if there is one.
// hot path
func (p *Pieces) Next() (Piece, bool) {
	left := p.end - p.at
	if left == 0 {
		return Piece{}, false
	}
	if p.src.left == 0 {
		p.src.load(left)
	}
	if p.dst.left == 0 {
		p.dst.load(left)
	}
	n := min(p.src.left, p.dst.left, left, p.cap)
	if n == 0 { // a target that maps nothing has broken its word
		p.end = p.at
		return Piece{}, false
	}
	out := Piece{Src: p.src.here, Dst: p.dst.here, Sectors: n, Offset: p.at}
	p.src.take(n)
	p.dst.take(n)
	p.at += n
	return out, true
}

// cursor is a place in one side.
type cursor struct {
	side   Side
	starts []uint64 // of every range, in the request; then the total
	i      int      // the range that is being mapped
	in     uint64   // sectors of it that are mapped
	buf    []target.Segment
	k      int    // the next of buf
	here   Place  // what is left of the segment before it
	left   uint64 // sectors of that
}

func newCursor(s Side) cursor {
	c := cursor{side: s, starts: make([]uint64, len(s.Ranges)+1), buf: make([]target.Segment, 0, max(piecesAhead, s.Table.Fan()))}
	for i, r := range s.Ranges {
		c.starts[i+1] = c.starts[i] + r.Len
	}
	return c
}

func (c *cursor) total() uint64 { return c.starts[len(c.starts)-1] }

func (c *cursor) seek(at uint64) {
	c.i = max(sort.Search(len(c.starts), func(i int) bool { return c.starts[i] > at })-1, 0)
	c.in = at - c.starts[c.i]
	c.buf, c.k, c.left = c.buf[:0], 0, 0
}

// load takes the next segment, and maps more when there is none. It maps no further than want sectors on.
// hot path
func (c *cursor) load(want uint64) {
	if c.k == len(c.buf) {
		r := c.side.Ranges[c.i]
		if c.in == r.Len {
			c.i++
			c.in = 0
			r = c.side.Ranges[c.i]
		}
		var n uint64
		c.buf, n = c.side.Table.Map(c.buf[:0], target.Read, target.Range{Start: r.Start + c.in, Len: min(r.Len-c.in, want)})
		c.k = 0
		c.in += n
		if n == 0 {
			return
		}
	}
	s := &c.buf[c.k]
	c.k++
	c.here, c.left = Place{s.Disk, s.Sector}, s.Sectors
}

// hot path
func (c *cursor) take(n uint64) {
	c.here.Sector += n
	c.left -= n
}

// Ranges appends the ranges of the source (or of the destination) that n sectors of the request from at on lie in.
func (p *Pieces) Ranges(out []target.Range, source bool, at, n uint64) []target.Range {
	c := &p.dst
	if source {
		c = &p.src
	}
	i := max(sort.Search(len(c.starts), func(i int) bool { return c.starts[i] > at })-1, 0)
	for in := at - c.starts[i]; n > 0 && i < len(c.side.Ranges); i, in = i+1, 0 {
		r := c.side.Ranges[i]
		k := min(r.Len-in, n)
		out = append(out, target.Range{Start: r.Start + in, Len: k})
		n -= k
	}
	return out
}
