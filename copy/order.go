package blkcopy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// run is a part of a request that is one range on both devices: where the lists of segments are cut against each other.
type run struct {
	offset   uint64 // sectors, in the request
	src, dst target.Range
	backward bool // its windows go from the end to the start
}

// shift is how far apart source and destination are: windows that are no longer than that do not overlap themselves.
func (r *run) shift() uint64 {
	return max(r.src.Start, r.dst.Start) - min(r.src.Start, r.dst.Start)
}

// order is how the runs of a request must go to have memmove's result.
type order struct {
	runs []run
	// sequence: what comes earlier in runs must be done before what comes later begins; and so must windows.
	sequence bool
	// together: there is no such order. All must be read before anything is written.
	together bool
}

// maxEdges bounds what is looked at to find an order: beyond, the request counts as one without.
const maxEdges = 1 << 20

// order judges overlap on the device and on the disks. Where two devices, or two targets, share blocks of a disk, no order
// of the device's sectors can be relied on; such a request is done only together. Errors: ErrOverlap, when the policy
// refuses, when two destinations are one block, and when what must be done together is more than may be in flight.
func (r *Request) order(src, dst remap.Side, disks []Disk) (order, error) {
	o := order{runs: runs(src, dst)}
	if at, ok := overlapping(dst.Ranges); ok {
		return o, overlapError("two destination segments overlap at byte %d", at*512)
	}
	written := footprint(dst.Table, dst.Ranges)
	if at, ok := written.Twice(); ok {
		return o, overlapError("destination segments of %s share disk blocks (disk %s, sector %d)", r.Dst.Name, diskName(disks, at.Disk), at.Start)
	}
	at, ok := footprint(src.Table, src.Ranges).Common(written)
	if !ok {
		return o, nil
	}
	same := src.Table == dst.Table
	if r.Overlap == RefuseOverlap {
		if same && o.overlaps() {
			return o, overlapError("source and destination overlap on %s, and the policy refuses that", r.Dst.Name)
		}
		return o, overlapError("source and destination overlap on disk %s at sector %d, and the policy refuses that", diskName(disks, at.Disk), at.Start)
	}
	o.sequence = true
	if same && !aliased(src, dst) {
		o.sort()
	} else {
		o.together = true
	}
	// What is copied onto itself is done already.
	o.runs = slices.DeleteFunc(o.runs, func(x run) bool { return same && x.src == x.dst })
	if o.together {
		if n := o.sectors() * 512; n > r.together() {
			return o, overlapError("source and destination overlap so that no order gives memmove's result: all %d bytes would have to be read before any is written, and the window is %d", n, r.together())
		}
	}
	return o, nil
}

// sectors is the sum of the runs.
func (o *order) sectors() (n uint64) {
	for _, r := range o.runs {
		n += r.src.Len
	}
	return n
}

// aliased says whether two of the sectors that are copied, from or to, are one block of a disk: then the device's sectors
// do not tell what a write changes. Both sides have the same table.
func aliased(src, dst remap.Side) bool {
	_, ok := footprint(src.Table, slices.Concat(src.Ranges, dst.Ranges)).Twice()
	return ok
}

func overlapError(format string, a ...any) error {
	return &RequestError{[]error{&refusal{fmt.Sprintf(format, a...), ErrOverlap, unix.EINVAL}}}
}

// runs cuts the lists of both sides against each other.
func runs(src, dst remap.Side) []run {
	var out []run
	var at, i, j, in, jn uint64
	for i < uint64(len(src.Ranges)) && j < uint64(len(dst.Ranges)) {
		s, d := src.Ranges[i], dst.Ranges[j]
		n := min(s.Len-in, d.Len-jn)
		out = append(out, run{offset: at, src: target.Range{Start: s.Start + in, Len: n}, dst: target.Range{Start: d.Start + jn, Len: n}})
		at, in, jn = at+n, in+n, jn+n
		if in == s.Len {
			i, in = i+1, 0
		}
		if jn == d.Len {
			j, jn = j+1, 0
		}
	}
	return out
}

// overlapping finds a sector that two destination segments have: what lands there would be anybody's guess.
func overlapping(ranges []target.Range) (uint64, bool) {
	rs := slices.Clone(ranges)
	slices.SortFunc(rs, func(a, b target.Range) int { return cmp.Compare(a.Start, b.Start) })
	for i := 1; i < len(rs); i++ {
		if rs[i].Start < rs[i-1].End() {
			return rs[i].Start, true
		}
	}
	return 0, false
}

// byDst is the runs' numbers in order of their destination, which do not overlap.
func (o *order) byDst() []int {
	idx := make([]int, len(o.runs))
	for i := range idx {
		idx[i] = i
	}
	slices.SortFunc(idx, func(a, b int) int { return cmp.Compare(o.runs[a].dst.Start, o.runs[b].dst.Start) })
	return idx
}

// meets yields the runs whose destination overlaps the source of run i.
func (o *order) meets(i int, byDst []int, yield func(j int) bool) {
	src := o.runs[i].src
	k, _ := slices.BinarySearchFunc(byDst, src.Start, func(j int, at uint64) int {
		if o.runs[j].dst.End() <= at {
			return -1
		}
		return 1
	})
	for ; k < len(byDst) && o.runs[byDst[k]].dst.Start < src.End(); k++ {
		if !yield(byDst[k]) {
			return
		}
	}
}

func (o *order) overlaps() bool {
	byDst := o.byDst()
	for i := range o.runs {
		found := false
		o.meets(i, byDst, func(int) bool { found = true; return false })
		if found {
			return true
		}
	}
	return false
}

// sort puts every run before those that write what it reads, and says in which direction those go that overlap
// themselves. Runs in a ring have no order: together.
func (o *order) sort() {
	byDst := o.byDst()
	after := make([][]int32, len(o.runs)) // after[i]: must wait for i
	waits := make([]int, len(o.runs))
	edges := 0
	for i := range o.runs {
		o.meets(i, byDst, func(j int) bool {
			if i == j {
				o.runs[i].backward = o.runs[i].dst.Start > o.runs[i].src.Start
				return true
			}
			if o.runs[j].src == o.runs[j].dst {
				return true // nothing changes there
			}
			after[i] = append(after[i], int32(j))
			waits[j]++
			edges++
			return edges <= maxEdges
		})
		if edges > maxEdges {
			o.together = true
			return
		}
	}
	var ready []int
	for i, n := range waits {
		if n == 0 {
			ready = append(ready, i)
		}
	}
	out := make([]run, 0, len(o.runs))
	for len(ready) > 0 {
		i := ready[0]
		ready = ready[1:]
		out = append(out, o.runs[i])
		for _, j := range after[i] {
			if waits[j]--; waits[j] == 0 {
				ready = append(ready, int(j))
			}
		}
	}
	if len(out) < len(o.runs) {
		o.together = true
		return
	}
	o.runs = out
}

// diskName is a disk's name, or its number where it has none.
func diskName(disks []Disk, d target.Disk) string {
	if int(d) < len(disks) && disks[d].Name != "" {
		return disks[d].Name
	}
	return strconv.Itoa(int(d))
}
