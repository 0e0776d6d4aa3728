package series

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
)

func TestOffload2026Split(t *testing.T) { splitGolden(t, offload2026, "offload_2026_split") }

// The vectors V1 to V16, by the rule of 2026: the minimum of hw, src and dst; nothing as soon as a leg has nothing or a
// target has not opted in; a leg's cap does not count.
func TestOffload2026Limits(t *testing.T) {
	ability := func(mssrl, msrc uint32) limits.Copy {
		return limits.Copy{Method: limits.NVMeCopy, MSSRL: mssrl, MCL: mssrl, MSRC: msrc, Domain: "x"}
	}
	disk := func(lbs uint32, c limits.Copy) Disk {
		return Disk{Driver: "nvme", LogicalBlock: lbs, Sectors: 1 << 22, Copy: c}
	}
	a := disk(512, ability(128, 127))
	capped := a
	capped.UserMax = 8192
	disks := []Disk{
		0:         a, // A
		'B' - 'A': disk(4096, ability(512, 255)),
		'C' - 'A': disk(512, limits.Copy{}),
		'D' - 'A': disk(512, ability(65535, 0)),
		'E' - 'A': capped,
		'G' - 'A': disk(512, limits.Copy{}),
		'M' - 'A': a,
		'P' - 'A': disk(512, limits.Copy{}),
		'W' - 'A': disk(512, limits.Copy{}),
		'Z' - 'A': disk(4096, ability(128, 127)),
	}
	for i := range disks {
		disks[i].Name = string(rune('A' + i))
	}
	l := labOf(disks...)
	for _, v := range []struct {
		name, table  string
		hw, src, dst uint64 // sectors, segments
	}{
		{"V1", "0 1048576 linear A 0", 128, 128, 1},
		{"V2", "0 1048576 linear A 0 | 1048576 1048576 linear B 0", 128, 128, 1},
		{"V4", "0 2048 striped 2 128 A 0 A 4096", 0, 0, 0},
		{"V5", "0 1920 striped 3 128 A 0 A 4096 A 8192", 0, 0, 0},
		{"V5b", "0 1728 striped 3 192 A 0 B 0 A 8192", 0, 0, 0},
		{"V6", "0 2048 linear A 0 | 2048 2048 linear C 0", 0, 0, 0},
		{"V7", "0 2048 linear P 0", 0, 0, 0},
		{"V7b", "0 2048 linear P 1", 0, 0, 0},
		{"V7d", "0 2048 linear C 1 | 2048 2048 linear C 4098", 0, 0, 0},
		{"V8", "0 3072 linear D 0 | 3072 1920 striped 2 96 A 0 A 4096", 0, 0, 0},
		{"V9", "0 1048576 linear Z 0", 1024, 128, 1},
		{"V10", "0 2048 linear A 0 | 2048 2048 linear E 0", 128, 128, 1},
		{"V11", "0 2048 linear A 0 | 2048 2048 linear M 0", 128, 128, 1},
		{"V12", "0 2048 linear A 0 | 2048 2048 linear D 0", 128, 1, 1},
		{"V13", "0 2048 linear G 0 | 2048 2048 linear D 0", 0, 0, 0},
		{"V14", "0 2048 striped 2 8 A 0 B 0", 0, 0, 0},
		{"V14b", "0 2048 striped 2 4 A 0 B 0", 0, 0, 0},
		{"V15", "0 65536 striped 2 16384 A 0 A 65536", 0, 0, 0},
		{"V16", "0 2048 linear W 0", 0, 0, 0},
		{"A alone, with its cap", "0 2048 linear E 0", 128, 128, 1},
	} {
		for _, o := range []*Options{{}, {AsPosted: true}} {
			vs := offload2026.Limits(&l.World, labDevice(t, v.name, v.table), o)
			want := []uint64{v.hw * 512, v.hw * 512, v.src, v.dst}
			if o.AsPosted && v.hw > 0 {
				want[2] = 256 // MSRC is not consulted
			}
			for i, n := range want {
				if vs[i].Value != n {
					t.Errorf("%s %+v: %s is %d, want %d", v.name, *o, vs[i].Name, vs[i].Value, n)
				}
			}
			fmt.Fprintf(&l.text, "%s as posted %v: %v\n", v.name, o.AsPosted, vs)
		}
	}
	// The disk itself knows its cap.
	e := bareDevice(t, "E", "0 2048 linear E 0")
	if vs := offload2026.Limits(&l.World, e, nil); vs[0].Value != 8192 || vs[1].Value != 128*512 {
		t.Errorf("E: %v", vs)
	}
	l.golden(t, "offload_2026_limits")
}

// hw, src and dst are all zero or none is: MSSRL 0 is no ability, whatever ONCS says.
func TestOffload2026AllOrNone(t *testing.T) {
	d := nvme("A", "a")
	d.Copy.MSSRL = 0
	l := labOf(d)
	for _, bare := range []bool{true, false} {
		dev := labDevice(t, "A", "0 1000 linear A 0")
		dev.Bare = bare
		for i, v := range offload2026.Limits(&l.World, dev, nil) {
			if i < 4 && v.Value != 0 {
				t.Errorf("bare %v: %+v", bare, v)
			}
		}
	}
}

// What copy_file_range and blkdev_copy_offload refuse, and what becomes of it. B has A's namespace and another driver.
func TestOffload2026Checks(t *testing.T) {
	a, b := bareDevice(t, "A", "0 100000 linear A 0"), bareDevice(t, "B", "0 100000 linear B 0")
	dm := labDevice(t, "dm", "0 1000 linear A 0 | 1000 1000 linear A 5000")
	ro := bareDevice(t, "A", "0 100000 linear A 0")
	ro.ReadOnly = true
	k4 := bareDevice(t, "A", "0 100000 linear A 0")
	k4.LogicalBlock = 4096
	null := nvme("B", "b")
	null.Driver, null.Copy.Domain = "null_blk", "a"
	for _, c := range []struct {
		name                       string
		r                          *Request
		accepted                   bool
		errno                      unix.Errno
		bytes, offloaded, emulated uint64
	}{
		{"read-only", within(ro, labSegs(0, 8), labSegs(8, 8)), false, unix.EBADF, 0, 0, 0},
		{"zero", within(a, labSegs(0, 0), labSegs(8, 0)), true, 0, 0, 0, 0},
		{"past the source's end", within(a, labSegs(100000, 8), labSegs(8, 8)), true, 0, 0, 0, 0},
		{"over the source's end", within(a, labSegs(99996, 8), labSegs(8, 8)), true, 0, 4 * 512, 4 * 512, 0},
		{"over the destination's end", within(a, labSegs(0, 8), labSegs(99996, 8)), true, 0, 4 * 512, 0, 4 * 512},
		{"past the destination's end", within(a, labSegs(0, 8), labSegs(100000, 8)), true, unix.ENOSPC, 0, 0, 0},
		{"overlap", within(a, labSegs(0, 8), labSegs(7, 8)), false, unix.EINVAL, 0, 0, 0},
		{"onto itself", within(a, labSegs(8, 8), labSegs(8, 8)), false, unix.EINVAL, 0, 0, 0},
		{"off the block", within(k4, labSegs(0, 12), labSegs(80, 12)), false, unix.EINVAL, 0, 0, 0},
		{"two lengths", within(a, labSegs(0, 8), labSegs(80, 9)), false, unix.EINVAL, 0, 0, 0},
		{"two drivers", &Request{Src: a, Dst: b, SrcSegs: labSegs(0, 8), DstSegs: labSegs(0, 8)}, true, 0, 8 * 512, 0, 8 * 512},
		{"inside a target", within(dm, labSegs(1000, 8), labSegs(0, 8)), true, 0, 8 * 512, 8 * 512, 0},
		{"over an edge", within(dm, labSegs(996, 8), labSegs(0, 8)), true, 0, 8 * 512, 0, 8 * 512},

		{"segments: sums differ", within(a, labSegs(0, 8, 20, 8), labSegs(80, 8)), false, unix.EINVAL, 0, 0, 0},
		{"segments: off the block", within(k4, labSegs(0, 8, 20, 4), labSegs(80, 12)), false, unix.EINVAL, 0, 0, 0},
		{"segments: two drivers", &Request{Src: a, Dst: b, SrcSegs: labSegs(0, 8, 20, 8), DstSegs: labSegs(0, 16)}, true, unix.EINVAL, 0, 0, 0},
		{"segments: over an edge", within(dm, labSegs(996, 8, 10, 8), labSegs(1500, 16)), true, 0, 16 * 512, 0, 16 * 512},
		{"segments: past the end", within(a, labSegs(0, 8, 20, 8), labSegs(99992, 16)), true, unix.EIO, 0, 0, 0},
		{"segments: none", within(a, nil, nil), true, 0, 0, 0, 0},
		{"segments: many to many", within(a, labSegs(0, 8, 20, 8), labSegs(80, 4, 100, 12)), true, 0, 16 * 512, 16 * 512, 0},
		{"loff_t", within(a, []blkcopy.Seg{{Pos: 1 << 63, Len: 512}}, labSegs(0, 1)), false, unix.EINVAL, 0, 0, 0},
	} {
		o := offload2026.Run(&labOf(nvme("A", "a"), null).World, c.r, nil)
		if o.Accepted != c.accepted || o.Errno != c.errno || o.Bytes != c.bytes || o.Offloaded != c.offloaded || o.Emulated != c.emulated || o.Never {
			t.Errorf("%s: accepted %v, errno %v, bytes %d, offloaded %d, emulated %d (%s)\nwant %v, %v, %d, %d, %d", c.name,
				o.Accepted, o.Errno, o.Bytes, o.Offloaded, o.Emulated, o.Why, c.accepted, c.errno, c.bytes, c.offloaded, c.emulated)
		}
	}
}

// Chunks are as long as max_copy_sectors, and as the segment limits, let them be; a destination segment is a command.
func TestOffload2026Commands(t *testing.T) {
	d := nvme("A", "a")
	d.Copy.MSSRL, d.Copy.MCL, d.Copy.MSRC = 16, 40, 3
	a := bareDevice(t, "A", "0 100000 linear A 0")
	all := labOf(d)
	for _, c := range []struct {
		name     string
		src, dst []uint64
		n        int
	}{
		{"a chunk", []uint64{0, 16}, []uint64{1000, 16}, 1},
		{"a chunk and one", []uint64{0, 17}, []uint64{1000, 17}, 2},
		{"four sources", []uint64{0, 2, 10, 2, 20, 2, 30, 2}, []uint64{1000, 8}, 1},
		{"five sources", []uint64{0, 2, 10, 2, 20, 2, 30, 2, 40, 2}, []uint64{1000, 10}, 2},
		{"two destinations", []uint64{0, 8}, []uint64{1000, 4, 2000, 4}, 2},
		{"ends inside a source", []uint64{0, 10, 20, 10, 40, 10}, []uint64{1000, 30}, 2},
	} {
		r := within(a, labSegs(c.src...), labSegs(c.dst...))
		o := offload2026.Run(&all.World, r, nil)
		if len(o.Commands) != c.n || all.judge(r, o) != "memmove" {
			t.Errorf("%s: %d commands, want %d, data %s", c.name, len(o.Commands), c.n, all.judge(r, o))
		}
		all.describe(c.name, r, o)
	}
	all.golden(t, "offload_2026_commands")
}

// The first error wins; what else is in flight is done.
func TestOffload2026FirstError(t *testing.T) {
	a := bareDevice(t, "A", "0 100000 linear A 0")
	l := labOf()
	l.Answer = func(n int, c *Command) (uint16, int) {
		switch n {
		case 1:
			return scUnrecoveredRd, 0
		case 2:
			return scSizeLimit, 0
		}
		return 0, len(c.Sources)
	}
	o := offload2026.Run(&l.World, within(a, labSegs(0, 256, 1000, 256), labSegs(3000, 512)), nil)
	if o.Errno != unix.ENODATA || len(o.Commands) != 4 || o.Emulated != 0 || o.Bytes != 0 {
		t.Errorf("%+v", o)
	}
}

// A cap below the chunk on a leg that the device above knows nothing of (V10): the bottom refuses the bio, and
// copy_file_range reads and writes.
func TestOffload2026LegCap(t *testing.T) {
	l := labOf()
	l.Disks[0].UserMax = 8192
	r := within(labDevice(t, "dm", "0 2000 linear A 0"), labSegs(0, 64), labSegs(500, 64))
	o := offload2026.Run(&l.World, r, nil)
	if o.Errno != 0 || o.Emulated != 64*512 || len(o.Commands) != 1 || o.Commands[0].Method != blkcopy.Emulated {
		t.Errorf("%+v", o)
	}
	// The disk itself chops by it.
	r = within(bareDevice(t, "A", "0 100000 linear A 0"), labSegs(0, 64), labSegs(500, 64))
	if o := offload2026.Run(&l.World, r, nil); o.Offloaded != 64*512 || len(o.Commands) != 4 {
		t.Errorf("%+v", o)
	}
}

// A limit that rounds to nothing must not become a loop: 4 KiB blocks over a leg of 512 with 4 sectors a range.
func TestOffload2026NoWholeBlock(t *testing.T) {
	x, y := nvme("A", "a"), nvme("B", "a")
	x.Copy.MSSRL, y.LogicalBlock = 4, 4096
	l := labOf(x, y)
	d := labDevice(t, "dm", "0 800 linear A 0 | 800 800 linear B 0")
	d.LogicalBlock = 4096
	if o := offload2026.Run(&l.World, within(d, labSegs(0, 8, 16, 8), labSegs(80, 16)), nil); o.Errno != 0 || o.Offloaded != 0 || o.Emulated != 16*512 {
		t.Errorf("%+v", o)
	}
}
