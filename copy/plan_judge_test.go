package blkcopy

import (
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// fataler is a test that can stop: *testing.T and *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, a ...any)
}

// judge checks all windows of a plan against the model: what they cover, the bounds of their commands, how few those are,
// and what the disks hold after them.
func (m *planModel) judge(t fataler, p *Plan, seed uint64) []Window {
	t.Helper()
	windows := windowsOf(p)
	seen := map[remap.Place]bool{}
	offsets := make([]bool, len(m.to))
	for i := range windows {
		m.window(t, &windows[i], p.window/512, seen, offsets)
		if windows[i].Sequence != windows[0].Sequence {
			t.Fatalf("window %d: sequence %v, the first has %v", i, windows[i].Sequence, windows[0].Sequence)
		}
	}
	var onto uint64
	for i, done := range offsets {
		if done {
			continue
		}
		if onto++; m.from[i] != m.to[i] {
			t.Fatalf("sector %d of the request is in no window", i)
		}
	}
	if p.Onto() != onto*512 || p.onto().sum() != onto {
		t.Fatalf("onto itself: %d bytes, %v, %d sectors are in no window", p.Onto(), p.onto(), onto)
	}
	for _, r := range p.onto() {
		for i := range r.Len {
			if offsets[r.Start+i] {
				t.Fatalf("sector %d is onto itself and in a window", r.Start+i)
			}
		}
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	want := m.memmove()
	for range 3 {
		if got := perform(slices.Clone(windows), rng); !maps.Equal(got, want) {
			for k, v := range want {
				if got.read(k) != v {
					t.Fatalf("%v holds %v, memmove has %v there", k, got.read(k), v)
				}
			}
			t.Fatalf("%d sectors changed, memmove changes %d", len(got), len(want))
		}
	}
	return windows
}

// window checks one window by itself.
func (m *planModel) window(t fataler, w *Window, most uint64, seen map[remap.Place]bool, offsets []bool) {
	t.Helper()
	reads, writes := map[remap.Place]bool{}, map[remap.Place]bool{}
	counts, least := map[[2]target.Disk]int{}, map[[2]target.Disk]int{}
	for _, c := range w.Commands {
		m.command(t, w, &c)
		src, dst := placesOf(c.Sources...), placesOf(c.Dst)
		if len(src) != len(dst) || len(dst) == 0 {
			t.Fatalf("%+v: %d sectors to %d", c, len(src), len(dst))
		}
		for i := range dst {
			if seen[dst[i]] {
				t.Fatalf("%v is written twice", dst[i])
			}
			if seen[dst[i]] = true; m.sourceOf[dst[i]] != src[i] {
				t.Fatalf("%v gets %v, want %v", dst[i], src[i], m.sourceOf[dst[i]])
			}
			reads[src[i]], writes[dst[i]] = true, true
		}
		counts[m.key(w, c.Sources[0].Disk, c.Dst.Disk)]++
	}
	if !w.Bounce {
		for p := range reads {
			if writes[p] {
				t.Fatalf("window %d+%d reads and writes %v", w.Offset, w.Sectors, p)
			}
		}
	}
	if !slices.IsSortedFunc(w.Commands, func(a, b Command) int {
		return byDestination(item{dst: a.Dst.Disk, at: a.Dst.Start}, item{dst: b.Dst.Disk, at: b.Dst.Start})
	}) {
		t.Fatalf("commands are not in order of their destination")
	}
	m.located(t, w, most, offsets)
	m.fewest(t, w, writes, least)
	if !maps.Equal(counts, least) {
		t.Fatalf("window %d+%d: commands %v, as few as there can be %v", w.Offset, w.Sectors, counts, least)
	}
}

// located checks the pieces and ranges of a window.
func (m *planModel) located(t fataler, w *Window, most uint64, offsets []bool) {
	t.Helper()
	var n uint64
	var from, to []uint64
	for i, x := range w.Pieces {
		if i > 0 && x.Offset < w.Pieces[i-1].Offset+w.Pieces[i-1].Sectors {
			t.Fatalf("pieces are not in order of the request")
		}
		for j := x.Offset; j < x.Offset+x.Sectors; j++ {
			if offsets[j] {
				t.Fatalf("sector %d is in two windows", j)
			}
			offsets[j] = true
			from, to = append(from, m.fromTop[j]), append(to, m.top[j])
		}
		n += x.Sectors
	}
	if n != w.Sectors || n > most || n == 0 || w.Pieces[0].Offset < w.Offset {
		t.Fatalf("window %d+%d has %d sectors from %d on", w.Offset, w.Sectors, n, w.Pieces[0].Offset)
	}
	list := func(rs []target.Range) (out []uint64) {
		for _, r := range rs {
			for i := range r.Len {
				out = append(out, r.Start+i)
			}
		}
		return out
	}
	if !slices.Equal(list(w.Src), from) || !slices.Equal(list(w.Dst), to) {
		t.Fatalf("ranges %v to %v are not where the pieces are", w.Src, w.Dst)
	}
}

// bounds is what a command between two disks may have, in sectors; ok: they offload.
func (m *planModel) bounds(s, d target.Disk) (ranges int, ranged, total uint64, ok bool) {
	a, b := &m.disks[s], &m.disks[d]
	if !a.Copy.Can() || a.Copy.Method != b.Copy.Method || a.Copy.Domain == "" || a.Copy.Domain != b.Copy.Domain {
		return 0, 0, 0, false
	}
	ab, bb := uint64(max(a.LogicalBlock, 512)/512), uint64(max(b.LogicalBlock, 512)/512)
	if ab != bb && a.Copy.Method != limits.FileCopy {
		return 0, 0, 0, false
	}
	ranged, total = 1<<40, 1<<40
	if a.Copy.MSSRL != 0 {
		ranged = uint64(a.Copy.MSSRL) * ab
	}
	if b.Copy.MCL != 0 {
		total = uint64(b.Copy.MCL) * bb
	}
	unit := max(ab, bb)
	ranged, total = ranged-ranged%unit, total-total%unit
	return int(b.Copy.MSRC) + 1, ranged, total, ranged > 0 && total > 0
}

// command checks a command's method and bounds.
func (m *planModel) command(t fataler, w *Window, c *Command) {
	t.Helper()
	if c.Method == Emulated {
		for _, s := range c.Sources {
			if _, _, _, ok := m.bounds(s.Disk, c.Dst.Disk); ok && !w.Bounce {
				t.Fatalf("%+v is emulated, and the disks can", c)
			}
		}
		return
	}
	ranges, ranged, total, ok := m.bounds(c.Sources[0].Disk, c.Dst.Disk)
	if !ok || w.Bounce || m.disks[c.Dst.Disk].Copy.Method != c.Method {
		t.Fatalf("%+v: the disks cannot, or the window bounces", c)
	}
	if len(c.Sources) > ranges || c.Dst.Len > total {
		t.Fatalf("%+v: at most %d ranges, %d sectors", c, ranges, total)
	}
	unit := uint64(max(m.disks[c.Sources[0].Disk].LogicalBlock, m.disks[c.Dst.Disk].LogicalBlock, 512) / 512)
	for _, s := range c.Sources {
		if s.Disk != c.Sources[0].Disk || s.Len > ranged || s.Len == 0 || s.Len%unit != 0 {
			t.Fatalf("%+v: %+v is more than %d sectors, or on another disk, or no multiple of %d", c, s, ranged, unit)
		}
	}
}

// emulates is the source in keys of what is emulated, from wherever.
const emulates target.Disk = 1<<16 - 1

func (m *planModel) key(w *Window, s, d target.Disk) [2]target.Disk {
	if _, _, _, ok := m.bounds(s, d); !ok || w.Bounce {
		s = emulates
	}
	return [2]target.Disk{s, d}
}
