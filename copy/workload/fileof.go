package workload

import (
	"fmt"

	"github.com/ublk-go/ublk-linear/copy"
)

// FileOf is the workload of copying parts of a real file, whose extents are given in the file's order: each request takes
// up to 8 MiB of the file from a drawn place, and puts them in one free run. Where the device is smaller than the file
// system, the gaps between the extents are made smaller; their order, lengths and neighbourhood stay. On one device
// as much as a request may have is kept free at the end, for destinations.
func FileOf(list []Extent) *Workload {
	return &Workload{
		Name: "extents",
		What: fmt.Sprintf("parts of up to 8 MiB of a given file of %d extents, to one free run", len(list)),
		max:  8 << 20,
		make: func(r *room, d *draw) (*Request, error) { return r.fileOf(list, d) },
	}
}

func (r *room) fileOf(list []Extent, d *draw) (*Request, error) {
	room := r.src
	if r.same {
		room -= r.cap
	}
	placed, ok := fit(list, r.unit, room)
	if !ok {
		return nil, fmt.Errorf("%w: the file's extents alone have more than %d bytes", ErrSmall, room*r.unit)
	}
	var all uint64 // units
	for _, s := range placed {
		all += s.Len / r.unit
	}
	n := min(all, r.cap)
	skip, left := d.between(0, all-n), n
	q := &Request{}
	for _, s := range placed {
		at, have := s.Pos/r.unit, s.Len/r.unit
		if skip >= have {
			skip -= have
			continue
		}
		take := min(have-skip, left)
		q.Src = append(q.Src, r.seg(at+skip, take))
		if skip, left = 0, left-take; left == 0 || len(q.Src) == blkcopy.MaxSegs {
			break
		}
	}
	n -= left
	to := d.between(0, r.dst-n)
	if r.same {
		to = room + d.between(0, r.cap-n)
	}
	q.Dst = []blkcopy.Seg{r.seg(to, n)}
	return q, nil
}
