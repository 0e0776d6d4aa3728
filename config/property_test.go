package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// writer writes a configuration and remembers where it put every key.
type writer struct {
	t      *rapid.T
	text   strings.Builder
	places []writtenKey
}

type writtenKey struct {
	path []any
	at   Pos
}

// here is where the next character goes.
func (w *writer) here() Pos {
	s := w.text.String()
	line := s[strings.LastIndexByte(s, '\n')+1:]
	return Pos{strings.Count(s, "\n") + 1, utf8.RuneCountInString(line) + 1}
}

func (w *writer) put(s string) { w.text.WriteString(s) }

// noise puts blanks and comments where they change nothing.
func (w *writer) noise() {
	w.put(rapid.SampledFrom([]string{"", " ", "\t", "  "}).Draw(w.t, "blank"))
}

func (w *writer) lineEnd() {
	w.put(rapid.SampledFrom([]string{"\n", "\r\n", " # = [é] \"\n", "\n\n", "\t\n# x = 1\n"}).Draw(w.t, "end"))
}

// key puts a key and remembers it.
func (w *writer) key(name string, path ...any) {
	w.noise()
	w.places = append(w.places, writtenKey{append(slices.Clone(path), name), w.here()})
	switch rapid.IntRange(0, 2).Draw(w.t, "quote") {
	case 0:
		w.put(name)
	case 1:
		w.put(`"` + name + `"`)
	case 2:
		w.put("'" + name + "'")
	}
	w.noise()
}

func (w *writer) str(s string) {
	quote := rapid.SampledFrom([]string{`"`, `'`, `"""`, `'''`, "\"\"\"\n"}).Draw(w.t, "string")
	w.put(quote + s + strings.TrimSuffix(quote, "\n"))
}

func (w *writer) size(sectors uint64) {
	switch rapid.IntRange(0, 2).Draw(w.t, "size") {
	case 0:
		w.str(fmt.Sprintf("%ds", sectors))
	case 1:
		w.put(fmt.Sprint(sectors * SectorBytes))
	default:
		w.str(Size(sectors * SectorBytes).String())
	}
}

func (w *writer) pair(name string, value func(), path ...any) {
	w.key(name, path...)
	w.put("=")
	w.noise()
	value()
}

// TestRandomFiles writes valid files in every style: they have no problems, decode to what was
// meant, and every key is found where it was put.
func TestRandomFiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &writer{t: t}
		w.pair("version", func() { w.put("1") })
		w.lineEnd()
		disks := rapid.IntRange(1, 4).Draw(t, "disks")
		free := make([]uint64, disks) // the next unused sector of each
		// Devices are chosen first, for the disks to be large enough.
		type seg struct {
			chunk, sectors uint64
			legs           []Leg
		}
		devices := make([][]seg, rapid.IntRange(1, 3).Draw(t, "devices"))
		used := map[int]bool{}
		for d := range devices {
			for range rapid.IntRange(1, 4).Draw(t, "segments") {
				n := rapid.IntRange(1, disks).Draw(t, "legs")
				s := seg{chunk: rapid.Uint64Range(1, 300).Draw(t, "chunk")}
				rows := rapid.Uint64Range(1, 50).Draw(t, "rows")
				if n == 1 && rapid.Bool().Draw(t, "linear") {
					s.chunk = 0
				}
				width := rows * max(s.chunk, 1)
				s.sectors = width * uint64(n)
				first := rapid.IntRange(0, disks-1).Draw(t, "first")
				for l := range n {
					k := (first + l) % disks
					used[k] = true
					free[k] += rapid.Uint64Range(0, 9).Draw(t, "hole")
					s.legs = append(s.legs, Leg{Disk: fmt.Sprintf("d%d", k), Offset: free[k]})
					free[k] += width
				}
				devices[d] = append(devices[d], s)
			}
		}
		for k := range disks {
			if !used[k] {
				continue
			}
			name := fmt.Sprintf("d%d", k)
			w.put("[ disk .")
			w.key(name, "disk")
			w.put("]")
			w.lineEnd()
			w.pair("memory", func() { w.size(free[k]) }, "disk", name)
			w.lineEnd()
		}
		for d, segs := range devices {
			name := fmt.Sprintf("v%d", d)
			inline := rapid.Bool().Draw(t, "inline")
			if inline {
				w.put("[device.")
				w.key(name, "device")
				w.put("]")
				w.lineEnd()
				w.pair("segment", func() { w.put("[\n") }, "device", name)
			}
			for i, s := range segs {
				end := w.lineEnd
				at := []any{"device", name, "segment", i}
				if inline {
					w.put("\t{")
					end = func() { w.put(",") }
				} else {
					w.put("[[device." + name + ".segment]]")
					w.lineEnd()
				}
				w.pair("length", func() { w.size(s.sectors) }, at...)
				end()
				if s.chunk == 0 {
					w.pair("disk", func() { w.str(s.legs[0].Disk) }, at...)
					end()
					w.pair("offset", func() { w.size(s.legs[0].Offset) }, at...)
					end()
					w.pair("type", func() { w.str("linear") }, at...)
				} else {
					w.pair("chunk", func() { w.size(s.chunk) }, at...)
					end()
					w.pair("legs", func() {
						w.put("[")
						for l, leg := range s.legs {
							at := append(append([]any{}, at...), "legs", l)
							w.put("{")
							w.pair("disk", func() { w.str(leg.Disk) }, at...)
							w.put(",")
							w.pair("offset", func() { w.size(leg.Offset) }, at...)
							w.put("},")
							if rapid.Bool().Draw(t, "wrap") {
								w.lineEnd()
							}
						}
						w.put("]")
					}, at...)
					end()
					w.pair("type", func() { w.str("striped") }, at...)
				}
				if inline {
					w.put("},")
				}
				w.lineEnd()
			}
			if inline {
				w.put("]\n")
			}
		}
		text := w.text.String()
		f, ps := Parse("r.toml", []byte(text))
		if len(ps) != 0 {
			t.Fatalf("%v\n%s", ps, text)
		}
		for d, segs := range devices {
			got := f.Devices[d].Segments
			if len(got) != len(segs) {
				t.Fatalf("%d segments, want %d", len(got), len(segs))
			}
			for i, s := range segs {
				if got[i].Sectors != s.sectors || uint64(got[i].Chunk) != s.chunk || len(got[i].Legs) != len(s.legs) {
					t.Fatalf("segment %+v, want %+v", got[i], s)
				}
				for l := range s.legs {
					if got[i].Legs[l].Disk != s.legs[l].Disk || got[i].Legs[l].Offset != s.legs[l].Offset {
						t.Fatalf("leg %+v, want %+v", got[i].Legs[l], s.legs[l])
					}
				}
			}
		}
		for _, k := range w.places {
			n := f.root
			for _, p := range k.path {
				if s, ok := p.(string); ok {
					n = n.child(s)
				} else {
					n = n.elem(p.(int))
				}
			}
			if n == nil || n.key != k.at {
				t.Fatalf("%v: %+v, want %v\n%s", k.path, n, k.at, text)
			}
		}
	})
}

// TestOverlapsBrute compares overlap detection with looking at every pair of extents.
func TestOverlapsBrute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &File{Disks: []*Disk{{Name: "a", Kind: KindPath}, {Name: "b", Kind: KindPath}}}
		var all []extent
		line := 1
		for d := range rapid.IntRange(1, 4).Draw(t, "devices") {
			share := rapid.Bool().Draw(t, "share")
			dev := &Device{Name: fmt.Sprint(d), ID: -1, AllowOverlap: share, ReadOnly: share}
			next := uint64(0)
			for i := range rapid.IntRange(1, 4).Draw(t, "segments") {
				n := rapid.IntRange(1, 2).Draw(t, "legs")
				width := rapid.Uint64Range(1, 12).Draw(t, "width")
				s := Segment{Type: "striped", Start: next, Sectors: width * uint64(n), Chunk: uint32(width)}
				for l := range n {
					line++
					leg := Leg{Disk: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "disk"), Offset: rapid.Uint64Range(0, 60).Draw(t, "offset"), Pos: Pos{line, 1}}
					s.Legs = append(s.Legs, leg)
					all = append(all, extent{disk: leg.Disk, start: leg.Offset, end: leg.Offset + width, d: dev, seg: i, leg: l, at: leg.Pos})
				}
				next += s.Sectors
				dev.Segments = append(dev.Segments, s)
			}
			f.Devices = append(f.Devices, dev)
		}
		clash := func(a, b extent) bool {
			return a.at != b.at && a.disk == b.disk && a.start < b.end && b.start < a.end && (!a.shareable() || !b.shareable())
		}
		any := false
		guilty := map[int]bool{}
		for _, a := range all {
			for _, b := range all {
				if clash(a, b) {
					any, guilty[a.at.Line] = true, true
				}
			}
		}
		errs := f.Check(nil).Errors()
		if any != (len(errs) > 0) {
			t.Fatalf("overlap %v, problems:\n%v", any, errs)
		}
		for _, p := range errs {
			if !guilty[p.Line] || !strings.Contains(p.Message, "already mapped by") {
				t.Fatalf("false alarm: %v", p)
			}
		}
	})
}
