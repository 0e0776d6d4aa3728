package ublk

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/stripe"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// mixed has three disks; 0 holds two legs, and a linear span beside them.
var mixed = shape{lin(0, 0, 64),
	{sectors: 4 * 6 * 8, chunk: 8, legs: []stripe.Leg{{Disk: 0, Start: 100}, {Disk: 1, Start: 0}, {Disk: 2, Start: 7}, {Disk: 0, Start: 500}}},
	lin(2, 1000, 40)}

// scattered has 1500 targets of one sector, no two of them side by side on a disk.
var scattered = func() (s shape) {
	for i := range uint64(1500) {
		s = append(s, lin(target.Disk(i%3), 2*i, 1))
	}
	return s
}()

func read(k *kernel, start, n uint64) *ask  { return k.ask(uapi.UBLK_IO_OP_READ, start, n) }
func write(k *kernel, start, n uint64) *ask { return k.ask(uapi.UBLK_IO_OP_WRITE, start, n) }
func flush(k *kernel) *ask                  { return k.ask(uapi.UBLK_IO_OP_FLUSH, 0, 0) }
func discard(k *kernel, start, n uint64) *ask {
	return k.ask(uapi.UBLK_IO_OP_DISCARD, start, n)
}
func zeroes(k *kernel, start, n uint64) *ask {
	return k.ask(uapi.UBLK_IO_OP_WRITE_ZEROES, start, n)
}

// disksOf is the disks that commands went to, ascending.
func disksOf(log []sent) (out []target.Disk) {
	for _, s := range log {
		out = append(out, s.disk)
	}
	slices.Sort(out)
	return out
}

// with is the commands of an opcode.
func with(log []sent, op uint8) (out []sent) {
	for _, s := range log {
		if s.op == op {
			out = append(out, s)
		}
	}
	return out
}

// touched is how many legs of the table's targets a range lies on, and on which disks.
func (s shape) touched(r target.Range) (legs int, disks []target.Disk) {
	seen := map[[2]uint64]bool{}
	for n := r.Start; n < r.End(); n++ {
		in, i := n, 0
		for in >= s[i].sectors {
			in, i = in-s[i].sectors, i+1
		}
		leg := uint64(0)
		if s[i].chunk != 0 {
			leg = in / s[i].chunk % uint64(len(s[i].legs))
		}
		seen[[2]uint64{uint64(i), leg}] = true
		d, _ := s.at(n)
		disks = append(disks, d)
	}
	slices.Sort(disks)
	return len(seen), slices.Compact(disks)
}

// A flush goes to every disk of the table once, however many legs the disk has. Its range means nothing.
func TestFlushGoesToEachDiskOnce(t *testing.T) {
	for _, c := range []struct {
		shape shape
		want  []target.Disk
	}{
		{shape{lin(0, 0, 8)}, []target.Disk{0}},
		{shape{lin(0, 0, 8), lin(0, 20, 8)}, []target.Disk{0}},
		{shape{lin(2, 0, 8), lin(0, 20, 8)}, []target.Disk{0, 2}},
		{mixed, []target.Disk{0, 1, 2}},
		{scattered, []target.Disk{0, 1, 2}},
	} {
		for _, a := range [][2]uint64{{0, 0}, {1 << 40, 7}} {
			k := boot(t, setup{shape: c.shape, blank: true})
			k.serve(k.ask(uapi.UBLK_IO_OP_FLUSH|uapi.UBLK_IO_F_FUA, a[0], a[1]))
			if got := disksOf(k.log); !slices.Equal(got, c.want) || len(with(k.log, uapi.IORING_OP_FSYNC)) != len(k.log) {
				t.Errorf("flush went to disks %v, want %v", got, c.want)
			}
		}
	}
}

// One disk that fails fails the flush, and the others are still waited for: the fake stops a commit before that.
func TestFlushFailsWithAnyDisk(t *testing.T) {
	for bad := range target.Disk(3) {
		for seed := range uint64(40) {
			k := boot(t, setup{shape: mixed, maxIO: 128, seed: seed})
			k.fault = func(c *command) fault {
				if c.disk == bad {
					return fault{errno: unix.EREMOTEIO}
				}
				return fault{}
			}
			a := flush(k)
			k.serve(a)
			if a.res != -int32(unix.EREMOTEIO) || len(k.log) != 3 {
				t.Fatalf("disk %d fails: %v after %d commands", bad, a, len(k.log))
			}
		}
	}
}

// FUA is on every piece of a write, and on nothing else.
func TestFUAIsOnEveryPiece(t *testing.T) {
	for _, fua := range []bool{false, true} {
		k := boot(t, setup{shape: mixed, maxIO: 2048})
		flags := uint32(0)
		if fua {
			flags = uapi.UBLK_IO_F_FUA
		}
		k.serve(k.ask(uapi.UBLK_IO_OP_WRITE|flags, 0, k.bounds.sectors))
		if len(k.log) != 6 {
			t.Errorf("a write of everything is %d commands, want one for each of 6 legs", len(k.log))
		}
		for _, s := range k.log {
			if got := s.opFlag == uapi.RWF_DSYNC; got != fua {
				t.Errorf("fua %v: command with flags %#x", fua, s.opFlag)
			}
		}
		k.log = nil
		k.serve(k.ask(uapi.UBLK_IO_OP_READ|flags, 0, k.bounds.sectors))
		for _, s := range k.log {
			if s.opFlag != 0 {
				t.Errorf("read with flags %#x", s.opFlag)
			}
		}
	}
}

// No command that zeroes or discards is durable by itself: with FUA a flush of all disks follows, and is behind it.
func TestFUAOfRangedIsFollowedByFlush(t *testing.T) {
	for _, op := range []uint32{uapi.UBLK_IO_OP_WRITE_ZEROES, uapi.UBLK_IO_OP_DISCARD} {
		for seed := range uint64(40) {
			k := boot(t, setup{shape: mixed, maxIO: 128, seed: seed})
			a := k.ask(op|uapi.UBLK_IO_F_FUA, 3, 70)
			k.serve(a)
			legs, _ := mixed.touched(a.r)
			n := len(k.log)
			if n != legs+3 || !slices.Equal(disksOf(k.log[n-3:]), []target.Disk{0, 1, 2}) || len(with(k.log[legs:], uapi.IORING_OP_FSYNC)) != 3 {
				t.Fatalf("%v: %d commands for %d legs and 3 disks: %+v", a, n, legs, k.log)
			}
			k.log = nil
			k.serve(k.ask(op, 3, 70))
			if len(k.log) != legs {
				t.Fatalf("without FUA %d commands for %d legs", len(k.log), legs)
			}
		}
	}
}

// The flush behind a FUA zeroing may fail; after a zeroing that failed there is none.
func TestFUAOfRangedFails(t *testing.T) {
	for _, at := range []uint8{uapi.IORING_OP_FALLOCATE, uapi.IORING_OP_FSYNC} {
		k := boot(t, setup{shape: mixed})
		k.fault = func(c *command) fault {
			if c.op == at && c.disk == 2 {
				return fault{errno: unix.ENOSPC}
			}
			return fault{}
		}
		a := k.ask(uapi.UBLK_IO_OP_WRITE_ZEROES|uapi.UBLK_IO_F_FUA, 0, k.bounds.sectors)
		k.serve(a)
		if a.res != -int32(unix.ENOSPC) {
			t.Error(a)
		}
		if n := len(with(k.log, uapi.IORING_OP_FSYNC)); at == uapi.IORING_OP_FALLOCATE && n != 0 {
			t.Errorf("%d flushes after a failure", n)
		}
	}
}

// Discards and zeroings are one command per leg that is touched, whatever the number of chunks.
func TestRangedIsOneCommandPerLeg(t *testing.T) {
	big := shape{striped(16, 500, 0, 1, 2, 3, 4)}
	for _, c := range []struct {
		shape shape
		r     target.Range
		want  int
	}{
		{big, target.Range{Start: 0, Len: 40000}, 5},
		{big, target.Range{Start: 15, Len: 2}, 2},
		{big, target.Range{Start: 5, Len: 11}, 1},
		{big, target.Range{Start: 17, Len: 30000}, 5},
		{mixed, target.Range{Start: 0, Len: 296}, 6},
		{mixed, target.Range{Start: 60, Len: 8}, 2},
		{scattered, target.Range{Start: 0, Len: 1500}, 1500}, // three waves
		{scattered, target.Range{Start: 700, Len: 600}, 600},
	} {
		k := boot(t, setup{shape: c.shape, blank: true})
		most := 0
		k.onTurn = func() { most = max(most, len(k.inflight)) }
		for _, a := range []*ask{discard(k, c.r.Start, c.r.Len), zeroes(k, c.r.Start, c.r.Len)} {
			k.log = nil
			k.serve(a)
			if legs, disks := c.shape.touched(c.r); len(k.log) != c.want || legs != c.want || !slices.Equal(slices.Compact(disksOf(k.log)), disks) {
				t.Errorf("%v: %d commands, want %d", a, len(k.log), c.want)
			}
		}
		if most > k.wave {
			t.Errorf("%d commands at once, and a wave is %d", most, k.wave)
		}
	}
}

// What a disk is asked for: kernel_start_test.go says the same of every request of every test.
func TestRangedModes(t *testing.T) {
	const punch, zero = uapi.FALLOC_FL_PUNCH_HOLE | uapi.FALLOC_FL_KEEP_SIZE, uapi.FALLOC_FL_ZERO_RANGE | uapi.FALLOC_FL_KEEP_SIZE
	for _, c := range []struct {
		name          string
		op            uint32
		files, noZero bool
		opcode        uint8
		mode          uint32
	}{
		{"discard of a block device", uapi.UBLK_IO_OP_DISCARD, false, false, uapi.IORING_OP_URING_CMD, 0},
		{"discard of a file", uapi.UBLK_IO_OP_DISCARD, true, false, uapi.IORING_OP_FALLOCATE, punch},
		{"discard of a tmpfs file", uapi.UBLK_IO_OP_DISCARD, true, true, uapi.IORING_OP_FALLOCATE, punch},
		{"zeroes", uapi.UBLK_IO_OP_WRITE_ZEROES, false, false, uapi.IORING_OP_FALLOCATE, punch},
		{"zeroes of a file", uapi.UBLK_IO_OP_WRITE_ZEROES, true, false, uapi.IORING_OP_FALLOCATE, punch},
		{"zeroes, no unmap", uapi.UBLK_IO_OP_WRITE_ZEROES | uapi.UBLK_IO_F_NOUNMAP, false, false, uapi.IORING_OP_FALLOCATE, zero},
		{"zeroes of a file, no unmap", uapi.UBLK_IO_OP_WRITE_ZEROES | uapi.UBLK_IO_F_NOUNMAP, true, false, uapi.IORING_OP_FALLOCATE, zero},
		{"zeroes of a tmpfs file, no unmap", uapi.UBLK_IO_OP_WRITE_ZEROES | uapi.UBLK_IO_F_NOUNMAP, true, true, uapi.IORING_OP_FALLOCATE, punch},
	} {
		k := boot(t, setup{shape: shape{lin(0, 5, 100)}, files: c.files, noZero: c.noZero})
		k.serve(k.ask(c.op, 10, 20))
		if s := k.log[0]; len(k.log) != 1 || s.op != c.opcode || s.mode != c.mode || s.at != 15*512 || s.n != 20*512 {
			t.Errorf("%s: %+v", c.name, k.log)
		}
	}
}

// With the table's fan of free ops and no more, requests wait, are started in the order they came, and all are served.
func TestStarvedAreServedInOrder(t *testing.T) {
	for seed := range uint64(60) {
		k := boot(t, setup{shape: shape{striped(4, 50, 0, 1, 2, 3, 4), lin(1, 900, 40)}, pool: 5, wave: 5, depth: 6, maxIO: 64, seed: seed})
		waited := 0
		k.onTurn = func() { waited = max(waited, len(k.q.starved)) }
		var asks []*ask
		for i := range uint64(40) {
			switch start := i * 25; i % 4 {
			case 0:
				asks = append(asks, write(k, start, 25))
			case 1:
				asks = append(asks, read(k, start, 25))
			case 2:
				asks = append(asks, discard(k, start, 25))
			default:
				asks = append(asks, flush(k))
			}
		}
		k.serve(asks...)
		var order []*ask
		for _, s := range k.log {
			if !slices.Contains(order, s.ask) {
				order = append(order, s.ask)
			}
		}
		if !slices.Equal(order, k.order) {
			t.Fatalf("seed %d: taken %v\nstarted %v", seed, k.order, order)
		}
		if waited < 3 {
			t.Fatalf("seed %d: only %d waited", seed, waited)
		}
	}
}
