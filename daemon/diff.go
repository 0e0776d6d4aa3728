package daemon

import (
	"fmt"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// Span is one line of a device's table, in 512-byte sectors, as `table` prints it.
type Span struct {
	Start   uint64 `json:"start"`
	Sectors uint64 `json:"sectors"`
	Target  string `json:"target"`
	Params  string `json:"params"`
}

// String is the line as dmsetup has it.
func (s Span) String() string {
	return fmt.Sprintf("%d %d %s %s", s.Start, s.Sectors, s.Target, s.Params)
}

// side is a table as one configuration says it.
type side struct {
	*remap.Table
	name func(target.Disk) string
}

func (s side) line(i int) Span {
	x := s.Spans()[i]
	return Span{x.Start, x.Len, x.Type(), x.Params(s.name)}
}

// slot names a disk by its place, so that two of one name that are not one disk differ.
func slot(d target.Disk) string { return fmt.Sprint(d) }

// same says whether two spans are one: they begin, end and map alike. Disks are compared by their place.
func same(a, b remap.Span) bool {
	return a.Range == b.Range && a.Type() == b.Type() && a.Params(slot) == b.Params(slot)
}

// diffSpans lists the lines that go and those that come. Both tables number the disks alike.
func diffSpans(before, after side) (gone, come []Span) {
	a, b := before.Spans(), after.Spans()
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && same(a[i], b[j]):
			i++
			j++
		case j == len(b) || i < len(a) && a[i].Start <= b[j].Start:
			gone = append(gone, before.line(i))
			i++
		default:
			come = append(come, after.line(j))
			j++
		}
	}
	return gone, come
}

// maxWalk bounds how many pieces of two tables are compared with each other.
const maxWalk = 1 << 20

// moved is how many sectors that both tables have lie elsewhere by the second, and whether that is exact: beyond maxWalk
// pieces, all that is left of lines that differ counts.
func moved(before, after *remap.Table) (n uint64, exact bool) {
	exact = true
	a, b := before.Spans(), after.Spans()
	budget := maxWalk
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if same(a[i], b[j]) {
			i++
			j++
			continue
		}
		r := target.Range{Start: max(a[i].Start, b[j].Start)}
		r.Len = min(a[i].End(), b[j].End()) - r.Start
		k, ok := movedIn(before, after, r, &budget)
		n += k
		exact = exact && ok
		end := r.End()
		if a[i].End() == end {
			i++
		}
		if b[j].End() == end {
			j++
		}
	}
	return n, exact
}

func movedIn(before, after *remap.Table, r target.Range, budget *int) (n uint64, exact bool) {
	both := []target.Range{r}
	p := remap.NewPieces(remap.Side{Table: before, Ranges: both}, remap.Side{Table: after, Ranges: both})
	done := uint64(0)
	for ; *budget > 0; *budget-- {
		x, ok := p.Next()
		if !ok {
			return n, true
		}
		done += x.Sectors
		if x.Src != x.Dst {
			n += x.Sectors
		}
	}
	return n + r.Len - done, done == r.Len
}
