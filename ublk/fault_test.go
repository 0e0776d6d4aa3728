package ublk

import (
	"bytes"
	"log/slog"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	faults "github.com/ublk-go/ublk-linear/fault"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

func failWith(e unix.Errno) faults.Action { return faults.Action{Kind: faults.Fail, Errno: int(e)} }

// A range that fails fails the requests that touch it, with its errno, and no other. Nothing of it is sent to the disk.
func TestFaultOnARange(t *testing.T) {
	bad := target.Range{Start: 4, Len: 9} // of disk 1: it has one leg, from sector 0 on
	for seed := range uint64(30) {
		k := boot(t, setup{shape: mixed, depth: 4, maxIO: 64, seed: seed})
		set := k.inject(faults.Rule{Disk: 1, Ops: faults.Any, Range: bad, Action: failWith(unix.ENOSPC)})
		k.before = func(c *command) {
			if c.disk == 1 && c.op != uapi.IORING_OP_FSYNC && c.at/512 < bad.End() && bad.Start < (c.at+c.n)/512 {
				t.Fatalf("sent: %+v", c)
			}
		}
		var asks []*ask
		for start := uint64(0); start+30 < k.bounds.sectors; start += 7 {
			asks = append(asks, read(k, start, 1+start%23), write(k, start, 1+start%17), discard(k, start, 1+start%9), zeroes(k, start, 1+start%30))
		}
		asks = append(asks, flush(k))
		k.serve(asks...)
		failed, commands := 0, 0
		for _, a := range asks {
			want := int32(0)
			if a.op == target.Read || a.op == target.Write {
				want = int32(a.r.Len) * 512
			}
			for s := a.r.Start; s < a.r.End(); s++ {
				if d, at := mixed.at(s); d == 1 && at >= bad.Start && at < bad.End() {
					want = -int32(unix.ENOSPC)
				}
			}
			if a.res != want {
				t.Fatalf("%v: want %d", a, want)
			}
			if want < 0 {
				failed++
			}
		}
		for _, s := range k.log {
			if s.disk == 1 {
				commands++
			}
		}
		seen, hits := set.Counts(0)
		if failed < 10 || hits != uint64(failed) || seen != hits || k.stood[uapi.IORING_OP_NOP] != failed || commands == 0 {
			t.Fatalf("%d failed, %d hits of %d, %v in place of commands, %d sent", failed, hits, seen, k.stood, commands)
		}
		k.q.faults.free()
	}
}

// Of a torn write exactly the first sectors reach the disk, also through a vector and when the disk is short itself; the
// request has EIO. Of a short one they are one command, and the rest is another: no byte is missing.
func TestTornAndShort(t *testing.T) {
	striped := shape{striped(8, 20, 0, 1)}
	for _, kind := range []faults.Kind{faults.Torn, faults.Short} {
		for n := uint64(1); n < 20; n++ {
			for seed := range uint64(6) {
				k := boot(t, setup{shape: striped, seed: seed})
				a := faults.Action{Kind: kind, Sectors: n}
				if kind == faults.Torn {
					a.Errno = int(unix.EIO)
				}
				set := k.inject(faults.Rule{Disk: 1, Ops: faults.Write, Count: 1, Action: a})
				if seed%2 == 1 {
					k.fault = func(c *command) fault {
						if c.n > 512 && c.try < 3 {
							return fault{short: 512}
						}
						return fault{}
					}
				}
				before := slices.Clone(k.model.disks[1])
				w := k.ask(uapi.UBLK_IO_OP_WRITE, 0, 48) // 3 chunks of each disk: one vector of 24 sectors
				k.serve(w)
				want := slices.Clone(before)
				for s := range uint64(24) {
					if kind == faults.Short || s < n {
						copy(want[s*512:][:512], w.data[(s/8*16+8+s%8)*512:])
					}
				}
				if !bytes.Equal(k.model.disks[1], want) {
					t.Fatalf("kind %d of %d sectors, seed %d: the disk has other bytes", kind, n, seed)
				}
				res, commands := int32(48*512), 3
				if kind == faults.Torn {
					res, commands = -int32(unix.EIO), 2
				}
				if _, hits := set.Counts(0); w.res != res || hits != 1 || seed == 0 && len(k.log) != commands {
					t.Fatalf("kind %d of %d sectors: result %d, %d hits, %d commands", kind, n, w.res, hits, len(k.log))
				}
				k.q.faults.free()
			}
		}
	}
}

// A torn write that its disk does in several transfers is one command: no rule is asked for the rest of it.
func TestTornIsOneCommand(t *testing.T) {
	k := boot(t, setup{shape: shape{lin(0, 0, 100)}})
	set := k.inject(faults.Rule{Ops: faults.Write, Nth: 1, Action: faults.Action{Kind: faults.Torn, Sectors: 8, Errno: int(unix.EIO)}},
		faults.Rule{Ops: faults.Write, Action: failWith(unix.ENOSPC)})
	defer k.q.faults.free()
	k.fault = func(*command) fault { return fault{short: 1024} }
	old := slices.Clone(k.model.disks[0])
	w := write(k, 0, 20)
	k.serve(w)
	if want := slices.Concat(w.data[:8*512], old[8*512:]); w.res != -int32(unix.EIO) || !bytes.Equal(k.model.disks[0], want) || len(k.log) != 4 {
		t.Errorf("result %d, %d commands", w.res, len(k.log))
	}
	if seen, _ := set.Counts(0); seen != 1 {
		t.Errorf("it was asked for %d times", seen)
	}
}

// A rule that acts always makes every piece of a transfer short.
func TestShortAgainAndAgain(t *testing.T) {
	k := boot(t, setup{shape: shape{lin(0, 0, 100)}})
	k.inject(faults.Rule{Ops: faults.Read, Action: faults.Action{Kind: faults.Short, Sectors: 3}})
	defer k.q.faults.free()
	k.serve(read(k, 0, 10), read(k, 50, 3))
	var got []uint64
	for _, s := range k.log {
		got = append(got, s.at/512, s.n/512)
	}
	if want := []uint64{0, 3, 50, 3, 3, 3, 6, 3, 9, 1}; !slices.Equal(got, want) || k.q.stats.Retries.Load() != 3 {
		t.Errorf("commands %v, %d of them again, want %v", got, k.q.stats.Retries.Load(), want)
	}
}

// A late command is sent behind its timeout, and what fails late fails behind one, without being sent.
func TestLate(t *testing.T) {
	for _, c := range []struct {
		action faults.Action
		res    int32
		sent   int
	}{
		{faults.Action{Kind: faults.Delay, Delay: 1500 * time.Millisecond}, 4096, 1},
		{faults.Action{Kind: faults.Fail, Errno: int(unix.ETIMEDOUT), Delay: time.Microsecond}, -int32(unix.ETIMEDOUT), 0},
	} {
		k := boot(t, setup{shape: shape{lin(0, 0, 100)}})
		set := k.inject(faults.Rule{Ops: faults.Any, Nth: 2, Action: c.action})
		k.before = func(s *command) {
			if seen, _ := set.Counts(0); seen == 2 && s.ask.r.Start == 8 && k.stood[uapi.IORING_OP_TIMEOUT] != 1 {
				t.Error("it was sent at once")
			}
		}
		a, b := read(k, 0, 8), read(k, 8, 8)
		k.serve(a, b)
		if a.res != 4096 || b.res != c.res || len(k.log) != 1+c.sent || k.stood[uapi.IORING_OP_TIMEOUT] != 1 {
			t.Errorf("%+v: results %d and %d, %d commands, %v", c.action, a.res, b.res, len(k.log), k.stood)
		}
		v := k.q.faults.times[k.q.free[len(k.q.free)-1]]
		if d := time.Duration(v.Sec)*time.Second + time.Duration(v.Nsec); !slices.ContainsFunc(k.q.faults.times, func(v uapi.Timespec) bool {
			return time.Duration(v.Sec)*time.Second+time.Duration(v.Nsec) == c.action.Delay
		}) {
			t.Errorf("%+v: no timeout of that time (%v)", c.action, d)
		}
		k.q.faults.free()
	}
}

// drawFault draws a rule for a disk of the table.
func drawFault(t *rapid.T, disks int) faults.Rule {
	r := faults.Rule{Disk: target.Disk(rapid.IntRange(0, disks-1).Draw(t, "disk")), Ops: faults.Op(rapid.IntRange(1, int(faults.Any)).Draw(t, "ops"))}
	if rapid.Bool().Draw(t, "ranged") {
		r.Range = target.Range{Start: rapid.Uint64Range(0, 200).Draw(t, "start"), Len: rapid.Uint64Range(1, 200).Draw(t, "len")}
	}
	switch rapid.IntRange(0, 4).Draw(t, "when") {
	case 0:
		r.Nth = rapid.Uint64Range(1, 9).Draw(t, "nth")
	case 1:
		r.Every = rapid.Uint64Range(1, 5).Draw(t, "every")
	case 2:
		r.Count = rapid.Uint64Range(1, 5).Draw(t, "count")
	default:
		r.Probability, r.Seed = rapid.Float64Range(0.05, 0.9).Draw(t, "probability"), rapid.Uint64().Draw(t, "seed")
	}
	r.Action = faults.Action{Kind: faults.Kind(rapid.IntRange(1, int(faults.Hang)).Draw(t, "kind"))}
	switch r.Action.Kind {
	case faults.Fail:
		r.Action.Errno = int(rapid.SampledFrom([]unix.Errno{unix.EIO, unix.ENOSPC, unix.EREMOTEIO}).Draw(t, "errno"))
		r.Action.Delay = time.Duration(rapid.IntRange(0, 1).Draw(t, "late")) * time.Second
	case faults.Delay:
		r.Action.Delay = time.Second
	case faults.Torn:
		r.Ops, r.Action.Errno = faults.Write, int(unix.EIO)
		r.Action.Sectors = rapid.Uint64Range(1, 20).Draw(t, "sectors")
	case faults.Short:
		r.Ops = rapid.SampledFrom([]faults.Op{faults.Read, faults.Write, faults.Read | faults.Write}).Draw(t, "shortOps")
		r.Action.Sectors = rapid.Uint64Range(1, 20).Draw(t, "sectors")
	}
	return r
}

// The device is the model with any faults, on disks that are rough themselves: every request has one answer, an error only if
// a rule failed a command that the request can have had, and what was answered without one is what the disks hold. What hangs
// is answered when it is released.
func TestFaultsServeLikeTheModel(t *testing.T) {
	const kinds = int(faults.Hang) + 1
	met, failed := [kinds]uint64{}, 0
	for range 10 { // a check alone may not have met every kind
		rapid.Check(t, func(t *rapid.T) {
			s := drawSetup(t)
			s.holds = newHolds()
			k := boot(t, s)
			defer func() {
				s.holds.leave(k.q.gate)
				k.q.gate.armed = false
				k.q.gate.free()
			}()
			rules := make([]faults.Rule, rapid.IntRange(1, 4).Draw(t, "rules"))
			for i := range rules {
				rules[i] = drawFault(t, s.shape.disks())
			}
			set := k.inject(rules...)
			defer k.q.faults.free()
			k.fault = k.roughly(false)
			asks := drawAsks(t, k)
			k.serve(asks...)
			hits := [kinds]uint64{}
			for i, r := range rules {
				_, n := set.Counts(i)
				hits[r.Action.Kind] += n
				met[r.Action.Kind] += n
			}
			bad := uint64(0)
			for _, a := range asks {
				if a.res >= 0 {
					continue
				}
				bad++
				_, disks := s.shape.touched(a.r)
				if !slices.ContainsFunc(rules, func(r faults.Rule) bool {
					if r.Action.Kind == faults.Short || r.Action.Kind == faults.Delay {
						return false
					}
					sync := r.Ops&faults.Flush != 0 && (a.op == target.Flush || a.fua && a.op.Ranged())
					op := [...]faults.Op{target.Read: faults.Read, target.Write: faults.Write, target.Flush: faults.Flush, target.Discard: faults.Discard, target.WriteZeroes: faults.WriteZeroes}[a.op]
					return sync || r.Ops&op != 0 && slices.Contains(disks, r.Disk)
				}) {
					t.Fatalf("%v: no rule can have failed it: %+v", a, rules)
				}
			}
			failed += int(bad)
			if most := hits[faults.Fail] + hits[faults.Torn] + hits[faults.Hang]; bad > most {
				t.Fatalf("%d requests failed by %d hits", bad, most)
			}
		})
		if t.Failed() {
			return
		}
		if !slices.Contains(met[1:], 0) && failed > 100 {
			t.Logf("hits by kind %v, %d requests failed", met, failed)
			return
		}
	}
	t.Errorf("hits by kind %v, %d requests failed: too few to say anything", met, failed)
}

// No allocation, whether a disk has rules that act, rules that do not, or none.
func TestSteadyStateWithFaultsAllocatesNothing(t *testing.T) {
	for _, c := range steady {
		k, asks := steadyKernel(t, c.op, c.start, c.len, 200)
		k.inject(faults.Rule{Disk: 0, Ops: faults.Any, Every: 3, Action: failWith(unix.EIO)},
			faults.Rule{Disk: 1, Ops: faults.Any, Every: 2, Action: faults.Action{Kind: faults.Delay, Delay: time.Second}},
			faults.Rule{Disk: 1, Ops: faults.Read | faults.Write, Action: faults.Action{Kind: faults.Short, Sectors: 5}})
		if n := testing.AllocsPerRun(10, func() {
			for _, a := range asks {
				a.errno = 0
			}
			if err := k.run(asks...); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations in %d requests", c.name, n, len(asks))
		}
		if c.name != "refused" && k.stood[uapi.IORING_OP_NOP] == 0 {
			t.Errorf("%s: nothing failed", c.name)
		}
		k.q.faults.free()
	}
}

// Stop ends what hangs: STOP_DEV would wait for it for ever. What comes behind does not hang any more.
func TestStopEndsWhatHangs(t *testing.T) {
	c := &Control{dev: t.TempDir(), log: slog.New(slog.DiscardHandler), jobs: make(chan *job), closed: make(chan struct{})}
	d := &Device{c: c, charFD: -1, holds: newHolds(), ended: make(chan struct{})}
	k := boot(stray{t}, setup{shape: mixed, holds: d.holds, depth: 2, blank: true})
	set := k.inject(faults.Rule{Disk: 0, Ops: faults.Any, Action: faults.Action{Kind: faults.Hang}})
	s := newServer(d, 0, unix.CPUSet{}, k.q.mapper, k.q.disks)
	s.gate, s.q = k.q.gate, k.q
	s.faults.Store(k.q.faults)
	d.queues = []*server{s}
	idle := make(chan struct{})
	k.attend(idle)
	// Two tags: the third and the fourth come when the first have been answered, which is behind the release.
	asks := []*ask{write(k, 0, 8), read(k, 8, 8), discard(k, 16, 8), read(k, 24, 8)}
	go func() {
		defer close(s.done)
		k.serve(asks...)
		d.holds.leave(k.q.gate)
	}()
	go c.stopping(s, idle)
	for seen, _ := set.Counts(0); seen < 2; seen, _ = set.Counts(0) {
		<-tick()
	}
	if err := d.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	close(c.closed)
	for _, a := range asks {
		if a.answers != 1 || a.res != -int32(unix.EIO) {
			t.Errorf("%v: %d answers", a, a.answers)
		}
	}
	if k.stood[uapi.IORING_OP_NOP] != 4 || len(k.log) != 0 || k.q.faults.mem != nil {
		t.Errorf("%v in the place of commands, %d were sent, memory %d", k.stood, len(k.log), len(k.q.faults.mem))
	}
}

// What hung is answered once, however often the bell is rung behind the release.
func TestReleaseIsHeardOnce(t *testing.T) {
	for seed := range uint64(40) {
		hs := newHolds()
		k := boot(t, setup{shape: mixed, holds: hs, seed: seed, depth: 4})
		k.inject(faults.Rule{Disk: 0, Ops: faults.Any, Action: faults.Action{Kind: faults.Hang}})
		rings := 5
		k.onTurn = func() {
			if k.q.faults.over.Load() && rings > 0 {
				k.q.gate.ring()
				rings--
			}
		}
		var asks []*ask
		for i := range uint64(20) {
			asks = append(asks, read(k, i*3, 2))
		}
		k.serve(asks...)
		k.q.faults.free()
	}
}

// A queue whose disks have no rules has no injector.
func TestNoFaults(t *testing.T) {
	if x, err := newInjector([]Backing{{FD: 1}, {FD: 2}}, 10); x != nil || err != nil {
		t.Errorf("%v %v", x, err)
	}
	x, err := newInjector([]Backing{{}, {Faults: faults.New([]faults.Rule{{}}).Disk(0)}}, 10)
	if err != nil || len(x.ops) != 10 || len(x.times) != 10 || cap(x.hung) != 10 || x.mem == nil {
		t.Errorf("%+v %v", x, err)
	}
	x.free()
	(*injector)(nil).release()
	(*injector)(nil).free()
}
