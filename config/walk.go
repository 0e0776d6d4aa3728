package config

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"time"
)

// value is one decoded value together with where it stands.
type value struct {
	raw  any
	node *node
	path string // dotted, for Problem.Key
	at   Pos    // of the value
	key  Pos    // of the key
}

// table is a value known to be a table.
type table struct {
	value
	kids map[string]any
	r    *report
}

// get finds a key of the table.
func (t *table) get(name string) (value, bool) {
	raw, ok := t.kids[name]
	if !ok {
		return value{}, false
	}
	v := value{raw: raw, node: t.node.child(name), path: keyText(name), at: t.at, key: t.key}
	if t.path != "" {
		v.path = t.path + "." + v.path
	}
	if v.node != nil {
		v.at, v.key = v.node.val, v.node.key
	}
	return v, true
}

// elem is element i of the array v.
func (v value) elem(i int, raw any) value {
	e := value{raw: raw, node: v.node.elem(i), path: fmt.Sprintf("%s[%d]", v.path, i), at: v.at, key: v.key}
	if e.node != nil {
		e.at, e.key = e.node.val, e.node.key
	}
	return e
}

// inOrder lists the keys of the table as they stand in the file.
func (t *table) inOrder() []value {
	out := make([]value, 0, len(t.kids))
	for name := range t.kids {
		v, _ := t.get(name)
		out = append(out, v)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].key != out[j].key {
			return out[i].key.before(out[j].key)
		}
		return out[i].path < out[j].path
	})
	return out
}

// kind names the type of a value as the file's author knows it.
func kindOf(raw any) string {
	switch raw.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a number with a fraction"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "a list"
	}
	return "something else"
}

// wrongType reports a value of the wrong type.
func (r *report) wrongType(v value, want, hint string) {
	r.error(v.at, v.path, hint, "%s must be %s, not %s", leaf(v.path), want, kindOf(v.raw))
}

// leaf is the last part of a dotted path.
func leaf(path string) string {
	if strings.HasSuffix(path, `"`) {
		return path
	}
	return path[strings.LastIndexByte(path, '.')+1:]
}

// table takes v for a table.
func (r *report) table(v value, hint string) (*table, bool) {
	kids, ok := v.raw.(map[string]any)
	if !ok {
		r.wrongType(v, "a table", hint)
		return nil, false
	}
	return &table{value: v, kids: kids, r: r}, true
}

// list takes v for a list, written either way. ok is false if it is none.
func list(v value) ([]any, bool) {
	switch l := v.raw.(type) {
	case []any:
		return l, true
	case []map[string]any:
		out := make([]any, len(l))
		for i := range l {
			out[i] = l[i]
		}
		return out, true
	}
	return nil, false
}

// known reports every key of t that is not in valid. alias gives the hint for words people bring
// from elsewhere.
func (t *table) known(valid []string, alias map[string]string) {
	for _, v := range t.inOrder() {
		name := v.name()
		ok := false
		for _, k := range valid {
			ok = ok || k == name
		}
		if ok {
			continue
		}
		hint := alias[name]
		if _, isTable := v.raw.(map[string]any); isTable && hint == "" && strings.Count(t.path, ".") == 1 {
			// [disk.a.b] is the likely slip.
			parent, child := t.name(), name
			hint = fmt.Sprintf("a name with a dot in it is written in quotes, as \"%s.%s\"; ", clipTo(parent, 40), clipTo(child, 40))
			hint += suggest(name, valid)
		}
		if hint == "" {
			hint = suggest(name, valid)
		}
		t.r.error(v.key, v.path, hint, "unknown key %s", keyText(clipTo(name, 60)))
	}
}

// name is the decoded key of v.
func (v value) name() string {
	if v.node != nil {
		return v.node.name
	}
	return strings.Trim(leaf(v.path), `"`)
}

// str reads an optional string that may not be empty.
func (t *table) str(name string) (string, bool) {
	v, ok := t.get(name)
	if !ok {
		return "", false
	}
	s, ok := v.raw.(string)
	if !ok {
		t.r.wrongType(v, "a string", "")
		return "", false
	}
	if s == "" {
		t.r.error(v.at, v.path, "", "%s is empty", name)
		return "", false
	}
	return s, true
}

// boolean reads an optional boolean.
func (t *table) boolean(name string) (set, ok bool) {
	v, ok := t.get(name)
	if !ok {
		return false, false
	}
	b, ok := v.raw.(bool)
	if !ok {
		t.r.wrongType(v, "a boolean", "write true or false, without quotes")
	}
	return b, ok
}

// integer reads an optional integer and checks its range.
func (t *table) integer(name string, low, high int64) (int64, bool) {
	v, ok := t.get(name)
	if !ok {
		return 0, false
	}
	n, ok := v.raw.(int64)
	if !ok {
		t.r.wrongType(v, "an integer", fmt.Sprintf("write a number from %d to %d, without quotes", low, high))
		return 0, false
	}
	if n < low || n > high {
		t.r.error(v.at, v.path, fmt.Sprintf("use a number from %d to %d", low, high), "%s %d is out of range", name, n)
		return 0, false
	}
	return n, true
}

// size reads an optional size.
func (t *table) size(name string) (Size, bool) {
	v, ok := t.get(name)
	if !ok {
		return 0, false
	}
	switch raw := v.raw.(type) {
	case int64:
		if raw < 0 {
			t.r.error(v.at, v.path, "sizes start at 0", "%s %d is negative", name, raw)
			return 0, false
		}
		return Size(raw), true
	case string:
		s, err := ParseSize(raw)
		if err != nil {
			msg, hint := err.Error(), ""
			if e, ok := err.(*sizeError); ok {
				msg, hint = e.msg, e.hint
			}
			t.r.error(v.at, v.path, hint, "%s: %s", name, msg)
			return 0, false
		}
		return s, true
	case float64:
		hint := `write it in quotes with a unit, as "1.5GiB"`
		if raw == math.Trunc(raw) && raw >= 0 && raw < 1<<53 {
			hint = fmt.Sprintf("write %d, or a string with a unit", int64(raw))
		}
		t.r.wrongType(v, "a size", hint)
	default:
		t.r.wrongType(v, "a size", `write "64KiB", "2048s" (512-byte sectors) or a number of bytes`)
	}
	return 0, false
}

// sectors reads an optional size that must be a multiple of 512 bytes and within dm's bounds, in
// sectors.
func (t *table) sectors(name string) (uint64, bool) {
	size, ok := t.size(name)
	if !ok {
		return 0, false
	}
	v, _ := t.get(name)
	if size%SectorBytes != 0 {
		down := size / SectorBytes * SectorBytes
		t.r.error(v.at, v.path, multiples(uint64(down), SectorBytes), "%s %s is not a multiple of 512 bytes", name, size)
		return 0, false
	}
	if size.Sectors() > maxSectors {
		t.r.error(v.at, v.path, fmt.Sprintf("the largest is %ds", uint64(maxSectors)), "%s %s is more than device-mapper can address", name, size)
		return 0, false
	}
	return size.Sectors(), true
}

// multiples is a hint that names the multiple of step at down, if that is not 0, and the next one.
// All are bytes.
func multiples(down, step uint64) string {
	up := down + step
	switch {
	case up < down || up > maxSectors*SectorBytes:
		return "use " + exact(down)
	case down == 0:
		return "use " + exact(up)
	}
	return fmt.Sprintf("use %s or %s", exact(down), exact(up))
}
