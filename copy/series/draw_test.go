package series

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// drawn draws worlds and requests, everything a multiple of unit sectors.
type drawn struct {
	*rapid.T
	unit uint64
	w    *World
	free []uint64 // of every disk: where nothing lies yet; nil: places may be one
}

const drawnSectors = 2048

func drawWorld(t *rapid.T) *drawn {
	d := &drawn{T: t, unit: rapid.SampledFrom([]uint64{1, 1, 8}).Draw(t, "unit"), w: &World{}}
	for i := range 3 {
		x := Disk{Name: string(rune('A' + i)), Driver: "nvme", LogicalBlock: 512, Sectors: drawnSectors}
		if rapid.Bool().Draw(t, "large blocks") {
			x.LogicalBlock = uint32(d.unit * 512)
		}
		x.Copy = limits.Copy{Method: rapid.SampledFrom([]limits.Method{limits.NVMeCopy, limits.NVMeCopy, limits.NVMeCopy, limits.NVMeCopy, limits.NoCopy}).Draw(t, "method"),
			Domain: rapid.SampledFrom([]string{x.Name, "one"}).Draw(t, "domain"), MSRC: rapid.SampledFrom([]uint32{0, 1, 3, 127}).Draw(t, "msrc"),
			MSSRL: rapid.SampledFrom([]uint32{1, 7, 8, 16, 64, 0}).Draw(t, "mssrl"), MCL: rapid.SampledFrom([]uint32{1, 8, 24, 64, 128, 0}).Draw(t, "mcl")}
		if rapid.IntRange(0, 4).Draw(t, "capped") == 0 {
			x.UserMax = uint64(rapid.IntRange(1, 40).Draw(t, "cap")) * 512
		}
		d.w.Disks = append(d.w.Disks, x)
	}
	if rapid.IntRange(0, 3).Draw(t, "shared places") > 0 {
		d.free = make([]uint64, len(d.w.Disks))
	}
	return d
}

// leg is room for n sectors on a disk.
func (d *drawn) leg(n uint64) stripe.Leg {
	i := rapid.IntRange(0, len(d.w.Disks)-1).Draw(d.T, "disk")
	if d.free == nil || d.free[i]+n > drawnSectors {
		return stripe.Leg{Disk: target.Disk(i), Start: rapid.Uint64Range(0, (drawnSectors-n)/d.unit).Draw(d.T, "at") * d.unit}
	}
	at := d.free[i]
	d.free[i] += n
	return stripe.Leg{Disk: target.Disk(i), Start: at}
}

func (d *drawn) device(name string) *Device {
	must := func(x target.Target, err error) target.Target {
		if err != nil {
			d.Fatal(err)
		}
		return x
	}
	out := &Device{Name: name, LogicalBlock: uint32(d.unit * 512), Bare: rapid.IntRange(0, 2).Draw(d.T, "bare") == 0}
	var parts []remap.Part
	if out.Bare {
		i := target.Disk(rapid.IntRange(0, len(d.w.Disks)-1).Draw(d.T, "disk"))
		parts = append(parts, remap.Part{Sectors: drawnSectors, Target: must(linear.New(i, target.Range{Len: drawnSectors}))})
		out.LogicalBlock = d.w.Disks[i].LogicalBlock
	}
	flat := rapid.Bool().Draw(d.T, "linear only")
	for range rapid.IntRange(1, 3).Draw(d.T, "spans") {
		if out.Bare {
			break
		}
		if flat || rapid.Bool().Draw(d.T, "linear") {
			n := rapid.Uint64Range(1, 200/d.unit).Draw(d.T, "length") * d.unit
			l := d.leg(n)
			parts = append(parts, remap.Part{Sectors: n, Target: must(linear.New(l.Disk, target.Range{Start: l.Start, Len: n}))})
			continue
		}
		chunk, rows := rapid.Uint64Range(1, 16/d.unit+1).Draw(d.T, "chunk")*d.unit, rapid.Uint64Range(1, 4).Draw(d.T, "rows")
		legs := make([]stripe.Leg, rapid.IntRange(1, 3).Draw(d.T, "legs"))
		for i := range legs {
			legs[i] = d.leg(rows * chunk)
		}
		n := rows * chunk * uint64(len(legs))
		parts = append(parts, remap.Part{Sectors: n, Target: must(stripe.New(n, uint32(chunk), legs))})
	}
	var err error
	if out.Table, err = remap.NewTable(parts); err != nil {
		d.Fatal(err)
	}
	return out
}

func (d *drawn) request() *Request {
	r := &Request{Src: d.device("s")}
	if r.Dst = r.Src; rapid.Bool().Draw(d.T, "two devices") {
		r.Dst = d.device("d")
	}
	draw := func(dev *Device, n uint64, spread bool) (out []blkcopy.Seg) {
		all := dev.Table.Sectors() / d.unit
		for n > 0 {
			k := min(n, all)
			if spread {
				k = rapid.Uint64Range(1, k).Draw(d.T, "segment")
			}
			out = append(out, segs(rapid.Uint64Range(0, all-k).Draw(d.T, "at")*d.unit, k*d.unit)...)
			n -= k
		}
		return out
	}
	most := min(r.Src.Table.Sectors(), r.Dst.Table.Sectors(), 300) / d.unit
	n := rapid.Uint64Range(1, most).Draw(d.T, "n")
	r.SrcSegs = draw(r.Src, n, rapid.Bool().Draw(d.T, "many sources"))
	r.DstSegs = draw(r.Dst, n, rapid.IntRange(0, 3).Draw(d.T, "many destinations") == 0)
	return r
}

// TestReplay: whatever the request and whatever the devices answer, an outcome of a design without its defects is true:
// what the caller is told is copied is there as memmove has it, or the outcome says what the design does not promise.
func TestReplay(t *testing.T) {
	seen := map[string]int{}
	property := func(t *rapid.T) {
		d := drawWorld(t)
		r := d.request()
		bad := map[int]uint16{}
		if rapid.Bool().Draw(t, "failing") {
			for range rapid.IntRange(1, 3).Draw(t, "failures") {
				bad[rapid.IntRange(0, 6).Draw(t, "command")] = rapid.SampledFrom([]uint16{scWriteFault, scSizeLimit, scInvalidField, 0x4000 | scUnrecoveredRd}).Draw(t, "status")
			}
		}
		ranges := rapid.IntRange(0, 3).Draw(t, "ranges done")
		for _, m := range []*Model{simpleCopy2021, token2023, pair2024, ours} {
			w := *d.w
			if len(bad) > 0 {
				w.Answer = func(n int, c *Command) (uint16, int) {
					if s := bad[n]; s != 0 {
						return s, min(ranges, len(c.Sources)-1)
					}
					return 0, len(c.Sources)
				}
			}
			o := m.Run(&w, r, nil)
			judge(t, m.Name, &w, r, o)
			total, _ := r.total()
			for what, is := range map[string]bool{
				"refused": !o.Accepted, "offloaded": o.Offloaded > 0 && o.Errno == 0, "emulated": o.Emulated > 0 && o.Errno == 0,
				"failed": o.Accepted && o.Errno != 0, "part": o.Accepted && o.Bytes < total && o.Bytes > 0,
				"gathered": slices.ContainsFunc(o.Commands, func(c Command) bool { return c.Method == limits.NVMeCopy && len(c.Sources) > 1 }),
			} {
				if is {
					seen[m.Name+" "+what]++
				}
			}
			again := m.Run(&w, r, nil)
			if w.outcome(again) != w.outcome(o) {
				t.Fatalf("%s: not the same twice", m.Name)
			}
		}
	}
	wanted := []string{"token-2023 part", "pair-2024 part", "pair-2024 refused"}
	for _, m := range []*Model{simpleCopy2021, token2023, pair2024, ours} {
		for _, what := range []string{"offloaded", "emulated", "failed"} {
			wanted = append(wanted, m.Name+" "+what)
		}
	}
	var missing []string
	for range 20 { // a hundred requests may all be of one kind
		rapid.Check(t, property)
		missing = slices.DeleteFunc(slices.Clone(wanted), func(what string) bool { return seen[what] > 0 })
		if len(missing) == 0 || t.Failed() {
			break
		}
	}
	t.Log(seen)
	if len(missing) > 0 {
		t.Errorf("never drawn: %q", missing)
	}
}

// TestAnswer: what QEMU's NVMe was measured to answer, with lbs 512, MSSRL 16, MCL 40, MSRC 3.
func TestAnswer(t *testing.T) {
	w := able(3, 16, 40, 3)
	w.Disks[2].LogicalBlock = 4096
	at := func(disk target.Disk, start, n uint64) target.Extent {
		return target.Extent{Disk: disk, Range: target.Range{Start: start, Len: n}}
	}
	cdfe := func(w *World) {
		for i := range w.Disks {
			w.Disks[i].CDFE = true
		}
	}
	for _, c := range []struct {
		what   string
		format int
		setup  func(*World)
		src    []target.Extent
		dst    uint64
		status uint16
		ranges int
	}{
		{"one range", 0, nil, []target.Extent{at(0, 0, 8)}, 1000, 0, 1},
		{"gathered", 0, nil, []target.Extent{at(0, 0, 2), at(0, 10, 3), at(0, 20, 1), at(0, 30, 2)}, 1100, 0, 4},
		{"five ranges", 0, nil, []target.Extent{at(0, 0, 1), at(0, 2, 1), at(0, 4, 1), at(0, 6, 1), at(0, 8, 1)}, 1000, 0x183, 0},
		{"MSSRL", 0, nil, []target.Extent{at(0, 0, 16)}, 1000, 0, 1},
		{"MSSRL and 1", 0, nil, []target.Extent{at(0, 0, 17)}, 1000, 0x183, 0},
		{"MCL", 0, nil, []target.Extent{at(0, 0, 16), at(0, 20, 16), at(0, 40, 8)}, 1000, 0, 3},
		{"MCL and 1: before anything is copied", 0, nil, []target.Extent{at(0, 0, 16), at(0, 20, 16), at(0, 40, 9)}, 1000, 0x183, 0},
		{"MSSRL of the second: the first is copied", 0, nil, []target.Extent{at(0, 0, 4), at(0, 20, 17)}, 1000, 0x183, 1},
		{"the second is past the end: the third is not run", 0, nil, []target.Extent{at(0, 0, 4), at(0, 4095, 4), at(0, 0, 4)}, 1000, 0x80, 1},
		{"past the end of the destination", 0, nil, []target.Extent{at(0, 0, 4)}, 4095, 0x80, 0},
		{"format 0 overlaps", 0, nil, []target.Extent{at(0, 2000, 8)}, 2004, 0, 1},
		{"format 1", 1, nil, []target.Extent{at(0, 0, 8)}, 1000, 0x10a, 0},
		{"format 2 without CDFE", 2, nil, []target.Extent{at(0, 0, 8)}, 1000, 0x02, 0},
		{"format 4", 4, cdfe, []target.Extent{at(0, 0, 8)}, 1000, 0x02, 0},
		{"format 2 overlaps forward", 2, cdfe, []target.Extent{at(0, 2000, 8)}, 2004, 0x187, 0},
		{"format 2 overlaps backward", 2, cdfe, []target.Extent{at(0, 2004, 8)}, 2000, 0, 1},
		{"format 2 from another namespace", 2, cdfe, []target.Extent{at(1, 0, 8)}, 1000, 0, 1},
		{"format 2 from another block size", 2, cdfe, []target.Extent{at(2, 0, 8)}, 1000, 0x185, 0},
		{"format 2: MSSRL of the source", 2, func(w *World) { cdfe(w); w.Disks[1].Copy.MSSRL = 128 }, []target.Extent{at(1, 0, 20)}, 1000, 0, 1},
		{"format 2: MCL of the destination", 2, func(w *World) { cdfe(w); w.Disks[1].Copy.MSSRL = 128 }, []target.Extent{at(1, 0, 100)}, 1000, 0x183, 0},
		{"format 2 from two namespaces", 2, cdfe, []target.Extent{at(0, 0, 8), at(1, 0, 8)}, 1000, 0, 2},
		{"zone", 0, func(w *World) { w.Disks[0].Zoned, w.Disks[0].ZoneSectors = true, 512 }, []target.Extent{at(0, 0, 8)}, 508, 0x1b8, 0},
	} {
		x := *w
		x.Disks = slices.Clone(w.Disks)
		if c.setup != nil {
			c.setup(&x)
		}
		var n uint64
		for _, s := range c.src {
			n += s.Len
		}
		o := &Outcome{}
		x.devices(o).send(Command{Method: limits.NVMeCopy, Format: c.format, Sources: c.src, Dst: at(0, c.dst, n)})
		if got := o.Commands[0]; got.Status != c.status || got.Ranges != c.ranges {
			t.Errorf("%s: status 0x%x after %d ranges, want 0x%x after %d", c.what, got.Status, got.Ranges, c.status, c.ranges)
		}
	}
	o := &Outcome{} // what io_uring and the ioctl give has DNR in it
	x := World{Disks: w.Disks, Answer: func(int, *Command) (uint16, int) { return 0x4183, 5 }}
	x.devices(o).send(Command{Method: limits.NVMeCopy, Sources: []target.Extent{at(0, 0, 8)}, Dst: at(0, 1000, 8)})
	if c := o.Commands[0]; c.Status != 0x183 || c.Ranges != 1 || errnoOf(c.Status) != unix.EIO {
		t.Errorf("with DNR: %+v", c)
	}
	w.Disks[0].Zoned, w.Disks[0].ZoneSectors = true, 512
	o = &Outcome{}
	v := w.devices(o)
	for i, dst := range []uint64{512, 520, 512, 528, 530} { // in order, in order, again, in order, beyond the pointer
		v.send(Command{Method: limits.NVMeCopy, Sources: []target.Extent{at(0, 0, 8)}, Dst: at(0, dst, 8)})
		if got := fmt.Sprintf("%x", o.Commands[i].Status); got != []string{"0", "0", "1bc", "0", "1bc"}[i] {
			t.Errorf("write pointer: command %d to %d: status 0x%s", i, dst, got)
		}
	}
}
