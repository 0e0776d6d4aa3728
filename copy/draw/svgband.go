package draw

import (
	"cmp"
	"slices"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// kind is what becomes of a band.
type kind uint8

const (
	offloaded kind = iota
	emulated
	failed  // the device did not copy it
	unsent  // no command copies it
	strayed // a command copies it, and nobody asked
)

// band is a stretch that goes together from one place of one disk to one of another. A strayed one has no place on the
// devices: from and to are empty.
type band struct {
	src, dst target.Extent // on the disks
	from, to target.Range  // on the devices
	offset   uint64        // of the request, in sectors
	command  int           // its place in Picture.Commands; -1: none
	kind     kind
	pieces   int    // it stands for so many bands
	sectors  uint64 // that are copied: fewer than src has where several bands are one
}

// move is a source range of a command and where it goes.
type move struct {
	src, dst target.Extent
	command  int
	kind     kind
	covered  []target.Range // of dst, by pieces
}

// course is what two places have in common that go on together: one disk, the other, and the distance, modulo 2^64.
type course struct {
	src, dst target.Disk
	by       uint64
}

func moves(commands []series.Command) []move {
	var out []move
	for i := range commands {
		c := &commands[i]
		at := c.Dst.Start
		for j, s := range c.Sources {
			m := move{src: s, dst: target.Extent{Disk: c.Dst.Disk, Range: target.Range{Start: at, Len: s.Len}}, command: i}
			switch {
			case j >= c.Ranges:
				m.kind = failed
			case !blkcopy.Offloads(c.Method):
				m.kind = emulated
			}
			out = append(out, m)
			at += s.Len
		}
	}
	return out
}

// bands cuts every piece of the request by the commands that copy it, in request order; what of the commands no piece asked
// for comes last. Of several commands that copy the same, the last one counts.
func bands(src, dst remap.Side, commands []series.Command) []band {
	ms := moves(commands)
	on := map[course][]int{}
	longest := map[course]uint64{}
	for i, m := range ms {
		c := course{m.src.Disk, m.dst.Disk, m.dst.Start - m.src.Start}
		on[c] = append(on[c], i)
		longest[c] = max(longest[c], m.dst.Len)
	}
	for _, is := range on {
		slices.SortStableFunc(is, func(a, b int) int { return cmp.Compare(ms[a].dst.Start, ms[b].dst.Start) })
	}
	var out []band
	at := [2]locator{newLocator(src.Ranges), newLocator(dst.Ranges)}
	for ps := remap.NewPieces(src, dst); ; {
		p, ok := ps.Next()
		if !ok {
			break
		}
		c := course{p.Src.Disk, p.Dst.Disk, p.Dst.Sector - p.Src.Sector}
		lo, hi := p.Dst.Sector, p.Dst.Sector+p.Sectors
		var over []int
		is := on[c]
		first, _ := slices.BinarySearchFunc(is, lo, func(i int, lo uint64) int { return cmp.Compare(ms[i].dst.Start+longest[c], lo) })
		for _, i := range is[first:] {
			m := &ms[i]
			if m.dst.Start >= hi {
				break
			}
			if m.dst.End() > lo {
				over = append(over, i)
				a, b := max(lo, m.dst.Start), min(hi, m.dst.End())
				m.covered = append(m.covered, target.Range{Start: a, Len: b - a})
			}
		}
		for _, b := range cut(ms, over, lo, hi) {
			in := b.dst.Start - lo
			b.src = target.Extent{Disk: p.Src.Disk, Range: target.Range{Start: p.Src.Sector + in, Len: b.dst.Len}}
			b.dst.Disk = p.Dst.Disk
			b.offset = p.Offset + in
			b.from, b.to = at[0].find(b.offset, b.dst.Len), at[1].find(b.offset, b.dst.Len)
			out = append(out, b)
		}
	}
	return append(out, strays(ms)...)
}

// cut is [lo, hi) of a destination by those moves that lie over it.
func cut(ms []move, over []int, lo, hi uint64) []band {
	edges := []uint64{lo, hi}
	for _, i := range over {
		edges = append(edges, max(lo, ms[i].dst.Start), min(hi, ms[i].dst.End()))
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	var out []band
	for i := range edges[1:] {
		a, z := edges[i], edges[i+1]
		b := band{dst: target.Extent{Range: target.Range{Start: a, Len: z - a}}, command: -1, kind: unsent, pieces: 1, sectors: z - a}
		for _, j := range over {
			if m := &ms[j]; m.dst.Start <= a && z <= m.dst.End() && m.command >= b.command {
				b.command, b.kind = m.command, m.kind
			}
		}
		out = append(out, b)
	}
	return out
}

// strays is what of the moves no piece asked for.
func strays(ms []move) []band {
	var out []band
	for i := range ms {
		m := &ms[i]
		slices.SortFunc(m.covered, func(a, b target.Range) int { return cmp.Compare(a.Start, b.Start) })
		at := m.dst.Start
		for _, r := range append(m.covered, target.Range{Start: m.dst.End()}) {
			if r.Start > at {
				n := r.Start - at
				out = append(out, band{src: target.Extent{Disk: m.src.Disk, Range: target.Range{Start: m.src.Start + at - m.dst.Start, Len: n}},
					dst: target.Extent{Disk: m.dst.Disk, Range: target.Range{Start: at, Len: n}}, command: m.command, kind: strayed, pieces: 1, sectors: n})
			}
			at = max(at, r.End())
		}
	}
	return out
}

// locator finds the place on a device of a place in the request.
type locator struct {
	ranges []target.Range
	starts []uint64 // of each range in the request
}

func newLocator(ranges []target.Range) locator {
	l := locator{ranges: ranges}
	var at uint64
	for _, r := range ranges {
		l.starts = append(l.starts, at)
		at += r.Len
	}
	return l
}

// find is n sectors, which lie in one range.
func (l locator) find(offset, n uint64) target.Range {
	i, ok := slices.BinarySearch(l.starts, offset)
	if !ok {
		i--
	}
	return target.Range{Start: l.ranges[i].Start + offset - l.starts[i], Len: n}
}
