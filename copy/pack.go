package blkcopy

import (
	"cmp"
	"slices"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// item is what is left of the pieces on their way into commands: a stretch that goes on on both disks.
type item struct {
	dst, src target.Disk
	at, from uint64 // sectors of dst and src
	n        uint64
}

// takes says whether a piece goes on where the item ends, on both disks.
func (x *item) takes(p *remap.Piece) bool {
	return x.at+x.n == p.Dst.Sector && x.from+x.n == p.Src.Sector && x.dst == p.Dst.Disk && x.src == p.Src.Disk
}

// pack makes the commands of a window. Pieces in order of their destination, wherever it is in the request, are joined
// where both sides go on (the rows of a stripe do, on their leg), and runs of the destination are cut greedily from the
// front. That is as few commands as there can be: what a command may cover is a stretch of a run, and each part of such a
// stretch may be covered as well, so that a command that ends later never costs one more behind it.
func (p *Plan) pack(w *Window) {
	w.items = gather(w.items[:0], w.Pieces)
	if !slices.IsSortedFunc(w.items, byDestination) {
		slices.SortFunc(w.items, byDestination)
	}
	c := packer{w: w}
	for i := range w.items {
		x := &w.items[i]
		q := &p.bounce
		if !w.Bounce {
			q = p.pairs.get(x.src, x.dst)
		}
		c.add(x, q)
	}
	c.end()
	// w.extents has moved as it grew; what it has left behind is let go.
	at := 0
	for i := range w.Commands {
		n := len(w.Commands[i].Sources)
		w.Commands[i].Sources = w.extents[at : at+n : at+n]
		at += n
	}
}

// gather appends pieces as items. Legs take their turns: what a piece goes on from is nearly always the item of the piece
// before it, or the one behind that. Whatever else could be joined is joined by the packer, after sorting.
func gather(out []item, pieces []remap.Piece) []item {
	last := 0
	for i := range pieces {
		x := &pieces[i]
		if len(out) > 0 {
			if out[last].takes(x) {
				out[last].n += x.Sectors
				continue
			}
			next := last + 1
			if next == len(out) {
				next = 0
			}
			if out[next].takes(x) {
				out[next].n += x.Sectors
				last = next
				continue
			}
		}
		last = len(out)
		out = append(out, item{dst: x.Dst.Disk, src: x.Src.Disk, at: x.Dst.Sector, from: x.Src.Sector, n: x.Sectors})
	}
	return out
}

func byDestination(a, b item) int {
	if a.dst != b.dst {
		return int(a.dst) - int(b.dst)
	}
	return cmp.Compare(a.at, b.at)
}

// packer has one command open.
type packer struct {
	w      *Window
	open   bool
	p      bounds      // of the open command; a copy, since pairs forgets
	src    target.Disk // of an offload
	dst    target.Extent
	first  int // of the open command's sources, in w.extents
	ranges int // of the open command
}

// add puts an item behind what is open, or opens anew, and cuts.
func (c *packer) add(x *item, p *pair) {
	emulated := p.method == Emulated
	if c.open {
		goesOn := c.dst.Disk == x.dst && c.dst.End() == x.at && c.p.method == p.method && (emulated || c.src == x.src)
		if !goesOn {
			c.end()
		}
	}
	at, from, left := x.at, x.from, x.n
	for left > 0 {
		if !c.open {
			c.open, c.p, c.src, c.dst, c.first, c.ranges = true, p.bounds, x.src, target.Extent{Disk: x.dst, Range: target.Range{Start: at}}, len(c.w.extents), 0
		}
		n := left
		if emulated {
			c.source(x.src, from, n)
		} else if n = c.offload(x.src, from, left); n == 0 {
			c.end()
			continue
		}
		c.dst.Len += n
		at, from, left = at+n, from+n, left-n
	}
}

// source appends a source of an emulated command, or lengthens the last.
func (c *packer) source(d target.Disk, from, n uint64) {
	if k := len(c.w.extents); k > c.first && c.w.extents[k-1].Disk == d && c.w.extents[k-1].End() == from {
		c.w.extents[k-1].Len += n
		return
	}
	c.w.extents = append(c.w.extents, target.Extent{Disk: d, Range: target.Range{Start: from, Len: n}})
}

// offload appends as much of a source as the open command takes as one range, and says how much that is.
func (c *packer) offload(d target.Disk, from, left uint64) uint64 {
	n := min(left, c.p.total-c.dst.Len)
	if n == 0 {
		return 0
	}
	if k := len(c.w.extents); k > c.first && c.w.extents[k-1].End() == from && c.w.extents[k-1].Len < c.p.ranged {
		n = min(n, c.p.ranged-c.w.extents[k-1].Len)
		c.w.extents[k-1].Len += n
		return n
	}
	if c.ranges == c.p.ranges {
		return 0
	}
	n = min(n, c.p.ranged)
	c.ranges++
	c.w.extents = append(c.w.extents, target.Extent{Disk: d, Range: target.Range{Start: from, Len: n}})
	return n
}

// end closes the open command. Its sources no longer change.
func (c *packer) end() {
	if !c.open {
		return
	}
	c.open = false
	c.w.Commands = append(c.w.Commands, Command{Method: c.p.method, Dst: c.dst, Sources: c.w.extents[c.first:]})
}
