package config

import (
	"cmp"
	"fmt"
	"slices"
)

// extent is what one leg takes of a disk, [start, end) in sectors.
type extent struct {
	disk       string
	start, end uint64
	d          *Device
	seg, leg   int
	at         Pos
	key        string
}

// shareable reports whether the extent may be mapped elsewhere too.
func (e *extent) shareable() bool { return e.d.AllowOverlap && e.d.ReadOnly }

// title names the extent in a message.
func (e *extent) title() string {
	seg := fmt.Sprintf("segment %d of device %q", e.seg+1, e.d.Name)
	if len(e.d.Segments[e.seg].Legs) > 1 {
		return fmt.Sprintf("leg %d of %s", e.leg+1, seg)
	}
	return seg
}

// overlaps reports extents of a disk that are mapped twice. dm does not look, and two writers
// destroy each other's data. Every extent is reported with at most one other, so that n segments on
// one extent are n-1 problems.
func (c *checker) overlaps() {
	slices.SortStableFunc(c.extents, func(a, b extent) int {
		return cmp.Or(cmp.Compare(a.disk, b.disk), cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	// The extent that reaches farthest of all before, and of those that may not be shared: if the
	// next one overlaps any it overlaps these.
	var far, private *extent
	for i := range c.extents {
		e := &c.extents[i]
		if i > 0 && c.extents[i-1].disk != e.disk {
			far, private = nil, nil
		}
		other := far
		if e.shareable() {
			other = private
		}
		if other != nil && other.end > e.start {
			c.overlap(e, other)
		}
		if far == nil || e.end > far.end {
			far = e
		}
		if !e.shareable() && (private == nil || e.end > private.end) {
			private = e
		}
	}
}

// overlap reports a pair at the one that stands later in the file.
func (c *checker) overlap(a, b *extent) {
	if a.at.before(b.at) {
		a, b = b, a
	}
	from, to := max(a.start, b.start), min(a.end, b.end)
	hint := "move one of them, or leave one out"
	if a.d.ReadOnly && b.d.ReadOnly {
		hint = "move one of them, or, as both devices are read_only, say allow_overlap = true in both"
	}
	if a.d == b.d && a.d.ReadOnly {
		hint = "move one of them, or, as the device is read_only, say allow_overlap = true"
	}
	c.r.error(a.at, a.key, hint, "%s maps %s of disk %q from %s on, already mapped by %s (%s:%d:%d)",
		a.title(), exact((to-from)*SectorBytes), a.disk, sectorsSize(from), b.title(), c.f.Path, b.at.Line, b.at.Col)
}
