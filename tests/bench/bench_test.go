package bench

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want Spread
		text string
	}{
		{nil, Spread{}, "–"},
		{[]float64{3}, Spread{3, 3, 3, 1}, "3.00"},
		{[]float64{4, 1, 3, 2, 5}, Spread{2, 3, 4, 5}, "3.00 (2.00–4.00)"},
		{[]float64{1, 2, 3, 4}, Spread{1.75, 2.5, 3.25, 4}, "2.50 (1.75–3.25)"},
		{[]float64{0.5, 250}, Spread{62.875, 125.25, 187.625, 2}, "125 (62.9–188)"},
	} {
		if got := SpreadOf(c.in); got != c.want || got.String() != c.text {
			t.Errorf("%v: %v %q, want %v %q", c.in, got, got, c.want, c.text)
		}
	}
}

// Only what was measured in the same round is compared: a machine that was slow for a round is slow for both.
func TestRatioIsByRound(t *testing.T) {
	s := []Sample{{Contender: "a", Round: 0, IOPS: 10}, {Contender: "b", Round: 0, IOPS: 20}, {Contender: "b", Round: 1, IOPS: 2000}, {Contender: "a", Round: 1, IOPS: 1000},
		{Contender: "a", Round: 2, IOPS: 7}, {Contender: "a", Round: 3, IOPS: 7}, {Contender: "b", Round: 3}}
	if got := IOPS.Ratio(s, "a", "b"); got != (Spread{0.5, 0.5, 0.5, 2}) {
		t.Errorf("%+v", got)
	}
	if got := IOPS.Of(s, "b").N; got != 3 {
		t.Errorf("%d samples", got)
	}
}

func TestLoadReplacesSets(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, r Result) string {
		b, _ := json.Marshal(r)
		f := filepath.Join(dir, name)
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	a := put("a", Result{Kernel: "7", CPUs: 2, Samples: []Sample{{Set: "x", IOPS: 1}, {Set: "y", IOPS: 2}}})
	b := put("b", Result{Kernel: "7", CPUs: 2, Samples: []Sample{{Set: "x", IOPS: 3}}})
	r, err := Load(a, b)
	if err != nil || len(r.Samples) != 2 || r.Samples[0].IOPS != 2 || r.Samples[1].IOPS != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, other := range []Result{{Kernel: "6", CPUs: 2}, {Kernel: "7", CPUs: 3}, {Kernel: "7", CPUs: 2, Emulated: true}, {Kernel: "7", CPUs: 2, Counted: true}} {
		if _, err := Load(a, put("c", other)); err == nil {
			t.Errorf("results of %+v were taken", other)
		}
	}
	if _, err := Load(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no results: %v", err)
	}
}

func TestFill(t *testing.T) {
	page := "a\n<!-- benchreport: x -->\nold\n<!-- benchreport end -->\nb\n"
	got, err := Fill(page, map[string]string{"x": "new\n"})
	if want := "a\n<!-- benchreport: x -->\n\nnew\n\n<!-- benchreport end -->\nb\n"; err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := Fill(got, map[string]string{"x": "new"}); err != nil || again != got {
		t.Errorf("again: %q, %v", again, err)
	}
	for page, parts := range map[string]map[string]string{
		"<!-- benchreport: x -->\n":                           {"x": ""},
		"<!-- benchreport: y -->\n<!-- benchreport end -->\n": {"x": ""},
		"a\n": {"x": ""},
		"<!-- benchreport: x -->\n<!-- benchreport: x -->\n": {"x": ""},
	} {
		if _, err := Fill(page, parts); err == nil {
			t.Errorf("%q was filled", page)
		}
	}
}

func TestPlot(t *testing.T) {
	p := &Plot{Title: "a < b", Note: "n", ID: "bench-x", Rows: []Row{
		{"g", "one", Spread{1, 1, 1, 3}}, {"g", "half", Spread{0.25, 0.5, 0.75, 3}}, {"h", "one", Spread{2, 4, 8, 3}}, {"h", "none", Spread{}}}}
	svg := p.SVG()
	type circle struct {
		X    float64 `xml:"cx,attr"`
		Fill string  `xml:"fill,attr"`
	}
	var dots []circle
	dec := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "circle" {
			var c circle
			if err := dec.DecodeElement(&c, &e); err != nil {
				t.Fatal(err)
			}
			dots = append(dots, c)
		}
	}
	if len(dots) != 3 || dots[0].Fill != dots[2].Fill || dots[0].Fill == dots[1].Fill {
		t.Fatalf("%v", dots)
	}
	// From a half to 1 is as far as half of from 1 to 4: the axis is logarithmic.
	if a, b := dots[0].X-dots[1].X, dots[2].X-dots[0].X; math.Abs(2*a-b) > 0.5 || a <= 0 {
		t.Errorf("%.1f and %.1f", a, b)
	}
	if string(svg) != string(p.SVG()) {
		t.Error("another picture of the same")
	}
}

// The page and its pictures are what benchreport makes of the committed results.
func TestPageIsPrinted(t *testing.T) {
	r, err := Load("results.json")
	if err != nil {
		t.Fatal(err)
	}
	counts, err := LoadCounts("counts.json")
	if err != nil {
		t.Fatal(err)
	}
	parts, pictures := r.Report(counts)
	page, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if filled, err := Fill(string(page), parts); err != nil || filled != string(page) {
		t.Errorf("docs/performance.md is not what benchreport -write makes of results.json and counts.json: %v", err)
	}
	for name, svg := range pictures {
		if has, err := os.ReadFile("../../docs/img/performance-" + name + ".svg"); err != nil || string(has) != string(svg) {
			t.Errorf("docs/img/performance-%s.svg is another picture: %v", name, err)
		}
	}
	if len(r.Samples) < 100 {
		t.Errorf("%d samples", len(r.Samples))
	}
}
