package draw

import (
	"cmp"
	"slices"

	"github.com/ublk-go/ublk-linear/target"
)

// run is a stretch of sectors [lo, hi) and where it is drawn.
type run struct {
	lo, hi uint64
	x, w   float64
}

// axis has the places of those sectors of a device or disk that matter: runs side by side, with a gap where sectors are left
// out. It has at least one run, and every run has sectors and a width.
type axis struct {
	runs []run
	x, w float64
	by   uint64 // how many sectors are shown on either side of what matters
}

const (
	gap     = 10 // between runs
	minRun  = 6  // the least width of a run
	roomRun = 24 // for a run, on average
)

// newAxis lays ranges, of which each ends at most at end, out in w units from x on. What lies nearly together is shown
// together.
func newAxis(ranges []target.Range, end uint64, x, w float64) *axis {
	a := &axis{x: x, w: w}
	var total uint64
	for _, r := range ranges {
		if r.Len > 0 {
			total += r.Len
			a.runs = append(a.runs, run{lo: r.Start, hi: r.End()})
		}
	}
	if len(a.runs) == 0 {
		a.runs = []run{{lo: 0, hi: max(end, 1)}}
	}
	slices.SortFunc(a.runs, func(x, y run) int { return cmp.Compare(x.lo, y.lo) })
	a.merge(0)
	total = 0
	for _, r := range a.runs {
		total += r.hi - r.lo
	}
	a.by = max(total/32, 1)
	for i := range a.runs {
		r := &a.runs[i]
		r.lo -= min(r.lo, a.by)
		r.hi = max(r.hi, min(r.hi+a.by, end))
	}
	a.merge(total / 8)
	if n := max(int(w/roomRun), 1); len(a.runs) > n { // the nearest are joined
		var gaps []uint64
		for i, r := range a.runs[1:] {
			gaps = append(gaps, r.lo-a.runs[i].hi)
		}
		slices.Sort(gaps)
		a.merge(gaps[len(gaps)-n])
	}
	a.place()
	return a
}

// merge joins runs that are at most d sectors apart.
func (a *axis) merge(d uint64) {
	out := a.runs[:1]
	for _, r := range a.runs[1:] {
		last := &out[len(out)-1]
		if r.lo <= last.hi || r.lo-last.hi <= d {
			last.hi = max(last.hi, r.hi)
			continue
		}
		out = append(out, r)
	}
	a.runs = out
}

func (a *axis) place() {
	n := float64(len(a.runs))
	room := a.w - (n-1)*gap - n*minRun
	var total float64
	for _, r := range a.runs {
		total += float64(r.hi - r.lo)
	}
	x := a.x
	for i := range a.runs {
		r := &a.runs[i]
		r.x, r.w = x, minRun+max(room, 0)*float64(r.hi-r.lo)/total
		x += r.w + gap
	}
}

// at is the place of a sector; of a last one with past, so that the end of a run is not the start of the next.
func (a *axis) at(sector uint64, past bool) float64 {
	for i, r := range a.runs {
		if sector < r.hi || past && sector == r.hi || i == len(a.runs)-1 {
			s := min(max(sector, r.lo), r.hi)
			return r.x + r.w*float64(s-r.lo)/float64(r.hi-r.lo)
		}
	}
	return a.x
}

// span is the place of a range, wide enough to be seen.
func (a *axis) span(r target.Range) (lo, hi float64) {
	lo, hi = a.at(r.Start, false), a.at(r.End(), true)
	if hi < lo+1 {
		hi = lo + 1
	}
	return lo, hi
}
