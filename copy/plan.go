package blkcopy

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// bounceBelow is the shift, in bytes, below which a run that overlaps itself is read into memory a window at a time,
// instead of being cut into windows no longer than the shift, where the policy leaves the choice.
const bounceBelow = 256 << 10

// Plan is a request that was found good, and where its windows have come to. It is used by one goroutine at a time.
type Plan struct {
	req    *Request
	order  order
	pieces *remap.Pieces
	src    remap.Side
	dst    remap.Side
	pairs  pairs
	bounce pair

	window, inFlight uint64        // bytes
	narrow           []target.Disk // while others use one of them, one window is under way

	at   uint64 // sectors: of the request, or of the current run
	next int    // the current run
	done bool
}

// NewPlan checks a request against the devices and the disks, and stands before its first window. Nothing is touched.
// Errors: RequestError with all that is wrong, ErrOverlap, ErrBoundary, ErrNoOffload: see there.
func NewPlan(req *Request, disks []Disk) (*Plan, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	if err := req.boundary(); err != nil {
		return nil, err
	}
	p := &Plan{req: req, src: side(req.Src, req.SrcSegs), dst: side(req.Dst, req.DstSegs), pairs: pairs{disks: disks}, bounce: pair{bounds: bounds{method: Emulated}}}
	var err error
	if p.order, err = req.order(p.src, p.dst, disks); err != nil {
		return nil, err
	}
	p.pieces = remap.NewPieces(p.src, p.dst)
	p.choose()
	if req.WithoutOffload == Fail {
		if err := p.allOffload(); err != nil {
			return nil, err
		}
	}
	p.Rewind()
	return p, nil
}

// Bytes is the length of the request.
func (p *Plan) Bytes() uint64 { return p.dst.Sectors() * 512 }

// Request is what is planned.
func (p *Plan) Request() *Request { return p.req }

// Pieces walks the request's pieces from its start.
func (p *Plan) Pieces() *remap.Pieces { return remap.NewPieces(p.src, p.dst) }

// Rewind stands before the first window again.
func (p *Plan) Rewind() {
	p.at, p.next, p.done = 0, 0, false
	if p.order.sequence {
		p.enter()
	}
}

// Onto is the bytes that are copied onto themselves: no window has them.
func (p *Plan) Onto() uint64 { return (p.dst.Sectors() - p.order.sectors()) * 512 }

// Next fills the window that comes next; false: there is none.
func (p *Plan) Next(w *Window) bool {
	w.reset()
	switch {
	case p.done:
		return false
	case p.order.together:
		p.done = true
		w.Bounce, w.Sequence = true, true
		for _, r := range p.order.runs {
			p.cover(w, r.offset, r.src.Len)
		}
		w.Offset, w.Sectors = 0, p.order.sectors()
	case p.order.sequence:
		if !p.sequel(w) {
			return false
		}
	default:
		n := min(p.window/512, p.dst.Sectors()-p.at)
		w.Offset, w.Sectors = p.at, n
		p.cover(w, p.at, n)
		p.at += n
		p.done = p.at == p.dst.Sectors()
	}
	if len(w.Pieces) == 0 {
		return false
	}
	p.pack(w)
	return true
}

// enter stands at the first window of a run: p.at counts what of it is done, from the side where it begins.
func (p *Plan) enter() {
	p.at = 0
	p.done = p.next >= len(p.order.runs)
}

// sequel is the next window of a request whose windows have an order.
func (p *Plan) sequel(w *Window) bool {
	r := &p.order.runs[p.next]
	n, long := p.window/512, r.src.Len
	if shift := r.shift(); shift < min(n, long) && r.src.Start < r.dst.End() && r.dst.Start < r.src.End() {
		if p.req.WithoutOffload == Fail || shift*512 >= bounceBelow {
			n = shift
		} else {
			w.Bounce = true
		}
	}
	n = min(n, long-p.at)
	in := p.at
	if r.backward {
		in = long - p.at - n
	}
	w.Offset, w.Sectors, w.Sequence = r.offset+in, n, true
	p.cover(w, r.offset+in, n)
	if p.at += n; p.at == long {
		p.next++
		p.enter()
	}
	return true
}

// cover appends the pieces of n sectors of the request, and the ranges of the devices that they lie in.
func (p *Plan) cover(w *Window, at, n uint64) {
	p.pieces.Seek(at, at+n)
	for {
		x, ok := p.pieces.Next()
		if !ok {
			break
		}
		w.Pieces = append(w.Pieces, x)
	}
	w.Src = p.pieces.Ranges(w.Src, true, at, n)
	w.Dst = p.pieces.Ranges(w.Dst, false, at, n)
}

// allOffload finds the first piece that its disks cannot copy by themselves.
func (p *Plan) allOffload() error {
	if p.order.together && len(p.order.runs) > 0 {
		return &refusal{"source and destination overlap so that all must be read before it is written, which is no offload", ErrNoOffload, unix.EOPNOTSUPP}
	}
	if p.everyPair() {
		return nil
	}
	for _, r := range p.order.runs { // what is copied onto itself needs no ability
		p.pieces.Seek(r.offset, r.offset+r.src.Len)
		for {
			x, ok := p.pieces.Next()
			if !ok {
				break
			}
			if q := p.pairs.get(x.Src.Disk, x.Dst.Disk); q.method == Emulated {
				return &refusal{fmt.Sprintf("bytes %d+%d of the request: %s", x.Offset*512, x.Sectors*512, q.reason), ErrNoOffload, unix.EOPNOTSUPP}
			}
		}
	}
	return nil
}

// everyPair says whether every disk of one table copies to every disk of the other: then no piece needs to be looked at.
func (p *Plan) everyPair() bool {
	for _, s := range p.req.Src.Table.Disks() {
		for _, d := range p.req.Dst.Table.Disks() {
			if p.pairs.get(s, d).method == Emulated {
				return false
			}
		}
	}
	return true
}

// Why says why two disks do not copy to each other by themselves; "" if they do.
func (p *Plan) Why(s, d target.Disk) string {
	if q := p.pairs.get(s, d); q.method == Emulated {
		return q.reason
	}
	return ""
}

// Offloads says whether a method is one of the disks themselves.
func Offloads(m limits.Method) bool { return m != Emulated }

// onto is the stretches of the request, in sectors, that no window has.
func (p *Plan) onto() (out intervals) {
	if !p.order.sequence {
		return nil
	}
	// In order of the request, since a set is quick to add to at its end only.
	rs := slices.SortedFunc(slices.Values(p.order.runs), func(a, b run) int { return cmp.Compare(a.offset, b.offset) })
	var at uint64
	for _, r := range append(rs, run{offset: p.dst.Sectors()}) {
		out.add(target.Range{Start: at, Len: r.offset - at})
		at = r.offset + r.src.Len
	}
	return out
}
