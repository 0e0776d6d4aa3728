package workload

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/copy"
)

// everyWorkload is All and one of a file.
func everyWorkload(list []Extent) []*Workload { return append(All(), FileOf(list)) }

var someExtents = []Extent{{8 << 20, 64 << 10}, {1 << 40, 4096}, {8<<20 + 64<<10, 512}, {3 << 30, 1 << 20}, {512, 1024}}

// valid finds what is wrong with a request, by the letter of its promise and not by the generator's words.
func valid(q *Request, s Shape, align, most uint64) string {
	if len(q.Src) == 0 || len(q.Dst) == 0 || len(q.Src) > blkcopy.MaxSegs || len(q.Dst) > blkcopy.MaxSegs {
		return "segments"
	}
	total := func(segs []blkcopy.Seg, end uint64) (n uint64, bad string) {
		for _, g := range segs {
			if g.Len == 0 || g.Pos%align != 0 || g.Len%align != 0 {
				return 0, "alignment"
			}
			if g.Pos > end || g.Len > end-g.Pos {
				return 0, "past the device"
			}
			n += g.Len
		}
		return n, ""
	}
	a, bad := total(q.Src, s.SrcBytes)
	if bad != "" {
		return "source: " + bad
	}
	b, bad := total(q.Dst, s.DstBytes)
	switch {
	case bad != "":
		return "destination: " + bad
	case a != b || a != q.Bytes():
		return "totals differ"
	case a > most || a > s.SrcBytes/4 || a > s.DstBytes/4:
		return "too long"
	case overlap(q.Dst, q.Dst, true):
		return "destinations overlap"
	}
	return ""
}

func overlap(a, b []blkcopy.Seg, same bool) bool {
	for i, x := range a {
		for j, y := range b {
			if (!same || i != j) && x.Pos < y.Pos+y.Len && y.Pos < x.Pos+x.Len {
				return true
			}
		}
	}
	return false
}

// TestValid: whatever the devices and the parameters are, a request is one that both devices take, or there is none.
func TestValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Shape{Block: rapid.SampledFrom([]uint32{0, 512, 4096}).Draw(t, "block"), Same: rapid.Bool().Draw(t, "same")}
		block := uint64(max(s.Block, 512))
		size := func(name string) uint64 { // odd tails too
			return rapid.Uint64Range(0, 1<<rapid.IntRange(10, 40).Draw(t, name+" magnitude")).Draw(t, name) / 512 * 512
		}
		s.SrcBytes, s.DstBytes = size("src"), size("dst")
		if s.Same {
			s.DstBytes = s.SrcBytes
		}
		p := Params{Align: block * rapid.Uint64Range(0, 20).Draw(t, "align")}
		align := p.Align
		if align == 0 {
			align = max(4096, block)
		}
		most := uint64(math.MaxUint64)
		if rapid.Bool().Draw(t, "bounded") {
			p.MaxBytes = rapid.Uint64Range(align, 1<<24).Draw(t, "most")
			most = p.MaxBytes
		}
		seed, index := rapid.Uint64().Draw(t, "seed"), rapid.Uint64().Draw(t, "index")
		for _, w := range everyWorkload(someExtents) {
			q, err := w.Request(s, p, seed, index)
			if err != nil {
				room := min(s.SrcBytes, s.DstBytes) / align / 4
				if w.Name == "extents" && errors.Is(err, ErrSmall) && room < uint64(2*len(someExtents))+(2<<20)/align {
					continue
				}
				if !errors.Is(err, ErrSmall) || room > 0 {
					t.Fatalf("%s: %v", w.Name, err)
				}
				continue
			}
			if bad := valid(q, s, align, most); bad != "" {
				t.Fatalf("%s: %s: %+v", w.Name, bad, q)
			}
			if w.Name != "random" && (overlap(q.Src, q.Src, true) && w.Name != "extents" || s.Same && overlap(q.Src, q.Dst, false)) {
				t.Fatalf("%s: sources overlap: %+v", w.Name, q)
			}
		}
	})
}

// TestDeterministic: the same request of the same three; another of any other.
func TestDeterministic(t *testing.T) {
	s := Shape{SrcBytes: 1 << 30, DstBytes: 1 << 30, Same: true}
	var all []*Request
	for _, w := range everyWorkload(someExtents) {
		for _, x := range [][2]uint64{{1, 0}, {1, 1}, {2, 0}} {
			q, err := w.Request(s, Params{}, x[0], x[1])
			if err != nil {
				t.Fatal(err)
			}
			again, _ := w.Request(s, Params{}, x[0], x[1])
			if !slices.Equal(q.Src, again.Src) || !slices.Equal(q.Dst, again.Dst) {
				t.Errorf("%s of seed %d, index %d: not the same twice", w.Name, x[0], x[1])
			}
			for _, o := range all {
				if slices.Equal(q.Src, o.Src) && slices.Equal(q.Dst, o.Dst) {
					t.Errorf("%s of seed %d, index %d: as another", w.Name, x[0], x[1])
				}
			}
			all = append(all, q)
		}
	}
	// Written down, so that a new Go or a new version here does not change what somebody measured.
	q, _ := All()[0].Request(s, Params{}, 1, 0)
	if got := (struct {
		n          int
		first, dst blkcopy.Seg
	}{len(q.Src), q.Src[0], q.Dst[0]}); got != pinned {
		t.Errorf("defrag of seed 1, index 0: %+v", got)
	}
}

// TestCharacter: each workload is what it says: who defragments has scattered sources in any order and one destination,
// and so on.
func TestCharacter(t *testing.T) {
	for _, same := range []bool{true, false} {
		s := Shape{SrcBytes: 1 << 30, DstBytes: 1 << 30, Block: 512, Same: same}
		long, several := 0, 0
		for i := range uint64(200) {
			for _, w := range All() {
				q, err := w.Request(s, Params{}, 7, i)
				if err != nil {
					t.Fatal(err)
				}
				ascending := slices.IsSortedFunc(q.Src, func(a, b blkcopy.Seg) int { return int(int64(a.Pos) - int64(b.Pos)) })
				ok := true
				switch w.Name {
				case "defrag":
					ok = len(q.Dst) == 1 && len(q.Src) >= 8 && len(q.Src) <= 128 && !ascending
					for _, g := range q.Src {
						ok = ok && g.Len <= 64<<10
					}
				case "zone-gc":
					zones := map[uint64]bool{}
					for _, g := range q.Src {
						zones[g.Pos/maxZone] = true
						ok = ok && g.Pos/maxZone == (g.Pos+g.Len-1)/maxZone
					}
					into := q.Dst[0].Pos / maxZone
					ok = ok && ascending && len(q.Dst) == 1 && q.Dst[0].Pos%maxZone == 0 && q.Bytes() <= maxZone && len(zones) >= 2 && len(zones) <= 4 && !(same && zones[into])
					if len(q.Src) > 64 {
						long++
					}
				case "clone":
					ok = len(q.Src) == 1 && len(q.Dst) == 1 && q.Bytes() >= 32<<20 && q.Bytes() <= 64<<20 && q.Src[0].Pos%cloneUnit == 0 && q.Dst[0].Pos%cloneUnit == 0
				case "file":
					ok = len(q.Src) > 1 && len(q.Dst) <= 4 && q.Bytes() >= 2<<20 && q.Bytes() <= 8<<20
					if len(q.Dst) > 1 {
						several++
					}
				case "random":
					ok = len(q.Src) <= 16 && len(q.Dst) <= 4
				}
				if !ok {
					t.Errorf("same %v, %s %d: %d sources, %+v", same, w.Name, i, len(q.Src), q)
				}
			}
		}
		if long == 0 || several == 0 {
			t.Errorf("same %v: %d collections of more than 64 sources, %d files to more than one run", same, long, several)
		}
	}
}

func TestParams(t *testing.T) {
	s := Shape{SrcBytes: 1 << 30, DstBytes: 1 << 30, Block: 4096}
	for _, c := range []struct {
		s    Shape
		p    Params
		want error
	}{
		{s, Params{Align: 512}, ErrParams},
		{s, Params{Align: 6144}, ErrParams},
		{s, Params{MaxBytes: 2048}, ErrParams},
		{Shape{SrcBytes: 4 * 4096, DstBytes: 4*4096 - 1}, Params{}, ErrSmall},
		{Shape{SrcBytes: 4*4096 - 1, DstBytes: 1 << 30}, Params{}, ErrSmall},
		{Shape{SrcBytes: 4 * 4096, DstBytes: 4 * 4096, Same: true}, Params{}, nil},
		{s, Params{Align: 128 << 20}, nil},
	} {
		for _, w := range All() {
			if _, err := w.Request(c.s, c.p, 1, 1); !errors.Is(err, c.want) {
				t.Errorf("%s of %+v %+v: %v, not %v", w.Name, c.s, c.p, err, c.want)
			}
		}
	}
	if _, err := Find("defrga"); err == nil || err.Error() != `no workload "defrga": defrag, zone-gc, clone, file, random` {
		t.Error(err)
	}
	for _, w := range All() {
		if got, err := Find(w.Name); err != nil || got.Name != w.Name {
			t.Error(w.Name, err)
		}
	}
}

var pinned = struct {
	n          int
	first, dst blkcopy.Seg
}{46, blkcopy.Seg{Pos: 742727680, Len: 36864}, blkcopy.Seg{Pos: 775544832, Len: 1646592}}
