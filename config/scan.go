package config

import "fmt"

// Bounds that keep a hostile file from exhausting the TOML library, which recurses.
const (
	maxNesting  = 64 // of arrays and inline tables
	maxKeyParts = 32
)

// scanner walks a TOML text and builds the tree of nodes. It takes the text for valid: it finds
// where things stand and leaves finding syntax errors to the TOML library. On text that is not
// valid it stops early, or says something useless, but it ends and does not panic.
type scanner struct {
	text  string
	off   int
	lines *lines
	root  *node
	depth int

	// What the library's messages leave out.
	again    []repeated // keys said twice
	unclosed int        // offset of a string that is not closed; -1: none
	tooDeep  *Problem   // the library must not see this text
}

// repeated is a key that is said twice.
type repeated struct {
	path          []string
	first, second Pos
}

// scan builds the tree of text.
func scan(text string) *scanner {
	s := &scanner{text: text, lines: newLines(text), unclosed: -1}
	s.root = &node{kind: nodeTable, key: Pos{1, 1}, val: Pos{1, 1}, defined: true}
	table := s.root
	for s.tooDeep == nil {
		s.blank(true)
		if s.off >= len(s.text) {
			break
		}
		if s.text[s.off] == '[' {
			next, ok := s.header()
			if !ok {
				break
			}
			table = next
		} else if !s.keyValue(table) {
			break
		}
		// A valid line ends here.
		s.blank(false)
		if s.off < len(s.text) && s.text[s.off] != '\n' && s.text[s.off] != '\r' {
			break
		}
	}
	return s
}

// blank skips spaces and comments, and newlines if they are told to be blank too.
func (s *scanner) blank(newlines bool) {
	for s.off < len(s.text) {
		switch c := s.text[s.off]; {
		case c == ' ' || c == '\t':
			s.off++
		case newlines && (c == '\n' || c == '\r'):
			s.off++
		case c == '#':
			for s.off < len(s.text) && s.text[s.off] != '\n' {
				s.off++
			}
		default:
			return
		}
	}
}

// spaces skips spaces and tabs only.
func (s *scanner) spaces() {
	for s.off < len(s.text) && (s.text[s.off] == ' ' || s.text[s.off] == '\t') {
		s.off++
	}
}

// take skips c if it is next.
func (s *scanner) take(c byte) bool {
	if s.off < len(s.text) && s.text[s.off] == c {
		s.off++
		return true
	}
	return false
}

// part is one part of a dotted key.
type part struct {
	name string
	off  int
}

// key reads a dotted key.
func (s *scanner) key() ([]part, bool) {
	var parts []part
	for {
		s.spaces()
		start := s.off
		if start >= len(s.text) {
			return nil, false
		}
		var name string
		if c := s.text[start]; c == '"' || c == '\'' {
			if !s.skipString() {
				return nil, false
			}
			name = decodeString(s.text[start:s.off]).text
		} else {
			for s.off < len(s.text) && isBare(s.text[s.off]) {
				s.off++
			}
			if s.off == start {
				// The library takes an empty bare key in some places; so does the tree.
				if c != '.' && c != ']' && c != '=' {
					return nil, false
				}
			}
			name = s.text[start:s.off]
		}
		parts = append(parts, part{name, start})
		if len(parts) > maxKeyParts {
			s.refuse(start, "key has more than %d parts", maxKeyParts)
			return nil, false
		}
		s.spaces()
		if !s.take('.') {
			return parts, true
		}
	}
}

func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// header reads [table] or [[table]] and returns the table that follows.
func (s *scanner) header() (*node, bool) {
	s.off++
	array := s.take('[')
	parts, ok := s.key()
	if !ok || !s.take(']') || array && !s.take(']') {
		return nil, false
	}
	n := s.descend(s.root, parts[:len(parts)-1], false)
	last := parts[len(parts)-1]
	at := s.lines.pos(last.off)
	k := n.child(last.name)
	if array {
		if k == nil {
			k = &node{name: last.name, key: at, val: at, kind: nodeTables, defined: true}
			n.add(k)
		} else if k.kind != nodeTables {
			s.repeat(parts, k.key, at)
			return &node{kind: nodeTable}, true
		}
		e := &node{key: at, val: at, kind: nodeTable, defined: true}
		k.elems = append(k.elems, e)
		return e, true
	}
	switch {
	case k == nil:
		k = &node{name: last.name, key: at, val: at, kind: nodeTable, defined: true}
		n.add(k)
	case k.kind != nodeTable:
		s.repeat(parts, k.key, at)
		return &node{kind: nodeTable}, true
	case k.defined:
		s.repeat(parts, k.key, at)
	default:
		k.key, k.val, k.defined = at, at, true
	}
	return k, true
}

// descend walks from n over the parents of a key, making what is not there yet. The parents of a
// dotted key are thereby defined, those in a header are not.
func (s *scanner) descend(n *node, parents []part, define bool) *node {
	for _, p := range parents {
		k := n.child(p.name)
		if k == nil {
			at := s.lines.pos(p.off)
			k = &node{name: p.name, key: at, val: at, kind: nodeTable, defined: define}
			n.add(k)
		}
		if k.kind == nodeTables {
			k = k.elems[len(k.elems)-1]
		}
		n = k
	}
	return n
}

// keyValue reads key = value into table.
func (s *scanner) keyValue(table *node) bool {
	parts, ok := s.key()
	if !ok || !s.take('=') {
		return false
	}
	s.spaces()
	n := s.descend(table, parts[:len(parts)-1], true)
	last := parts[len(parts)-1]
	at := s.lines.pos(last.off)
	if old := n.child(last.name); old != nil {
		s.repeat(parts, old.key, at)
		return s.value(&node{})
	}
	k := &node{name: last.name, key: at, defined: true}
	n.add(k)
	return s.value(k)
}

// repeat notes a key that is said twice.
func (s *scanner) repeat(parts []part, first, second Pos) {
	var path []string
	for _, p := range parts {
		path = append(path, p.name)
	}
	s.again = append(s.again, repeated{path, first, second})
}

// refuse notes that the text must not be given to the library.
func (s *scanner) refuse(off int, format string, args ...any) {
	at := s.lines.pos(off)
	s.tooDeep = &Problem{Line: at.Line, Col: at.Col, Message: fmt.Sprintf(format, args...)}
}
