package series

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// drawLab is three small disks, often alike and of one namespace, some without ability, some that answer badly.
func drawLab(t *rapid.T) *lab {
	block := rapid.SampledFrom([]uint32{512, 512, 4096}).Draw(t, "block")
	spaces := rapid.SampledFrom([][]string{{"x"}, {"x"}, {"x", "y"}}).Draw(t, "namespaces")
	l := labOf()
	for i := range l.Disks {
		d := &l.Disks[i]
		d.LogicalBlock, d.Sectors = block, 4096
		d.CDFE = rapid.IntRange(0, 3).Draw(t, "CDFE") < 3
		d.Copy.MSSRL = rapid.Uint32Range(1, 20).Draw(t, "MSSRL")
		d.Copy.MCL = rapid.Uint32Range(0, 40).Draw(t, "MCL")
		d.Copy.MSRC = rapid.SampledFrom([]uint32{0, 1, 2, 7, 127, 255}).Draw(t, "MSRC")
		d.Copy.Domain = rapid.SampledFrom(spaces).Draw(t, "namespace")
		if rapid.IntRange(0, 9).Draw(t, "unable") == 9 {
			d.Copy = limits.Copy{}
		}
		if rapid.IntRange(0, 9).Draw(t, "driver") == 9 {
			d.Driver = "null_blk"
		}
		d.UserMax = rapid.SampledFrom([]uint64{0, 0, 0, 511, 1536, 4096, 8192}).Draw(t, "cap")
		d.UserOff = rapid.IntRange(0, 19).Draw(t, "off") == 19
	}
	if rapid.IntRange(0, 3).Draw(t, "faults") == 3 {
		seed := rapid.SliceOfN(rapid.Uint16(), 8, 8).Draw(t, "answers")
		l.Answer = func(n int, c *Command) (uint16, int) {
			if x := seed[n%len(seed)]; x%3 == 0 {
				return scUnrecoveredRd, int(x) % len(c.Sources)
			}
			return 0, len(c.Sources)
		}
	}
	if rapid.IntRange(0, 9).Draw(t, "memory") == 9 {
		at := rapid.IntRange(0, 4).Draw(t, "fails at")
		l.NoMemory = func(n int) bool { return n == at }
	}
	return l
}

// drawDevice is a disk, a partition, or a table; places are apart, so that two sectors of it are never one of a disk.
func drawDevice(t *rapid.T, l *lab, free *[3]uint64) *Device {
	unit := uint64(l.Disks[0].LogicalBlock) / 512
	at := func(n uint64) (string, uint64) {
		i := rapid.IntRange(0, 2).Draw(t, "disk")
		start := free[i] + unit*rapid.Uint64Range(0, 3).Draw(t, "gap")
		free[i] = start + n
		return l.Disks[i].Name, start
	}
	var d *Device
	if rapid.Bool().Draw(t, "bare") {
		n := unit * rapid.Uint64Range(1, 60).Draw(t, "n")
		name, start := at(n)
		d = bareDevice(t, name, fmt.Sprintf("0 %d linear %s %d", n, name, start))
	} else {
		text, begin := "", uint64(0)
		for i := range rapid.IntRange(1, 3).Draw(t, "spans") {
			if i > 0 {
				text += " | "
			}
			if rapid.IntRange(0, 3).Draw(t, "striped") > 0 {
				n := unit * rapid.Uint64Range(1, 40).Draw(t, "n")
				name, start := at(n)
				text += fmt.Sprintf("%d %d linear %s %d", begin, n, name, start)
				begin += n
				continue
			}
			chunk, rows := unit*rapid.Uint64Range(1, 5).Draw(t, "chunk"), rapid.Uint64Range(1, 5).Draw(t, "rows")
			a, as := at(rows * chunk)
			b, bs := at(rows * chunk)
			text += fmt.Sprintf("%d %d striped 2 %d %s %d %s %d", begin, 2*rows*chunk, chunk, a, as, b, bs)
			begin += 2 * rows * chunk
		}
		d = labDevice(t, "dm", text)
	}
	d.LogicalBlock = uint32(unit * 512)
	return d
}

// drawSegs is segments with the total, or with any: of the whole device (0), or of its first or second half.
func drawSegs(t *rapid.T, d *Device, half, total uint64) (out []blkcopy.Seg) {
	unit := d.block() / 512
	size, from := d.Table.Sectors()/unit, uint64(0)
	if half > 0 && size > 1 {
		size, from = size/2, (half-1)*(size/2)
	}
	for n := rapid.SampledFrom([]int{1, 1, 1, 2, 3, 4}).Draw(t, "segments"); n > 0; n-- {
		at := rapid.Uint64Range(0, size-1).Draw(t, "at")
		k := rapid.Uint64Range(1, max(1, (size-at)/3)).Draw(t, "len")
		if total > 0 {
			if k = min(k, total/unit/512); n == 1 {
				k = total / unit / 512 // it may end past the device
				if k <= size && rapid.IntRange(0, 20).Draw(t, "past the end") > 0 {
					at = rapid.Uint64Range(0, size-k).Draw(t, "at")
				}
			}
			if total -= k * unit * 512; k == 0 {
				break
			}
		}
		if rapid.IntRange(0, 100).Draw(t, "odd") == 0 {
			out = append(out, blkcopy.Seg{Pos: (from+at)*unit*512 + 256, Len: k * unit * 512})
			continue
		}
		out = append(out, blkcopy.Seg{Pos: (from + at) * unit * 512, Len: k * unit * 512})
	}
	return out
}

func drawCopyRequest(t *rapid.T, l *lab) *Request {
	var free [3]uint64
	r := &Request{Src: drawDevice(t, l, &free)}
	if r.Dst = r.Src; rapid.IntRange(0, 2).Draw(t, "two devices") > 1 {
		r.Dst = drawDevice(t, l, &free)
	}
	src, dst := uint64(0), uint64(0)
	if rapid.IntRange(0, 3).Draw(t, "apart") > 0 {
		src, dst = 1, 2
	}
	r.DstSegs = drawSegs(t, r.Dst, dst, 0)
	var total uint64
	for _, s := range r.DstSegs {
		total += s.Len
	}
	r.SrcSegs = drawSegs(t, r.Src, src, total)
	return r
}

// Without defects a request ends, says nothing that was not done, and what it says is what memmove has, but where the
// finding says that nobody promises it.
func TestVectored2025And2026AreMemmove(t *testing.T) {
	tally := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		l := drawLab(rt)
		r := drawCopyRequest(rt, l)
		for _, m := range []*Model{vectored2025, offload2026} {
			o := m.Run(&l.World, r, nil)
			l.honest(rt, r, o)
			for _, f := range o.Wrong {
				if f.Defect != "" {
					rt.Errorf("%s: %+v", m.Name, f)
				}
			}
			if o.Never {
				rt.Errorf("%s never ends: %+v", m.Name, o)
			}
			switch {
			case o.Errno != 0:
				tally[m.Name+": refused or failed"]++
			case o.Offloaded > 0:
				tally[m.Name+": offloaded"]++
			default:
				tally[m.Name+": read and written"]++
			}
		}
	})
	for _, m := range []*Model{vectored2025, offload2026} {
		for _, what := range []string{"refused or failed", "offloaded", "read and written"} {
			if tally[m.Name+": "+what] == 0 {
				t.Errorf("no request was %s by %s: %v", what, m.Name, tally)
			}
		}
	}
	t.Log(tally)
}

// honest judges an outcome of a run without defects.
func (l *lab) honest(t *rapid.T, r *Request, o *Outcome) {
	if r.onto() {
		return
	}
	judge(t, o.Model, &l.World, r, o)
	src, _ := r.total()
	if o.Bytes > src {
		t.Errorf("%s: %d bytes of %d", o.Model, o.Bytes, src)
	}
	if o.Errno == 0 && o.Accepted && o.Bytes == src && r.shared(&l.World) == "" { // behind a short count anything may be copied too
		if got := l.judge(r, o); got == "WRONG" || got == "untouched" && o.Bytes > 0 && !l.same(r, o.Bytes) {
			t.Errorf("%s: %s: %s", o.Model, got, l.outcome(o))
		}
	}
	if !o.Accepted && (o.Errno == 0 || len(o.Commands) > 0) {
		t.Errorf("%s: refused, errno %v, %d commands", o.Model, o.Errno, len(o.Commands))
	}
}

// onto says whether one of several runs is copied onto itself: what another one writes there is nobody's to say.
func (r *Request) onto() bool {
	runs := r.runs()
	for _, x := range runs {
		if r.Src.Table == r.Dst.Table && x.src == x.dst && len(runs) > 1 {
			return true
		}
	}
	return false
}

// same says whether a request changes nothing.
func (l *lab) same(r *Request, n uint64) bool {
	from, to := l.places(r.Src, r.SrcSegs), l.places(r.Dst, r.DstSegs)
	for i := range min(uint64(len(from)), uint64(len(to)), n/512) {
		if from[i] != to[i] {
			return false
		}
	}
	return true
}

// With any defects a run ends, and the devices do nothing outside of themselves.
func TestVectored2025And2026End(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := drawLab(rt)
		l.Answer = nil
		switch rapid.IntRange(0, 5).Draw(rt, "stacked") {
		case 0:
			l.Disks[0].Stacked, l.Disks[0].On = "dm-linear", target.Extent{Disk: 2}
		case 1:
			l.Disks[0].Stacked, l.Disks[0].On = "md", target.Extent{Disk: 2, Range: target.Range{Start: 80}}
		case 2: // a ring
			l.Disks[0].Stacked, l.Disks[0].On = "dm-linear", target.Extent{Disk: 1}
			l.Disks[1].Stacked, l.Disks[1].On = "dm-linear", target.Extent{Disk: 0}
		}
		r := drawCopyRequest(rt, l)
		for _, m := range []*Model{vectored2025, offload2026} {
			o := &Options{AsPosted: rapid.Bool().Draw(rt, "as posted"), Defects: map[string]bool{}}
			for _, d := range m.Defects {
				o.Defects[d.Name] = rapid.Bool().Draw(rt, d.Name)
			}
			out := m.Run(&l.World, r, o)
			l.judge(r, out)
			if out.Never && out.Errno != 0 {
				rt.Errorf("%s: it never ends, with errno %v", m.Name, out.Errno)
			}
		}
	})
}

// Any numbers at all: what the kernel would be asked with.
func FuzzVectored2025And2026(f *testing.F) {
	f.Add(uint64(0), uint64(512), uint64(1024), uint64(512), uint64(4096), uint64(1024), uint32(128), uint32(128), uint32(127), true)
	f.Add(uint64(1<<63), uint64(1<<63), uint64(0), uint64(0), ^uint64(0), ^uint64(0), uint32(0), uint32(1), uint32(1<<31), false)
	f.Fuzz(func(t *testing.T, p1, n1, p2, n2, p3, n3 uint64, mssrl, mcl, msrc uint32, posted bool) {
		d := nvme("A", "a")
		d.Sectors = 4096
		d.Copy.MSSRL, d.Copy.MCL, d.Copy.MSRC = mssrl, mcl, msrc
		l := labOf(d)
		for _, dev := range []*Device{bareDevice(t, "A", "0 2000 linear A 1000"), labDevice(t, "dm", "0 1000 linear A 0 | 1000 900 linear A 1500")} {
			for _, r := range []*Request{
				within(dev, []blkcopy.Seg{{Pos: p1, Len: n1}}, []blkcopy.Seg{{Pos: p3, Len: n3}}),
				within(dev, []blkcopy.Seg{{Pos: p1, Len: n1}, {Pos: p2, Len: n2}}, []blkcopy.Seg{{Pos: p3, Len: n3}}),
				within(dev, []blkcopy.Seg{{Pos: p3, Len: n3}}, []blkcopy.Seg{{Pos: p1, Len: n1}, {Pos: p2, Len: n2}}),
			} {
				for _, m := range []*Model{vectored2025, offload2026} {
					out := m.Run(&l.World, r, &Options{AsPosted: posted})
					if len(out.Commands) > 1<<20 {
						t.Errorf("%s: %d commands", m.Name, len(out.Commands))
					}
				}
			}
		}
	})
}
