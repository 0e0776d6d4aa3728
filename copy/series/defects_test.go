package series

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// failing answers status to the nth offload that is sent, and success to everything else.
func failing(nth int, status uint16) func(int, *Command) (uint16, int) {
	sent := 0
	return func(_ int, c *Command) (uint16, int) {
		if c.Method != blkcopy.Emulated {
			if sent++; sent-1 == nth {
				return status, 0
			}
		}
		return 0, len(c.Sources)
	}
}

// The defects of simple-copy-2021, token-2023 and pair-2024: a world and a request that show each, and what is different
// about the outcome.
var defectCases = []struct {
	model, defect string
	setup         func(t *testing.T) (*World, *Request)
	shows         func(o *Outcome) bool
}{
	{"simple-copy-2021", simpleUnchecked, func(t *testing.T) (*World, *Request) {
		w := able(1, 0, 0, 255)
		w.Disks[0].Sectors = 1 << 23
		return w, within(diskDevice(t, w, 'A'), segs(0, 1<<21), segs(1<<22, 1<<21))
	}, func(o *Outcome) bool { return o.Accepted && o.Errno == 0 && o.Bytes == 1<<30 }},

	{"token-2023", tokenPastFailure, func(t *testing.T) (*World, *Request) {
		w := able(1, 16, 128, 0)
		w.Answer = failing(1, scWriteFault)
		return w, within(diskDevice(t, w, 'A'), segs(0, 40), segs(100, 40))
	}, func(o *Outcome) bool { // chunks 16, 16, 8: the middle one is nowhere, and nobody knows
		return o.Errno == 0 && o.Bytes == 40*512 && o.Offloaded+o.Emulated == 32*512
	}},
	{"token-2023", tokenZonedHang, func(t *testing.T) (*World, *Request) {
		w := able(2, 64, 64, 0)
		for i := range w.Disks {
			w.Disks[i].Zoned, w.Disks[i].ZoneSectors = true, 1024
		}
		// The source's first chunk crosses from zone to zone of a table, so that its read is refused.
		d := dmDevice(t, "Z", 512, "0 1024 linear A 0 | 1024 1024 linear A 2048 | 2048 1024 linear A 1024")
		return w, within(d, segs(1000, 128), segs(2048, 128))
	}, func(o *Outcome) bool { return o.Never && len(o.Commands) == 0 }},
	{"token-2023", tokenClamp, func(t *testing.T) (*World, *Request) {
		w := able(1, 65535, 0, 0)
		w.Disks[0].LogicalBlock = 4096
		return w, within(diskDevice(t, w, 'A'), segs(0, 8), segs(100*8, 8))
	}, func(o *Outcome) bool { return o.Limits[2].Value == 524280*512 }},

	{"pair-2024", pairReversed, func(t *testing.T) (*World, *Request) {
		w := able(1, 64, 64, 0)
		w.Disks[0].Driver = nvmet
		return w, within(diskDevice(t, w, 'A'), segs(0, 8), segs(100, 8))
	}, func(o *Outcome) bool {
		return o.Commands[0].Dst.Start == 0 && o.Commands[0].Sources[0].Start == 100 && o.Bytes == 8*512
	}},
	{"pair-2024", pairCopiedLen, func(t *testing.T) (*World, *Request) {
		w := able(1, 64, 64, 0)
		w.Disks[0].Driver, w.Answer = nvmet, failing(0, scUnrecoveredRd)
		return w, within(diskDevice(t, w, 'A'), segs(0, 8), segs(100, 8))
	}, func(o *Outcome) bool { return o.Errno == 0 && o.Bytes == 8*512 && o.Offloaded == 0 }},
	{"pair-2024", pairZero, func(t *testing.T) (*World, *Request) {
		w := able(2, 64, 64, 0)
		return w, within(dmDevice(t, "L", 512, splitTables["L"]), segs(990, 30), segs(1500, 30))
	}, func(o *Outcome) bool { return o.Errno == 0 && o.Bytes == 0 }},
	{"pair-2024", pairUserCap, func(t *testing.T) (*World, *Request) {
		w := able(1, 64, 64, 0)
		w.Disks[0].UserMax = 8 * 512
		return w, within(dmDevice(t, "d", 512, "0 1000 linear A 0"), segs(0, 64), segs(100, 64))
	}, func(o *Outcome) bool { return o.Limits[0].Value == 64*512 && len(o.Commands) == 1 }},
}

// TestDefects: each is there with its switch, and as posted, and not without.
func TestDefects(t *testing.T) {
	covered := map[string]bool{}
	var b strings.Builder
	for _, c := range defectCases {
		covered[c.model+" "+c.defect] = true
		t.Run(c.model+" "+c.defect, func(t *testing.T) {
			m, ok := Find(c.model)
			if !ok {
				t.Fatal("no such model")
			}
			run := func(o *Options) (*World, *Request, *Outcome) {
				w, r := c.setup(t)
				return w, r, m.Run(w, r, o)
			}
			w, r, o := run(nil)
			fmt.Fprintf(&b, "# %s %s: off\n%s", c.model, c.defect, w.outcome(o))
			if c.shows(o) {
				t.Errorf("there without the switch:\n%s", w.outcome(o))
			}
			if w.Disks[0].Sectors < 1<<20 {
				judge(t, "without", w, r, o)
			}
			w, _, o = run(&Options{Defects: map[string]bool{c.defect: true}})
			fmt.Fprintf(&b, "# %s %s: on\n%s\n", c.model, c.defect, w.outcome(o))
			if !c.shows(o) {
				t.Errorf("not there with the switch:\n%s", w.outcome(o))
			}
			if !o.has(c.defect) {
				t.Errorf("there, and not said:\n%s", w.outcome(o))
			}
			if _, _, o = run(&Options{AsPosted: true}); !c.shows(o) && c.defect != pairReversed {
				t.Errorf("not there as posted")
			}
		})
	}
	golden(t, "defects", b.String())
	for _, m := range []*Model{simpleCopy2021, token2023, pair2024, ours} {
		for _, d := range m.Defects {
			if !covered[m.Name+" "+d.Name] {
				t.Errorf("%s: no case for %s", m.Name, d.Name)
			}
			if d.What == "" || d.Ref == "" {
				t.Errorf("%s: %s has no sentence or no reference", m.Name, d.Name)
			}
		}
	}
}

// TestRefusals: the errno of what each design refuses.
func TestRefusals(t *testing.T) {
	w := able(2, 128, 128, 127)
	w.Disks[0].Sectors, w.Disks[1].Sectors = 1<<23, 1<<23
	d := diskDevice(t, w, 'A')
	ro := *d
	ro.ReadOnly = true
	many := within(d, nil, nil)
	for i := range uint64(1 << 12) {
		many.SrcSegs, many.DstSegs = append(many.SrcSegs, segs(2*i, 1)...), append(many.DstSegs, segs(1<<20+2*i, 1)...)
	}
	gather := within(d, many.SrcSegs, segs(1<<20, 1<<12))
	most := within(d, many.SrcSegs[1:], many.DstSegs[1:])
	for _, c := range []struct {
		what string
		r    *Request
		want [4]unix.Errno // 2021, 2023, 2024, ours
	}{
		{"nothing", within(d, segs(0, 0), segs(8, 0)), [4]unix.Errno{unix.EINVAL, unix.EINVAL, unix.EINVAL, unix.EINVAL}},
		{"read-only", &Request{d, &ro, segs(0, 8), segs(8, 8)}, [4]unix.Errno{unix.EPERM, unix.EPERM, unix.EPERM, unix.EPERM}},
		{"unaligned", within(d, []blkcopy.Seg{{Pos: 1, Len: 512}}, segs(8, 1)), [4]unix.Errno{unix.EINVAL, unix.EINVAL, unix.EINVAL, unix.EINVAL}},
		{"totals differ", within(d, segs(0, 8), segs(8, 9)), [4]unix.Errno{unix.EINVAL, unix.EINVAL, unix.EINVAL, unix.EINVAL}},
		{"128 MiB", within(d, segs(0, 1<<18), segs(1<<20, 1<<18)), [4]unix.Errno{0, unix.EINVAL, unix.EINVAL, 0}},
		{"a sector less", within(d, segs(0, 1<<18-1), segs(1<<20, 1<<18-1)), [4]unix.Errno{}},
		{"1 GiB", within(d, segs(0, 1<<21), segs(1<<22, 1<<21)), [4]unix.Errno{unix.EINVAL, unix.EINVAL, unix.EINVAL, 0}},
		{"4096 sources", gather, [4]unix.Errno{unix.EINVAL, unix.EINVAL, 0, 0}},
		{"4096 pairs", many, [4]unix.Errno{0, unix.EINVAL, 0, 0}},
		{"4095 pairs", most, [4]unix.Errno{}},
		{"overlap", within(d, segs(0, 8), segs(4, 8)), [4]unix.Errno{0, 0, unix.EINVAL, 0}},
		{"past the end", within(d, segs(0, 8), segs(1<<23-4, 8)), [4]unix.Errno{unix.EIO, unix.EIO, unix.EIO, unix.EINVAL}},
	} {
		for i, m := range []*Model{simpleCopy2021, token2023, pair2024, ours} {
			o := m.Run(w, c.r, nil)
			if o.Errno != c.want[i] {
				t.Errorf("%s, %s: errno %d, want %d: %s", m.Name, c.what, o.Errno, c.want[i], o.Why)
			}
			if total, _ := c.r.total(); c.want[i] == 0 && o.Bytes != total {
				t.Errorf("%s, %s: %d bytes of %d", m.Name, c.what, o.Bytes, total)
			}
		}
	}
}

// TestNamespaces: a copy from one target to another crosses no edge, and is an offload only where both are one namespace.
func TestNamespaces(t *testing.T) {
	for _, c := range []struct {
		one  bool
		want [4]string // errno, offloaded and emulated sectors of 2021, 2023, 2024 and ours
	}{
		{false, [4]string{"0 0 30", "0 0 30", "5 0 0", "0 0 30"}},
		{true, [4]string{"0 0 30", "0 30 0", "0 30 0", "0 30 0"}},
	} {
		for i, m := range []*Model{simpleCopy2021, token2023, pair2024, ours} {
			w := able(2, 64, 64, 0)
			if c.one {
				w.oneNamespace()
			}
			r := within(dmDevice(t, "L", 512, splitTables["L"]), segs(100, 30), segs(1500, 30))
			o := m.Run(w, r, nil)
			judge(t, m.Name, w, r, o)
			if got := fmt.Sprint(int(o.Errno), o.Offloaded/512, o.Emulated/512); got != c.want[i] {
				t.Errorf("%s, one namespace %v: %s, want %s", m.Name, c.one, got, c.want[i])
			}
		}
	}
}

// TestPartOfACommand: ours tells the bytes before the first that is missing, to the sector, also inside a command.
func TestPartOfACommand(t *testing.T) {
	w := able(3, 0, 0, 0)
	w.Answer = func(int, *Command) (uint16, int) { return scWriteFault, 1 }
	r := within(dmDevice(t, "L", 512, "0 1000 linear A 2048 | 1000 1000 linear B 0 | 2000 1000 linear C 0"), segs(990, 30), segs(2500, 30))
	if o := ours.Run(w, r, nil); o.Bytes != 10*512 || o.Errno != unix.ENODATA || o.Emulated != 10*512 {
		t.Errorf("%s", w.outcome(o))
	}
	w = able(1, 8, 24, 2) // three ranges of one piece: two are copied, and the third cannot be read either
	w.Answer = func(n int, _ *Command) (uint16, int) { return scUnrecoveredRd, 2 - 2*n }
	if o := ours.Run(w, within(diskDevice(t, w, 'A'), segs(0, 24), segs(100, 24)), nil); o.Bytes != 16*512 || o.Offloaded != 16*512 || len(o.Commands) != 2 {
		t.Errorf("%s", w.outcome(o))
	}
	w = able(1, 0, 0, 0)
	w.Disks[0].LogicalBlock = 4096
	o := &Outcome{} // what is not on blocks is rounded down by the driver
	d := target.Range{Start: 17, Len: 9}
	w.devices(o).send(Command{Method: limits.NVMeCopy, Sources: []target.Extent{{Range: target.Range{Start: 1, Len: 9}}}, Dst: target.Extent{Range: d}})
	if c := o.Commands[0]; c.Sources[0].Start != 0 || c.Sources[0].Len != 8 || c.Dst.Start != 16 || c.Dst.Len != 8 || len(o.Wrong) != 1 {
		t.Errorf("%s", w.outcome(o))
	}
}
