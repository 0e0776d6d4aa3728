package draw

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/ublk-go/ublk-linear/target"
)

// disks draws a row of disks: each with its name and with the sectors that are shown of it.
func (c *canvas) disks(l *layout, row []column, y float64, words ...string) {
	if l.left > margin {
		for i, w := range words {
			class := "lo"
			if i == 0 {
				class = "b"
			}
			c.text(class, "end", l.left-8, y+15+13*float64(i), small+1, w)
		}
	}
	for _, d := range row {
		c.printf("<g><title>disk %s</title>\n", escape(d.name))
		for i, r := range d.runs {
			if i > 0 {
				c.line("skip", r.x-gap+1, y+diskBar/2, r.x-1, y+diskBar/2)
			}
			c.rect("bar", r.x, y, r.w, diskBar, "")
			text := fmt.Sprintf("%d–%d", r.lo, r.hi)
			if width(text, small) > r.w-6 {
				text = strconv.FormatUint(r.lo, 10) + "–"
			}
			if width(text, small) <= r.w-6 {
				c.text("lo", "middle", r.x+r.w/2, y+diskBar-8, small, text)
			}
		}
		c.text("b", "start", d.x+4, y+15, font, fit(d.name, font, d.w-6))
		c.printf("</g>\n")
	}
}

// numberRows is how many numbers of commands may stand above each other.
const numberRows = 4

// cuts draws where commands begin and end: a bar for every source range at the disks that are read, and one for every
// command, with its number, at the disks that are written.
func (c *canvas) cuts(p *Picture, l *layout) {
	type cmd struct {
		n   int
		dst target.Extent
		bad bool
	}
	byNumber := map[int]*cmd{}
	for i := range l.bands {
		b := &l.bands[i]
		s0, s1 := of(l.read, b.src.Disk).span(b.src.Range)
		class := "cut"
		if b.kind == failed || b.kind == strayed {
			class = "er"
		}
		if b.command >= 0 {
			c.rect(class, s0+.6, l.top[1]+diskBar, max(s1-s0-1.2, .8), 4, "")
			k := byNumber[b.command]
			if k == nil {
				k = &cmd{n: b.command, dst: b.dst}
				byNumber[b.command] = k
			}
			k.dst.Range = hull(k.dst.Range, b.dst.Range)
			k.bad = k.bad || class == "er"
		}
	}
	var all []*cmd
	for _, k := range byNumber {
		all = append(all, k)
	}
	at := func(k *cmd) (float64, float64) { return of(l.written, k.dst.Disk).span(k.dst.Range) }
	slices.SortFunc(all, func(a, b *cmd) int {
		a0, a1 := at(a)
		b0, b1 := at(b)
		return cmp.Or(cmp.Compare(a0+a1, b0+b1), cmp.Compare(a.n, b.n))
	})
	places := newRows(numberRows)
	for _, k := range all {
		lo, hi := at(k)
		class, text := "cut", strconv.Itoa(k.n+1)
		if k.bad {
			class = "er"
		}
		c.rect(class, lo+.6, l.top[2]-4, max(hi-lo-1.2, .8), 4, fmt.Sprintf(` data-command="%d"`, k.n+1))
		w := width(text, font)
		if row, ok := places.put((lo+hi-w)/2, (lo+hi+w)/2); ok {
			c.text("b halo "+class, "middle", (lo+hi)/2, l.top[2]-8-13*float64(row), font, text)
		}
	}
}

// legend names the pairs of disks, and what hatches and outlines are.
func (c *canvas) legend(p *Picture, l *layout, id string) {
	n := 0
	w := (l.w - 2*margin) / float64(l.columns)
	entry := func(text string, swatch string) {
		x, y := margin+w*float64(n%l.columns), l.legend+18*float64(n/l.columns)
		if swatch != "" {
			c.printf(`<rect x="%s" y="%s" width="18" height="11" %s/>`+"\n", num(x), num(y-9), swatch)
		}
		c.text("", "start", x+24, y, font, fit(text, font, w-24-12))
		n++
	}
	for i, s := range l.pairs {
		if i == maxLegend {
			entry(fmt.Sprintf("and %d pairs of disks more", len(l.pairs)-i), "")
			break
		}
		entry(fmt.Sprintf("%s → %s: %s, %s", p.Disk(s.src), p.Disk(s.dst), size(s.sectors*512), count(s.bands, "band")), fmt.Sprintf(`fill="%s" fill-opacity=".75"`, colour(i)))
	}
	for _, k := range l.keys {
		swatch := ""
		switch k {
		case emulated:
			for i, s := range l.pairs {
				if l.hatched(s.pairOf) {
					swatch = fmt.Sprintf(`fill="url(#%s-h%d)"`, id, i)
					break
				}
			}
		case failed:
			swatch = `fill="none" stroke="#cf222e" stroke-dasharray="6 2"`
		case unsent:
			swatch = `class="no"`
		case strayed:
			swatch = `class="stray"`
		}
		entry(k.key(), swatch)
	}
}

// hatched says whether something drawn of a pair is emulated.
func (l *layout) hatched(p pairOf) bool {
	return slices.ContainsFunc(l.bands, func(b band) bool { return b.kind == emulated && pairOf{b.src.Disk, b.dst.Disk} == p })
}
