package draw

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// element is XML as a reader finds it.
type element struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Text    string     `xml:",chardata"`
	Kids    []element  `xml:",any"`
}

func (e *element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// all calls f for every element of a name.
func (e *element) all(name string, f func(*element)) {
	if e.XMLName.Local == name {
		f(e)
	}
	for i := range e.Kids {
		e.Kids[i].all(name, f)
	}
}

type failing interface {
	fatal
	Errorf(string, ...any)
}

// parse reads a picture with a strict parser, and looks at every place in it: all are numbers inside the picture, and texts
// do not touch.
func parse(t failing, text []byte) *element {
	t.Helper()
	var e element
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimSpace(text)))
	if err := d.Decode(&e); err != nil {
		t.Fatal(fmt.Errorf("%w in %s", err, text))
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatal("something behind the picture", err)
	}
	box := strings.Fields(e.attr("viewBox"))
	w, h := number(t, box[2]), number(t, box[3])
	inside := func(what string, x, y float64) {
		if !(x >= -.01 && x <= w+.01 && y >= -.01 && y <= h+.01) {
			t.Errorf("%s at %v %v, outside of %v x %v", what, x, y, w, h)
		}
	}
	ids := map[string]bool{}
	for _, name := range []string{"pattern", "title", "desc"} {
		e.all(name, func(x *element) {
			if id := x.attr("id"); id != "" {
				ids[id] = true
			}
		})
	}
	e.all("rect", func(r *element) {
		if r.attr("x") == "" {
			return // of a pattern
		}
		x, y := number(t, r.attr("x")), number(t, r.attr("y"))
		inside("rect", x, y)
		inside("rect", x+number(t, r.attr("width")), y+number(t, r.attr("height")))
	})
	e.all("line", func(r *element) {
		inside("line", number(t, r.attr("x1")), number(t, r.attr("y1")))
		inside("line", number(t, r.attr("x2")), number(t, r.attr("y2")))
	})
	e.all("path", func(p *element) {
		ns := regexp.MustCompile(`[A-Za-z ]+`).Split(strings.Trim(p.attr("d"), "MZ"), -1)
		for i := 0; i+1 < len(ns); i += 2 {
			inside("path", number(t, ns[i]), number(t, ns[i+1]))
		}
		if f := p.attr("fill"); strings.HasPrefix(f, "url(#") && !ids[strings.TrimSuffix(f[5:], ")")] {
			t.Errorf("no pattern %s", f)
		}
	})
	type words struct {
		x0, x1, y, size float64
		text            string
	}
	var labels []words
	e.all("text", func(x *element) {
		l := words{y: number(t, x.attr("y")), size: number(t, x.attr("font-size")), text: x.Text}
		l.x0 = number(t, x.attr("x"))
		n := width(x.Text, l.size)
		switch x.attr("text-anchor") {
		case "middle":
			l.x0 -= n / 2
		case "end":
			l.x0 -= n
		}
		l.x1 = l.x0 + n
		inside("text "+x.Text, l.x0, l.y-l.size*.8)
		inside("text "+x.Text, l.x1, l.y)
		labels = append(labels, l)
	})
	for i, a := range labels {
		for _, b := range labels[:i] {
			if a.x0 < b.x1-.5 && b.x0 < a.x1-.5 && a.y-a.size*.75 < b.y && b.y-b.size*.75 < a.y {
				t.Errorf("%q and %q touch", a.text, b.text)
			}
		}
	}
	return &e
}

func number(t failing, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		t.Fatal("not a number: ", strconv.Quote(s))
	}
	return v
}

// tips are what the bands say.
func tips(e *element) (out []string) {
	e.all("g", func(g *element) {
		if len(g.Kids) > 0 && g.Kids[0].XMLName.Local == "title" && !strings.HasPrefix(g.Kids[0].Text, "disk ") {
			out = append(out, g.Kids[0].Text)
		}
	})
	return out
}

func TestGolden(t *testing.T) {
	for name, p := range cases(t) {
		text, err := p.svg()
		if err != nil {
			t.Fatal(err)
		}
		parse(t, text)
		golden(t, name+".svg", text)
		p.Width = 380
		if text, err = p.svg(); err != nil {
			t.Fatal(err)
		}
		parse(t, text)
	}
}

// TestBands: the pieces of the vectors, each with the command that copies it.
func TestBands(t *testing.T) {
	for name, want := range map[string]string{
		"S3": "A:3028 to A:3038, 10 sectors; command 1, emulate|A:3038 to B:0, 10 sectors; command 2, emulate|B:0 to B:10, 20 sectors; command 2, emulate",
		"S7": "A:0 to B:128, 64 sectors; command 2, emulate|B:128 to C:0, 64 sectors; command 3, emulate|C:0 to A:64, 64 sectors; command 1, emulate",
		"S10": "A:2138 to B:52, 10 sectors; command 1, nvme|B:0 to B:62, 2 sectors; command 2, nvme|B:2 to C:56, 14 sectors; command 4, nvme|" +
			"C:8 to C:70, 2 sectors; command 5, nvme|C:10 to B:64, 2 sectors; command 3, nvme",
	} {
		text, err := cases(t)[name].svg()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(tips(parse(t, text)), "|"); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestWrong: what a device did not copy, what nobody sent, and what nobody asked for are told apart.
func TestWrong(t *testing.T) {
	d := dev(t, "d", lin(t, 0, 0, 1000))
	at := func(k target.Disk, start, n uint64) target.Extent {
		return target.Extent{Disk: k, Range: target.Range{Start: start, Len: n}}
	}
	p := &Picture{Request: &series.Request{Src: d, Dst: d, SrcSegs: segs(0, 100), DstSegs: segs(500, 100)}, Disk: letters, Commands: []series.Command{
		{Method: limits.NVMeCopy, Sources: []target.Extent{at(0, 0, 20), at(0, 20, 20)}, Dst: at(0, 500, 40), Ranges: 1, Status: 0x281},
		{Method: limits.NVMeCopy, Sources: []target.Extent{at(0, 40, 20)}, Dst: at(1, 540, 20), Ranges: 1},             // the wrong disk
		{Method: limits.NVMeCopy, Sources: []target.Extent{at(0, 70, 40)}, Dst: at(0, 570, 40), Ranges: 1},             // 10 too many
		{Method: blkcopy.Emulated, Sources: []target.Extent{at(0, 70, 10)}, Dst: at(0, 570, 10), Ranges: 1, Status: 0}, // and again
	}}
	text, err := p.svg()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"A:0 to A:500, 20 sectors; command 1, nvme, status 0x281",
		"A:20 to A:520, 20 sectors; command 1, nvme, status 0x281; red edge: sent, and not copied",
		"A:40 to A:540, 30 sectors; dashed: no command copies it",
		"A:70 to A:570, 10 sectors; command 4, emulate",
		"A:80 to A:580, 20 sectors; command 3, nvme",
		"A:40 to B:540, 20 sectors; command 2, nvme; red: copied, and nobody asked for it",
		"A:100 to A:600, 10 sectors; command 3, nvme; red: copied, and nobody asked for it",
	}
	if got := tips(parse(t, text)); !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	for _, class := range []string{`class="no"`, `class="stray"`, "stroke-dasharray", "url(#copy-h0)"} {
		if !bytes.Contains(text, []byte(class)) {
			t.Errorf("nothing is drawn with %s", class)
		}
	}
}

// TestMany: what is too much to see is added up, and the picture says so.
func TestMany(t *testing.T) {
	d := dev(t, "d", lin(t, 0, 0, 1<<21), lin(t, 1, 0, 1<<21))
	r := &series.Request{Src: d, Dst: d, SrcSegs: segs(1<<20, 1<<21), DstSegs: segs(0, 1<<20, 3<<20, 1<<20)}
	for _, c := range []struct {
		disks []blkcopy.Disk
		added bool
	}{{[]blkcopy.Disk{nvme("a"), nvme("a")}, true}, {make([]blkcopy.Disk, 2), true}} {
		p := &Picture{Request: r, Disk: letters, Commands: plan(t, r, c.disks...)}
		text, err := p.svg()
		if err != nil {
			t.Fatal(err)
		}
		n := tips(parse(t, text))
		if len(n) > MaxBands || len(n) < 20 || !bytes.Contains(text, []byte("too many to draw")) || bytes.Contains(text, []byte("data-command")) {
			t.Errorf("%d bands of %d commands", len(n), len(p.Commands))
		}
		p.Width = 380
		if text, err = p.svg(); err != nil {
			t.Fatal(err)
		}
		parse(t, text)
	}
}

// TestNotDrawn: a request that cannot be drawn is an error before anything is written.
func TestNotDrawn(t *testing.T) {
	d := dev(t, "d", lin(t, 0, 0, 1<<34))
	for name, r := range map[string]*series.Request{
		"no source":     {Src: d, Dst: d, DstSegs: segs(0, 8)},
		"empty":         {Src: d, Dst: d, SrcSegs: segs(0, 0), DstSegs: segs(0, 0)},
		"half a sector": {Src: d, Dst: d, SrcSegs: []blkcopy.Seg{{Pos: 100, Len: 512}}, DstSegs: segs(0, 1)},
		"past the end":  {Src: d, Dst: d, SrcSegs: segs(1<<34-4, 8), DstSegs: segs(0, 8)},
		"wraps":         {Src: d, Dst: d, SrcSegs: []blkcopy.Seg{{Pos: 1<<64 - 512, Len: 1024}}, DstSegs: segs(0, 2)},
		"lengths":       {Src: d, Dst: d, SrcSegs: segs(0, 8), DstSegs: segs(0, 9)},
		"too much":      {Src: d, Dst: d, SrcSegs: segs(0, MaxBytes/512+1), DstSegs: segs(1<<33, MaxBytes/512+1)},
	} {
		p := &Picture{Request: r, Disk: letters}
		var b bytes.Buffer
		if err := p.SVG(&b); !errors.Is(err, ErrRequest) || b.Len() > 0 {
			t.Errorf("%s: %v, %d bytes", name, err, b.Len())
		}
		if err := (&Page{Picture: *p}).HTML(&b); !errors.Is(err, ErrRequest) || b.Len() > 0 {
			t.Errorf("page: %s: %v, %d bytes", name, err, b.Len())
		}
		if err := Bounded(r); (err != nil) != (name == "too much") {
			t.Errorf("bounded: %s: %v", name, err)
		}
	}
}
