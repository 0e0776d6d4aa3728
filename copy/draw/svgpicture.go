package draw

import (
	"fmt"
	"io"
)

// SVG writes the picture as a document of its own. Errors: ErrRequest, of a request that cannot be drawn, before anything
// is written; those of w.
func (p *Picture) SVG(w io.Writer) error {
	text, err := p.svg()
	if err == nil {
		_, err = w.Write(append([]byte("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"), text...))
	}
	return err
}

// svg is the picture as an element.
func (p *Picture) svg() ([]byte, error) {
	l, err := p.layout()
	if err != nil {
		return nil, err
	}
	id := p.ID
	if id == "" {
		id = "copy"
	}
	c := &canvas{}
	c.printf(`<svg xmlns="http://www.w3.org/2000/svg" class="%[1]s" viewBox="0 0 %[2]s %[3]s" width="%[2]s" height="%[3]s" role="img" aria-labelledby="%[1]s-title %[1]s-desc">`+"\n", id, num(l.w), num(l.h))
	c.printf("<title id=\"%s-title\">%s</title>\n<desc id=\"%s-desc\">%s</desc>\n", id, escape(l.subject), id, escape(l.summary+
		". From top to bottom: the source device, the disks that are read, the disks that are written, the destination device."))
	c.printf("<style>"+style+"</style>\n", id)
	c.patterns(id, l)
	c.rect("ground", 0, 0, l.w, l.h, "")
	c.head(l)
	for i := range l.bands {
		c.band(p, l, id, &l.bands[i])
	}
	c.device(l, l.src, p.Request.Src, p.Disk, l.top[0], true)
	c.disks(l, l.read, l.top[1], "disks", "read")
	c.disks(l, l.written, l.top[2], "disks", "written")
	c.device(l, l.dst, p.Request.Dst, p.Disk, l.top[3], false)
	if l.window == 0 {
		c.cuts(p, l)
	}
	c.legend(p, l, id)
	c.printf("</svg>\n")
	return c.Bytes(), nil
}

// patterns are the hatches, one of each colour that needs one.
func (c *canvas) patterns(id string, l *layout) {
	seen := map[int]bool{}
	c.printf("<defs>\n")
	add := func(n int) {
		if !seen[n] {
			seen[n] = true
			c.printf(`<pattern id="%s-h%d" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" fill="%[3]s" fill-opacity=".18"/><rect width="3" height="7" fill="%[3]s" fill-opacity=".8"/></pattern>`+"\n", id, n, colour(n))
		}
	}
	for _, b := range l.bands {
		if b.kind == emulated {
			add(l.colours[pairOf{b.src.Disk, b.dst.Disk}])
		}
	}
	c.printf("</defs>\n")
}

func (c *canvas) head(l *layout) {
	y := float64(margin) + 12
	c.text("b", "start", margin, y, titleFont, fit(l.subject, titleFont, l.w-2*margin))
	for _, line := range l.head {
		y += 16
		c.text("lo", "start", margin, y, font, line)
	}
	for _, line := range l.note {
		y += 16
		c.text("er", "start", margin, y, font, line)
	}
}

// band draws one band: from device to disk, from disk to disk, from disk to device.
func (c *canvas) band(p *Picture, l *layout, id string, b *band) {
	s0, s1 := of(l.read, b.src.Disk).span(b.src.Range)
	d0, d1 := of(l.written, b.dst.Disk).span(b.dst.Range)
	n := l.colours[pairOf{b.src.Disk, b.dst.Disk}]
	c.printf("<g><title>%s</title>\n", escape(l.tip(p, b)))
	thin := fmt.Sprintf(`fill="%s" fill-opacity=".22"`, colour(n))
	if b.from.Len > 0 {
		f0, f1 := l.src.span(b.from)
		c.printf(`<path %s d="%s"/>`+"\n", thin, ribbon(f0, f1, l.top[0]+barHeight, s0, s1, l.top[1]))
	}
	main := fmt.Sprintf(`fill="%s" fill-opacity=".6"`, colour(n))
	switch b.kind {
	case emulated:
		main = fmt.Sprintf(`fill="url(#%s-h%d)" stroke="%s" stroke-width=".7"`, id, n, colour(n))
	case failed:
		main = fmt.Sprintf(`fill="%s" fill-opacity=".25" stroke="#cf222e" stroke-width="1.5" stroke-dasharray="6 2"`, colour(n))
	case unsent:
		main = `class="no"`
	case strayed:
		main = `class="stray"`
	}
	c.printf(`<path %s d="%s"/>`+"\n", main, ribbon(s0, s1, l.top[1]+diskBar, d0, d1, l.top[2]))
	if b.to.Len > 0 {
		t0, t1 := l.dst.span(b.to)
		c.printf(`<path %s d="%s"/>`+"\n", thin, ribbon(d0, d1, l.top[2]+diskBar, t0, t1, l.top[3]))
	}
	c.printf("</g>\n")
}
