package config

import (
	"sort"
	"strconv"
	"strings"
)

// decoded is a TOML string without its quotes and escapes, and where each byte of it came from.
type decoded struct {
	text string
	// runs[i] says that from byte to of text on, until the next run, the bytes stand in the source
	// from byte from on.
	runs []run
}

type run struct{ to, from int }

// source is the offset in the quoted source of a byte of text.
func (d *decoded) source(off int) int {
	i := sort.Search(len(d.runs), func(i int) bool { return d.runs[i].to > off }) - 1
	if i < 0 {
		return 0
	}
	return d.runs[i].from + off - d.runs[i].to
}

// decodeString reads a TOML string with its quotes, of any of the four kinds. What is not valid is
// taken as it stands.
func decodeString(src string) decoded {
	if len(src) < 2 {
		return decoded{text: src, runs: []run{{0, 0}}}
	}
	quote, open := src[0], 1
	if len(src) >= 6 && src[1] == quote && src[2] == quote {
		open = 3
	}
	body, at := src[:max(len(src)-open, open)], open
	if open == 3 {
		// A newline right after the opening quotes is not part of the string.
		switch rest := body[at:]; {
		case strings.HasPrefix(rest, "\n"):
			at++
		case strings.HasPrefix(rest, "\r\n"):
			at += 2
		}
	}
	if quote == '\'' || strings.IndexByte(body, '\\') < 0 {
		return decoded{text: body[at:], runs: []run{{0, at}}}
	}
	var b strings.Builder
	d := decoded{runs: []run{{0, at}}}
	for at < len(body) {
		if body[at] != '\\' {
			b.WriteByte(body[at])
			at++
			continue
		}
		value, n := unescape(body[at:])
		d.runs = append(d.runs, run{b.Len(), at})
		b.WriteString(value)
		at += n
		d.runs = append(d.runs, run{b.Len(), at})
	}
	d.text = b.String()
	return d
}

// unescape reads the escape that s begins with: what it means and how many bytes it takes.
func unescape(s string) (string, int) {
	if len(s) < 2 {
		return s, len(s)
	}
	digits := 0
	switch s[1] {
	case 'b':
		return "\b", 2
	case 't':
		return "\t", 2
	case 'n':
		return "\n", 2
	case 'f':
		return "\f", 2
	case 'r':
		return "\r", 2
	case 'e':
		return "\x1b", 2
	case '"', '\\':
		return s[1:2], 2
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	case ' ', '\t', '\r', '\n':
		// A backslash at the end of a line swallows it and all white space that follows.
		n := 1
		for n < len(s) && strings.IndexByte(" \t\r\n", s[n]) >= 0 {
			n++
		}
		return "", n
	}
	if digits > 0 && len(s) >= 2+digits {
		if v, err := strconv.ParseUint(s[2:2+digits], 16, 32); err == nil {
			return string(rune(v)), 2 + digits
		}
	}
	return s[:1], 1
}
