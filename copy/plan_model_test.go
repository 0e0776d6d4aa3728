package blkcopy

import (
	"math/rand/v2"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// planModel is what a request says, sector by sector, by Table.Map alone: what plans are compared with.
type planModel struct {
	req          *Request
	disks        []Disk
	from, to     []remap.Place // of every sector of the request
	fromTop, top []uint64      // the same on the devices: source, destination
	sourceOf     map[remap.Place]remap.Place
}

func newPlanModel(req *Request, disks []Disk) *planModel {
	m := &planModel{req: req, disks: disks, sourceOf: map[remap.Place]remap.Place{}}
	m.from, m.fromTop = sectorsOf(req.Src.Table, req.SrcSegs)
	m.to, m.top = sectorsOf(req.Dst.Table, req.DstSegs)
	for i, p := range m.to {
		m.sourceOf[p] = m.from[i]
	}
	return m
}

func sectorsOf(t *remap.Table, segs []Seg) (places []remap.Place, top []uint64) {
	for _, s := range segs {
		for at := s.Pos / 512; at < (s.Pos+s.Len)/512; at++ {
			one, _ := t.Map(make([]target.Segment, 0, 1), target.Read, target.Range{Start: at, Len: 1})
			places = append(places, remap.Place{Disk: one[0].Disk, Sector: one[0].Sector})
			top = append(top, at)
		}
	}
	return places, top
}

// content is what the disks hold: a sector that nothing was written to holds itself.
type content map[remap.Place]remap.Place

func (c content) read(p remap.Place) remap.Place {
	if v, ok := c[p]; ok {
		return v
	}
	return p
}

// memmove is the disks after the request: all is read, then all is written.
func (m *planModel) memmove() content {
	out := content{}
	for i, p := range m.to {
		if m.from[i] != p {
			out[p] = m.from[i]
		}
	}
	return out
}

// twice says whether a block of a disk is written twice.
func (m *planModel) twice() bool { return len(m.sourceOf) < len(m.to) }

// shared says whether a block is read and written.
func (m *planModel) shared() bool {
	for _, p := range m.from {
		if _, ok := m.sourceOf[p]; ok {
			return true
		}
	}
	return false
}

// ordered says whether an order of the runs on the device is enough: one device, none of whose sectors in the request
// share a block, and no ring.
func (m *planModel) ordered() bool {
	if m.req.Src.Table != m.req.Dst.Table {
		return false
	}
	home := map[remap.Place]uint64{}
	for i := range m.to {
		for _, x := range [2]struct {
			p   remap.Place
			top uint64
		}{{m.from[i], m.fromTop[i]}, {m.to[i], m.top[i]}} {
			if old, ok := home[x.p]; ok && old != x.top {
				return false
			}
			home[x.p] = x.top
		}
	}
	// A run ends where a segment of either side does.
	ends := map[uint64]bool{}
	for _, segs := range [][]Seg{m.req.SrcSegs, m.req.DstSegs} {
		var at uint64
		for _, s := range segs {
			at += s.Len / 512
			ends[at] = true
		}
	}
	runOf, writer, n := make([]int, len(m.to)), map[uint64]int{}, 0
	for i := range m.to {
		if ends[uint64(i)] {
			n++
		}
		runOf[i] = n
		if m.fromTop[i] != m.top[i] {
			writer[m.top[i]] = n
		}
	}
	before := make([]map[int]bool, n+1) // before[i]: runs that must wait for i
	for i := range m.to {
		if w, ok := writer[m.fromTop[i]]; ok && w != runOf[i] && m.fromTop[i] != m.top[i] {
			if before[runOf[i]] == nil {
				before[runOf[i]] = map[int]bool{}
			}
			before[runOf[i]][w] = true
		}
	}
	state := make([]int, n+1)
	var ring func(int) bool
	ring = func(i int) bool {
		if state[i] != 0 {
			return state[i] == 1
		}
		state[i] = 1
		for j := range before[i] {
			if ring(j) {
				return true
			}
		}
		state[i] = 2
		return false
	}
	for i := range before {
		if ring(i) {
			return false
		}
	}
	return true
}

// step is sectors that are read and written together.
type step struct{ from, to []remap.Place }

func placesOf(es ...target.Extent) (out []remap.Place) {
	for _, e := range es {
		for i := range e.Len {
			out = append(out, remap.Place{Disk: e.Disk, Sector: e.Start + i})
		}
	}
	return out
}

// perform does the windows of a plan as badly as a plan allows: windows that have no order are shuffled, and so are the
// commands of a window and the ranges of an offload; only what bounces is read before it is written.
func perform(windows []Window, rng *rand.Rand) content {
	c := content{}
	if len(windows) > 0 && !windows[0].Sequence {
		rng.Shuffle(len(windows), func(i, j int) { windows[i], windows[j] = windows[j], windows[i] })
	}
	for _, w := range windows {
		var steps []step
		for _, x := range w.Commands {
			to := placesOf(x.Dst)
			if x.Method == Emulated {
				steps = append(steps, step{placesOf(x.Sources...), to})
				continue
			}
			for _, s := range x.Sources {
				steps = append(steps, step{placesOf(s), to[:s.Len]})
				to = to[s.Len:]
			}
		}
		if w.Bounce {
			var all step
			for _, s := range steps {
				all.from, all.to = append(all.from, s.from...), append(all.to, s.to...)
			}
			steps = []step{all}
		}
		rng.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		for _, s := range steps {
			held := make([]remap.Place, len(s.from))
			for i, p := range s.from {
				held[i] = c.read(p)
			}
			for i, p := range s.to {
				if c[p] = held[i]; held[i] == p {
					delete(c, p)
				}
			}
		}
	}
	return c
}

// windowsOf is all windows of a plan, each with memory of its own.
func windowsOf(p *Plan) (out []Window) {
	var w Window
	for p.Next(&w) {
		k := w
		k.items, k.extents = nil, nil
		k.Src, k.Dst = append([]target.Range(nil), w.Src...), append([]target.Range(nil), w.Dst...)
		k.Pieces = append([]remap.Piece(nil), w.Pieces...)
		k.Commands = make([]Command, len(w.Commands))
		for i, c := range w.Commands {
			c.Sources = append([]target.Extent(nil), c.Sources...)
			k.Commands[i] = c
		}
		out = append(out, k)
	}
	return out
}
