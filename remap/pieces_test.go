package remap

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// collect is what Next yields.
func collect(p *Pieces) (out []Piece) {
	for {
		x, ok := p.Next()
		if !ok {
			return out
		}
		out = append(out, x)
	}
}

func showPieces(ps []Piece) string {
	var out []string
	for _, p := range ps {
		out = append(out, fmt.Sprintf("%s:%d→%s:%d+%d", letter(p.Src.Disk), p.Src.Sector, letter(p.Dst.Disk), p.Dst.Sector, p.Sectors))
	}
	return strings.Join(out, ", ")
}

// The split vectors of the design, sector by sector.
func TestPiecesVectors(t *testing.T) {
	tables := map[string]string{
		"L": "0 1000 linear A 2048 | 1000 1000 linear B 0",
		"S": "0 1536 striped 3 64 A 0 B 128 C 0",
		"M": "0 100 linear A 2048 | 100 512 striped 2 16 B 0 C 8",
	}
	for _, c := range []struct {
		id, table         string
		src, dst, n, most uint64
		want              string
	}{
		{"S1 source crosses", "L", 990, 1500, 30, 0, "A:3038→B:500+10, B:0→B:510+20"},
		{"S2 destination crosses", "L", 100, 980, 40, 0, "A:2148→A:3028+20, A:2168→B:0+20"},
		{"S3 both, overlapping", "L", 980, 990, 40, 0, "A:3028→A:3038+10, A:3038→B:0+10, B:0→B:10+20"},
		{"S3b both inside one", "L", 950, 900, 50, 0, "A:2998→A:2948+50"},
		{"S5 at most 16", "L", 990, 1500, 40, 16, "A:3038→B:500+10, B:0→B:510+16, B:16→B:526+14"},
		{"S6 whole row, same phase", "S", 0, 192, 192, 0, "A:0→A:64+64, B:128→B:192+64, C:0→C:64+64"},
		{"S6b two rows", "S", 0, 768, 384, 0, "A:0→A:256+64, B:128→B:384+64, C:0→C:256+64, A:64→A:320+64, B:192→B:448+64, C:64→C:320+64"},
		{"S7 shifted by one chunk", "S", 0, 64, 192, 0, "A:0→B:128+64, B:128→C:0+64, C:0→A:64+64"},
		{"S8 other phase", "S", 10, 400, 100, 0, "A:10→A:144+48, A:58→B:256+6, B:128→B:262+46"},
		{"S9 linear to striped", "M", 50, 300, 40, 0, "A:2098→B:104+8, A:2106→C:104+16, A:2122→B:112+16"},
		{"S10 seam into stripe", "M", 90, 200, 30, 0, "A:2138→B:52+10, B:0→B:62+2, B:2→C:56+14, C:8→C:70+2, C:10→B:64+2"},
	} {
		t.Run(c.id, func(t *testing.T) {
			tb, err := parseTable(tables[c.table])
			if err != nil {
				t.Fatal(err)
			}
			p := NewPieces(Side{tb, []target.Range{{Start: c.src, Len: c.n}}}, Side{tb, []target.Range{{Start: c.dst, Len: c.n}}})
			p.Cap(c.most)
			if got := showPieces(collect(p)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			p.Cap(0)
			p.Seek(0, c.n)
			if got := collect(p); c.most != 0 && len(got) != 2 {
				t.Errorf("without the bound: %s", showPieces(got))
			}
		})
	}
}

// drawTables draws two tables of the same disks, where a place may be in several: one table may be both.
func drawTables(t *rapid.T) (src, dst *Table) {
	one := func() *Table {
		var parts []Part
		for range rapid.IntRange(1, 5).Draw(t, "spans") {
			leg := func() stripe.Leg {
				return stripe.Leg{Disk: target.Disk(rapid.IntRange(0, 3).Draw(t, "disk")), Start: rapid.Uint64Range(0, 300).Draw(t, "at")}
			}
			if rapid.Bool().Draw(t, "linear") {
				n, l := rapid.Uint64Range(1, 150).Draw(t, "length"), leg()
				lt, err := linear.New(l.Disk, target.Range{Start: l.Start, Len: n})
				if err != nil {
					t.Fatal(err)
				}
				parts = append(parts, Part{n, lt})
				continue
			}
			chunk, rows := rapid.Uint64Range(1, 20).Draw(t, "chunk"), rapid.Uint64Range(1, 8).Draw(t, "rows")
			legs := make([]stripe.Leg, rapid.IntRange(1, 4).Draw(t, "legs"))
			for i := range legs {
				legs[i] = leg()
			}
			n := rows * chunk * uint64(len(legs))
			st, err := stripe.New(n, uint32(chunk), legs)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, Part{n, st})
		}
		tb, err := NewTable(parts)
		if err != nil {
			t.Fatal(err)
		}
		return tb
	}
	src = one()
	if rapid.Bool().Draw(t, "same") {
		return src, src
	}
	return src, one()
}

// drawSide draws ranges of n sectors in all; they may overlap.
func drawSide(t *rapid.T, tb *Table, n uint64) Side {
	s := Side{Table: tb}
	for n > 0 {
		r := drawRange(t, tb)
		r.Len = min(r.Len, n)
		s.Ranges = append(s.Ranges, r)
		n -= r.Len
	}
	return s
}

// flat is every sector of a side as Table.Map has it one by one, and whether a segment of Table.Map, or a range, begins
// there.
func flat(t *rapid.T, s Side) (at []Place, edge []bool) {
	for _, r := range s.Ranges {
		edges := map[uint64]bool{}
		for _, g := range mapAll(t, s.Table, target.Read, r, s.Table.Fan()) {
			edges[g.Offset] = true
		}
		for i := range r.Len {
			one, _ := s.Table.Map(make([]target.Segment, 0, 1), target.Read, target.Range{Start: r.Start + i, Len: 1})
			at = append(at, Place{one[0].Disk, one[0].Sector})
			edge = append(edge, edges[i])
		}
	}
	return at, edge
}

// Pieces have every sector of a request once, in its order, from where Map says to where Map says; they end at edges of
// either side and nowhere else.
func TestPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st, dt := drawTables(t)
		n := rapid.Uint64Range(1, 600).Draw(t, "n")
		src, dst := drawSide(t, st, n), drawSide(t, dt, n)
		from, fromEdge := flat(t, src)
		to, toEdge := flat(t, dst)
		p := NewPieces(src, dst)
		most := uint64(0)
		if rapid.Bool().Draw(t, "bounded") {
			most = rapid.Uint64Range(1, 40).Draw(t, "most")
			p.Cap(most)
		}
		at, end := uint64(0), n
		if rapid.Bool().Draw(t, "seek") {
			at = rapid.Uint64Range(0, n).Draw(t, "from")
			end = rapid.Uint64Range(at, n).Draw(t, "to")
			for range rapid.IntRange(0, 3).Draw(t, "before") { // wherever it stood
				p.Next()
			}
			p.Seek(at, end)
		}
		crossings, begin := 0, at
		for i := at + 1; i < end; i++ {
			if fromEdge[i] || toEdge[i] {
				crossings++
			}
		}
		pieces := collect(p)
		for _, x := range pieces {
			if x.Sectors == 0 || x.Offset != at {
				t.Fatalf("%+v, want it at %d", x, at)
			}
			for i := range x.Sectors {
				if (from[at+i] != Place{x.Src.Disk, x.Src.Sector + i}) || (to[at+i] != Place{x.Dst.Disk, x.Dst.Sector + i}) {
					t.Fatalf("sector %d: %+v, map says %+v to %+v", at+i, x, from[at+i], to[at+i])
				}
				if i > 0 && (fromEdge[at+i] || toEdge[at+i]) {
					t.Fatalf("%+v crosses the edge at %d", x, at+i)
				}
			}
			at += x.Sectors
			if at < end && !fromEdge[at] && !toEdge[at] && x.Sectors != most {
				t.Fatalf("%+v ends at %d, where no edge is", x, at)
			}
		}
		if at != end {
			t.Fatalf("pieces end at %d of [%d,%d)", at, begin, end)
		}
		if most == 0 && len(pieces) > crossings+1 {
			t.Fatalf("%d pieces, %d crossings", len(pieces), crossings)
		}
	})
}

// What Seek yields is what a walk from the start has there, clipped.
func TestPiecesSeek(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st, dt := drawTables(t)
		n := rapid.Uint64Range(1, 600).Draw(t, "n")
		p := NewPieces(drawSide(t, st, n), drawSide(t, dt, n))
		all := collect(p)
		at := rapid.Uint64Range(0, n).Draw(t, "at")
		end := rapid.Uint64Range(at, n).Draw(t, "end")
		var want []Piece
		for _, x := range all {
			a, b := max(x.Offset, at), min(x.Offset+x.Sectors, end)
			if a < b {
				d := a - x.Offset
				x.Src.Sector, x.Dst.Sector, x.Offset, x.Sectors = x.Src.Sector+d, x.Dst.Sector+d, a, b-a
				want = append(want, x)
			}
		}
		p.Seek(at, end)
		if got := collect(p); !slices.Equal(got, want) {
			t.Fatalf("[%d,%d): got %s\nwant %s", at, end, showPieces(got), showPieces(want))
		}
	})
}

// Ranges are where the sectors of the request lie on the devices.
func TestPiecesRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st, dt := drawTables(t)
		n := rapid.Uint64Range(1, 600).Draw(t, "n")
		src, dst := drawSide(t, st, n), drawSide(t, dt, n)
		p := NewPieces(src, dst)
		at := rapid.Uint64Range(0, n).Draw(t, "at")
		k := rapid.Uint64Range(0, n-at).Draw(t, "k")
		for _, source := range []bool{true, false} {
			side := dst
			if source {
				side = src
			}
			sectors := func(rs []target.Range) (out []uint64) {
				for _, r := range rs {
					for i := range r.Len {
						out = append(out, r.Start+i)
					}
				}
				return out
			}
			got := p.Ranges(nil, source, at, k)
			if !slices.Equal(sectors(got), sectors(side.Ranges)[at:at+k]) {
				t.Fatalf("%d+%d of %v: %v", at, k, side.Ranges, got)
			}
			if slices.ContainsFunc(got, func(r target.Range) bool { return r.Len == 0 }) {
				t.Fatalf("%d+%d of %v: %v has an empty range", at, k, side.Ranges, got)
			}
		}
	})
}

// One side shorter than the other ends the walk.
func TestPiecesShorterSide(t *testing.T) {
	tb, err := parseTable("0 100 linear A 0")
	if err != nil {
		t.Fatal(err)
	}
	p := NewPieces(Side{tb, []target.Range{{Start: 0, Len: 30}}}, Side{tb, []target.Range{{Start: 50, Len: 20}}})
	if got := showPieces(collect(p)); got != "A:0→A:50+20" {
		t.Error(got)
	}
}

// mute maps nothing: a target that breaks its word.
type mute struct{ target.Target }

func (mute) Map(dst []target.Segment, _ target.Op, _ target.Range) ([]target.Segment, uint64) {
	return dst, 0
}

func (mute) Extents(func(target.Extent) bool) {}

func TestPiecesMuteTargetEnds(t *testing.T) {
	tb, err := NewTable([]Part{{100, mute{}}})
	if err != nil {
		t.Fatal(err)
	}
	s := Side{tb, []target.Range{{Len: 10}}}
	if got := collect(NewPieces(s, s)); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestPiecesAllocateNothing(t *testing.T) {
	tb, err := parseTable("0 1001 linear C 1 | 1001 72000 striped 3 24 A 40 B 48 C 2048")
	if err != nil {
		t.Fatal(err)
	}
	p := NewPieces(Side{tb, []target.Range{{Start: 7, Len: 20000}, {Start: 5, Len: 5}}}, Side{tb, []target.Range{{Start: 30000, Len: 20005}}})
	if n := testing.AllocsPerRun(20, func() {
		p.Seek(3, 20005)
		for {
			if _, ok := p.Next(); !ok {
				return
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPieces(b *testing.B) {
	for name, text := range map[string]string{
		"linear":  "0 1048576 linear A 0 | 1048576 1048576 linear B 0",
		"striped": "0 2097152 striped 4 128 A 0 B 0 C 0 D 0",
	} {
		b.Run(name, func(b *testing.B) {
			tb, err := parseTable(text)
			if err != nil {
				b.Fatal(err)
			}
			p := NewPieces(Side{tb, []target.Range{{Len: 1 << 20}}}, Side{tb, []target.Range{{Start: 1 << 20, Len: 1 << 20}}})
			n := 0
			for b.Loop() {
				for p.Seek(0, 1<<20); ; n++ {
					if _, ok := p.Next(); !ok {
						break
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/piece")
		})
	}
}
