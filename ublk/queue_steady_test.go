package ublk

import (
	"testing"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// steady is what the hot path is measured with.
var steady = []struct {
	name       string
	op         uint32
	start, len uint64
}{
	{"read", uapi.UBLK_IO_OP_READ, 8, 8},
	{"write", uapi.UBLK_IO_OP_WRITE, 8, 8},
	{"fua", uapi.UBLK_IO_OP_WRITE | uapi.UBLK_IO_F_FUA, 8, 8},
	{"flush", uapi.UBLK_IO_OP_FLUSH, 0, 0},
	{"discard", uapi.UBLK_IO_OP_DISCARD, 64, 500},
	{"zeroes-fua", uapi.UBLK_IO_OP_WRITE_ZEROES | uapi.UBLK_IO_F_FUA, 64, 500},
	{"striped-read", uapi.UBLK_IO_OP_READ, 64, 768},
	{"striped-write", uapi.UBLK_IO_OP_WRITE, 64, 768},
	{"refused", uapi.UBLK_IO_OP_WRITE_SAME, 0, 8},
}

// The shape has a linear part and a stripe of three legs; the fake is without data, seed and log, and allocates nothing.
func steadyKernel(t tester, op uint32, start, n uint64, requests int) (*kernel, []*ask) {
	k := boot(t, setup{shape: shape{lin(0, 0, 64), striped(8, 40, 0, 1, 2)}, blank: true})
	k.silent = true
	var asks []*ask
	for range requests {
		asks = append(asks, k.ask(op, start, n))
	}
	return k, asks
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, c := range steady {
		k, asks := steadyKernel(t, c.op, c.start, c.len, 200)
		k.fault = func(s *command) fault { // some come again
			if s.disk == 1 && s.try == 1 {
				return fault{short: 512}
			}
			return fault{}
		}
		if n := testing.AllocsPerRun(10, func() {
			if err := k.run(asks...); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations in %d requests", c.name, n, len(asks))
		}
		for _, a := range asks {
			if a.answers != 11 || a.res < 0 != (c.name == "refused") {
				t.Fatalf("%s: %d answers: %v", c.name, a.answers, a)
			}
		}
	}
}

// A hold that does not conflict costs no allocation either.
func TestSteadyStateBesideAHoldAllocatesNothing(t *testing.T) {
	for _, c := range steady {
		k, asks := steadyKernel(t, c.op, c.start, c.len, 200)
		k.q.held.Store(newHeld(1, []*hold{{born: 1, fence: fenceOf([]Hold{part(0, 8), part(60, 2), {target.Range{Start: 1000, Len: 10}, true}})}}))
		if n := testing.AllocsPerRun(10, func() {
			if err := k.run(asks...); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations in %d requests", c.name, n, len(asks))
		}
		for _, a := range asks {
			if a.answers != 11 {
				t.Fatalf("%s: %d answers: %v", c.name, a.answers, a)
			}
		}
	}
}

// One system call submits and waits, for all that a turn has: commits, fetches and disk commands.
func TestOneEnterPerTurn(t *testing.T) {
	for _, c := range steady {
		k, asks := steadyKernel(t, c.op, c.start, c.len, 200)
		k.serve(asks...)
		if k.enters != [2]int{1, k.turns} { // the one that does not wait is fetch's
			t.Errorf("%s: %v enters in %d turns", c.name, k.enters, k.turns)
		}
		// 8 tags at a time: each batch of 8 is given, and its commands come back; one more turn ends the
		// device, and one takes the bell's read back.
		batches, waves := len(asks)/8, 1
		switch c.name {
		case "zeroes-fua":
			waves = 2
		case "refused":
			waves = 0
		}
		if want := batches*(waves+1) + 2; k.turns != want {
			t.Errorf("%s: %d turns, want %d", c.name, k.turns, want)
		}

		k, asks = steadyKernel(t, c.op, c.start, c.len, 200)
		k.sq = k.sq[:1]
		k.serve(asks...)
		if k.enters[1] != k.turns {
			t.Errorf("%s in a ring of one: %v enters in %d turns", c.name, k.enters, k.turns)
		}
	}
}

func TestStats(t *testing.T) {
	k, _ := steadyKernel(t, 0, 0, 0, 0)
	k.serve(read(k, 0, 8), read(k, 8, 8), write(k, 64, 24), k.ask(uapi.UBLK_IO_OP_FLUSH, 5, 99), discard(k, 0, 60), zeroes(k, 0, 70), k.ask(uapi.UBLK_IO_OP_WRITE_SAME, 0, 8), read(k, 1<<40, 8))
	s := k.q.stats
	for op, want := range []struct{ requests, sectors uint64 }{target.Read: {2, 16}, target.Write: {1, 24}, target.Flush: {1, 0}, target.Discard: {1, 60}, target.WriteZeroes: {1, 70}} {
		if s.Requests[op].Load() != want.requests || s.Bytes[op].Load() != want.sectors*512 {
			t.Errorf("%v: %d requests, %d bytes", target.Op(op), s.Requests[op].Load(), s.Bytes[op].Load())
		}
	}
	if s.Errors.Load() != 2 || s.Commands.Load() != 2+3+3+1+2 || s.Retries.Load() != 0 {
		t.Errorf("%d errors, %d commands, %d retries", s.Errors.Load(), s.Commands.Load(), s.Retries.Load())
	}
}

// BenchmarkQueue is the queue's own cost of a request, and the fake's.
func BenchmarkQueue(b *testing.B) {
	for _, c := range steady {
		b.Run(c.name, func(b *testing.B) {
			k, asks := steadyKernel(b, c.op, c.start, c.len, 1000)
			b.ReportAllocs()
			b.ResetTimer() // what the fake is made of is not counted
			for n := 0; n < b.N; n += len(asks) {
				if err := k.run(asks...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
