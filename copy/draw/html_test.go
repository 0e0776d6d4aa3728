package draw

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// examplePage has designs of the test's own: one that is content, one that goes wrong, one that refuses.
func examplePage(t fatal) *Page {
	p := cases(t)["S10"]
	at := func(d target.Disk, start, n uint64) target.Extent {
		return target.Extent{Disk: d, Range: target.Range{Start: start, Len: n}}
	}
	good := &series.Model{Name: "good-2030", Title: "A design that works", Author: "Some Body", Posted: "2030-01-02", Message: "20300102.1@example.org"}
	bad := &series.Model{Name: "bad-2029", Title: "A design that does not", Defects: []series.Defect{{Name: "lost-error", What: "A device's error is lost.", Ref: "<1@example.org>, some_function()"}}}
	return &Page{Picture: *p, Code: "as described", Designs: []Design{
		{good, &series.Outcome{Model: good.Name, Accepted: true, Commands: p.Commands, Bytes: 15360, Offloaded: 15360, CompLen: []uint64{15360},
			Limits: []series.Value{{Name: "max_copy_sectors", Value: 128, Unit: "sectors"}}, Bios: []series.Bio{{Op: "REQ_OP_COPY", Device: "M", Sector: 200, Sectors: 30, Note: "split"}}}},
		{bad, &series.Outcome{Model: bad.Name, Accepted: true, Errno: unix.EIO, Why: "because", Bytes: 512, Wrong: []series.Finding{{Defect: "lost-error", Text: "The caller is told of success."}, {Text: "It is slow."}},
			Commands: []series.Command{{Method: limits.NVMeCopy, Format: 2, Sources: []target.Extent{at(0, 2138, 10), at(0, 0, 2)}, Dst: at(1, 52, 12), Status: 0x281, Ranges: 1}}}},
		{&series.Model{Name: "no-2028", Title: "A design that refuses"}, &series.Outcome{Model: "no-2028", Errno: unix.EOPNOTSUPP, Why: "never heard of it"}},
	}}
}

// page is parsed as XML: what a browser would mend would be a mistake. The few elements that HTML does not close are.
func wellFormed(t failing, text []byte) {
	t.Helper()
	s := regexp.MustCompile(`(<meta [^>]*[^/])>`).ReplaceAllString(string(text), "$1/>")
	s = strings.ReplaceAll(strings.TrimPrefix(s, "<!DOCTYPE html>\n"), "<br>", "<br/>")
	d := xml.NewDecoder(strings.NewReader(s))
	d.Entity = map[string]string{}
	for {
		switch _, err := d.Token(); err {
		case nil:
		case io.EOF:
			return
		default:
			t.Fatal(err)
		}
	}
}

func TestPage(t *testing.T) {
	var b bytes.Buffer
	if err := examplePage(t).HTML(&b); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, b.Bytes())
	golden(t, "page.html", b.Bytes())
	text := b.String()
	for _, want := range []string{"A design that works", "accepted", "accepted, then EIO, 2 wrong", "EOPNOTSUPP", "https://lore.kernel.org/r/20300102.1@example.org", "A device&#39;s error is lost.",
		"some_function()", "0x281 after 1 of 2 ranges", "A:2138&#43;10, A:0&#43;2", "REQ_OP_COPY", "max_copy_sectors", "never heard of it", "No command is sent.", "nvme, format 2", `id="m-bad-2029-wide-title"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	// Nothing is loaded from anywhere, and nothing runs.
	if m := regexp.MustCompile(`(?i)(src=|<link|@import|url\([^#]|<script|<iframe|<img| on[a-z]+=")`).FindString(text); m != "" {
		t.Errorf("the page has %s", m)
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if ids[m[1]] {
			t.Errorf("two elements have the id %s", m[1])
		}
		ids[m[1]] = true
	}
}

// TestPageHostile: names, notes and findings are text, whatever they say.
func TestPageHostile(t *testing.T) {
	for _, name := range hostile {
		p := examplePage(t)
		p.Picture.Disk = func(target.Disk) string { return name }
		p.Picture.Title, p.Picture.Note, p.Code = name, name, name
		for i := range p.Designs {
			m, o := *p.Designs[i].Model, *p.Designs[i].Outcome
			m.Title, m.Author, m.Message, o.Why = name, name, name, name
			o.Bios = []series.Bio{{Op: name, Device: name, Note: name}}
			o.Wrong = []series.Finding{{Defect: name, Text: name}}
			p.Designs[i] = Design{&m, &o}
		}
		var b bytes.Buffer
		if err := p.HTML(&b); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"<script", "<circle", "\x1b", "\x00["} {
			if bytes.Contains(b.Bytes(), []byte(bad)) && !strings.Contains(name, "\x00") {
				t.Errorf("%q: the page has %q", name, bad)
			}
		}
		if !strings.ContainsAny(name, "\x00\x1b") && utf8.ValidString(name) { // HTML reads those, XML does not
			wellFormed(t, b.Bytes())
		}
	}
}

// TestPageLong: long lists are cut, and the page says by how much.
func TestPageLong(t *testing.T) {
	p := examplePage(t)
	o := p.Designs[0].Outcome
	for i := range 300 {
		o.Bios = append(o.Bios, series.Bio{Op: fmt.Sprint(i)})
		o.Commands = append(o.Commands, series.Command{Method: blkcopy.Emulated})
	}
	var b bytes.Buffer
	if err := p.HTML(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"and 101 more", "and 105 more"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

func TestAnswer(t *testing.T) {
	for want, o := range map[string]series.Outcome{
		"accepted":           {Accepted: true},
		"accepted, then EIO": {Accepted: true, Errno: unix.EIO},
		"EINVAL":             {Errno: unix.EINVAL},
		"EOPNOTSUPP":         {Errno: unix.EOPNOTSUPP},
		"errno 4711":         {Errno: 4711},
		"refused":            {},
		"never completes":    {Accepted: true, Never: true},
	} {
		if got := Answer(&o); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
