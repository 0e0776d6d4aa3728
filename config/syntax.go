package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// decode runs the TOML library over text and returns the tree of values, or nil and the one
// problem it stopped at.
func decode(r *report, text string, s *scanner) (tree map[string]any) {
	if s.tooDeep != nil {
		p := s.tooDeep
		r.error(Pos{p.Line, p.Col}, "", "", "%s", p.Message)
		return nil
	}
	// The library panics on what it takes for its own bugs; to the reader of the file that is a
	// syntax error too.
	defer func() {
		if v := recover(); v != nil {
			r.error(Pos{1, 1}, "", "", "not valid TOML: %s", strings.TrimSpace(fmt.Sprint(v)))
			tree = nil
		}
	}()
	_, err := toml.Decode(text, &tree)
	if err == nil {
		// The library lets some of these pass, and may drop one of the two.
		for _, twice := range s.again {
			definedTwice(r, twice)
		}
		if tree == nil {
			tree = map[string]any{}
		}
		return tree
	}
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		r.error(Pos{1, 1}, "", "", "not valid TOML: %s", strings.TrimPrefix(err.Error(), "toml: "))
		return nil
	}
	syntaxProblem(r, pe, s)
	return nil
}

// syntaxProblem turns the library's error into a problem. Its line is counted where the lexer
// stood, which after an unterminated header is the line below; its byte offset is right, so both
// line and column are counted from that.
func syntaxProblem(r *report, pe toml.ParseError, s *scanner) {
	at := s.lines.pos(pe.Position.Start)
	if len(s.again) > 0 && (strings.Contains(pe.Message, "already") || strings.Contains(pe.Message, "duplicate")) {
		definedTwice(r, s.again[0])
		return
	}
	if s.unclosed >= 0 && strings.Contains(pe.Message, "EOF") {
		open := s.lines.pos(s.unclosed)
		quotes := s.text[s.unclosed : s.unclosed+1]
		if triple := strings.Repeat(quotes, 3); strings.HasPrefix(s.text[s.unclosed:], triple) {
			quotes = triple
		}
		r.error(open, pe.LastKey, fmt.Sprintf("close it with %s", quotes), "string is not closed")
		return
	}
	hint := ""
	switch {
	case strings.Contains(pe.Message, "strings cannot contain newlines"):
		hint = `close the string on its line, or write """ on both ends`
	case strings.Contains(pe.Message, "to end table name"), strings.Contains(pe.Message, "end of table array name"):
		hint = "a table begins with a line [name], one of a list with [[name]]"
	case strings.HasPrefix(pe.Message, "expected value but found"):
		hint = `text stands in quotes, as "64KiB"`
	case strings.HasPrefix(pe.Message, "expected a top-level item to end"):
		hint = `a size with a unit stands in quotes, as "64KiB"`
	case strings.Contains(pe.Message, "invalid UTF-8"), strings.Contains(pe.Message, "UTF-16"):
		hint = "save the file as UTF-8"
	}
	r.error(at, pe.LastKey, hint, "syntax error: %s", lowerFirst(pe.Message))
}

// definedTwice reports a key that is said twice.
func definedTwice(r *report, twice repeated) {
	name := dotted(twice.path)
	r.error(twice.second, name, fmt.Sprintf("it is first defined at %s:%d:%d; merge the two or rename one", r.file, twice.first.Line, twice.first.Col), "%s is defined twice", name)
}

func lowerFirst(s string) string {
	s = strings.TrimSuffix(s, ".")
	if s == "" || strings.HasPrefix(s, "TOML") || strings.HasPrefix(s, "EOF") {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// dotted joins key parts as they would be written.
func dotted(path []string) string {
	var b strings.Builder
	for i, p := range path {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(keyText(p))
	}
	return b.String()
}

// keyText writes one part of a key, quoted if it must be.
func keyText(name string) string {
	for i := range len(name) {
		if !isBare(name[i]) {
			return fmt.Sprintf("%q", name)
		}
	}
	if name == "" {
		return `""`
	}
	return name
}
