package conform

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// judged is a report of a model that misbehaves as QEMU does, without times.
func judged(t *testing.T) *Report {
	t.Helper()
	x := &bad{Model: NewModel(geometries[0], 2<<20), copy: late(true, func(i uint32) uint32 { return i })}
	r := run1(t, x, Options{Seed: 7, Rounds: 5})
	for i := range r.Results {
		r.Results[i].Seconds = 0
	}
	r.Around = &Evidence{Untouched: true, Parts: []EvidencePart{{4096, 1 << 20, strings.Repeat("ab", 32), strings.Repeat("ab", 32)}}, Changed: []EvidenceBlocks{}}
	return r
}

func golden(t *testing.T, name string, write func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
	return b.Bytes()
}

// TestGolden: the reports are what they were, and what others read them with can.
func TestGolden(t *testing.T) {
	r := judged(t)
	golden(t, "report.txt", r.Text)
	doc := golden(t, "report.json", func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(r)
	})
	var back Report
	if err := json.Unmarshal(doc, &back); err != nil || back.Differ != 1 || len(back.Results) != len(Scenarios()) {
		t.Error(err, back.Summary())
	}
	wellFormed(t, golden(t, "report.junit.xml", r.JUnit))
	alone(t, string(golden(t, "report.html", r.HTML)))
}

// TestHostile: whatever a device or an error says cannot leave its place in a report, and a report of a run that was
// interrupted, or that damaged something, is no success.
func TestHostile(t *testing.T) {
	r := &Report{Schema: Schema, Target: Geometry{Name: `disk <a>&"\x00` + "\x00\xff", Block: 512}}
	r.add(Result{Scenario: Scenario{Name: "x", Expect: "<script>alert(1)</script>"}, Outcome: Differs, Happened: "]]>\x01 <b>&amp;"})
	r.add(Result{Scenario: Scenario{Name: "y"}, Outcome: NotApplicable, Happened: "\x1b[31m"})
	r.Around = &Evidence{Parts: []EvidencePart{{0, 512, "a", "b"}}, Changed: []EvidenceBlocks{{0, 512}}}
	var x, h bytes.Buffer
	if err := errors.Join(r.JUnit(&x), r.HTML(&h)); err != nil {
		t.Fatal(err)
	}
	s := wellFormed(t, x.Bytes())
	if s.Failures != 2 || s.Errors != 1 || s.Skipped != 1 || s.Tests != 4 || len(s.Cases) != 4 {
		t.Errorf("%+v", s)
	}
	alone(t, h.String())
	if !strings.Contains(h.String(), "not run to its end") || !strings.Contains(h.String(), "CHANGED") {
		t.Error(h.String())
	}
}

// wellFormed reads a document to its end, and as a test suite.
func wellFormed(t *testing.T, doc []byte) (s junitSuite) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(doc))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
	}
	if err := xml.Unmarshal(doc, &s); err != nil {
		t.Fatal(err)
	}
	fail, errs, skipped := 0, 0, 0
	for _, c := range s.Cases {
		if c.Failure != nil {
			fail++
		}
		if c.Error != nil {
			errs++
		}
		if c.Skipped != nil {
			skipped++
		}
	}
	if fail != s.Failures || errs != s.Errors || skipped != s.Skipped || len(s.Cases) != s.Tests {
		t.Errorf("the counts are not those of the cases: %+v", s)
	}
	return s
}

// alone fails if a page needs anything else, or runs anything.
func alone(t *testing.T, doc string) {
	t.Helper()
	if m := regexp.MustCompile(`(?i)<(script|link|img|iframe|object|embed)|\b(src|href)=|url\(|@import|https?:`).FindString(doc); m != "" {
		t.Errorf("the page has %q", m)
	}
	if !strings.HasPrefix(doc, "<!DOCTYPE html>") || !strings.HasSuffix(doc, "</html>\n") {
		t.Error("it is no page")
	}
}
