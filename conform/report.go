package conform

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// Schema is the version of a Report's JSON.
const Schema = 1

// Report is what came of a run.
type Report struct {
	Schema   int       `json:"schema"`
	Target   Geometry  `json:"target"`
	Seed     uint64    `json:"seed"`
	Conform  int       `json:"conform"`
	Differ   int       `json:"differ"`
	Skipped  int       `json:"not_applicable"`
	Complete bool      `json:"complete"` // false: it was interrupted, or failed
	Results  []Result  `json:"scenarios"`
	Around   *Evidence `json:"surroundings"` // null: there is nothing around the region
}

// Text writes it for people: a line per scenario, and what was expected and why it matters of those that differ.
func (r *Report) Text(w io.Writer) error {
	p := &printer{w: w}
	p.line("%s: %s", r.Target.Name, r.Target.words())
	width := 0
	for _, res := range r.Results {
		width = max(width, len(res.Name))
	}
	for _, res := range r.Results {
		switch res.Outcome {
		case Conforms:
			p.line("  conforms  %s", res.Name)
		case Differs:
			p.line("  DIFFERS   %s", res.Name)
			p.line("              expected  %s", res.Expect)
			p.line("              happened  %s", res.Happened)
			p.line("              why       %s", res.Why)
			p.line("              ref       %s", res.Ref)
		case NotApplicable:
			p.line("  n/a       %-*s  %s", width, res.Name, res.Happened)
		}
	}
	if r.Around != nil {
		p.line("surroundings: %s", r.Around.Words())
	}
	p.line("seed %d; %s", r.Seed, r.Summary())
	if !r.Complete {
		p.line("the suite was not run to its end")
	}
	return p.err
}

// words is the geometry for people.
func (g *Geometry) words() string {
	bound := func(n uint64) string {
		if n == 0 {
			return "unbounded"
		}
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d bytes at %d, blocks of %d; MSSRL %s, MCL %s, %s ranges", g.Length, g.Start, g.Block, bound(g.MSSRL), bound(g.MCL), bound(g.Ranges))
}

// printer remembers the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, a ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", a...)
	}
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string     `xml:"classname,attr"`
	Name    string     `xml:"name,attr"`
	Time    string     `xml:"time,attr"`
	Failure *junitText `xml:"failure"`
	Error   *junitText `xml:"error"`
	Skipped *junitText `xml:"skipped"`
}

type junitText struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes it as a JUnit XML test suite: what differs is a failure, what is not applicable is skipped. The surroundings
// are a test of their own, and so is a suite that did not come to its end.
func (r *Report) JUnit(w io.Writer) error {
	const class = "ublk-linear.conform"
	s := junitSuite{Name: class + ": " + r.Target.Name, Failures: r.Differ, Skipped: r.Skipped}
	var seconds float64
	for _, res := range r.Results {
		seconds += res.Seconds
		c := junitCase{Class: class, Name: res.Name, Time: fmt.Sprintf("%.3f", res.Seconds)}
		switch res.Outcome {
		case Differs:
			c.Failure = &junitText{plain(res.Happened), plain(fmt.Sprintf("expected: %s\nhappened: %s\nwhy: %s\nref: %s\n", res.Expect, res.Happened, res.Why, res.Ref))}
		case NotApplicable:
			c.Skipped = &junitText{Message: plain(res.Happened)}
		}
		s.Cases = append(s.Cases, c)
	}
	if r.Around != nil {
		c := junitCase{Class: class, Name: "surroundings", Time: "0.000"}
		if !r.Around.Untouched {
			s.Failures++
			c.Failure = &junitText{Message: plain(r.Around.Words())}
		}
		s.Cases = append(s.Cases, c)
	}
	if !r.Complete {
		s.Errors++
		s.Cases = append(s.Cases, junitCase{Class: class, Name: "complete", Time: "0.000", Error: &junitText{Message: "the suite was not run to its end"}})
	}
	s.Tests, s.Time = len(s.Cases), fmt.Sprintf("%.3f", seconds)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// plain is text without what XML 1.0 cannot hold.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
