package bench

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Plot is ratios as a picture: a dot at the median, a line from quartile to quartile, on a logarithmic axis with a line
// at 1.
type Plot struct {
	Title, Note string
	ID          string // what the picture's class is called
	Rows        []Row
}

// Row is one ratio. Rows of the same group follow each other; those of the same name have a colour.
type Row struct {
	Group, Name string
	Ratio       Spread
}

// Places of a plot, in its own units.
const (
	plotWidth = 860
	plotLeft  = 330 // where the axis begins
	plotRight = 70  // for the number
	rowHeight = 17
	headRoom  = 58
)

// colours that people tell apart however they see colours (Okabe and Ito's), as in the pictures of copies.
var colours = []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#7a5ac8", "#8c564b", "#a3a500"}

const plotStyle = `.%[1]s text{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;fill:#1f2328;font-size:11px}
.%[1]s .ground{fill:#fff}.%[1]s .grid{stroke:#d1d9e0;stroke-width:.7}.%[1]s .one{stroke:#1f2328;stroke-width:1.2}.%[1]s text.lo{fill:#59636e}.%[1]s text.b{font-weight:700}
@media (prefers-color-scheme:dark){.%[1]s text{fill:#f0f6fc}.%[1]s .ground{fill:#0d1117}.%[1]s .grid{stroke:#3d444d}.%[1]s .one{stroke:#f0f6fc}.%[1]s text.lo{fill:#9198a1}}
`

// SVG is the picture as a document of its own. The same rows give the same bytes.
func (p *Plot) SVG() []byte {
	rows := slices.DeleteFunc(slices.Clone(p.Rows), func(r Row) bool { return r.Ratio.N == 0 || r.Ratio.Q1 <= 0 })
	lo, hi := 0.5, 2.0
	groups, names := 0, []string{}
	for i, r := range rows {
		lo, hi = min(lo, r.Ratio.Q1), max(hi, r.Ratio.Q3)
		if i == 0 || rows[i-1].Group != r.Group {
			groups++
		}
		if !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
	}
	from, to := math.Log2(lo)-0.1, math.Log2(hi)+0.1
	at := func(v float64) float64 {
		return plotLeft + (math.Log2(v)-from)/(to-from)*(plotWidth-plotLeft-plotRight)
	}
	height := float64(headRoom + rowHeight*(len(rows)+groups) + 30)
	b := &bytes.Buffer{}
	printf := func(format string, a ...any) { fmt.Fprintf(b, format, a...) }
	text := func(class, anchor string, x, y float64, s string) {
		printf(`<text class="%s" text-anchor="%s" x="%s" y="%s">`, class, anchor, num(x), num(y))
		_ = xml.EscapeText(b, []byte(s))
		printf("</text>\n")
	}
	printf(`<?xml version="1.0" encoding="UTF-8"?>`+"\n"+`<svg xmlns="http://www.w3.org/2000/svg" class="%[1]s" viewBox="0 0 %[2]d %[3]s" width="%[2]d" height="%[3]s" role="img">`+"\n<title>", p.ID, plotWidth, num(height))
	_ = xml.EscapeText(b, []byte(p.Title))
	printf("</title>\n<style>"+plotStyle+"</style>\n"+`<rect class="ground" x="0" y="0" width="%[2]d" height="%[3]s"/>`+"\n", p.ID, plotWidth, num(height))
	text("b", "start", 12, 20, p.Title)
	text("lo", "start", 12, 36, p.Note)
	for e := math.Ceil(from); e <= to; e++ {
		class := "grid"
		if e == 0 {
			class = "one"
		}
		x := num(at(math.Exp2(e)))
		printf(`<line class="%s" x1="%s" y1="%d" x2="%s" y2="%s"/>`+"\n", class, x, headRoom-4, x, num(height-22))
		text("lo", "middle", at(math.Exp2(e)), height-8, short(math.Exp2(e)))
	}
	y := float64(headRoom)
	for i, r := range rows {
		if i == 0 || rows[i-1].Group != r.Group {
			y += rowHeight
			text("b", "start", 12, y-4, r.Group)
		}
		y += rowHeight
		colour := colours[slices.Index(names, r.Name)%len(colours)]
		text("", "end", plotLeft-12, y-4, r.Name)
		mid := num(y - 8)
		printf(`<line x1="%s" y1="%s" x2="%s" y2="%s" stroke="%s" stroke-width="3" stroke-opacity=".5"/>`+"\n", num(at(r.Ratio.Q1)), mid, num(at(r.Ratio.Q3)), mid, colour)
		printf(`<circle cx="%s" cy="%s" r="4" fill="%s"/>`+"\n", num(at(r.Ratio.Median)), mid, colour)
		text("lo", "start", plotWidth-plotRight+14, y-4, short(r.Ratio.Median))
	}
	printf("</svg>\n")
	return b.Bytes()
}

// num is a number of at most one decimal.
func num(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }
