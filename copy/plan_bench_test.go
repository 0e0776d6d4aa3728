package blkcopy

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// stripeOf is a device of n legs on as many disks, from disk first on; every leg begins at a sector.
func stripeOf(tb testing.TB, sectors uint64, chunk uint32, first target.Disk, legs int, start uint64) *remap.Table {
	var ls []stripe.Leg
	for i := range legs {
		ls = append(ls, stripe.Leg{Disk: first + target.Disk(i), Start: start})
	}
	s, err := stripe.New(sectors, chunk, ls)
	if err != nil {
		tb.Fatal(err)
	}
	return tableOf(tb, remap.Part{Sectors: sectors, Target: s})
}

func linearOf(tb testing.TB, sectors uint64, d target.Disk, start uint64) *remap.Table {
	l, err := linear.New(d, target.Range{Start: start, Len: sectors})
	if err != nil {
		tb.Fatal(err)
	}
	return tableOf(tb, remap.Part{Sectors: sectors, Target: l})
}

func tableOf(tb testing.TB, parts ...remap.Part) *remap.Table {
	t, err := remap.NewTable(parts)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// able is n disks in one domain with the same limits, in blocks.
func able(n int, block, mssrl, mcl, msrc uint32) []Disk {
	out := make([]Disk, n)
	for i := range out {
		out[i] = Disk{Name: fmt.Sprint("disk", i), LogicalBlock: block, Copy: limits.Copy{Method: limits.NVMeCopy, MSSRL: mssrl, MCL: mcl, MSRC: msrc, Domain: "x"}}
	}
	return out
}

// whole copies sectors from sector at of a device to sector to of another.
func whole(src, dst *remap.Table, at, to, sectors uint64) *Request {
	s := &Device{Name: "s", Table: src}
	d := &Device{Name: "d", Table: dst}
	if src == dst {
		d = s
	}
	return &Request{Src: s, Dst: d, SrcSegs: []Seg{{at * 512, sectors * 512}}, DstSegs: []Seg{{to * 512, sectors * 512}}}
}

// BenchmarkPlan plans 1 TiB between two devices of four legs with chunks of 64 KiB.
func BenchmarkPlan(b *testing.B) {
	const n = 1<<31 - 1<<31%(128*4*3) // rows of both chunks
	for _, c := range []struct {
		name     string
		src, dst *remap.Table
		disks    []Disk
	}{
		{"TiB/a range a chunk", stripeOf(b, n, 128, 0, 4, 0), stripeOf(b, n, 128, 0, 4, 1<<34), able(4, 512, 128, 128, 127)},
		{"TiB/128 ranges", stripeOf(b, n, 128, 0, 4, 0), stripeOf(b, n, 128, 0, 4, 1<<34), able(4, 512, 128, 16384, 127)},
		{"TiB/emulated", stripeOf(b, n, 128, 0, 4, 0), stripeOf(b, n, 128, 0, 4, 1<<34), make([]Disk, 4)},
		{"TiB/other phase", stripeOf(b, n, 128, 0, 4, 0), stripeOf(b, n, 192, 4, 4, 1<<34), able(8, 512, 128, 16384, 127)},
	} {
		b.Run(c.name, func(b *testing.B) {
			commands, pieces := 0, 0
			var w Window
			for b.Loop() {
				p, err := NewPlan(whole(c.src, c.dst, 0, 0, n), c.disks)
				if err != nil {
					b.Fatal(err)
				}
				for p.Next(&w) {
					commands += len(w.Commands)
					pieces += len(w.Pieces)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(pieces), "ns/piece")
			b.ReportMetric(float64(commands)/float64(b.N), "commands")
		})
	}
}

// BenchmarkCommands reports the commands of a plan, the fewest that the request could have in one window, and what cutting
// at every chunk edge sends. What is more than the fewest is the price of windows, and of what does not lie together.
func BenchmarkCommands(b *testing.B) {
	const n = 1 << 30 / 512
	for _, c := range []struct {
		name     string
		src, dst *remap.Table
	}{
		{"linear to linear", linearOf(b, n, 0, 0), linearOf(b, n, 4, 0)},
		{"linear to stripe", linearOf(b, n, 0, 0), stripeOf(b, n, 32, 4, 4, 0)},
		{"stripe to linear", stripeOf(b, n, 32, 0, 4, 0), linearOf(b, n, 4, 0)},
		{"stripes in phase", stripeOf(b, n, 32, 0, 4, 0), stripeOf(b, n, 32, 4, 4, 0)},
		{"stripes of two chunks", stripeOf(b, n, 32, 0, 4, 0), stripeOf(b, n, 128, 4, 4, 0)},
	} {
		for _, l := range []struct {
			name             string
			mssrl, mcl, msrc uint32
		}{{"qemu", 128, 128, 127}, {"large", 1024, 8192, 127}, {"unbounded", 0, 0, 127}} {
			b.Run(c.name+"/"+l.name, func(b *testing.B) {
				disks := able(8, 512, l.mssrl, l.mcl, l.msrc)
				var commands int
				for b.Loop() {
					_, commands, _ = planAll(b, whole(c.src, c.dst, 0, 0, n), disks)
				}
				least, naive := bounding(b, c.src, c.dst, disks)
				if commands < least {
					b.Errorf("%d commands, %d at least", commands, least)
				}
				b.ReportMetric(float64(commands), "commands")
				b.ReportMetric(float64(least), "least")
				b.ReportMetric(float64(naive), "naive")
			})
		}
	}
}

// bounding is the least and the naive number of commands of a whole device's copy: the least has every run of a
// destination that comes from one disk in full commands; the naive has a command of one range for every piece, and more
// for long ones. The sources of a run are taken to lie together, or to be whole pieces.
func bounding(b *testing.B, src, dst *remap.Table, disks []Disk) (least, naive int) {
	p, err := NewPlan(whole(src, dst, 0, 0, src.Sectors()), disks)
	if err != nil {
		b.Fatal(err)
	}
	var items []item
	ps := p.Pieces()
	for x, ok := ps.Next(); ok; x, ok = ps.Next() {
		naive += up(x.Sectors, p.pairs.get(x.Src.Disk, x.Dst.Disk).ranged)
		items = append(items, item{dst: x.Dst.Disk, src: x.Src.Disk, at: x.Dst.Sector, n: x.Sectors})
	}
	slices.SortFunc(items, byDestination)
	for i := 0; i < len(items); {
		x := items[i]
		for i++; i < len(items) && items[i].dst == x.dst && items[i].src == x.src && items[i].at == x.at+x.n; i++ {
			x.n += items[i].n
		}
		q := p.pairs.get(x.src, x.dst)
		least += up(x.n, min(q.total, q.ranged*min(uint64(q.ranges), 1<<8)))
	}
	return least, naive
}

// up is a division, rounded up.
func up(a, b uint64) int { return int((a + b - 1) / b) }
