package series

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// defectCase reproduces one defect.
type defectCase struct {
	name  string
	world func() *lab
	r     *Request
	check func(t *testing.T, l *lab, on, off *Outcome)
}

// defectsGolden runs every case with its switch alone and without: the finding is there, and is not. Every defect of the
// model has a case, but those named have a test of their own.
func defectsGolden(t *testing.T, m *Model, cases []defectCase, file string, apart ...string) {
	all := labOf()
	seen := map[string]bool{}
	for _, n := range apart {
		seen[n] = true
	}
	for _, c := range cases {
		l := c.world()
		on, off := m.Run(&l.World, c.r, only(c.name)), m.Run(&l.World, c.r, nil)
		t.Run(c.name, func(t *testing.T) {
			if finding(on, c.name) == "" && on.Errno != unix.EINVAL {
				t.Errorf("on: no finding: %+v", on)
			}
			for _, f := range off.Wrong {
				if f.Defect != "" {
					t.Errorf("off: %+v", f)
				}
			}
			if off.Never {
				t.Error("off: it never completes")
			}
			lr := *l
			caseRequest = c.r
			c.check(t, &lr, on, off)
		})
		seen[c.name] = seen[c.name] || finding(on, c.name) != ""
		if l.Disks[0].Sectors <= 1<<20 {
			l.describe(c.name+": with", c.r, on)
			l.describe(c.name+": without", c.r, off)
			all.text.WriteString(l.text.String())
		}
	}
	for _, d := range m.Defects {
		if !seen[d.Name] {
			t.Errorf("nothing reproduces %s", d.Name)
		}
		if d.What == "" || d.Ref == "" {
			t.Errorf("%s: %+v", d.Name, d)
		}
	}
	all.golden(t, file)
}

// caseRequest is of the case that is being checked.
var caseRequest *Request

func (l *lab) data(t *testing.T, on *Outcome, wantOn string, off *Outcome, wantOff string) {
	t.Helper()
	same(t, "data with", l.judge(caseRequest, on), wantOn)
	same(t, "data without", l.judge(caseRequest, off), wantOff)
}

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func offloadCases(t *testing.T) []defectCase {
	a := bareDevice(t, "A", "0 100000 linear A 0")
	b := bareDevice(t, "B", "0 100000 linear B 0")
	l := labDevice(t, "L", "0 1000 linear A 2048 | 1000 1000 linear B 0")
	dm := labDevice(t, "dm", "0 2000 linear A 0")
	file := func(d *Device) *Request { return within(d, labSegs(100, 64), labSegs(500, 64)) }
	two := func(d *Device) *Request { return within(d, labSegs(100, 32, 200, 32), labSegs(500, 64)) }
	plain := func() *lab { return labOf() }
	noCDFE := func() *lab {
		l := labOf()
		l.Disks[0].CDFE = false // QEMU's default: format 2 is Invalid Field
		return l
	}
	unable := func() *lab {
		l := labOf()
		l.Disks[0].Copy = limits.Copy{}
		return l
	}
	off := func() *lab {
		l := labOf()
		l.Disks[0].UserOff = true
		return l
	}
	stacked := func(kind string) func() *lab {
		return func() *lab {
			l := labOf(nvme("A", "a"), nvme("B", "a"), nvme("C", "a"))
			l.Disks[0].Stacked, l.Disks[0].On = kind, target.Extent{Disk: 2, Range: target.Range{Start: 7000}}
			l.Disks[1].Stacked, l.Disks[1].On = kind, target.Extent{Disk: 2, Range: target.Range{Start: 30000}}
			for i := range 2 {
				l.Disks[i].Sectors = 10000
			}
			return l
		}
	}
	memory := func() *lab {
		l := labOf()
		l.NoMemory = func(n int) bool { return n == 1 }
		return l
	}
	onload := func(t *testing.T, l *lab, on, off *Outcome) {
		l.data(t, on, "memmove", off, "memmove")
		same(t, "emulated", on.Emulated, on.Bytes)
	}
	nothing := func(t *testing.T, l *lab, on, off *Outcome) {
		same(t, "errno", on.Errno, unix.Errno(0))
		same(t, "bytes", on.Bytes, uint64(64*512))
		same(t, "offloaded", on.Offloaded+on.Emulated, uint64(0))
		l.data(t, on, "untouched", off, "memmove")
	}
	return []defectCase{
		{oLost, noCDFE, file(a), func(t *testing.T, l *lab, on, off *Outcome) {
			nothing(t, l, on, off)
			same(t, "status", on.Commands[0].Status, uint16(scInvalidField))
			same(t, "read and written without", off.Emulated, uint64(64*512))
		}},
		{oLost, noCDFE, two(a), func(t *testing.T, l *lab, on, off *Outcome) { // the kernel's caller sees the error without
			same(t, "errno", on.Errno, unix.Errno(0))
			same(t, "errno without", off.Errno, unix.EOPNOTSUPP)
			l.data(t, on, "untouched", off, "untouched")
		}},
		{oSync, noCDFE, file(a), nothing},
		{oCount, plain, two(a), func(t *testing.T, l *lab, on, off *Outcome) {
			same(t, "never", on.Never, true)
			same(t, "bytes", on.Bytes, uint64(0))
			l.data(t, on, "memmove", off, "memmove") // it is copied, and nobody is told
		}},
		{oSplit, plain, within(l, labSegs(990, 30), labSegs(1500, 30)), func(t *testing.T, l *lab, on, off *Outcome) {
			same(t, "offloaded", on.Offloaded, uint64(0)) // the copy begins before there is a destination
			posted := offload2026.Run(&l.World, caseRequest, &Options{AsPosted: true})
			same(t, "errno as posted", posted.Errno, unix.Errno(0))
			same(t, "bytes as posted", posted.Bytes, uint64(30*512))
			same(t, "data as posted", l.judge(caseRequest, posted), "untouched")
			same(t, "emulated without", off.Emulated, uint64(30*512))
			same(t, "offloaded without", off.Offloaded, uint64(0))
		}},
		{oSplit, func() *lab { return labOf().one() }, within(l, labSegs(100, 40), labSegs(980, 40)), func(t *testing.T, l *lab, on, off *Outcome) {
			l.data(t, on, "WRONG", off, "memmove") // past the target's end, on the first target's disk
			same(t, "destination", on.Commands[0].Dst, target.Extent{Disk: 0, Range: target.Range{Start: 3028, Len: 40}})
			same(t, "errno", on.Errno, unix.Errno(0))
		}},
		{oNull, off, file(dm), func(t *testing.T, l *lab, on, off *Outcome) { // the leg's cap is not inherited
			same(t, "never", on.Never, true)
			l.data(t, on, "untouched", off, "memmove")
		}},
		{oNoMem, memory, within(a, labSegs(0, 384), labSegs(1000, 384)), func(t *testing.T, l *lab, on, off *Outcome) {
			same(t, "never", on.Never, true)
			same(t, "commands", len(on.Commands), 3) // all is copied before the crash
			same(t, "emulated without", off.Emulated, uint64(384*512))
		}},
		{oNoMem, func() *lab { l := labOf(); l.NoMemory = func(int) bool { return true }; return l }, file(a), func(t *testing.T, l *lab, on, off *Outcome) {
			same(t, "never", on.Never, true)
			same(t, "commands", len(on.Commands), 0)
		}},
		{oOwner, plain, &Request{Src: a, Dst: b, SrcSegs: labSegs(100, 64), DstSegs: labSegs(500, 64)}, func(t *testing.T, l *lab, on, off *Outcome) {
			l.data(t, on, "WRONG", off, "memmove")
			m := l.memory()
			before := m[0][500]
			on.Replay(m)
			if m[0][500] == before || m[1][500] != l.memory()[1][500] {
				t.Errorf("A:500 holds %x, B:500 %x: the wrong device is to be overwritten, and the right one not", m[0][500], m[1][500])
			}
			same(t, "errno", on.Errno, unix.Errno(0))
		}},
		{oInherit, stacked("dm-linear"), file(labDevice(t, "crypt", "0 2000 crypt A 0")), func(t *testing.T, l *lab, on, off *Outcome) {
			same(t, "limit", on.Limits[0].Value, uint64(128*512))
			same(t, "limit without", off.Limits[0].Value, uint64(0))
			same(t, "raw copy", on.Offloaded, uint64(64*512))
			same(t, "none without", off.Offloaded, uint64(0))
		}},
		{oInherit, stacked("dm-linear"), within(labDevice(t, "S", "0 2048 striped 2 128 A 0 B 0"), labSegs(0, 64), labSegs(256, 64)), func(t *testing.T, l *lab, on, off *Outcome) {
			same(t, "limit without", off.Limits[0].Value, uint64(0))
			l.data(t, on, "memmove", off, "memmove")
		}},
		{oMD, stacked("md"), file(bareDevice(t, "md", "0 10000 linear A 0")), func(t *testing.T, l *lab, on, off *Outcome) {
			l.data(t, on, "WRONG", off, "memmove")
			same(t, "limit without", off.Limits[0].Value, uint64(0))
			same(t, "source", on.Commands[0].Sources[0].Start, uint64(7100))
			same(t, "destination", on.Commands[0].Dst.Start, uint64(500)) // not 7500
		}},
		{oMember, unable, two(a), func(t *testing.T, l *lab, on, off *Outcome) {
			same(t, "never", on.Never, true)
			l.data(t, on, "untouched", off, "memmove")
		}},
		{oClip, unable, within(a, labSegs(100, 64), labSegs(500, 16, 2000, 48)), func(t *testing.T, l *lab, on, off *Outcome) {
			l.data(t, on, "WRONG", off, "memmove")
			m := l.memory()
			on.Replay(m)
			same(t, "past the segment", m[0][516], l.memory()[0][116])
			same(t, "the segment behind", m[0][2000], l.memory()[0][2000])
		}},
		{oLeak, unable, two(a), onload},
		{oNoEnd, unable, two(a), onload},
		{oStack, plain, two(a), func(t *testing.T, l *lab, on, off *Outcome) { l.data(t, on, "memmove", off, "memmove") }},
		{oTwice, unable, two(a), func(t *testing.T, l *lab, on, off *Outcome) {
			same(t, "errno", on.Errno, unix.EIO)
			same(t, "errno without", off.Errno, unix.Errno(0))
			l.data(t, on, "memmove", off, "memmove")
		}},
		{oPut, plain, two(a), func(t *testing.T, l *lab, on, off *Outcome) {
			same(t, "leak", finding(on, oPut), "3 bios leak")
		}},
		{oCap, func() *lab {
			d := nvme("A", "a")
			d.LogicalBlock, d.UserMax = 4096, 1536
			return labOf(d)
		}, block4k(within(bareDevice(t, "A", "0 100000 linear A 0"), labSegs(80, 16), labSegs(800, 16))), func(t *testing.T, l *lab, on, off *Outcome) {
			same(t, "limit", on.Limits[0].Value, uint64(1536))
			same(t, "limit without", off.Limits[0].Value, uint64(128*4096))
			same(t, "commands", len(on.Commands), 7) // and one that reads and writes; six of 3 sectors, 0 blocks, taken for 65536
			same(t, "offloaded", on.Offloaded, uint64(0))
			l.data(t, on, "memmove", off, "memmove") // after the errors it is read and written
		}},
		{oEnd, plain, within(a, labSegs(0, 8, 20, 8), labSegs(99996, 16)), func(t *testing.T, l *lab, on, off *Outcome) {
			same(t, "never", on.Never, true)
			same(t, "errno without", off.Errno, unix.EIO)
		}},
	}
}

func block4k(r *Request) *Request {
	r.Src.LogicalBlock, r.Dst.LogicalBlock = 4096, 4096
	return r
}

func TestOffload2026Defects(t *testing.T) {
	defectsGolden(t, offload2026, offloadCases(t), "offload_2026_defects", oMSRC, oShift)
}

// More sources than MSRC + 1: the device refuses them, and the limit says 256.
func TestOffload2026MSRC(t *testing.T) {
	d := nvme("A", "a")
	d.Copy.MSRC = 3
	l := labOf(d)
	r := within(bareDevice(t, "A", "0 100000 linear A 0"), labSegs(0, 1, 10, 1, 20, 1, 30, 1, 40, 1), labSegs(500, 5))
	on, off := offload2026.Run(&l.World, r, only(oMSRC)), offload2026.Run(&l.World, r, nil)
	same(t, "segments", on.Limits[2].Value, uint64(256))
	same(t, "segments without", off.Limits[2].Value, uint64(4))
	same(t, "status", on.Commands[0].Status, uint16(scSizeLimit))
	same(t, "errno", on.Errno, unix.EIO)
	same(t, "errno without", off.Errno, unix.Errno(0))
	same(t, "commands without", len(off.Commands), 2)
	same(t, "data without", l.judge(r, off), "memmove")
}

// 4 GiB in sysfs, and one block less.
func TestOffload2026Shift(t *testing.T) {
	d := nvme("A", "a")
	d.LogicalBlock = 65536
	a := bareDevice(t, "A", "0 100000 linear A 0")
	for mssrl, want := range map[uint32][2]uint64{1 << 16: {0, 1 << 32}, 1<<16 - 1: {1<<32 - 65536, 1<<32 - 65536}} {
		d.Copy.MSSRL = mssrl
		l := labOf(d)
		for i := range 2 {
			on, off := offload2026.Limits(&l.World, a, only(oShift))[i], offload2026.Limits(&l.World, a, nil)[i]
			if got := [2]uint64{on.Value, off.Value}; got != want {
				t.Errorf("MSSRL %d, %s: %v, want %v", mssrl, on.Name, got, want)
			}
		}
	}
}
