package series

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
)

func TestVectored2025Split(t *testing.T) { splitGolden(t, vectored2025, "vectored_2025_split") }

// A disk's limits are MCL, MSSRL and MSRC + 1; a dm device has none, whatever lies below.
func TestVectored2025Limits(t *testing.T) {
	for _, c := range []struct {
		name            string
		lbs             uint32
		mssrl, mcl, src uint32
		bare            bool
		want            [3]uint64 // bytes, bytes, ranges
	}{
		{"4.5, NVMe of 4096 bytes", 4096, 64, 256, 7, true, [3]uint64{2048 * 512, 512 * 512, 8}},
		{"QEMU's", 512, 128, 128, 127, true, [3]uint64{128 * 512, 128 * 512, 128}},
		{"more than the list holds", 512, 128, 128, 255, true, [3]uint64{128 * 512, 128 * 512, 128}},
		{"no MCL", 512, 128, 0, 127, true, [3]uint64{}},
		{"no MSSRL", 512, 0, 128, 127, true, [3]uint64{}},
		{"dm", 512, 128, 128, 127, false, [3]uint64{}},
	} {
		d := nvme("A", "a")
		d.LogicalBlock = c.lbs
		d.Copy = limits.Copy{Method: limits.NVMeCopy, MSSRL: c.mssrl, MCL: c.mcl, MSRC: c.src, Domain: "a"}
		dev := labDevice(t, "d", "0 8000 linear A 0")
		dev.Bare = c.bare
		w := labOf(d)
		vs := vectored2025.Limits(&w.World, dev, nil)
		if got := [3]uint64{vs[0].Value, vs[1].Value, vs[2].Value}; got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// vectoredCases reproduces every defect with its switch alone.
func vectoredCases(t *testing.T) []defectCase {
	disk := func(change func(*Disk)) func() *lab {
		return func() *lab {
			d := nvme("A", "a")
			if change != nil {
				change(&d)
			}
			return labOf(d)
		}
	}
	part := bareDevice(t, "A1", "0 1000 linear A 5000")
	whole := bareDevice(t, "A", "0 100000 linear A 0")
	var many []uint64
	for i := range uint64(128) {
		many = append(many, 2*i, 1)
	}
	return []defectCase{
		{vFallbackDst, disk(func(d *Disk) { d.Copy = limits.Copy{} }), within(whole, labSegs(100, 8, 200, 8), labSegs(1000, 16)),
			func(t *testing.T, l *lab, on, off *Outcome) {
				l.data(t, on, "WRONG", off, "memmove")
				same(t, "destination of the second", on.Commands[1].Dst.Start, uint64(1000))
				same(t, "errno", on.Errno, unix.Errno(0))
			}},
		{vSources, disk(nil), within(part, labSegs(100, 8, 200, 8), labSegs(500, 16)),
			func(t *testing.T, l *lab, on, off *Outcome) {
				l.data(t, on, "WRONG", off, "memmove")
				same(t, "source", on.Commands[0].Sources[0].Start, uint64(100))
				same(t, "source without", off.Commands[0].Sources[0].Start, uint64(5100))
			}},
		{vSources, disk(nil), within(part, labSegs(100, 8, 9000, 8), labSegs(500, 16)), // past the partition's end
			func(t *testing.T, l *lab, on, off *Outcome) {
				same(t, "errno", on.Errno, unix.Errno(0))
				same(t, "errno without", off.Errno, unix.EINVAL)
				l.data(t, on, "WRONG", off, "untouched")
			}},
		{vOverlap, disk(nil), within(whole, labSegs(100, 8, 1004, 8), labSegs(1000, 16)), // the second source is the first's destination
			func(t *testing.T, l *lab, on, off *Outcome) {
				same(t, "errno without", off.Errno, unix.EINVAL)
				same(t, "errno", on.Errno, unix.EINVAL) // 1004 < 1000+8: seen
			}},
		{vOverlap, disk(nil), within(whole, labSegs(100, 8, 200, 8, 1009, 4), labSegs(1000, 20)),
			func(t *testing.T, l *lab, on, off *Outcome) {
				same(t, "errno without", off.Errno, unix.EINVAL)
				same(t, "errno", on.Errno, unix.Errno(0)) // 1009 is past 1000+4
				l.data(t, on, "WRONG", off, "untouched")
			}},
		{vRanges, disk(nil), within(whole, labSegs(many...), labSegs(2000, 128)),
			func(t *testing.T, l *lab, on, off *Outcome) {
				same(t, "errno", on.Errno, unix.EIO)
				same(t, "commands", len(on.Commands), 0)
				l.data(t, on, "untouched", off, "memmove")
				same(t, "commands without", len(off.Commands), 1)
			}},
		{vMerge, disk(nil), within(whole, labSegs(100, 8, 102, 2), labSegs(1000, 10)),
			func(t *testing.T, l *lab, on, off *Outcome) {
				l.data(t, on, "WRONG", off, "memmove")
				same(t, "ranges", len(on.Commands[0].Sources), 1)
			}},
		{vClip, disk(func(d *Disk) { d.Copy.MSSRL, d.Copy.MCL = 8, 12 }), within(whole, labSegs(100, 20), labSegs(1000, 20)),
			func(t *testing.T, l *lab, on, off *Outcome) {
				same(t, "never", on.Never, true)
				l.data(t, on, "untouched", off, "memmove")
				same(t, "commands", len(off.Commands), 2)
			}},
		{vSize, disk(func(d *Disk) { d.Copy.MSSRL, d.Copy.MCL = 1<<16-1, 1<<23-1; d.Sectors = 1 << 25 }),
			within(big(t), labSegs(0, 1<<22, 1<<23, 1<<22), labSegs(1<<24, 1<<23)),
			func(t *testing.T, l *lab, on, off *Outcome) {
				same(t, "bytes", on.Bytes, uint64(1<<32))
				same(t, "offloaded", on.Offloaded, uint64(0))
				same(t, "errno without", off.Errno, unix.EINVAL)
			}},
		{vZero, disk(func(d *Disk) { d.Copy.MSSRL, d.Copy.MCL = 1<<16-1, 1<<20 }), within(whole, labSegs(100, 8, 300, 0, 200, 8), labSegs(1000, 16)),
			func(t *testing.T, l *lab, on, off *Outcome) {
				same(t, "errno without", off.Errno, unix.EINVAL)
				same(t, "range", on.Commands[0].Sources[1].Len, uint64(65536))
				same(t, "errno", on.Errno, unix.EIO) // 65536 is one more than MSSRL can be
			}},
		{vList, disk(nil), within(whole, labSegs(100, 8), labSegs(1000, 8)), func(t *testing.T, l *lab, on, off *Outcome) { l.data(t, on, "memmove", off, "memmove") }},
		{vCache, disk(nil), within(whole, labSegs(100, 8), labSegs(1000, 8)), func(t *testing.T, l *lab, on, off *Outcome) { l.data(t, on, "memmove", off, "memmove") }},
	}
}

func big(t *testing.T) *Device { return bareDevice(t, "A", "0 33554432 linear A 0") }

func TestVectored2025Defects(t *testing.T) {
	defectsGolden(t, vectored2025, vectoredCases(t), "vectored_2025_defects", vMCL)
}

// MCL of 2^23 blocks of 512 bytes is no support where it is computed in 32 bits; nvmet's U32_MAX happens to be less than a
// bio's most.
func TestVectored2025MCL(t *testing.T) {
	d := nvme("A", "a")
	dev := bareDevice(t, "A", "0 100000 linear A 0")
	for mcl, want := range map[uint32][2]uint64{1 << 23: {0, 1 << 32}, 1<<32 - 1: {1<<32 - 512, (1<<32 - 1) << 9}} {
		d.Copy.MCL = mcl
		w := labOf(d)
		on, off := vectored2025.Limits(&w.World, dev, only(vMCL))[0].Value, vectored2025.Limits(&w.World, dev, nil)[0].Value
		if got := [2]uint64{on, off}; got != want {
			t.Errorf("MCL %d: %v, want %v", mcl, got, want)
		}
	}
}

// The refusals, in the order of blk_ioctl_copy and blk_ioctl_copy_vec.
func TestVectored2025Checks(t *testing.T) {
	a := bareDevice(t, "A", "0 100000 linear A 0")
	k4 := bareDevice(t, "A", "0 100000 linear A 0")
	k4.LogicalBlock = 4096
	ro := bareDevice(t, "A", "0 100000 linear A 0")
	ro.ReadOnly = true
	b := bareDevice(t, "B", "0 100000 linear B 0")
	for _, c := range []struct {
		name     string
		r        *Request
		accepted bool
		errno    unix.Errno
		bytes    uint64
	}{
		{"read-only", within(ro, labSegs(0, 8), labSegs(8, 8)), false, unix.EBADF, 0},
		{"two devices", &Request{Src: a, Dst: b, SrcSegs: labSegs(0, 8), DstSegs: labSegs(8, 8)}, false, unix.EOPNOTSUPP, 0},
		{"source off the block", within(k4, labSegs(4, 8), labSegs(80, 8)), false, unix.EINVAL, 0},
		{"destination off the block", within(k4, labSegs(0, 8), labSegs(12, 8)), false, unix.EINVAL, 0},
		{"length off the block", within(k4, labSegs(0, 4), labSegs(80, 4)), false, unix.EINVAL, 0},
		{"zero", within(a, labSegs(0, 0), labSegs(8, 0)), false, unix.EINVAL, 0},
		{"source past the end", within(a, labSegs(99999, 2), labSegs(8, 2)), false, unix.EINVAL, 0},
		{"to the end", within(a, labSegs(99998, 2), labSegs(8, 2)), true, 0, 1024},
		{"destination past the end", within(a, labSegs(0, 2), labSegs(99999, 2)), true, unix.EIO, 0},
		{"overlap forward", within(a, labSegs(0, 8), labSegs(7, 8)), false, unix.EINVAL, 0},
		{"overlap backward", within(a, labSegs(7, 8), labSegs(0, 8)), false, unix.EINVAL, 0},
		{"adjacent", within(a, labSegs(0, 8), labSegs(8, 8)), true, 0, 4096},
		{"onto itself", within(a, labSegs(8, 8), labSegs(8, 8)), true, 0, 4096},
		{"half a sector", within(a, []blkcopy.Seg{{Pos: 256, Len: 512}}, labSegs(8, 1)), false, unix.EINVAL, 0},
		{"longer than the source", within(a, labSegs(0, 8), labSegs(8, 16)), false, unix.EINVAL, 0},
		{"longer than the destination", within(a, labSegs(0, 16), labSegs(80, 8)), false, unix.EINVAL, 0},
		{"two ioctls, the second past the end", within(a, labSegs(0, 16), labSegs(80, 8, 99996, 8)), true, unix.EIO, 4096},
		{"one source of two past the end", within(a, labSegs(0, 8, 99996, 8), labSegs(80, 16)), false, unix.EINVAL, 0},
	} {
		o := vectored2025.Run(&labOf().World, c.r, nil)
		if o.Accepted != c.accepted || o.Errno != c.errno || o.Bytes != c.bytes {
			t.Errorf("%s: accepted %v, errno %v, %d bytes (%s), want %v, %v, %d", c.name, o.Accepted, o.Errno, o.Bytes, o.Why, c.accepted, c.errno, c.bytes)
		}
	}
}

// Split by ranges, by sectors of a range and of a command, inside and between sources; each one over.
func TestVectored2025Commands(t *testing.T) {
	d := nvme("A", "a")
	d.Copy.MSSRL, d.Copy.MCL, d.Copy.MSRC = 16, 40, 3
	a := bareDevice(t, "A", "0 100000 linear A 0")
	all := labOf(d)
	for _, c := range []struct {
		name string
		segs []uint64
		n    int
	}{
		{"a range", []uint64{0, 16}, 1},
		{"a range and one", []uint64{0, 17}, 1},
		{"a command", []uint64{0, 40}, 1},
		{"a command and one", []uint64{0, 41}, 2},
		{"four sources", []uint64{0, 2, 10, 2, 20, 2, 30, 2}, 1},
		{"five sources", []uint64{0, 2, 10, 2, 20, 2, 30, 2, 40, 2}, 2},
		{"sources that go on from each other", []uint64{0, 2, 2, 3, 5, 4, 9, 1, 10, 2}, 1},
	} {
		var n uint64
		for i := 1; i < len(c.segs); i += 2 {
			n += c.segs[i]
		}
		r := within(a, labSegs(c.segs...), labSegs(1000, n))
		o := vectored2025.Run(&all.World, r, nil)
		if len(o.Commands) != c.n || all.judge(r, o) != "memmove" {
			t.Errorf("%s: %d commands, want %d, data %s", c.name, len(o.Commands), c.n, all.judge(r, o))
		}
		all.describe(c.name, r, o)
	}
	all.golden(t, "vectored_2025_commands")
}

// Where the device has support there is no fallback: its error is the caller's, and what else was split off is sent.
func TestVectored2025Error(t *testing.T) {
	a := bareDevice(t, "A", "0 100000 linear A 0")
	l := labOf()
	l.Answer = func(n int, c *Command) (uint16, int) {
		if n == 1 {
			return scUnrecoveredRd, 0
		}
		return 0, len(c.Sources)
	}
	o := vectored2025.Run(&l.World, within(a, labSegs(0, 384), labSegs(1000, 384)), nil)
	if o.Errno != unix.ENODATA || len(o.Commands) != 3 || o.Emulated != 0 || o.Bytes != 0 || o.Offloaded != 256*512 {
		t.Errorf("%+v", o)
	}
}

// The first error is the bio's, whatever comes after it.
func TestVectored2025FirstError(t *testing.T) {
	l := labOf()
	l.Answer = func(n int, c *Command) (uint16, int) { return []uint16{scUnrecoveredRd, scSizeLimit}[n%2], 0 }
	if o := vectored2025.Run(&l.World, within(bareDevice(t, "A", "0 100000 linear A 0"), labSegs(0, 256), labSegs(1000, 256)), nil); o.Errno != unix.ENODATA || len(o.Commands) != 2 {
		t.Errorf("%+v", o)
	}
}

// nr_ranges has 16 bits: 65535 sources are an ioctl, one more are two.
func TestVectored2025Ranges(t *testing.T) {
	a := bareDevice(t, "A", "0 100000 linear A 0")
	for n, want := range map[uint64]int{65535: 1, 65536: 2} {
		r := within(a, nil, labSegs(1000, n))
		for range n {
			r.SrcSegs = append(r.SrcSegs, labSegs(0, 1)...)
		}
		if calls, why := vectoredCalls(r); len(calls) != want || why != "" {
			t.Errorf("%d sources: %d ioctls (%s), want %d", n, len(calls), why, want)
		}
	}
}
