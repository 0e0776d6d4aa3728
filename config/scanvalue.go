package config

import "strings"

// value reads a value into n.
func (s *scanner) value(n *node) bool {
	n.start = s.off
	n.val = s.lines.pos(s.off)
	if s.off >= len(s.text) {
		return false
	}
	ok := false
	switch s.text[s.off] {
	case '"', '\'':
		n.kind = nodeScalar
		ok = s.skipString()
	case '[':
		n.kind = nodeArray
		ok = s.nested(n, ']', s.element)
	case '{':
		n.kind = nodeTable
		ok = s.nested(n, '}', s.keyValue)
	default:
		n.kind = nodeScalar
		ok = s.skipBare()
	}
	n.end = s.off
	return ok
}

// nested reads what stands between brackets: items, commas, blanks.
func (s *scanner) nested(n *node, end byte, item func(*node) bool) bool {
	s.depth++
	defer func() { s.depth-- }()
	if s.depth > maxNesting {
		s.refuse(s.off, "arrays and tables are nested more than %d deep", maxNesting)
		return false
	}
	s.off++
	for {
		s.blank(true)
		if s.take(end) {
			return true
		}
		if s.off >= len(s.text) || !item(n) {
			return false
		}
		s.blank(true)
		if !s.take(',') {
			return s.take(end)
		}
	}
}

// element reads one element of an array.
func (s *scanner) element(array *node) bool {
	e := &node{defined: true}
	e.key = s.lines.pos(s.off)
	array.elems = append(array.elems, e)
	return s.value(e)
}

// skipBare skips a number, a boolean or a date, which may have one space in it.
func (s *scanner) skipBare() bool {
	start := s.off
	for s.off < len(s.text) && !strings.ContainsRune(",]}#\r\n", rune(s.text[s.off])) {
		s.off++
	}
	for s.off > start && (s.text[s.off-1] == ' ' || s.text[s.off-1] == '\t') {
		s.off--
	}
	return s.off > start
}

// skipString skips a string of any of the four kinds.
func (s *scanner) skipString() bool {
	start := s.off
	quote := s.text[start : start+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.text[start:], triple) {
		s.off += 3
		for s.off < len(s.text) {
			switch {
			case s.text[s.off] == '\\' && quote == `"`:
				s.off += 2
			case strings.HasPrefix(s.text[s.off:], triple):
				s.off += 3
				// Up to two quotes may stand before the closing three.
				for n := 0; n < 2 && strings.HasPrefix(s.text[s.off:], quote); n++ {
					s.off++
				}
				if strings.HasPrefix(s.text[s.off:], quote) { // the library takes some of these, TOML none
					s.refuse(s.off, "more than five quotation marks at the end of a string")
				}
				return true
			default:
				s.off++
			}
		}
	} else {
		s.off++
		for s.off < len(s.text) && s.text[s.off] != '\n' {
			switch {
			case s.text[s.off] == '\\' && quote == `"`:
				s.off += 2
			case s.text[s.off] == quote[0]:
				s.off++
				return true
			default:
				s.off++
			}
		}
	}
	s.off = min(s.off, len(s.text))
	s.unclosed = start
	return false
}
