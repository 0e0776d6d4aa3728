package draw

import (
	"fmt"
	"math"

	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/target"
)

// device draws a device's bar with its chunks, the strip of its targets, and its ruler, which are above a source.
func (c *canvas) device(l *layout, a *axis, d *series.Device, name func(target.Disk) string, y float64, above bool) {
	strip, ruler := y-stripBar, y-stripBar-5
	if !above {
		strip, ruler = y+barHeight, y+barHeight+stripBar+rulerRoom-4
	}
	if l.left > margin {
		what := "destination"
		if above {
			what = "source"
		}
		c.text("b", "end", l.left-8, y+10, font, fit(d.Name, font, l.left-8-4))
		c.text("lo", "end", l.left-8, y+22, small, what)
		c.text("lo", "end", l.left-8, strip+12, small, "targets")
		c.text("lo", "end", l.left-8, ruler, small, "sectors")
	}
	for i, r := range a.runs {
		if i > 0 {
			c.line("skip", r.x-gap+1, y+barHeight/2, r.x-1, y+barHeight/2)
		}
		c.rect("bar", r.x, y, r.w, barHeight, "")
		c.targets(a, d, name, r, strip)
		c.chunks(a, d, name, r, y)
	}
	c.ruler(a, ruler, strip, above)
}

// targets are the spans of a run.
func (c *canvas) targets(a *axis, d *series.Device, name func(target.Disk) string, r run, y float64) {
	shown := 0
	for _, s := range d.Table.Spans() {
		if s.End() <= r.lo || s.Range.Start >= r.hi {
			continue
		}
		lo, hi := a.at(max(s.Range.Start, r.lo), false), a.at(min(s.End(), r.hi), true)
		if shown++; shown > MaxBands {
			return
		}
		c.rect("strip", lo, y, hi-lo, stripBar, "")
		c.text("lo", "middle", (lo+hi)/2, y+12, small, fit(s.Type()+" "+s.Params(name), small, hi-lo-6))
		if s.Range.Start > r.lo {
			c.line("end", lo, y, lo, y+stripBar)
		}
	}
}

// chunks are where a run is cut between disks, as long as they can be seen.
func (c *canvas) chunks(a *axis, d *series.Device, name func(target.Disk) string, r run, y float64) {
	var cells []target.Segment
	buf := make([]target.Segment, 0, max(d.Table.Fan(), 64))
	for at := r.lo; at < r.hi; {
		segs, n := d.Table.Map(buf[:0], target.Read, target.Range{Start: at, Len: r.hi - at})
		for _, s := range segs {
			s.Offset += at
			cells = append(cells, s)
		}
		at += n
		if n == 0 || float64(len(cells)) > r.w/3 {
			return
		}
	}
	for i, s := range cells {
		lo, hi := a.at(s.Offset, false), a.at(s.Offset+s.Sectors, true)
		if i > 0 {
			c.line("edge", lo, y, lo, y+barHeight)
		}
		text := fmt.Sprintf("%s:%d", name(s.Disk), s.Sector)
		if width(text, small) > hi-lo-4 {
			text = fit(name(s.Disk), small, hi-lo-4)
		}
		c.text("", "middle", (lo+hi)/2, y+16, small, text)
	}
}

// ruler has the first and the last sector of every run, and round ones in between, where words do not touch.
func (c *canvas) ruler(a *axis, y, strip float64, above bool) {
	from, to := strip-3, strip
	if !above {
		from, to = strip+stripBar, strip+stripBar+3
	}
	ends := newRows(1)
	for i, r := range a.runs {
		last := a.x + a.w + margin // where the next run's first word may be
		if i+1 < len(a.runs) {
			last = a.runs[i+1].x
		}
		put := func(sector uint64, x, room float64) {
			text := fmt.Sprint(sector)
			n := width(text, small)
			lo := min(max(x-n/2, a.x), a.x+a.w-n)
			if lo+n > room {
				return
			}
			if _, ok := ends.put(lo, lo+n); ok {
				c.line("tick", x, from, x, to)
				c.text("lo", "start", lo, y, small, text)
			}
		}
		end := width(fmt.Sprint(r.hi), small)
		put(r.lo, r.x, last)
		step := round(float64(r.hi-r.lo) * 90 / r.w)
		for s := (r.lo/step + 1) * step; s < r.hi; s += step {
			put(s, a.at(s, false), r.x+r.w-end-6)
		}
		put(r.hi, r.x+r.w, last+end)
	}
}

// round is the first of 1, 2, 4, 8, … that is not less: sectors come in powers of two.
func round(v float64) uint64 {
	return uint64(1) << uint(min(max(math.Ceil(math.Log2(max(v, 1))), 0), 62))
}
