package ublk

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	faults "github.com/ublk-go/ublk-linear/fault"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// spoiled is a kernel whose queue has rules, and whose bell can be rung as long as the test runs.
func bootSpoiled(t tester, s setup, rules ...faults.Rule) *kernel {
	s.holds = newHolds()
	k := boot(t, s)
	k.q.spoil = newSpoil(k.q, faults.New(rules))
	k.attend(make(chan struct{}))
	return k
}

func on(d target.Disk, op faults.Op, a faults.Action) faults.Rule {
	return faults.Rule{Disk: d, Op: op, Action: a}
}

// askOf is a request of an operation, and the kernel's opcodes for it.
func askOf(k *kernel, op faults.Op, start, n uint64) *ask {
	switch op {
	case faults.Read:
		return read(k, start, n)
	case faults.Write:
		return write(k, start, n)
	case faults.Discard:
		return discard(k, start, n)
	case faults.WriteZeroes:
		return zeroes(k, start, n)
	}
	return flush(k)
}

// bytesOf is how many bytes of a disk's commands were sent.
func bytesOf(log []sent, d target.Disk) (n uint64) {
	for _, s := range log {
		if s.disk == d {
			n += s.n
		}
	}
	return n
}

// Every action on every operation gives the client what a device that did so would: a request that touches disk 1, and one
// beside it that does not.
func TestFaultActions(t *testing.T) {
	const wait = 3 * time.Millisecond
	for _, op := range []faults.Op{faults.Read, faults.Write, faults.Flush, faults.Discard, faults.WriteZeroes} {
		rw := op == faults.Read || op == faults.Write
		ranged := rw || op != faults.Flush
		for _, c := range []struct {
			a    faults.Action
			want unix.Errno
			sent uint64 // eighths of the 64 sectors on disk 1 that go to it
			cmds int    // commands that go to it
		}{
			{faults.Action{Kind: faults.Errno, Errno: unix.ENOSPC}, unix.ENOSPC, 0, 0},
			{faults.Action{Kind: faults.Torn}, unix.EIO, 4, 1},
			{faults.Action{Kind: faults.Short}, 0, 8, 2},
			{faults.Action{Kind: faults.Delay, For: wait}, 0, 8, 1},
			{faults.Action{Kind: faults.Hang, For: wait}, unix.ETIMEDOUT, 0, 0},
		} {
			t.Run(fmt.Sprintf("%v %v", op, c.a.Kind), func(t *testing.T) {
				r := on(1, op, c.a)
				r.Count = 1
				k := bootSpoiled(t, setup{shape: shape{lin(0, 0, 64), lin(1, 0, 64), lin(2, 0, 64)}}, r)
				hit, other := askOf(k, op, 64, 64), askOf(k, op, 0, 64)
				if op == faults.Flush {
					other = write(k, 0, 64)
				}
				if hit.errno = c.want; c.a.Kind == faults.Short && !rw || c.a.Kind == faults.Torn && !ranged {
					c.cmds = min(c.cmds, 1)
				}
				if c.a.Kind == faults.Torn && !ranged {
					c.cmds = 0
				}
				began := time.Now()
				k.serve(hit, other) // it compares both answers
				if c.a.For > 0 && time.Since(began) < wait {
					t.Errorf("answered after %v", time.Since(began))
				}
				cmds := 0
				for _, s := range k.log {
					if s.disk == 1 {
						cmds++
					}
				}
				if n := bytesOf(k.log, 1); cmds != c.cmds || ranged && n != c.sent*8*512 {
					t.Errorf("%d commands with %d sectors went to the disk", cmds, n/512)
				}
				if c.want != 0 && k.q.stats.Errors.Load() != 1 || c.want == 0 && k.q.stats.Errors.Load() != 0 {
					t.Errorf("%d errors counted", k.q.stats.Errors.Load())
				}
				k.log = nil
				again := askOf(k, op, 64, 64)
				k.serve(again) // the rule has fired as often as it may
			})
		}
	}
}

// A torn write has written its first half and nothing else, also of a vector that is cut inside an element.
func TestFaultTornIsHalf(t *testing.T) {
	k := bootSpoiled(t, setup{shape: shape{striped(3, 10, 0, 1)}, lbs: 1}, on(1, faults.Write, faults.Action{Kind: faults.Torn}))
	a := write(k, 0, 60)
	a.errno = unix.EIO
	before := slices.Clone(k.model.disks[1])
	k.serve(a)
	for s := range uint64(30) {
		from := s/3*6 + 3 + s%3 // of the request
		want := a.data[from*512:][:512]
		if s >= 15 {
			want = before[s*512:][:512]
		}
		if !slices.Equal(k.model.disks[1][s*512:][:512], want) {
			t.Errorf("sector %d of the disk is not right", s)
		}
	}
}

// What is short is gone on from until it is all there, block by block at the end, also with logical blocks of 4 KiB.
func TestFaultShortEnds(t *testing.T) {
	for _, lbs := range []uint64{1, 8} {
		for seed := range uint64(20) {
			k := bootSpoiled(t, setup{shape: shape{striped(16, 20, 0, 1), lin(0, 4096, 320)}, lbs: lbs, seed: seed}, on(0, faults.Any, faults.Action{Kind: faults.Short}))
			var asks []*ask
			for i := range uint64(20) {
				asks = append(asks, write(k, i*40, 40), read(k, i*40, 40), zeroes(k, i*8, 8))
			}
			k.serve(asks...)
			if k.q.stats.Retries.Load() < 40 {
				t.Fatalf("only %d came again", k.q.stats.Retries.Load())
			}
		}
	}
}

// Faults at random on everything never reach a request that does not touch the disk, in any order of completion, with few
// ops and short waves.
func TestFaultsReachNobodyElse(t *testing.T) {
	for seed := range uint64(60) {
		rules := []faults.Rule{
			{Disk: 1, Op: faults.Any, Probability: 0.3, Seed: seed, Action: faults.Action{Errno: unix.EIO}},
			{Disk: 1, Op: faults.Any, Probability: 0.3, Seed: seed + 1, Action: faults.Action{Kind: faults.Delay, For: 10 * time.Microsecond}},
			{Disk: 2, Op: faults.Any, Probability: 0.3, Seed: seed + 2, Action: faults.Action{Kind: faults.Short}},
			{Disk: 2, Op: faults.Any, Probability: 0.3, Seed: seed + 3, Action: faults.Action{Errno: unix.EAGAIN}},
			{Disk: 1, Op: faults.Any, Probability: 0.3, Seed: seed + 4, Action: faults.Action{Kind: faults.Torn}},
			{Disk: 1, Op: faults.Any, Probability: 0.1, Seed: seed + 5, Action: faults.Action{Kind: faults.Hang, For: 10 * time.Microsecond}},
		}
		k := bootSpoiled(t, setup{shape: mixed, depth: 6, maxIO: 64, seed: seed + 1, pool: 7, wave: 6}, rules...)
		// The fake does not know of faults. That of requests which touch disk 1 the answer is free; of others it is not.
		free := map[*ask]bool{}
		k.whim = func(a *ask) bool { return free[a] }
		var asks []*ask
		for start := uint64(0); start+30 < k.bounds.sectors; start += 7 {
			asks = append(asks, read(k, start, 1+start%23), write(k, start, 1+start%17), discard(k, start, 1+start%9), zeroes(k, start, 1+start%30))
		}
		for _, a := range asks {
			_, disks := mixed.touched(a.r)
			free[a] = slices.Contains(disks, 1)
		}
		k.serve(asks...)
		failed := 0
		for _, a := range asks {
			if a.res < 0 {
				failed++
			}
			if a.res < 0 && (!free[a] || a.res != -int32(unix.EIO) && a.res != -int32(unix.ETIMEDOUT)) {
				t.Fatalf("seed %d: %v", seed, a)
			}
		}
		if failed == 0 {
			t.Fatal("nothing failed")
		}
	}
}

// EAGAIN is sent again as often as a disk's would be, and no more.
func TestFaultEagain(t *testing.T) {
	for _, c := range []struct {
		count uint64
		want  unix.Errno
	}{{3, 0}, {maxRetries, 0}, {maxRetries + 1, unix.EIO}, {0, unix.EIO}} {
		k := bootSpoiled(t, setup{shape: shape{lin(0, 0, 64)}}, faults.Rule{Action: faults.Action{Errno: unix.EAGAIN}, Count: c.count})
		k.agained = true
		a := flush(k)
		a.errno = c.want
		k.serve(a)
	}
}

// A command that waits does not stop others, nor the thread: many requests pass beside one that hangs.
func TestFaultHangStopsNobody(t *testing.T) {
	const wait = 50 * time.Millisecond
	r := faults.Rule{Disk: 0, Op: faults.Read, Nth: 1, Count: 1, Action: faults.Action{Kind: faults.Hang, For: wait}}
	k := bootSpoiled(t, setup{shape: shape{lin(0, 0, 64), lin(1, 0, 64)}, depth: 2}, r)
	hung := read(k, 0, 8)
	hung.errno = unix.ETIMEDOUT
	asks := []*ask{hung}
	for range 100 {
		asks = append(asks, write(k, 64, 8), read(k, 32, 8))
	}
	began := time.Now()
	var passed int
	k.onTurn = func() {
		if hung.answers == 0 && asks[200].answers == 1 {
			passed++
		}
	}
	k.serve(asks...)
	if passed == 0 || time.Since(began) < wait {
		t.Errorf("the others did not pass (%v)", time.Since(began))
	}
}

// Who releases the set ends what waits.
func TestFaultRelease(t *testing.T) {
	k := bootSpoiled(t, setup{shape: shape{lin(0, 0, 64)}},
		faults.Rule{Op: faults.Read, Action: faults.Action{Kind: faults.Hang, For: time.Hour}}, faults.Rule{Op: faults.Write, Action: faults.Action{Kind: faults.Delay, For: time.Hour}})
	a, b := read(k, 0, 8), write(k, 8, 8)
	a.errno = unix.ETIMEDOUT
	go func() {
		time.Sleep(5 * time.Millisecond) // so that both wait
		k.q.spoil.set.Release()
	}()
	k.serve(a, b)
}

// Without rules there is nothing of it.
func TestNoFaults(t *testing.T) {
	k := boot(t, setup{shape: mixed})
	if newSpoil(k.q, nil) != nil || newSpoil(k.q, faults.New(nil)) != nil {
		t.Error("a queue without rules pays for them")
	}
	k.q.spoil = newSpoil(k.q, faults.New([]faults.Rule{{Disk: 9}}))
	if k.q.spoil == nil {
		t.Error("no faults")
	}
}

// The flush behind a FUA zeroing can be hit.
func TestFaultFlushBehindFUA(t *testing.T) {
	k := bootSpoiled(t, setup{shape: mixed}, on(2, faults.Flush, faults.Action{Errno: unix.EIO}))
	a := k.ask(uapi.UBLK_IO_OP_WRITE_ZEROES|uapi.UBLK_IO_F_FUA, 0, k.bounds.sectors)
	a.errno = unix.EIO
	k.serve(a)
	b := k.ask(uapi.UBLK_IO_OP_WRITE_ZEROES, 0, k.bounds.sectors)
	k.serve(b)
}
