package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pos is a place in a text. Both count from 1; Col counts characters, not bytes.
type Pos struct{ Line, Col int }

// before reports whether p stands in front of q.
func (p Pos) before(q Pos) bool {
	return p.Line < q.Line || p.Line == q.Line && p.Col < q.Col
}

// Problem is one thing that is wrong with a file, or, if Warning is set, one that is likely not meant.
type Problem struct {
	File      string // as it was given to Load or Parse
	Line, Col int    // from 1
	Key       string // dotted path as device.data.segment[0].length, indexes from 0; may be empty
	Message   string // lower case, no final period
	Hint      string // what would be right; may be empty
	Warning   bool
}

// String is "file:line:col: message", with "warning: " before the message of a warning. The hint is
// not in it.
func (p Problem) String() string {
	kind := ""
	if p.Warning {
		kind = "warning: "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", p.File, p.Line, p.Col, kind, p.Message)
}

// Problems is everything found in a file, sorted by place.
type Problems []Problem

// Error joins all problems with newlines, each followed by its hint on a line of its own.
func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
		if p.Hint != "" {
			b.WriteString("\n    hint: ")
			b.WriteString(p.Hint)
		}
	}
	return b.String()
}

// Errors is ps without the warnings.
func (ps Problems) Errors() Problems { return ps.filter(false) }

// Warnings is ps without the errors.
func (ps Problems) Warnings() Problems { return ps.filter(true) }

func (ps Problems) filter(warning bool) Problems {
	var out Problems
	for _, p := range ps {
		if p.Warning == warning {
			out = append(out, p)
		}
	}
	return out
}

// sorted sorts by place and drops what is said twice.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(ps)
}

// report collects problems of one file.
type report struct {
	file string
	list Problems
}

func (r *report) error(at Pos, key, hint, format string, args ...any) {
	r.add(at, key, hint, false, fmt.Sprintf(format, args...))
}

func (r *report) warn(at Pos, key, hint, format string, args ...any) {
	r.add(at, key, hint, true, fmt.Sprintf(format, args...))
}

func (r *report) add(at Pos, key, hint string, warning bool, message string) {
	// A file built by hand has no places; line 1 is at least a line.
	at.Line, at.Col = max(at.Line, 1), max(at.Col, 1)
	r.list = append(r.list, Problem{File: r.file, Line: at.Line, Col: at.Col, Key: key, Message: oneLine(message), Hint: oneLine(hint), Warning: warning})
}

// oneLine escapes control characters, which texts quoted from the file may have in them.
func oneLine(s string) string {
	clean := func(r rune) bool { return r < ' ' || r == 0x7f }
	if strings.IndexFunc(s, clean) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if clean(r) {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
