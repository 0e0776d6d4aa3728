package blkcopy

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// drawn is what requests are drawn over.
type drawn struct {
	*rapid.T
	unit  uint64 // sectors: everything is a multiple
	disks []Disk
	free  map[target.Disk]uint64 // nil: places are anywhere, and may be one
}

// drawnDisks are the numbers of the disks: far apart, so that the cache of pairs has two pairs in one place (0 to 31 and
// 1 to 0).
var drawnDisks = []target.Disk{0, 1, 31, 32}

func drawWorld(t *rapid.T) *drawn {
	d := &drawn{T: t, unit: rapid.SampledFrom([]uint64{1, 1, 8}).Draw(t, "unit"), disks: make([]Disk, 33)}
	same := drawCopy(t)
	alike := rapid.Bool().Draw(t, "alike")
	for _, i := range drawnDisks {
		d.disks[i] = Disk{Name: fmt.Sprint("disk", i), LogicalBlock: uint32(d.unit * 512), Copy: same}
		if !alike {
			d.disks[i].Copy = drawCopy(t)
		}
		if d.unit == 8 && d.disks[i].Copy.Method == limits.FileCopy && rapid.Bool().Draw(t, "small block") {
			d.disks[i].LogicalBlock = 512
		}
	}
	if rapid.Bool().Draw(t, "apart") {
		d.free = map[target.Disk]uint64{}
	}
	return d
}

func drawCopy(t *rapid.T) limits.Copy {
	c := limits.Copy{
		Method: rapid.SampledFrom([]limits.Method{limits.NVMeCopy, limits.NVMeCopy, limits.NVMeCopy, limits.XCopy, limits.FileCopy, limits.NoCopy}).Draw(t, "method"),
		Domain: rapid.SampledFrom([]string{"x", "x", "x", "y", ""}).Draw(t, "domain"),
		MSRC:   rapid.SampledFrom([]uint32{0, 1, 2, 7, 1 << 17}).Draw(t, "msrc"),
	}
	if rapid.Bool().Draw(t, "bounded") {
		c.MSSRL, c.MCL = rapid.Uint32Range(0, 20).Draw(t, "mssrl"), rapid.Uint32Range(0, 40).Draw(t, "mcl")
	}
	return c
}

func (d *drawn) n(from, to uint64, what string) uint64 {
	return rapid.Uint64Range(from, to).Draw(d.T, what) * d.unit
}

func (d *drawn) leg(length uint64) stripe.Leg {
	disk := rapid.SampledFrom(drawnDisks).Draw(d.T, "disk")
	if d.free == nil {
		return stripe.Leg{Disk: disk, Start: d.n(0, 300, "at")}
	}
	at := d.free[disk] + d.n(0, 3, "skip")
	d.free[disk] = at + length
	return stripe.Leg{Disk: disk, Start: at}
}

// device draws a device; now and then one target of a length that makes many windows.
func (d *drawn) device(name string) *Device {
	var parts []remap.Part
	big := rapid.IntRange(0, 4).Draw(d.T, "big") == 0
	most, rows := uint64(150), uint64(8)
	if big {
		most, rows = 1500, 40
	}
	for range rapid.IntRange(1, 4).Draw(d.T, "spans") {
		if rapid.Bool().Draw(d.T, "linear") {
			n := d.n(1, most, "length")
			l := d.leg(n)
			x, err := linear.New(l.Disk, target.Range{Start: l.Start, Len: n})
			if err != nil {
				d.Fatal(err)
			}
			parts = append(parts, remap.Part{Sectors: n, Target: x})
			continue
		}
		chunk, rows := d.n(1, 20, "chunk"), rapid.Uint64Range(1, rows).Draw(d.T, "rows")
		legs := make([]stripe.Leg, rapid.IntRange(1, 4).Draw(d.T, "legs"))
		for i := range legs {
			legs[i] = d.leg(rows * chunk)
		}
		n := rows * chunk * uint64(len(legs))
		x, err := stripe.New(n, uint32(chunk), legs)
		if err != nil {
			d.Fatal(err)
		}
		parts = append(parts, remap.Part{Sectors: n, Target: x})
	}
	t, err := remap.NewTable(parts)
	if err != nil {
		d.Fatal(err)
	}
	return &Device{Name: name, Table: t, LogicalBlock: uint32(d.unit * 512)}
}

// request draws a request of segments that lie apart where they are written, or nearly always; in the rest it is refused.
func (d *drawn) request() *Request {
	r := &Request{Src: d.device("s")}
	r.Dst = r.Src
	if rapid.IntRange(0, 2).Draw(d.T, "two devices") == 0 {
		r.Dst = d.device("d")
	}
	r.Window = rapid.SampledFrom([]uint64{0, 64 << 10, 64 << 10, 128 << 10, 512 << 10}).Draw(d.T, "window")
	if rapid.IntRange(0, 9).Draw(d.T, "no overlap") == 0 {
		r.Overlap = RefuseOverlap
	}
	if rapid.IntRange(0, 2).Draw(d.T, "no emulation") == 0 {
		r.WithoutOffload = Fail
	}
	dst := r.Dst.Table.Sectors() / d.unit
	src := r.Src.Table.Sectors() / d.unit
	switch rapid.SampledFrom([]string{"one", "one", "moved", "list", "list", "any"}).Draw(d.T, "shape") {
	case "one":
		n := rapid.Uint64Range(1, min(src, dst)).Draw(d.T, "n")
		r.SrcSegs = []Seg{d.seg(rapid.Uint64Range(0, src-n).Draw(d.T, "src"), n)}
		r.DstSegs = []Seg{d.seg(rapid.Uint64Range(0, dst-n).Draw(d.T, "dst"), n)}
	case "moved": // most of the device, a little further or back
		n := min(src, dst)
		by := rapid.Uint64Range(0, (n-1)/2).Draw(d.T, "by")
		a, b := d.seg(0, n-by), d.seg(by, n-by)
		if rapid.Bool().Draw(d.T, "back") {
			a, b = b, a
		}
		r.SrcSegs, r.DstSegs = []Seg{a}, []Seg{b}
	case "list": // parts of the destination, in any order
		edges := []uint64{0, dst}
		for range rapid.IntRange(0, 8).Draw(d.T, "cuts") {
			edges = append(edges, rapid.Uint64Range(0, dst).Draw(d.T, "cut"))
		}
		slices.Sort(edges)
		for i, e := range slices.Compact(edges) {
			if i > 0 && rapid.IntRange(0, 3).Draw(d.T, "left out") > 0 {
				from := edges[0]
				r.DstSegs = append(r.DstSegs, d.seg(from, e-from))
			}
			edges[0] = e
		}
		if len(r.DstSegs) == 0 {
			r.DstSegs = []Seg{d.seg(0, 1)}
		}
		r.DstSegs = rapid.Permutation(r.DstSegs).Draw(d.T, "order")
		if r.Src == r.Dst && rapid.Bool().Draw(d.T, "ring") {
			r.SrcSegs = rapid.Permutation(r.DstSegs).Draw(d.T, "sources")
		} else {
			r.SrcSegs = d.fill(src, r.DstSegs)
		}
	case "any":
		for range rapid.IntRange(1, 4).Draw(d.T, "segments") {
			at := rapid.Uint64Range(0, dst-1).Draw(d.T, "dst")
			r.DstSegs = append(r.DstSegs, d.seg(at, rapid.Uint64Range(1, dst-at).Draw(d.T, "len")))
		}
		r.SrcSegs = d.fill(src, r.DstSegs)
	}
	return r
}

func (d *drawn) seg(at, n uint64) Seg { return Seg{at * d.unit * 512, n * d.unit * 512} }

// fill draws sources for as much as the destinations have. They may overlap.
func (d *drawn) fill(device uint64, dst []Seg) (out []Seg) {
	var n uint64
	for _, s := range dst {
		n += s.Len / 512 / d.unit
	}
	for n > 0 {
		at := rapid.Uint64Range(0, device-1).Draw(d.T, "src")
		k := rapid.Uint64Range(1, min(n, device-at)).Draw(d.T, "len")
		out = append(out, d.seg(at, k))
		n -= k
	}
	return out
}
