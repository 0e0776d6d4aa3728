package blkcopy

import (
	"cmp"
	"slices"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// broken is a part of a command's destination that is not copied. It is never empty.
type broken struct {
	part   target.Extent
	method limits.Method
	side   string
	at     target.Extent // where the side that failed failed
	err    error
}

// counts is what a window adds to the Result.
type counts struct {
	offloaded, emulated, zeroed, read, written, reads uint64 // bytes; reads: commands
	commands                                          map[limits.Method]uint64
}

// settle adds the window to the job. It returns the window's first failure. The job's mu is held.
func (x *execution) settle() error {
	r, c := &x.j.res, &x.count
	r.Offloaded += c.offloaded
	r.Emulated += c.emulated
	r.Zeroed += c.zeroed
	r.HostRead += c.read
	r.HostWritten += c.written
	r.Reads += c.reads
	for m, n := range c.commands {
		r.Commands[m] += n
	}
	for i := range x.w.Commands {
		x.j.written[x.w.Commands[i].Dst.Disk] = true
	}
	for _, f := range x.failures(x.fallbacks) {
		r.note(&r.Fallbacks, f)
	}
	slices.SortFunc(x.broken, func(a, b broken) int {
		return cmp.Or(cmp.Compare(a.part.Disk, b.part.Disk), cmp.Compare(a.part.Start, b.part.Start))
	})
	for i := range x.w.Pieces {
		x.claim(i)
	}
	if len(x.broken) == 0 {
		return nil
	}
	failures := x.failures(x.broken)
	for _, f := range failures {
		r.note(&r.Failed, f)
	}
	return &failures[0]
}

// claim adds what of a piece is done.
func (x *execution) claim(i int) {
	p := &x.w.Pieces[i]
	at, end := p.Dst.Sector, p.Dst.Sector+p.Sectors
	add := func(to uint64) {
		if to > at {
			x.j.done.add(target.Range{Start: p.Offset + at - p.Dst.Sector, Len: to - at})
		}
	}
	for _, b := range x.broken { // in order of the disks
		if b.part.Disk == p.Dst.Disk && b.part.End() > at && b.part.Start < end {
			add(b.part.Start)
			at = b.part.End()
		}
	}
	add(end)
}

// failures are the parts of the request that broken parts of commands are, in its order.
func (x *execution) failures(bs []broken) (out []Failure) {
	for i := range x.w.Pieces {
		if len(bs) == 0 {
			break
		}
		p := &x.w.Pieces[i]
		for _, b := range bs {
			start, end := max(p.Dst.Sector, b.part.Start), min(p.Dst.Sector+p.Sectors, b.part.End())
			if p.Dst.Disk == b.part.Disk && start < end {
				out = append(out, Failure{Offset: (p.Offset + start - p.Dst.Sector) * 512, Bytes: (end - start) * 512, Method: b.method, Side: b.side, Disk: b.at.Disk, Sector: b.at.Start, Err: b.err})
			}
		}
	}
	slices.SortFunc(out, func(a, b Failure) int { return cmp.Compare(a.Offset, b.Offset) })
	return out
}
