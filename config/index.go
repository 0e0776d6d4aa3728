package config

import (
	"sort"
	"unicode/utf8"
)

// node is one key of the text, or one element of an array: where it stands, and what is below it.
// The tree of nodes has the shape of the decoded file.
type node struct {
	name    string // decoded key; "" for elements
	key     Pos    // of the key, where it is first said; for [a.b] of the b
	val     Pos    // of the value; for tables with a header that of the key
	start   int    // the value's bytes in the text: [start, end); strings include their quotes
	end     int
	kind    nodeKind
	defined bool // said itself, not only as a parent of something

	kids  []*node // of a table, in order of appearance
	byKey map[string]*node
	elems []*node // of an array
}

type nodeKind uint8

const (
	nodeTable  nodeKind = iota
	nodeTables          // [[array of tables]]
	nodeArray           // [ ... ]
	nodeScalar
)

// child finds a key of a table; nil if there is none. n may be nil.
func (n *node) child(name string) *node {
	if n == nil {
		return nil
	}
	if n.byKey != nil {
		return n.byKey[name]
	}
	for _, k := range n.kids {
		if k.name == name {
			return k
		}
	}
	return nil
}

// elem finds an element of an array; nil if there is none. n may be nil.
func (n *node) elem(i int) *node {
	if n == nil || i >= len(n.elems) {
		return nil
	}
	return n.elems[i]
}

// add appends a key to a table. Most tables have few keys: the map comes with the ninth.
func (n *node) add(k *node) {
	n.kids = append(n.kids, k)
	switch {
	case n.byKey != nil:
		n.byKey[k.name] = k
	case len(n.kids) > 8:
		n.byKey = make(map[string]*node, 2*len(n.kids))
		for _, k := range n.kids {
			n.byKey[k.name] = k
		}
	}
}

// lines turns byte offsets of a text into places.
type lines struct {
	text   string
	starts []int // of every line
	// The last answer: counting goes on from there, so that many questions about one long line,
	// asked in order, cost one walk over it.
	lastOff, lastLine, lastCol int
}

func newLines(text string) *lines {
	l := &lines{text: text, starts: []int{0}, lastCol: 1}
	for i := 0; i < len(text); i++ {
		if text[i] == '\n' {
			l.starts = append(l.starts, i+1)
		}
	}
	return l
}

// pos is the place of a byte offset; offsets outside the text are moved to its nearest end.
func (l *lines) pos(off int) Pos {
	off = min(max(off, 0), len(l.text))
	// Usually the answer is in the line of the last one or the next.
	line := l.lastLine
	if off < l.starts[line] || line+1 < len(l.starts) && off >= l.starts[line+1] {
		if line+1 < len(l.starts) && off >= l.starts[line+1] && (line+2 >= len(l.starts) || off < l.starts[line+2]) {
			line++
		} else {
			line = sort.SearchInts(l.starts, off+1) - 1
		}
		l.lastOff, l.lastCol = l.starts[line], 1
	} else if off < l.lastOff {
		l.lastOff, l.lastCol = l.starts[line], 1
	}
	l.lastLine = line
	l.lastCol += utf8.RuneCountInString(l.text[l.lastOff:off])
	l.lastOff = off
	return Pos{Line: line + 1, Col: l.lastCol}
}
