package workload

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ublk-go/ublk-linear/copy"
)

var (
	// ErrSmall is returned for devices that have no room for a request.
	ErrSmall = errors.New("the device is too small for this workload")
	// ErrParams is returned for parameters that cannot be met.
	ErrParams = errors.New("bad parameters")
)

// Shape is the devices of a request, as far as a generator needs to know them.
type Shape struct {
	SrcBytes, DstBytes uint64
	Block              uint32 // bytes: the larger logical block of both; 0: 512
	Same               bool   // both are one device
}

// Params bound the requests of a workload. Zero values are its own.
type Params struct {
	Align    uint64 // bytes: of every position and length, a multiple of Shape.Block; 0: 4096, or the block if that is larger
	MaxBytes uint64 // of a request, at least Align; 0: the workload's own. No request takes more than a quarter of a device
}

// Request is a copy in bytes, as blkcopy.Request and series.Request have it.
type Request struct{ Src, Dst []blkcopy.Seg }

// Bytes is the length of a request.
func (r *Request) Bytes() uint64 {
	var n uint64
	for _, s := range r.Src {
		n += s.Len
	}
	return n
}

// Workload is a kind of request.
type Workload struct {
	Name string // as the command line takes it
	What string // one sentence
	max  uint64 // bytes of a request by default
	make func(*room, *draw) (*Request, error)
}

// All is every workload that needs no file. FileOf makes one of a file's extents.
func All() []*Workload {
	return []*Workload{
		{"defrag", "defragmentation: 8 to 128 scattered sources of 4 to 64 KiB, in the order of the file, to one run", 4 << 20, defrag},
		{"zone-gc", "garbage collection: what is valid in 2 to 4 zones, ascending, to the start of one empty zone", 16 << 20, zoneGC},
		{"clone", "golden image: one run of 32 to 64 MiB to another place, both on 1 MiB", 64 << 20, clone},
		{"file", "a fragmented file of up to 8 MiB, extents of 4 KiB to 1 MiB anywhere, to 1 to 4 free runs", 8 << 20, file},
		{"random", "1 to 16 sources to 1 to 4 destinations of any length and place; on one device they may overlap", 1 << 20, random},
	}
}

// Find is the workload of a name. The error has the names there are.
func Find(name string) (*Workload, error) {
	var names []string
	for _, w := range All() {
		if w.Name == name {
			return w, nil
		}
		names = append(names, w.Name)
	}
	return nil, fmt.Errorf("no workload %q: %s", name, strings.Join(names, ", "))
}

// Request makes the request of a seed and an index. It lies inside both devices, on Params.Align; both sides have the same
// length; no two destinations overlap, and only random's sources overlap anything. Errors: ErrSmall, ErrParams.
func (w *Workload) Request(s Shape, p Params, seed, index uint64) (*Request, error) {
	r, err := newRoom(s, p, w.max)
	if err != nil {
		return nil, err
	}
	return w.make(r, newDraw(w.Name, seed, index))
}

// room is a shape in units of the alignment: all that is drawn is whole units.
type room struct {
	unit     uint64 // bytes
	src, dst uint64 // units
	cap      uint64 // units of a request at most, 1 at least
	same     bool
}

func newRoom(s Shape, p Params, own uint64) (*room, error) {
	block := uint64(max(s.Block, 512))
	unit := p.Align
	if unit == 0 {
		unit = max(4096, block)
	}
	if unit%block != 0 {
		return nil, fmt.Errorf("%w: an alignment of %d bytes is not a multiple of the block, %d", ErrParams, unit, block)
	}
	most := p.MaxBytes
	if most == 0 {
		most = max(own, unit)
	}
	if most < unit {
		return nil, fmt.Errorf("%w: at most %d bytes is less than the alignment, %d", ErrParams, most, unit)
	}
	r := &room{unit: unit, src: s.SrcBytes / unit, dst: s.DstBytes / unit, same: s.Same}
	if r.same {
		r.dst = r.src
	}
	if r.cap = min(most/unit, r.src/4, r.dst/4); r.cap == 0 {
		return nil, fmt.Errorf("%w: devices of %d and %d bytes, at %d bytes a unit: 4 units are the least", ErrSmall, s.SrcBytes, s.DstBytes, unit)
	}
	return r, nil
}

// seg is a run of units in bytes.
func (r *room) seg(at, n uint64) blkcopy.Seg { return blkcopy.Seg{Pos: at * r.unit, Len: n * r.unit} }

// apart places sources and destinations so that nothing overlaps, in any order.
func (r *room) apart(d *draw, src, dst []uint64) *Request {
	var ps, pd []uint64
	if r.same {
		p := d.place(r.src, append(append([]uint64(nil), src...), dst...))
		ps, pd = p[:len(src)], p[len(src):]
	} else {
		ps, pd = d.place(r.src, src), d.place(r.dst, dst)
	}
	q := &Request{}
	for i, at := range ps {
		q.Src = append(q.Src, r.seg(at, src[i]))
	}
	for i, at := range pd {
		q.Dst = append(q.Dst, r.seg(at, dst[i]))
	}
	return q
}

func sum(list []uint64) (n uint64) {
	for _, x := range list {
		n += x
	}
	return n
}
