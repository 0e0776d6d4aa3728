package draw

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// canvas is SVG as it is written. Whatever is text goes through escape.
type canvas struct {
	bytes.Buffer
}

// num is a number of at most two decimals.
func num(v float64) string {
	return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
}

// escape makes text of anything: XML has no place for most control characters, so that they are shown as U+FFFD.
func escape(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '"':
			b.WriteString("&quot;")
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfffe || r == 0xffff:
			b.WriteRune('�')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (c *canvas) printf(format string, a ...any) { fmt.Fprintf(c, format, a...) }

func (c *canvas) rect(class string, x, y, w, h float64, more string) {
	c.printf(`<rect class="%s" x="%s" y="%s" width="%s" height="%s"%s/>`+"\n", class, num(x), num(y), num(max(w, 0)), num(h), more)
}

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	c.printf(`<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`+"\n", class, num(x1), num(y1), num(x2), num(y2))
}

// text is written where it has room; anchor is start, middle or end.
func (c *canvas) text(class, anchor string, x, y, size float64, text string) {
	if text == "" {
		return
	}
	at := ""
	if anchor != "start" {
		at = fmt.Sprintf(` text-anchor="%s"`, anchor)
	}
	c.printf(`<text class="%s" x="%s" y="%s" font-size="%s"%s>%s</text>`+"\n", class, num(x), num(y), num(size), at, escape(text))
}

// ribbon goes from the width [a0, a1] at the height ya to [b0, b1] at yb.
func ribbon(a0, a1, ya, b0, b1, yb float64) string {
	m := (ya + yb) / 2
	return fmt.Sprintf("M%s %sL%s %sC%s %s %s %s %s %sL%s %sC%s %s %s %s %s %sZ",
		num(a0), num(ya), num(a1), num(ya), num(a1), num(m), num(b1), num(m), num(b1), num(yb),
		num(b0), num(yb), num(b0), num(m), num(a0), num(m), num(a0), num(ya))
}

// colour of the nth pair of disks: first those that people see apart however they see colours (most are Okabe and Ito's), then
// around the circle by the golden angle, which comes near none of the last few.
func colour(n int) string {
	safe := []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#7a5ac8", "#8c564b", "#a3a500"}
	if n < len(safe) {
		return safe[n]
	}
	return fmt.Sprintf("hsl(%s,60%%,50%%)", num(math.Mod(float64(n)*137.508, 360)))
}

// style is the picture's own, on light and on dark. It has a ground of its own, since nobody knows on what it will be shown.
const style = `.%[1]s text{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;fill:#1f2328}
.%[1]s .ground{fill:#fff}.%[1]s .bar{fill:#eef1f4;stroke:#8b949e;stroke-width:1}.%[1]s .strip{fill:none;stroke:#8b949e;stroke-width:.6}
.%[1]s .edge{stroke:#8b949e;stroke-width:.6}.%[1]s .skip{stroke:#8b949e;stroke-width:2;stroke-dasharray:2 2}.%[1]s .end{stroke:#1f2328;stroke-width:1.6}.%[1]s .tick{stroke:#59636e;stroke-width:1}
.%[1]s text.lo{fill:#59636e}.%[1]s .b{font-weight:700}.%[1]s .cut{fill:#1f2328}.%[1]s .er{fill:#cf222e}.%[1]s text.er{fill:#cf222e;font-weight:700}
.%[1]s .no{fill:none;stroke:#1f2328;stroke-width:1.2;stroke-dasharray:4 3}.%[1]s .stray{fill:#cf222e;fill-opacity:.55;stroke:#cf222e}
.%[1]s .halo{paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}
@media (prefers-color-scheme:dark){.%[1]s text{fill:#f0f6fc}.%[1]s .ground{fill:#0d1117}.%[1]s .bar{fill:#21262d;stroke:#6e7681}.%[1]s .strip{stroke:#6e7681}
.%[1]s .edge,.%[1]s .skip{stroke:#6e7681}.%[1]s .end{stroke:#f0f6fc}.%[1]s .tick{stroke:#9198a1}.%[1]s text.lo{fill:#9198a1}.%[1]s .cut{fill:#f0f6fc}
.%[1]s .er,.%[1]s text.er{fill:#ff7b72}.%[1]s .no{stroke:#f0f6fc}.%[1]s .stray{fill:#ff7b72;stroke:#ff7b72}.%[1]s .halo{stroke:#0d1117}}
`
