package remap

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ublk-go/ublk-linear/target"
)

// MaxSpans is dm's bound on the targets of a table (dm_table_create takes up to this many).
const MaxSpans = 1048576

var (
	// ErrEmpty is returned for a table without targets.
	ErrEmpty = errors.New("no targets specified")
	// ErrTooMany is returned for a table of more than MaxSpans targets.
	ErrTooMany = errors.New("too many targets specified")
)

// Span is a run of a device's sectors and the target that maps it.
type Span struct {
	target.Range
	target.Target
}

// Part is a target and its length; a table lays its parts one behind the other.
type Part struct {
	Sectors uint64
	Target  target.Target
}

// Table is a device: targets from sector 0 on, without a gap.
type Table struct {
	spans []Span
	ends  []uint64 // ends[i] is spans[i].End(): what the search walks
	dir   []uint32 // dir[b] is the span of sector b<<shift, the last entry the last span: where the search begins
	shift uint8
	disks []target.Disk
	fan   int
}

// NewTable lays parts one behind the other from sector 0. Errors: ErrEmpty, ErrTooMany, target.ErrZeroLength,
// target.ErrTooLong; the last two say which part.
func NewTable(parts []Part) (*Table, error) {
	switch {
	case len(parts) == 0:
		return nil, ErrEmpty
	case len(parts) > MaxSpans:
		return nil, ErrTooMany
	}
	t := &Table{spans: make([]Span, 0, len(parts)), ends: make([]uint64, 0, len(parts))}
	var at uint64
	for i, p := range parts {
		if p.Sectors == 0 {
			return nil, fmt.Errorf("target %d: %w", i+1, target.ErrZeroLength)
		}
		if p.Sectors > target.MaxSectors-at {
			return nil, fmt.Errorf("target %d: %w", i+1, target.ErrTooLong)
		}
		t.spans = append(t.spans, Span{target.Range{Start: at, Len: p.Sectors}, p.Target})
		at += p.Sectors
		t.ends = append(t.ends, at)
		legs := 0
		for e := range p.Target.Extents {
			legs++
			t.disks = append(t.disks, e.Disk)
		}
		t.fan = max(t.fan, legs)
	}
	slices.Sort(t.disks)
	t.disks = slices.Clip(slices.Compact(t.disks))
	t.fan = max(t.fan, len(t.disks))
	t.index()
	return t, nil
}

// index makes the directory of the search: at most two entries for a span, each for as many sectors. Where spans are of like
// length, one or two of them lie between an entry and the next, however many there are; where they are not, the search
// halves what does.
func (t *Table) index() {
	last := t.Sectors() - 1
	for last>>t.shift >= uint64(2*len(t.ends)) {
		t.shift++
	}
	t.dir = make([]uint32, 0, last>>t.shift+2)
	span := 0
	for b := range last>>t.shift + 1 {
		for t.ends[span] <= b<<t.shift {
			span++
		}
		t.dir = append(t.dir, uint32(span))
	}
	t.dir = append(t.dir, uint32(len(t.ends)-1))
}

// Sectors is the device's length.
func (t *Table) Sectors() uint64 { return t.ends[len(t.ends)-1] }

// Spans is the table in order. The caller does not change it.
func (t *Table) Spans() []Span { return t.spans }

// Disks is every disk the table uses, once, ascending: the list that a FLUSH goes to (dm's device list,
// __send_empty_flush with flush_bypasses_map). The caller does not change it.
func (t *Table) Disks() []target.Disk { return t.disks }

// Fan is the room that Map needs to make progress with any request: the most legs of a target, or the number of disks.
func (t *Table) Fan() int { return t.fan }

// Map appends the segments of a request to dst, in the order dm would issue them, and returns how many of its sectors they
// cover. It never grows dst: when it is full, the caller serves what it has and maps the rest. With room for Fan segments
// it always gets on. Offsets count from the request's first sector.
//
// A Flush has no sectors: it maps to one segment of length 0 for every disk, or to nothing when they do not fit.
// A request must lie inside the device; the caller has checked that.
// hot path
func (t *Table) Map(dst []target.Segment, op target.Op, r target.Range) ([]target.Segment, uint64) {
	if op == target.Flush {
		if cap(dst)-len(dst) >= len(t.disks) {
			for _, d := range t.disks {
				dst = append(dst, target.Segment{Disk: d})
			}
		}
		return dst, 0
	}
	var done uint64
	for i := t.find(r.Start); done < r.Len; i++ {
		s := &t.spans[i]
		in := r.Start + done - s.Start // inside the target
		length := min(r.Len-done, s.Len-in)
		first := len(dst)
		segs, n := s.Target.Map(dst, op, target.Range{Start: in, Len: length})
		dst = segs
		if done != 0 {
			for j := first; j < len(dst); j++ {
				dst[j].Offset += done
			}
		}
		done += n
		if n < length {
			break
		}
	}
	return dst, done
}

// Contains says whether a range lies inside the device.
func (t *Table) Contains(r target.Range) bool {
	return r.Start <= t.Sectors() && r.Len <= t.Sectors()-r.Start
}

// find is the index of the span that holds a sector of the device.
// hot path
func (t *Table) find(sector uint64) int {
	ends, b := t.ends, sector>>(t.shift&63) // a shift below 64 needs no check
	lo, hi := int(t.dir[b]), int(t.dir[b+1])
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if sector < ends[mid] {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// Lines is the table as dmsetup prints it, one "<start> <sectors> <target> <params>" a line, with disks by name.
func (t *Table) Lines(name func(target.Disk) string) string {
	var b strings.Builder
	for _, s := range t.spans {
		fmt.Fprintf(&b, "%d %d %s %s\n", s.Start, s.Len, s.Type(), s.Params(name))
	}
	return b.String()
}

// Merge joins neighbours of segs that are contiguous on their disk and in the request, in place: what a disk is sent
// when it need not be cut at chunk edges.
func Merge(segs []target.Segment) []target.Segment {
	out := segs[:0]
	for _, s := range segs {
		if n := len(out); n > 0 {
			if p := &out[n-1]; p.Disk == s.Disk && p.Sector+p.Sectors == s.Sector && p.Offset+p.Sectors == s.Offset {
				p.Sectors += s.Sectors
				continue
			}
		}
		out = append(out, s)
	}
	return out
}
