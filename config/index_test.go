package config

import (
	"testing"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// checkTree fails if the index does not have the shape of what the library decoded, or reads a
// string differently.
func checkTree(t *testing.T, name, text string, raw any, n *node) {
	t.Helper()
	if n == nil {
		t.Errorf("%s: no place", name)
		return
	}
	if n.key.Line < 1 || n.key.Col < 1 || n.val.Line < 1 || n.val.Col < 1 {
		t.Errorf("%s: place %v %v", name, n.key, n.val)
	}
	switch raw := raw.(type) {
	case map[string]any:
		if n.kind != nodeTable || len(n.kids) != len(raw) {
			t.Errorf("%s: kind %d with %d keys, want %d", name, n.kind, len(n.kids), len(raw))
		}
		for k, v := range raw {
			checkTree(t, name+"."+k, text, v, n.child(k))
		}
	case []map[string]any:
		if len(n.elems) != len(raw) {
			t.Errorf("%s: %d elements, want %d", name, len(n.elems), len(raw))
		}
		for i, v := range raw {
			checkTree(t, name+"[]", text, v, n.elem(i))
		}
	case []any:
		if len(n.elems) != len(raw) {
			t.Errorf("%s: %d elements, want %d", name, len(n.elems), len(raw))
		}
		for i, v := range raw {
			checkTree(t, name+"[]", text, v, n.elem(i))
		}
	case string:
		d := decodeString(text[n.start:n.end])
		if d.text != raw {
			t.Errorf("%s: string %q, library has %q", name, d.text, raw)
		}
		for i, c := range d.text {
			at := n.start + d.source(i)
			if got, _ := utf8.DecodeRuneInString(text[at:]); got != c && text[at] != '\\' {
				t.Errorf("%s: character %d of %q is said to be at %d, where %q is", name, i, d.text, at, got)
			}
		}
	default:
		if n.kind != nodeScalar || n.end <= n.start {
			t.Errorf("%s: kind %d, [%d,%d)", name, n.kind, n.start, n.end)
		}
	}
}

// TestIndexPlaces pins where keys and values are said to stand.
func TestIndexPlaces(t *testing.T) {
	text := "a = 1\r\n\"é\" . b = \"\"\"\nx\"\"\" # c = [d]\n [t . \"q.r\"]\n\tv = [ 1, # ]\n  { k = '#', m . n = {} },\n]\n[[l]]\n[[l.m]]\nz=1979-05-27 07:32:00 # x\n[[ l ]]\n"
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		t.Fatal(err)
	}
	root := scan(text).root
	checkTree(t, "", text, tree, root)
	f := &File{root: root}
	for _, tc := range []struct {
		path     []any
		key, val Pos
	}{
		{[]any{"a"}, Pos{1, 1}, Pos{1, 5}},
		{[]any{"é"}, Pos{2, 1}, Pos{2, 1}},
		{[]any{"é", "b"}, Pos{2, 7}, Pos{2, 11}},
		{[]any{"t"}, Pos{4, 3}, Pos{4, 3}},
		{[]any{"t", "q.r"}, Pos{4, 7}, Pos{4, 7}},
		{[]any{"t", "q.r", "v"}, Pos{5, 2}, Pos{5, 6}},
		{[]any{"t", "q.r", "v", 0}, Pos{5, 8}, Pos{5, 8}},
		{[]any{"t", "q.r", "v", 1}, Pos{6, 3}, Pos{6, 3}},
		{[]any{"t", "q.r", "v", 1, "k"}, Pos{6, 5}, Pos{6, 9}},
		{[]any{"t", "q.r", "v", 1, "m", "n"}, Pos{6, 18}, Pos{6, 22}},
		{[]any{"l", 0}, Pos{8, 3}, Pos{8, 3}},
		{[]any{"l", 0, "m", 0, "z"}, Pos{10, 1}, Pos{10, 3}},
		{[]any{"l", 1}, Pos{11, 4}, Pos{11, 4}},
	} {
		val, _ := f.place(Pos{}, tc.path...)
		n := root
		for _, p := range tc.path {
			if s, ok := p.(string); ok {
				n = n.child(s)
			} else {
				n = n.elem(p.(int))
			}
		}
		if n == nil || n.key != tc.key || val != tc.val {
			t.Errorf("%v: %+v at %v, want %v %v", tc.path, n, val, tc.key, tc.val)
		}
	}
}
