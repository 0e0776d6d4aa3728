package ublk

import (
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// drawSetup draws a device: a table, and a queue with more or less room for everything.
func drawSetup(t *rapid.T) setup {
	unit := rapid.SampledFrom([]uint64{1, 1, 8}).Draw(t, "unit")
	s := setup{shape: drawShape(t, unit), lbs: unit, files: rapid.Bool().Draw(t, "files"), noZero: rapid.Bool().Draw(t, "noZero"),
		depth: rapid.IntRange(1, 6).Draw(t, "depth"), entries: rapid.SampledFrom([]int{1, 2, 5, 64, 2048}).Draw(t, "entries"),
		maxIO: uint32(unit) * rapid.SampledFrom([]uint32{8, 40, 256}).Draw(t, "maxIO"), seed: rapid.Uint64Min(1).Draw(t, "seed")}
	if s.fixed = rapid.Bool().Draw(t, "zero copy"); s.fixed {
		s.bare = rapid.SampledFrom([]int{0, 1, 4}).Draw(t, "without pages")
	}
	s.mapper = s.shape.table(t)
	fan := s.mapper.Fan()
	if rapid.Bool().Draw(t, "narrow") {
		s.wave = fan + rapid.IntRange(0, 3).Draw(t, "wave")
	}
	if rapid.Bool().Draw(t, "poor") {
		s.pool = fan + rapid.IntRange(0, fan).Draw(t, "pool")
	}
	return s
}

// drawAsks draws requests that the driver may send.
func drawAsks(t *rapid.T, k *kernel) []*ask {
	var out []*ask
	lbs := k.bounds.lbs
	blocks := k.bounds.sectors / lbs
	for range rapid.IntRange(1, 50).Draw(t, "requests") {
		op := rapid.SampledFrom([]uint32{uapi.UBLK_IO_OP_READ, uapi.UBLK_IO_OP_READ, uapi.UBLK_IO_OP_WRITE, uapi.UBLK_IO_OP_WRITE,
			uapi.UBLK_IO_OP_FLUSH, uapi.UBLK_IO_OP_DISCARD, uapi.UBLK_IO_OP_WRITE_ZEROES}).Draw(t, "op")
		most := blocks
		if op == uapi.UBLK_IO_OP_READ || op == uapi.UBLK_IO_OP_WRITE {
			most = min(most, uint64(k.bounds.maxIO)/lbs)
		}
		n := rapid.Uint64Range(1, most).Draw(t, "len")
		start := rapid.Uint64Range(0, blocks-n).Draw(t, "start")
		flags := rapid.SampledFrom([]uint32{0, 0, uapi.UBLK_IO_F_FUA, uapi.UBLK_IO_F_NOUNMAP, uapi.UBLK_IO_F_META | uapi.UBLK_IO_F_FUA}).Draw(t, "flags")
		out = append(out, k.ask(op|flags, start*lbs, n*lbs))
	}
	return out
}

// roughly makes faults: a share of the commands is short, asked to come again, or failed.
func (k *kernel) roughly(failing bool) func(*command) fault {
	return func(c *command) fault {
		var f fault
		switch n := k.rng.IntN(16); {
		case n < 4 && c.n > 512:
			f.short = 512 * (1 + k.rng.Uint64N((c.n-1)/512))
			if !k.disks[c.disk].Block && k.rng.IntN(2) == 0 {
				f.short = 1 + k.rng.Uint64N(c.n-1)
			}
		case n < 6:
			f.errno = unix.EAGAIN
		case n == 6:
			f.errno = unix.EINTR
		case n == 7 && failing && k.rng.IntN(4) == 0:
			f.errno = []unix.Errno{unix.EIO, unix.ENOSPC, unix.EREMOTEIO, unix.ETIMEDOUT}[k.rng.IntN(4)]
		case n == 8 && failing && k.rng.IntN(8) == 0:
			f.zero = true
		}
		return f
	}
}

// The device is the model, whatever the table, the order in which things complete, and transfers that are short or have
// to come again. What must hold for every request and every command stands in kernel_test.go and model_test.go.
func TestServesLikeTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := boot(t, drawSetup(t))
		k.fault = k.roughly(false)
		asks := drawAsks(t, k)
		k.serve(asks...)
		for _, a := range asks {
			if a.res < 0 {
				t.Errorf("%v failed", a)
			}
		}
	})
}

// The same with commands that fail: the requests they belong to fail with the first errno, no other is touched.
func TestServesLikeTheModelWithErrors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := boot(t, drawSetup(t))
		k.fault = k.roughly(true)
		k.serve(drawAsks(t, k)...)
	})
}
