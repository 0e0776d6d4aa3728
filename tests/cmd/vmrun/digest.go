package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// digestLines is how much of what went wrong is said again at the end, where a reader of a long log looks first.
const digestLines = 12

// telling are the lines of a Go test program that name what failed.
var telling = regexp.MustCompile(`^\s*--- FAIL|^panic:|^fatal error:|^STUCK:|^LEFT BEHIND:|^\tTest\w+.* \([0-9hms.]+\)$`)

// digest passes output on and remembers the telling lines.
type digest struct {
	w     io.Writer
	part  []byte // of a line that has not ended
	found []string
	last  string // the test that began last
	ended bool   // it has ended
}

func (d *digest) Write(p []byte) (int, error) {
	rest := append(d.part, p...)
	for {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			break
		}
		d.line(strings.TrimRight(string(line), "\r"))
		rest = after
	}
	d.part = bytes.Clone(rest)
	return d.w.Write(p)
}

func (d *digest) line(s string) {
	if name, ok := strings.CutPrefix(s, "=== RUN   "); ok {
		d.last, d.ended = name, false
	}
	if strings.HasPrefix(s, "--- ") {
		d.ended = true
	}
	if telling.MatchString(s) && len(d.found) < digestLines {
		d.found = append(d.found, s)
	}
}

// say repeats them.
func (d *digest) say(w io.Writer) {
	for _, s := range d.found {
		fmt.Fprintln(w, s)
	}
	if d.last != "" && !d.ended {
		fmt.Fprintf(w, "%s had not ended\n", d.last)
	}
}
