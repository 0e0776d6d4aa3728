package workload

import (
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// maxJudged bounds the content that a judge keeps, in sectors: 128 MiB of words. Disks that have more together are not
// judged: what a design says of itself has to do.
const maxJudged = 16 << 20

// judge knows the content of the disks: every sector has a word of its own, so that any that came from a wrong place is
// seen. It undoes every outcome, and is used for many.
type judge struct {
	l     *Layout
	words series.Memory
}

// newJudge is nil for disks that are too large.
func newJudge(l *Layout) *judge {
	var n uint64
	for i := range l.World.Disks {
		if s := l.World.Disks[i].Sectors; s > maxJudged-n {
			return nil
		}
		n += l.World.Disks[i].Sectors
	}
	j := &judge{l, series.Memory{}}
	for i := range l.World.Disks {
		m := make([]uint64, l.World.Disks[i].Sectors)
		for s := range m {
			m[s] = word(target.Disk(i), uint64(s))
		}
		j.words[target.Disk(i)] = m
	}
	return j
}

// word is the content of a sector before anything was copied.
func word(d target.Disk, sector uint64) uint64 { return uint64(d)<<48 | sector }

// wrong says whether an outcome is not what the caller is told: success, or a number of bytes, and the destination does
// not have what memmove would have put there; or a sector outside the destination was written, whatever is told.
func (j *judge) wrong(q *Request, o *series.Outcome) bool {
	for i := range o.Commands {
		if !j.inside(&o.Commands[i]) {
			return true // nobody's sectors: there is nothing to look at
		}
	}
	o.Replay(j.words)
	said := o.Bytes
	if o.Never {
		said = 0
	}
	bad := false
	var done uint64 // bytes
	ps := remap.NewPieces(side(j.l.Src, q.Src), side(j.l.Dst, q.Dst))
	for p, ok := ps.Next(); ok; p, ok = ps.Next() {
		dst := j.words[p.Dst.Disk][p.Dst.Sector:]
		for k := range p.Sectors {
			at := &dst[k]
			got, came := *at, word(p.Src.Disk, p.Src.Sector+k)
			if *at = word(p.Dst.Disk, p.Dst.Sector+k); done < said && got != came {
				bad = true
			}
			done += 512
		}
	}
	for i := range o.Commands { // what is still there, nobody asked for
		d := o.Commands[i].Dst
		dst := j.words[d.Disk][d.Start:]
		for k := range d.Len {
			if at := &dst[k]; *at != word(d.Disk, d.Start+k) {
				*at, bad = word(d.Disk, d.Start+k), true
			}
		}
	}
	return bad
}

// inside says whether a command stays on its disks.
func (j *judge) inside(c *series.Command) bool {
	on := func(d target.Disk, start, n uint64) bool {
		have := uint64(len(j.words[d]))
		return start <= have && n <= have-start
	}
	var total uint64
	for _, s := range c.Sources {
		if !on(s.Disk, s.Start, s.Len) {
			return false
		}
		total += s.Len
	}
	return total <= c.Dst.Len && on(c.Dst.Disk, c.Dst.Start, c.Dst.Len)
}

func side(d *series.Device, segs []blkcopy.Seg) remap.Side {
	s := remap.Side{Table: d.Table}
	for _, g := range segs {
		s.Ranges = append(s.Ranges, target.Range{Start: g.Pos / 512, Len: g.Len / 512})
	}
	return s
}
