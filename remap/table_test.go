package remap

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// drawTable draws a table in which no two places share a sector of a disk: every leg begins behind all that were drawn
// for its disk before.
func drawTable(t *rapid.T) *Table {
	free := make([]uint64, 5)
	place := func(length uint64) stripe.Leg {
		d := rapid.IntRange(0, len(free)-1).Draw(t, "disk")
		at := free[d] + rapid.Uint64Range(0, 9).Draw(t, "skip")
		free[d] = at + length
		return stripe.Leg{Disk: target.Disk(d), Start: at}
	}
	var parts []Part
	for range rapid.IntRange(1, 6).Draw(t, "spans") {
		if rapid.Bool().Draw(t, "linear") {
			length := rapid.Uint64Range(1, 200).Draw(t, "length")
			l := place(length)
			lt, err := linear.New(l.Disk, target.Range{Start: l.Start, Len: length})
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, Part{length, lt})
			continue
		}
		chunk := rapid.Uint32Range(1, 20).Draw(t, "chunk")
		n, rows := rapid.IntRange(1, 5).Draw(t, "legs"), rapid.Uint64Range(1, 8).Draw(t, "rows")
		var legs []stripe.Leg
		for range n {
			legs = append(legs, place(rows*uint64(chunk)))
		}
		st, err := stripe.New(rows*uint64(chunk)*uint64(n), chunk, legs)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, Part{rows * uint64(chunk) * uint64(n), st})
	}
	tb, err := NewTable(parts)
	if err != nil {
		t.Fatal(err)
	}
	return tb
}

func drawRange(t *rapid.T, tb *Table) target.Range {
	start := rapid.Uint64Range(0, tb.Sectors()-1).Draw(t, "start")
	return target.Range{Start: start, Len: rapid.Uint64Range(1, tb.Sectors()-start).Draw(t, "len")}
}

type place struct {
	disk   target.Disk
	sector uint64
}

// mapAll maps with so little room that it takes many turns, as a queue with few free slots does.
func mapAll(t *rapid.T, tb *Table, op target.Op, r target.Range, room int) []target.Segment {
	var all []target.Segment
	for done := uint64(0); done < r.Len; {
		segs, n := tb.Map(make([]target.Segment, 0, room), op, target.Range{Start: r.Start + done, Len: r.Len - done})
		if n == 0 {
			t.Fatalf("no progress with room %d, fan %d", room, tb.Fan())
		}
		for _, s := range segs {
			s.Offset += done
			all = append(all, s)
		}
		done += n
	}
	return all
}

// Every sector of a request lands at exactly one place, in request order, and where a map of that one sector says.
func TestMapCoversEachSectorOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := drawTable(t)
		r := drawRange(t, tb)
		segs := mapAll(t, tb, target.Read, r, rapid.IntRange(tb.Fan(), tb.Fan()+50).Draw(t, "room"))
		at, seen := uint64(0), map[place]bool{}
		for _, s := range segs {
			if s.Offset != at {
				t.Fatalf("segment %+v begins at %d of the request, want %d", s, s.Offset, at)
			}
			for i := range s.Sectors {
				one, _ := tb.Map(make([]target.Segment, 0, 8), target.Write, target.Range{Start: r.Start + at, Len: 1})
				p := place{s.Disk, s.Sector + i}
				if one[0].Disk != p.disk || one[0].Sector != p.sector || seen[p] {
					t.Fatalf("sector %d: %+v alone, %+v in %+v", r.Start+at, one[0], p, r)
				}
				seen[p] = true
				at++
			}
		}
		if at != r.Len {
			t.Fatalf("covered %d of %d", at, r.Len)
		}
	})
}

// A ranged op touches exactly the places that a read of the same range does, with at most one segment per leg and span,
// and its offset is where its first sector is in the request.
func TestRangedEqualsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := drawTable(t)
		r := drawRange(t, tb)
		room := rapid.IntRange(tb.Fan(), tb.Fan()+20).Draw(t, "room")
		want := map[place]uint64{}
		for _, s := range mapAll(t, tb, target.Read, r, 64) {
			for i := range s.Sectors {
				want[place{s.Disk, s.Sector + i}] = s.Offset + i
			}
		}
		got, n := map[place]bool{}, 0
		for _, s := range mapAll(t, tb, target.Discard, r, room) {
			if off, ok := want[place{s.Disk, s.Sector}]; !ok || off != s.Offset {
				t.Fatalf("%+v: offset %d of a read", s, off)
			}
			for i := range s.Sectors {
				got[place{s.Disk, s.Sector + i}] = true
				n++
			}
		}
		if n != len(want) || len(got) != len(want) {
			t.Fatalf("ranged op covers %d places in %d sectors, read %d", len(got), n, len(want))
		}
		for p := range want {
			if !got[p] {
				t.Fatalf("%+v is missing", p)
			}
		}
	})
}

// Everything a map yields lies inside the extents that the targets declare: what is checked against a disk's size is all
// that is ever touched.
func TestMapStaysInExtents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := drawTable(t)
		var ext []target.Extent
		for _, s := range tb.Spans() {
			for e := range s.Target.Extents {
				ext = append(ext, e)
			}
		}
		op := rapid.SampledFrom([]target.Op{target.Read, target.Discard}).Draw(t, "op")
		for _, s := range mapAll(t, tb, op, drawRange(t, tb), tb.Fan()) {
			if !slices.ContainsFunc(ext, func(e target.Extent) bool {
				return e.Disk == s.Disk && s.Sector >= e.Start && s.Sector+s.Sectors <= e.End()
			}) {
				t.Fatalf("%+v is outside every extent", s)
			}
		}
	})
}

// Merge keeps every sector where it was and leaves no two neighbours that could be joined.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := drawTable(t)
		r := drawRange(t, tb)
		segs := mapAll(t, tb, target.Read, r, 64)
		flat := func(segs []target.Segment) (out []place) {
			for _, s := range segs {
				for i := range s.Sectors {
					out = append(out, place{s.Disk, s.Sector + i})
				}
			}
			return out
		}
		want := flat(segs)
		got := Merge(slices.Clone(segs))
		if !slices.Equal(flat(got), want) {
			t.Fatal("merge moved a sector")
		}
		for i := 1; i < len(got); i++ {
			if got[i].Disk == got[i-1].Disk && got[i].Sector == got[i-1].Sector+got[i-1].Sectors {
				t.Fatalf("%+v and %+v are one", got[i-1], got[i])
			}
		}
	})
}

func TestNewTableRefuses(t *testing.T) {
	l, _ := linear.New(0, target.Range{Start: 0, Len: 1})
	for _, c := range []struct {
		parts []Part
		want  error
	}{
		{nil, ErrEmpty},
		{make([]Part, MaxSpans+1), ErrTooMany},
		{[]Part{{0, l}}, target.ErrZeroLength},
		{[]Part{{target.MaxSectors, l}, {1, l}}, target.ErrTooLong},
	} {
		if _, err := NewTable(c.parts); !errors.Is(err, c.want) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	}
}

func TestMapAllocatesNothing(t *testing.T) {
	tb, err := parseTable("0 1001 linear C 1 | 1001 720 striped 3 24 A 40 B 48 C 2048 | 1721 327 linear B 1024")
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]target.Segment, 0, 256)
	for op := target.Read; op <= target.WriteZeroes; op++ {
		if n := testing.AllocsPerRun(100, func() { tb.Map(dst, op, target.Range{Start: 7, Len: 2000}) }); n != 0 {
			t.Errorf("%v: %v allocations", op, n)
		}
	}
}

func BenchmarkMap(b *testing.B) {
	for _, c := range []struct {
		name, table string
		r           target.Range
	}{
		{"linear/4KiB", "0 2048 linear A 0", target.Range{Start: 64, Len: 8}},
		{"striped-pow2/4KiB", "0 2048 striped 2 128 A 0 B 0", target.Range{Start: 640, Len: 8}},
		{"striped-odd/4KiB", "0 1800 striped 3 24 A 0 B 0 C 0", target.Range{Start: 640, Len: 8}},
		{"striped-pow2/512KiB", "0 2048 striped 2 128 A 0 B 0", target.Range{Start: 64, Len: 1024}},
		{"mixed/4KiB", "0 1001 linear C 1 | 1001 720 striped 3 24 A 40 B 48 C 2048 | 1721 327 linear B 1024", target.Range{Start: 1100, Len: 8}},
	} {
		b.Run(c.name, func(b *testing.B) {
			tb, err := parseTable(c.table)
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]target.Segment, 0, 256)
			for b.Loop() {
				tb.Map(dst, target.Read, c.r)
			}
		})
	}
	b.Run("10000-spans/4KiB", func(b *testing.B) {
		l, _ := linear.New(0, target.Range{Start: 0, Len: 64})
		parts := make([]Part, 10000)
		for i := range parts {
			parts[i] = Part{64, l}
		}
		tb, err := NewTable(parts)
		if err != nil {
			b.Fatal(err)
		}
		dst := make([]target.Segment, 0, 256)
		var at uint64
		for b.Loop() {
			at = (at + 7919*64) % (tb.Sectors() - 8)
			tb.Map(dst, target.Read, target.Range{Start: at, Len: 8})
		}
	})
}

// FuzzMap draws a table from bytes and checks every answer of Map for bounds and order.
func FuzzMap(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, uint64(5), uint64(300), uint8(0), uint8(3))
	f.Add([]byte{0, 200, 1, 2, 24, 3, 0, 9, 8}, uint64(1), uint64(1<<40), uint8(3), uint8(0))
	f.Fuzz(func(t *testing.T, shape []byte, start, length uint64, op, room uint8) {
		tb := tableFromBytes(shape)
		if tb == nil {
			return
		}
		o := target.Op(op % 5)
		r := target.Range{Start: start % tb.Sectors(), Len: length}
		if !tb.Contains(r) {
			r.Len = tb.Sectors() - r.Start
		}
		if o == target.Flush {
			if segs, n := tb.Map(make([]target.Segment, 0, tb.Fan()), o, r); n != 0 || len(segs) != len(tb.Disks()) {
				t.Fatalf("flush: %d segments for %d disks", len(segs), len(tb.Disks()))
			}
			return
		}
		turns := 0
		for done := uint64(0); done < r.Len; turns++ {
			segs, n := tb.Map(make([]target.Segment, 0, tb.Fan()+int(room)), o, target.Range{Start: r.Start + done, Len: r.Len - done})
			if n == 0 || n > r.Len-done {
				t.Fatalf("%d of %d sectors", n, r.Len-done)
			}
			var sum uint64
			for _, s := range segs {
				if s.Sectors == 0 || s.Offset >= n || int(s.Disk) >= 5 {
					t.Fatalf("%+v of %d", s, n)
				}
				sum += s.Sectors
			}
			if sum != n {
				t.Fatalf("segments hold %d sectors of %d", sum, n)
			}
			done += n
			if turns > 1000 {
				return // a huge range over tiny chunks: enough was seen
			}
		}
	})
}

func tableFromBytes(b []byte) *Table {
	next := func() uint64 {
		if len(b) == 0 {
			return 1
		}
		v := b[0]
		b = b[1:]
		return uint64(v)
	}
	var parts []Part
	for range next()%6 + 1 {
		if next()%2 == 0 {
			length := next()<<(next()%40) + 1
			l, err := linear.New(target.Disk(next()%5), target.Range{Start: next() << (next() % 30), Len: length})
			if err != nil {
				return nil
			}
			parts = append(parts, Part{length, l})
			continue
		}
		chunk, rows := uint32(next()+1)<<(next()%12), next()<<(next()%20)+1
		legs := make([]stripe.Leg, next()%7+1)
		for i := range legs {
			legs[i] = stripe.Leg{Disk: target.Disk(next() % 5), Start: next()}
		}
		length := rows * uint64(chunk) * uint64(len(legs))
		s, err := stripe.New(length, chunk, legs)
		if err != nil {
			return nil
		}
		parts = append(parts, Part{length, s})
	}
	tb, err := NewTable(parts)
	if err != nil {
		return nil
	}
	return tb
}
