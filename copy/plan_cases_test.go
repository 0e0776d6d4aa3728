package blkcopy

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// device reads a dm table with lines separated by '|' and disks A, B, C, ….
func device(t *testing.T, name, text string) *Device {
	t.Helper()
	num := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var parts []remap.Part
	for line := range strings.SplitSeq(text, "|") {
		f := strings.Fields(line)
		n, args := num(f[1]), f[3:]
		var x target.Target
		var err error
		if f[2] == "linear" {
			x, err = linear.New(target.Disk(args[0][0]-'A'), target.Range{Start: num(args[1]), Len: n})
		} else {
			var legs []stripe.Leg
			for i := 2; i < len(args); i += 2 {
				legs = append(legs, stripe.Leg{Disk: target.Disk(args[i][0] - 'A'), Start: num(args[i+1])})
			}
			x, err = stripe.New(n, uint32(num(args[1])), legs)
		}
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, remap.Part{Sectors: n, Target: x})
	}
	return &Device{Name: name, Table: tableOf(t, parts...)}
}

// sectors is pairs of position and length, in sectors.
func sectors(ns ...uint64) (out []Seg) {
	for i := 0; i < len(ns); i += 2 {
		out = append(out, Seg{ns[i] * 512, ns[i+1] * 512})
	}
	return out
}

// planned plans a request, checks it against the model and yields its windows.
func planned(t *testing.T, r *Request, disks []Disk) []Window {
	t.Helper()
	p, err := NewPlan(r, disks)
	if err != nil {
		t.Fatal(err)
	}
	return newPlanModel(r, disks).judge(t, p, 1)
}

func refused(t *testing.T, r *Request, disks []Disk, kinds ...error) {
	t.Helper()
	_, err := NewPlan(r, disks)
	for _, k := range kinds {
		if !errors.Is(err, k) {
			t.Errorf("got %v, want %v", err, k)
		}
	}
}

func commandsOf(ws []Window) (out []Command) {
	for _, w := range ws {
		out = append(out, w.Commands...)
	}
	return out
}

func piecesOf(ws []Window) (n int) {
	for _, w := range ws {
		n += len(w.Pieces)
	}
	return n
}

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// The cases of the design that are the planner's, by their numbers there. Every plan that is made is also checked against
// memmove, command by command.
func TestPlanCases(t *testing.T) {
	const l, s, m = "0 1000 linear A 2048 | 1000 1000 linear B 0", "0 1536 striped 3 64 A 0 B 128 C 0", "0 100 linear A 2048 | 100 512 striped 2 16 B 0 C 8"
	two := func(t *testing.T, src, dst string, from, to []Seg) *Request {
		return &Request{Src: device(t, "s", src), Dst: device(t, "d", dst), SrcSegs: from, DstSegs: to}
	}
	one := func(t *testing.T, table string, from, to []Seg) *Request {
		r := two(t, table, table, from, to)
		r.Dst = r.Src
		return r
	}
	disks := able(3, 512, 128, 128, 127)

	t.Run("01 overlap forward", func(t *testing.T) {
		// No piece of the second overlaps itself, on any disk: the order alone decides.
		ws := planned(t, one(t, l, sectors(980, 40), sectors(990, 40)), disks)
		expect(t, "bounced", ws[0].Bounce, true)
		planned(t, one(t, s, sectors(0, 192), sectors(64, 192)), disks)
		for _, shift := range []uint64{1, 63, 64, 65, 127, 128, 129, 600} { // longer than windows: from the end
			for _, policy := range []Fallback{Emulate, Fail} {
				r := one(t, s, sectors(0, 1536-shift), sectors(shift, 1536-shift))
				r.Window, r.WithoutOffload = MinWindow, policy
				ws := planned(t, r, disks)
				expect(t, "the first window ends the request", ws[0].Offset+ws[0].Sectors, 1536-shift)
				expect(t, "the last begins it", ws[len(ws)-1].Offset, uint64(0))
			}
		}
		r := one(t, l, sectors(980, 40), sectors(990, 40))
		r.Overlap = RefuseOverlap
		refused(t, r, disks, ErrOverlap, unix.EINVAL)
	})
	t.Run("02 overlap backward", func(t *testing.T) {
		for _, shift := range []uint64{1, 64, 100, 128, 600} {
			r := one(t, s, sectors(shift, 1536-shift), sectors(0, 1536-shift))
			r.Window = MinWindow
			expect(t, "first window", planned(t, r, disks)[0].Offset, uint64(0))
		}
		// Sources may overlap each other: nothing is written that is read.
		ws := planned(t, one(t, l, sectors(0, 20, 10, 20), sectors(100, 40)), disks)
		expect(t, "commands", len(commandsOf(ws)), 1)
	})
	t.Run("03 overlap with an earlier destination", func(t *testing.T) {
		// The second source lies where the first lands: it goes first.
		ws := planned(t, one(t, l, sectors(50, 10, 0, 10), sectors(0, 20)), disks)
		expect(t, "windows", len(ws), 2)
		expect(t, "first window", ws[0].Offset, uint64(10))
		// Each lies where the other lands: both are read first.
		ws = planned(t, one(t, l, sectors(10, 10, 0, 10), sectors(0, 20)), disks)
		expect(t, "windows of a swap", len(ws), 1)
		expect(t, "bounced", ws[0].Bounce, true)
		// The same, longer than a window.
		r := one(t, l, sectors(500, 500, 0, 500), sectors(0, 1000))
		r.Window = MinWindow
		refused(t, r, disks, ErrOverlap, unix.EINVAL)
	})
	t.Run("04 source crosses", func(t *testing.T) {
		expect(t, "pieces", piecesOf(planned(t, one(t, l, sectors(990, 30), sectors(1500, 30)), disks)), 2)
	})
	t.Run("05 destination crosses", func(t *testing.T) {
		expect(t, "pieces", piecesOf(planned(t, one(t, l, sectors(100, 40), sectors(980, 40)), disks)), 2)
	})
	t.Run("06 both cross", func(t *testing.T) {
		expect(t, "pieces", piecesOf(planned(t, one(t, l, sectors(980, 40), sectors(990, 40)), disks)), 3)
		expect(t, "pieces into stripe", piecesOf(planned(t, one(t, m, sectors(90, 30), sectors(200, 30)), disks)), 5)
	})
	t.Run("07 chunks below the limit", func(t *testing.T) {
		expect(t, "two rows", len(commandsOf(planned(t, one(t, s, sectors(0, 384), sectors(768, 384)), disks))), 3)
		// No joins: every chunk lands beside chunks of others.
		expect(t, "other phase", len(commandsOf(planned(t, one(t, s, sectors(10, 100), sectors(400, 100)), disks))), 3)
		// Neither the chunk nor the length is a power of two: 7 pieces on 3 legs.
		odd := "0 936 striped 3 24 A 0 B 48 C 7"
		expect(t, "odd chunks", len(commandsOf(planned(t, one(t, odd, sectors(5, 151), sectors(509, 151)), disks))), 3)
	})
	t.Run("08 limit below a chunk", func(t *testing.T) {
		small := able(3, 512, 48, 48, 0)
		expect(t, "two commands a chunk", len(commandsOf(planned(t, one(t, s, sectors(0, 192), sectors(768, 192)), small))), 6)
		// Rounded down to the larger block; what rounds to nothing is no ability, and no loop.
		files := able(2, 512, 30, 30, 0)
		for i := range files {
			files[i].Copy.Method = limits.FileCopy
		}
		files[1].LogicalBlock = 4096
		r := two(t, "0 1024 linear A 0", "0 1024 linear B 0", sectors(0, 96), sectors(0, 96))
		r.Dst.LogicalBlock = 4096
		cs := commandsOf(planned(t, r, files))
		expect(t, "24 sectors a command", len(cs), 4)
		files[0].Copy.MSSRL = 7
		cs = commandsOf(planned(t, r, files))
		expect(t, "no ability", len(cs) == 1 && cs[0].Method == Emulated, true)
	})
	t.Run("09 gather", func(t *testing.T) {
		gather := func(disks []Disk, each, n uint64) int {
			r := two(t, "0 100000 linear A 0", "0 100000 linear B 0", nil, sectors(0, each*n))
			for i := range n {
				r.SrcSegs = append(r.SrcSegs, sectors((n-i)*(each+1), each)...)
			}
			return len(commandsOf(planned(t, r, disks)))
		}
		expect(t, "256 ranges", gather(able(2, 512, 0, 0, 255), 1, 256), 1)
		expect(t, "257 ranges", gather(able(2, 512, 0, 0, 255), 1, 257), 2)
		expect(t, "a source of MSSRL", gather(able(2, 512, 16, 0, 0), 16, 1), 1)
		expect(t, "MSSRL and 1", gather(able(2, 512, 16, 0, 0), 17, 1), 2)
		expect(t, "MSSRL and 1, in two ranges", gather(able(2, 512, 16, 0, 1), 17, 1), 1)
		expect(t, "a total of MCL", gather(able(2, 512, 16, 32, 7), 16, 2), 1)
		expect(t, "MCL and 1, cut inside a source", gather(able(2, 512, 16, 31, 7), 16, 2), 2)
		expect(t, "MSRC 0", gather(able(2, 512, 128, 128, 0), 1, 10), 10)
	})
	t.Run("10 scatter", func(t *testing.T) {
		cs := commandsOf(planned(t, two(t, "0 1000 linear A 0", "0 1000 linear B 0", sectors(0, 60), sectors(500, 20, 100, 20, 300, 20)), disks))
		expect(t, "commands", len(cs), 3)
		// Segments that lie together are one destination.
		cs = commandsOf(planned(t, two(t, "0 1000 linear A 0", "0 1000 linear B 0", sectors(0, 60), sectors(120, 20, 100, 20, 140, 20)), disks))
		expect(t, "commands of neighbours", len(cs), 1)
		expect(t, "sources", len(cs[0].Sources), 3)
	})
	t.Run("11 mismatched blocks", func(t *testing.T) {
		r := two(t, "0 1024 linear A 0", "0 1024 linear B 0", sectors(1, 8), sectors(0, 8))
		r.Dst.LogicalBlock = 4096
		refused(t, r, disks, ErrRequest, unix.EINVAL)
		mixed := slices.Clone(disks)
		mixed[1].LogicalBlock = 4096
		r.SrcSegs = sectors(8, 8)
		expect(t, "method", commandsOf(planned(t, r, mixed))[0].Method, Emulated)
	})
	t.Run("12 a leg that cannot", func(t *testing.T) {
		some := slices.Clone(disks)
		some[1].Copy = limits.Copy{Method: limits.NoCopy, Reason: "it is old"}
		r := one(t, s, sectors(0, 384), sectors(768, 384))
		offloaded := 0
		for _, c := range commandsOf(planned(t, r, some)) {
			if expect(t, "emulated", c.Method == Emulated, c.Dst.Disk == 1); c.Method != Emulated {
				offloaded++
			}
		}
		expect(t, "offloaded", offloaded, 2)
		r.WithoutOffload = Fail
		refused(t, r, some, ErrNoOffload, unix.EOPNOTSUPP)
		r.SrcSegs, r.DstSegs = sectors(0, 64), sectors(768, 64) // of legs that can
		planned(t, r, some)
	})
	t.Run("13 two namespaces", func(t *testing.T) {
		some := slices.Clone(disks)
		some[1].Copy.Domain = "y"
		cs := commandsOf(planned(t, two(t, "0 1000 linear A 0", "0 1000 linear B 0", sectors(0, 60), sectors(0, 60)), some))
		expect(t, "emulated", len(cs) == 1 && cs[0].Method == Emulated, true)
	})
	t.Run("18 zero length", func(t *testing.T) {
		refused(t, one(t, l, sectors(0, 0), sectors(10, 0)), disks, ErrRequest, unix.EINVAL)
	})
	t.Run("19 unaligned", func(t *testing.T) {
		refused(t, one(t, l, []Seg{{1, 512}}, sectors(10, 1)), disks, ErrRequest, unix.EINVAL)
		refused(t, one(t, l, sectors(10, 1), []Seg{{1, 512}}), disks, ErrRequest, unix.EINVAL)
		refused(t, one(t, l, []Seg{{0, 100}}, []Seg{{5120, 100}}), disks, ErrRequest, unix.EINVAL)
		planned(t, two(t, "0 1001 linear A 0", "0 999 linear B 0", sectors(1000, 1), sectors(998, 1)), disks) // tails of odd devices
	})
	t.Run("20 no constant", func(t *testing.T) {
		r := two(t, "0 1048576 linear A 0", "0 1048576 linear B 0", sectors(0, 1<<27/512), sectors(0, 1<<27/512))
		r.Window = MaxWindow
		p, err := NewPlan(r, able(2, 512, 0, 0, 0))
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "128 MiB", len(commandsOf(windowsOf(p))), 4)
		r.SrcSegs = nil
		r.DstSegs = sectors(0, 1<<12)
		for i := range uint64(1 << 12) {
			r.SrcSegs = append(r.SrcSegs, sectors(i*2, 1)...)
		}
		expect(t, "4096 ranges", len(commandsOf(planned(t, r, able(2, 512, 0, 0, 1<<12-1)))), 1)
	})
	t.Run("21 ends", func(t *testing.T) {
		for _, bad := range [][]Seg{{{1<<64 - 512, 1024}}, sectors(1999, 2), sectors(0, 1, 2000, 1)} {
			var n uint64
			for _, s := range bad {
				n += s.Len / 512
			}
			refused(t, one(t, l, bad, sectors(10, n)), disks, ErrRequest, unix.EINVAL)
			refused(t, one(t, l, sectors(10, n), bad), disks, ErrRequest, unix.EINVAL)
		}
		planned(t, one(t, l, sectors(1998, 2), sectors(0, 2)), disks)
		planned(t, one(t, l, sectors(0, 2), sectors(1998, 2)), disks)
	})
	t.Run("22 read-only destination", func(t *testing.T) {
		r := two(t, l, l, sectors(0, 1), sectors(1, 1))
		r.Dst.ReadOnly = true
		refused(t, r, disks, ErrRequest, unix.EPERM, unix.EINVAL)
	})
	t.Run("30 nested devices share disks", func(t *testing.T) {
		// d is a linear device in the middle of what s stripes over: sectors 100 to 300 of A and of C.
		linearOnLegs := "0 200 linear A 100 | 200 200 linear C 100"
		for _, c := range [][3]uint64{{0, 0, 300}, {200, 0, 150}, {500, 20, 250}} {
			r := two(t, s, linearOnLegs, sectors(c[0], c[2]), sectors(c[1], c[2]))
			ws := planned(t, r, disks)
			expect(t, "read first", len(ws) == 1 && ws[0].Bounce, true)
			r = two(t, linearOnLegs, s, sectors(c[1], c[2]), sectors(c[0], c[2]))
			planned(t, r, disks)
			r.Overlap = RefuseOverlap
			refused(t, r, disks, ErrOverlap, unix.EINVAL)
			r.Overlap, r.WithoutOffload = Memmove, Fail
			refused(t, r, disks, ErrNoOffload, unix.EOPNOTSUPP)
			if _, err := NewPlan(r, disks); errors.Is(err, unix.EINVAL) {
				t.Errorf("it is not the request that is wrong: %v", err)
			}
			if r.WithoutOffload, r.Window = Emulate, MinWindow; c[2]*512 > MinWindow {
				refused(t, r, disks, ErrOverlap, unix.EINVAL)
			}
		}
		// Beside what the other covers: nothing is shared.
		ws := planned(t, two(t, s, linearOnLegs, sectors(1000, 100), sectors(0, 100)), disks)
		expect(t, "free", ws[0].Bounce || ws[0].Sequence, false)
	})
	t.Run("37 one disk twice in a table", func(t *testing.T) {
		// 0-99 and 500-599 are the same blocks, so are 100-199 and 600-699.
		table := "0 500 linear A 0 | 500 200 linear A 0 | 700 1000 linear B 0"
		// On the device 100-149 and 550-649 are apart; on the disk the end of the one is the beginning of the other.
		ws := planned(t, one(t, table, sectors(50, 100), sectors(600, 100)), disks)
		expect(t, "read first", len(ws) == 1 && ws[0].Bounce, true)
		r := one(t, table, sectors(50, 150), sectors(550, 150)) // onto itself, by another name
		planned(t, r, disks)
		r.Window = MinWindow
		refused(t, r, disks, ErrOverlap)
		// Two destinations that are one block.
		refused(t, one(t, table, sectors(700, 20), sectors(10, 10, 510, 10)), disks, ErrOverlap, unix.EINVAL)
		// The rest of the table is as good as any: only what is copied counts.
		r = one(t, table, sectors(700, 900), sectors(710, 900))
		r.Window = MinWindow
		planned(t, r, disks)
		r = one(t, table, sectors(0, 400), sectors(10, 400))
		r.Window = MinWindow
		planned(t, r, disks)
	})
	t.Run("39 odd limits", func(t *testing.T) {
		r := two(t, "0 1000 linear A 0", "0 1000 linear B 0", sectors(0, 100), sectors(0, 100))
		expect(t, "MSRC 0, MCL below MSSRL", len(commandsOf(planned(t, r, able(2, 512, 128, 30, 0)))), 4)
		expect(t, "no bounds", len(commandsOf(planned(t, r, able(2, 512, 0, 0, 0)))), 1)
		expect(t, "a block a command", len(commandsOf(planned(t, r, able(2, 512, 1, 1, 65535)))), 100)
	})
}
