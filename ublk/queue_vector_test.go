package ublk

import (
	"cmp"
	"slices"
	"testing"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/stripe"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// gather says, sector by sector, what each disk's command must be for a request on a stripe of distinct disks: where it
// begins on the disk, and the runs of the buffer.
func gather(s shape, r target.Range) map[target.Disk]sent {
	out := map[target.Disk]sent{}
	for n := r.Start; n < r.End(); n++ {
		d, at := s.at(n)
		off := (n - r.Start) * 512
		c, ok := out[d]
		if !ok {
			c.at = at * 512
		}
		c.disk = d
		c.n += 512
		if i := len(c.iov) - 1; i >= 0 && c.iov[i].Base+c.iov[i].Len == off {
			c.iov[i].Len += 512
		} else {
			c.iov = append(c.iov, uapi.Iovec{Base: off, Len: 512})
		}
		out[d] = c
	}
	return out
}

// The rows of a stripe become one command per leg: 512 KiB on chunks of 64 KiB are as many commands as there are legs.
func TestStripeIsOneCommandPerLeg(t *testing.T) {
	for _, c := range []struct {
		legs  int
		chunk uint64
	}{{1, 128}, {2, 128}, {3, 128}, {4, 128}, {5, 128}, {7, 128}, {8, 128}, {16, 128}, {32, 128}, {3, 24}, {16, 8}, {32, 8}} {
		n, chunk := c.legs, c.chunk
		var disks []target.Disk
		for d := range n {
			disks = append(disks, target.Disk(d))
		}
		s := shape{striped(chunk, 3*1024/chunk, disks...)}
		for _, start := range []uint64{0, 128, 1024, 64, 1, 1000} {
			k := boot(t, setup{shape: s, blank: true})
			for _, a := range []*ask{read(k, start, 1024), write(k, start, 1024)} {
				k.log = nil
				k.serve(a)
				if start%chunk == 0 && chunk == 128 && len(k.log) != min(n, 8) {
					t.Errorf("%d legs: %d commands", n, len(k.log))
				}
				want := gather(s, a.r)
				for _, c := range k.log {
					w := want[c.disk]
					if c.at != w.at || c.n != w.n || !slices.Equal(c.iov, w.iov) {
						t.Errorf("%d legs, %v: disk %d at %d %v, want at %d %v", n, a, c.disk, c.at, c.iov, w.at, w.iov)
					}
					plain := uapi.IORING_OP_READ + uint8(a.op)
					if vector := uapi.IORING_OP_READV + uint8(a.op); len(c.iov) == 1 && c.op != plain || len(c.iov) > 1 && c.op != vector {
						t.Errorf("%d legs: opcode %d for %d iovecs", n, c.op, len(c.iov))
					}
				}
				if len(k.log) != len(want) {
					t.Errorf("%d legs, %v: %d commands, want %d", n, a, len(k.log), len(want))
				}
			}
		}
	}
}

// What goes on both on the disk and in the buffer is one run: targets side by side are read at once, without a vector.
func TestNeighboursAreOneRun(t *testing.T) {
	for _, s := range []shape{
		{lin(0, 100, 30), lin(0, 130, 1), lin(0, 131, 50)},
		{{sectors: 96, chunk: 16, legs: striped(16, 6, 0).legs}},
		{{sectors: 32, chunk: 16, legs: []stripe.Leg{{Disk: 0, Start: 8}, {Disk: 0, Start: 24}}}, lin(0, 40, 10)},
	} {
		k := boot(t, setup{shape: s})
		n := k.bounds.sectors
		k.serve(read(k, 1, n-2), write(k, 0, n))
		for _, c := range k.log {
			if len(c.iov) != 1 || c.n != c.ask.r.Len*512 {
				t.Errorf("%+v: %+v", s, c)
			}
		}
		if len(k.log) != 2 {
			t.Errorf("%+v: %d commands", s, len(k.log))
		}
	}
}

// No vector is longer than the kernel takes (the fake refuses one that is), and what is beyond becomes another command.
func TestVectorsAreBounded(t *testing.T) {
	s := shape{striped(1, 2048, 0, 1)}
	k := boot(t, setup{shape: s, maxIO: 2048, depth: 2})
	k.serve(write(k, 0, 2048), read(k, 2048, 2048))
	for _, a := range []*ask{write(k, 77, 2048), read(k, 77, 2048)} {
		k.log = nil
		k.serve(a)
		if want := 2 * 2048 / k.wave; len(k.log) != want { // a wave is as many segments, on two legs
			t.Errorf("%v: %d commands, want %d", a, len(k.log), want)
		}
	}

	// A queue with more room than any has.
	k = boot(t, setup{shape: s, maxIO: 4096, depth: 2, wave: 4096, entries: 64})
	k.roomy(4096)
	for _, a := range []*ask{write(k, 0, 4096), read(k, 0, 4096)} {
		k.log = nil
		k.serve(a)
		slices.SortFunc(k.log, func(a, b sent) int { return cmp.Or(cmp.Compare(a.disk, b.disk), cmp.Compare(a.at, b.at)) })
		if len(k.log) != 4 {
			t.Fatalf("%v: %d commands", a, len(k.log))
		}
		for i, c := range k.log {
			if len(c.iov) != 1024 || c.at != uint64(i%2)*1024*512 {
				t.Errorf("disk %d at %d: %d iovecs", c.disk, c.at, len(c.iov))
			}
		}
	}
}

// A run of the buffer counts once, however many segments it was.
func TestLongRunIsNoVector(t *testing.T) {
	var s shape
	for i := range uint64(4096) {
		s = append(s, lin(0, i, 1))
	}
	k := boot(t, setup{shape: s, maxIO: 4096, depth: 1, wave: 4096, blank: true})
	k.roomy(4096)
	k.serve(read(k, 0, 4096))
	if len(k.log) != 1 || len(k.log[0].iov) != 1 {
		t.Errorf("%d commands", len(k.log))
	}
}

// roomy gives the queue a pool of n ops.
func (k *kernel) roomy(n int) {
	k.q.ops, k.q.free, k.cmds, k.pool = make([]op, n), make([]uint32, n), make([]command, n), n
	k.q.flights = make([]flight, n)
	for i := range k.q.free {
		k.q.free[i] = uint32(i)
	}
}

// A short transfer of a vector goes on where it stopped, in the middle of a run, at its end, and byte by byte for files.
func TestShortVectorsGoOn(t *testing.T) {
	for _, files := range []bool{false, true} {
		for step := uint64(1); step < 20; step++ {
			if !files && step > 6 {
				break
			}
			k := boot(t, setup{shape: shape{striped(2, 20, 0, 1, 2)}, files: files})
			k.fault = func(c *command) fault {
				if files {
					return fault{short: step * 97}
				}
				return fault{short: step * 512}
			}
			w := write(k, 1, 60)
			k.serve(w, read(k, 1, 60), write(k, 70, 5), read(k, 75, 1))
			if got := k.q.stats.Retries.Load(); got == 0 || got != k.q.stats.Commands.Load()-tries1(k.log) {
				t.Errorf("%d retries of %d commands", got, k.q.stats.Commands.Load())
			}
			if w.res != 60*512 {
				t.Error(w)
			}
		}
	}
}

// tries1 is how many commands were sent for the first time.
func tries1(log []sent) (n uint64) {
	for _, s := range log {
		if s.try == 1 {
			n++
		}
	}
	return n
}
