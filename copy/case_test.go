package blkcopy

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// copyCase is a request, its world, and what must come of it.
type copyCase struct {
	w     *world
	req   *Request
	disks []Disk
	lock  *testLock
	o     Options

	src, dst []remap.Place // of every sector of the request
	before   [][]byte      // of every disk
	want     [][]byte      // of every sector of the request: memmove's answer
}

// layout places legs on disks.
type layout struct {
	t     *rapid.T
	unit  uint64 // sectors of a block
	free  []uint64
	ends  []uint64
	spans int
}

func (l *layout) place(n uint64) stripe.Leg {
	d := rapid.IntRange(0, len(l.free)-1).Draw(l.t, "disk")
	at := l.free[d] + l.unit*rapid.Uint64Range(0, 3).Draw(l.t, "skip")
	l.free[d] = at + n
	l.ends[d] = max(l.ends[d], at+n)
	return stripe.Leg{Disk: target.Disk(d), Start: at}
}

func (l *layout) table() *remap.Table {
	var parts []remap.Part
	scale := 8 / min(l.unit, 4) // blocks of 4 KiB are fewer
	for range rapid.IntRange(1, l.spans).Draw(l.t, "spans") {
		if rapid.Bool().Draw(l.t, "linear") {
			n := l.unit * rapid.Uint64Range(1, 40*scale).Draw(l.t, "length")
			leg := l.place(n)
			t, err := linear.New(leg.Disk, target.Range{Start: leg.Start, Len: n})
			parts = append(parts, part(l.t, n, t, err))
			continue
		}
		chunk := l.unit * rapid.Uint64Range(1, 3*scale).Draw(l.t, "chunk")
		n, rows := rapid.IntRange(1, 4).Draw(l.t, "legs"), rapid.Uint64Range(1, 6).Draw(l.t, "rows")
		var legs []stripe.Leg
		for range n {
			legs = append(legs, l.place(rows*chunk))
		}
		t, err := stripe.New(rows*chunk*uint64(n), uint32(chunk), legs)
		parts = append(parts, part(l.t, rows*chunk*uint64(n), t, err))
	}
	t, err := remap.NewTable(parts)
	if err != nil {
		l.t.Fatal(err)
	}
	return t
}

func part(t rapid.TB, n uint64, to target.Target, err error) remap.Part {
	if err != nil {
		t.Fatal(err)
	}
	return remap.Part{Sectors: n, Target: to}
}

// drawSegs draws segments of n sectors in all, of whole blocks. Those of a destination do not overlap.
func drawSegs(t *rapid.T, tb *remap.Table, n, unit uint64, apart bool) (out []Seg) {
	start := rapid.Uint64Range(0, (tb.Sectors()-n)/unit).Draw(t, "start") * unit
	for left := n; left > 0; {
		k := left
		if len(out) < 3 {
			k = min(left, rapid.Uint64Range(1, n/unit).Draw(t, "seg")*unit)
		}
		at := start
		if !apart {
			at = rapid.Uint64Range(0, (tb.Sectors()-k)/unit).Draw(t, "at") * unit
		}
		out = append(out, Seg{at * 512, k * 512})
		start += k
		left -= k
	}
	if apart && rapid.Bool().Draw(t, "turned") {
		slices.Reverse(out)
	}
	return out
}

// drawCase draws devices on shared disks and a request between them, without faults. overlap: they may share blocks.
func drawCase(t *rapid.T, overlap bool) *copyCase {
	block := rapid.SampledFrom([]uint64{512, 4096}).Draw(t, "block")
	n := rapid.IntRange(1, 4).Draw(t, "disks")
	l := &layout{t: t, unit: block / 512, free: make([]uint64, n), ends: make([]uint64, n), spans: 4}
	src := &Device{Name: "src", LogicalBlock: uint32(block), Table: l.table()}
	dst := src
	if !overlap || rapid.Bool().Draw(t, "two") {
		if overlap && rapid.Bool().Draw(t, "again") {
			clear(l.free) // shares what the source has
		}
		dst = &Device{Name: "dst", LogicalBlock: uint32(block), Table: l.table()}
	}
	sectors := min(src.Table.Sectors(), dst.Table.Sectors())
	long := rapid.Uint64Range(1, sectors/l.unit).Draw(t, "sectors") * l.unit
	c := &copyCase{req: &Request{Src: src, Dst: dst, SrcSegs: drawSegs(t, src.Table, long, l.unit, false), DstSegs: drawSegs(t, dst.Table, long, l.unit, true)}}
	c.req.Policy = Policy{
		AfterFailure: rapid.SampledFrom([]Fallback{Emulate, Fail}).Draw(t, "after"),
		FUA:          rapid.Bool().Draw(t, "fua"), Flush: rapid.Bool().Draw(t, "flush"), Zeroes: rapid.Bool().Draw(t, "zeroes"),
		Window: MinWindow * rapid.Uint64Range(1, 2).Draw(t, "window"),
	}
	c.req.InFlight = c.req.Window * rapid.Uint64Range(1, 4).Draw(t, "ahead")
	c.w = newWorld(rapid.Uint64().Draw(t, "seed"), n, slices.Max(l.ends), block)
	c.w.copy = limits.Copy{
		MSSRL: rapid.SampledFrom([]uint32{0, 1, 3, 16, 100}).Draw(t, "MSSRL"), MCL: rapid.SampledFrom([]uint32{0, 1, 5, 40}).Draw(t, "MCL"),
		MSRC: rapid.SampledFrom([]uint32{0, 1, 7, 127}).Draw(t, "MSRC"),
	}
	for i := range n {
		d := Disk{Name: string(rune('a' + i)), LogicalBlock: uint32(block), Copy: c.w.copy}
		switch rapid.IntRange(0, 3).Draw(t, "ability") {
		case 0:
			d.Copy = limits.Copy{Method: limits.NoCopy}
		case 1:
			d.Copy.Method, d.Copy.Domain = limits.NVMeCopy, d.Name
		default:
			d.Copy.Method, d.Copy.Domain = limits.FileCopy, "all"
		}
		c.disks = append(c.disks, d)
	}
	c.o = Options{Depth: rapid.IntRange(1, 3).Draw(t, "depth")}
	return c
}

// drawZeroes makes some of the disks' data zero, and some of that holes.
func (c *copyCase) drawZeroes(t *rapid.T) {
	for _, d := range c.w.disks {
		for range rapid.IntRange(0, 3).Draw(t, "zeroes") {
			n := uint64(len(d.data)) / c.w.block
			first := rapid.Uint64Range(0, n-1).Draw(t, "zero")
			r := target.Range{Start: first * c.w.block, Len: rapid.Uint64Range(1, n-first).Draw(t, "zeroed") * c.w.block}
			clear(d.data[r.Start:r.End()])
			copy(d.durable[r.Start:r.End()], d.data[r.Start:r.End()])
			if rapid.Bool().Draw(t, "hole") {
				d.holes = append(d.holes, r)
			}
		}
		d.sparse = rapid.Bool().Draw(t, "sparse")
	}
}

// ready works out what must come of the case.
func (c *copyCase) ready() *copyCase {
	c.o.Methods, c.before, c.want = c.w.methods(), nil, nil
	c.src, c.dst = places(c.req.Src.Table, side(c.req.Src, c.req.SrcSegs).Ranges), places(c.req.Dst.Table, side(c.req.Dst, c.req.DstSegs).Ranges)
	for _, d := range c.w.disks {
		c.before = append(c.before, slices.Clone(d.data))
	}
	for _, p := range c.src {
		c.want = append(c.want, c.before[p.Disk][p.Sector*512:p.Sector*512+512])
	}
	c.lock = &testLock{w: c.w, src: c.req.Src.Table, dst: c.req.Dst.Table}
	c.w.lock = c.lock
	return c
}

func (c *copyCase) plan(t rapid.TB) *Plan {
	t.Helper()
	p, err := NewPlan(c.req, c.disks)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
