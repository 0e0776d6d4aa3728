package daemon

import (
	"bytes"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// TestLimiter: whatever comes when, what is told is all that came, never sooner than every after what was told before, and
// nothing that came waits for longer than every and the next time that is asked.
func TestLimiter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		every := time.Duration(rapid.IntRange(1, 20).Draw(t, "every"))
		l := limiter{every: every}
		now := time.Unix(1000, 0)
		var came, told uint64
		var last, oldest time.Time // of what was told; of what is untold
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 8).Draw(t, "later")))
			var n, got uint64
			if rapid.Bool().Draw(t, "comes") {
				n = rapid.Uint64Range(0, 3).Draw(t, "n")
				got = l.add(now, n)
			} else {
				got = l.due(now)
			}
			if n > 0 && oldest.IsZero() {
				oldest = now
			}
			came, told = came+n, told+got
			mayTell := last.IsZero() || now.Sub(last) >= every
			switch {
			case got == 0 && mayTell && !oldest.IsZero():
				t.Fatalf("%d untold since %v, at %v", came-told, oldest, now)
			case got > 0 && !mayTell:
				t.Fatalf("told %d at %v, before at %v", got, now, last)
			case got > 0 && told != came:
				t.Fatalf("told %d of %d", told, came)
			}
			if got > 0 {
				last, oldest = now, time.Time{}
			}
		}
		if told += l.rest(now); told != came || l.rest(now) != 0 {
			t.Fatalf("told %d of %d", told, came)
		}
	})
}

// TestLatency: half of the commands, 99 of 100, and all were done in less than what is said, and fewer of them in half of it.
func TestLatency(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l latency
		var n uint64
		for range rapid.IntRange(0, 6).Draw(t, "buckets") {
			c := rapid.Uint64Range(1, 1000).Draw(t, "commands")
			if rapid.IntRange(0, 9).Draw(t, "many") == 0 {
				c = math.MaxUint64 / 8 // sums and products of it
			}
			l[rapid.IntRange(0, len(l)-1).Draw(t, "bucket")] += c
			n += c
		}
		for _, percent := range []uint64{50, 99, 100} {
			got := l.part(percent)
			if n == 0 {
				if got != 0 {
					t.Fatalf("%v of nothing", got)
				}
				continue
			}
			var before, with float64 // of all
			for i, c := range l {
				if bucketEnd(i) < got {
					before += float64(c)
				}
				if bucketEnd(i) <= got {
					with += float64(c)
				}
			}
			want := float64(n) * float64(percent) / 100
			const near = 1 + 1e-12 // float64
			if with*near < want || before >= want*near {
				t.Fatalf("p%d is %v: %v of %d are below, %v below its half", percent, got, with, n, before)
			}
		}
	})
	var l latency
	l[0], l[9], l[len(l)-1] = 1, 98, 1
	if l.part(50) != 1024e-9 || l.part(99) != 1024e-9 || l.part(100) != float64(1<<40)/1e9 {
		t.Errorf("%v %v %v", l.part(50), l.part(99), l.part(100))
	}
	if got := l.buckets(); len(got) != 3 || got[1] != (LatencyBucket{1024e-9, 98}) {
		t.Errorf("%v", got)
	}
}

// memory opens disks of memory.
func memory(t *testing.T, names ...string) (ds disks) {
	t.Helper()
	for _, name := range names {
		d, err := disk.Open(t.Context(), disk.Spec{Name: name, Memory: 1 << 20}, &disk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		ds = append(ds, d)
	}
	return ds
}

// toldHealth is a health without its goroutine.
func toldHealth() (*health, *bytes.Buffer) {
	var out bytes.Buffer
	return &health{log: slog.New(slog.NewTextHandler(&out, nil)), events: &events{}, failed: make(chan failure, maxFailures)}, &out
}

// TestHealthReload: a disk that stays keeps its counters, also when its number is another in the list; a new one at the
// number of one that is gone has its own, and so have its failures.
func TestHealthReload(t *testing.T) {
	h, _ := toldHealth()
	ds := memory(t, "a", "b", "c")
	before := h.backings(disks{ds[0], ds[1]})
	if before[0].Stats == nil || before[0].Stats == before[1].Stats || before[1].FD != ds[1].FD() {
		t.Fatalf("%+v", before)
	}
	before[0].Stats.Ops[target.Write].Commands.Add(7)
	again := h.backings(disks{ds[0], ds[1], nil})
	if again[0].Stats != before[0].Stats || again[1].Stats != before[1].Stats || again[2].Stats != nil {
		t.Errorf("other counters: %+v", again)
	}
	h.forget(ds[1:2])
	h.turn(time.Unix(1, 0), false)
	now := h.backings(disks{ds[0], ds[2], nil})
	if now[0].Stats != before[0].Stats || now[1].Stats == before[1].Stats {
		t.Errorf("counters: %+v", now)
	}
	if io, last := h.status(ds[0]); io["write"].Commands != 7 || last != nil || len(io) != 5 {
		t.Errorf("%v %v", io, last)
	}
	if len(h.of) != 2 {
		t.Errorf("%d disks are known", len(h.of))
	}
	fail := h.failing("data")
	fail(1, target.Read, 8, unix.EIO)
	fail(2, target.Read, 8, unix.EIO) // nothing is there
	fail(9, target.Read, 8, unix.EIO)
	if len(h.failed) != 1 {
		t.Fatalf("%d failures", len(h.failed))
	}
	if f := <-h.failed; f.disk.name != "c" || f.device != "data" {
		t.Errorf("%+v", f)
	}
}

// TestHealthTells: of a failing disk one line and one event at once, then one in 10 s with all the errors since; another
// disk has its own.
func TestHealthTells(t *testing.T) {
	h, out := toldHealth()
	h.backings(memory(t, "a", "b"))
	fail := h.failing("data")
	now := time.Unix(1000, 0)
	step := func(later time.Duration, failures int) string {
		out.Reset()
		now = now.Add(later)
		for i := range failures {
			fail(0, target.Write, uint64(100+i), unix.EIO)
			h.note(<-h.failed, now)
		}
		h.turn(now, false)
		return out.String()
	}
	want := func(got string, lines int, words ...string) {
		t.Helper()
		if strings.Count(got, "\n") != lines {
			t.Errorf("not %d lines:\n%s", lines, got)
		}
		for _, w := range words {
			if !strings.Contains(got, w) {
				t.Errorf("no %s in %s", w, got)
			}
		}
	}
	want(step(0, 0), 0)
	want(step(0, 5), 1, "level=ERROR", "disk=a", "errors=1 ", "device=data", "op=write", "sector=100", "errno=EIO")
	want(step(failEvery-time.Nanosecond, 3), 0)
	fail(1, target.Read, 7, unix.ENODEV)
	out.Reset()
	h.note(<-h.failed, now)
	want(out.String(), 1, "disk=b", "errors=1 ", "errno=ENODEV")
	want(step(time.Nanosecond, 0), 1, "disk=a", "errors=7 ", "sector=102")
	want(step(failEvery, 0), 0)
	want(step(time.Hour, 1), 1, "errors=1 ")
	got, _ := h.events.since(0)
	var errs []uint64
	for _, x := range got {
		errs = append(errs, x.Errors)
	}
	if len(got) != 4 || got[2].Kind != DiskFails || got[2].Errors != 7 || *got[2].Sector != 102 || got[2].Errno != "EIO" || got[2].Op != "write" || got[2].Disk != "a" || *got[0].Sector != 100 {
		t.Errorf("events of %v errors: %+v", errs, got)
	}
}

// TestHealthEnds: what is untold of a disk that goes, or when the server does, is told.
func TestHealthEnds(t *testing.T) {
	for _, all := range []bool{false, true} {
		h, out := toldHealth()
		ds := memory(t, "a")
		h.backings(ds)
		for range 4 {
			h.failing("data")(0, target.Read, 1, unix.EIO)
		}
		if !all {
			h.forget(ds)
		}
		h.turn(time.Unix(1000, 0), all)
		if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "errors=1 ") || !strings.Contains(got, "errors=3 ") {
			t.Errorf("all %v:\n%s", all, got)
		}
		if !all && len(h.of) != 0 {
			t.Error("the disk is still known")
		}
	}
}

// TestHealthMissed: a queue never waits to tell of a failure, and allocates nothing; what there is no room for is counted,
// also of a disk of which nothing else is known.
func TestHealthMissed(t *testing.T) {
	h, out := toldHealth()
	ds := memory(t, "a", "b")
	b := h.backings(ds)
	fail := h.failing("data")
	const more = 1000
	if n := testing.AllocsPerRun(maxFailures+more-1, func() { fail(0, target.Write, 1, unix.EIO) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	fail(1, target.Read, 5, unix.EIO)
	if len(h.failed) != maxFailures || h.of[ds[0]].missed.Load() != more || h.of[ds[1]].missed.Load() != 1 || len(b) != 2 {
		t.Errorf("%d wait, %d and %d are missed", len(h.failed), h.of[ds[0]].missed.Load(), h.of[ds[1]].missed.Load())
	}
	now := time.Unix(1000, 0)
	for len(h.failed) > 0 {
		h.note(<-h.failed, now)
	}
	h.turn(now, false)
	h.turn(now.Add(failEvery), false)
	var sum uint64
	all, _ := h.events.since(0)
	for _, x := range all {
		sum += x.Errors
	}
	if len(all) != 3 || sum != maxFailures+more+1 {
		t.Errorf("%d errors in %d events:\n%s", sum, len(all), out)
	}
}

// TestHealthTogether: with its goroutine, many queues that fail and a reload, nothing is lost and nobody waits.
func TestHealthTogether(t *testing.T) {
	h, e := &health{}, &events{}
	h.stop() // that never began
	ds := memory(t, "a", "b")
	h.start(slog.New(slog.DiscardHandler), e)
	h.backings(ds)
	var wg sync.WaitGroup
	const queues, each = 4, 2000
	for q := range queues {
		wg.Go(func() {
			fail := h.failing("data")
			for i := range each {
				fail(target.Disk(i%2), target.Write, uint64(i), unix.EIO)
			}
		})
		wg.Go(func() {
			h.backings(ds)
			h.status(ds[q%2])
			all, _ := e.since(0)
			for _, x := range all {
				if *x.Sector >= each {
					t.Errorf("%+v", x)
				}
			}
		})
	}
	wg.Wait()
	h.stop()
	h.stop()
	all, _ := e.since(0)
	var sum uint64
	for _, x := range all {
		sum += x.Errors
	}
	if sum != queues*each {
		t.Errorf("%d errors, want %d", sum, queues*each)
	}
}

// TestDiskIO: what a disk's counters become.
func TestDiskIO(t *testing.T) {
	var s ublk.DiskStats
	w := &s.Ops[target.Write]
	w.Commands.Store(3)
	w.Bytes.Store(8192)
	w.Errors.Store(1)
	w.Latency[10].Store(2)
	w.Latency[20].Store(1)
	io, last := diskIO(&s)
	if got := io["write"]; got.Commands != 3 || got.Bytes != 8192 || got.Errors != 1 || got.P50 != 2048e-9 || got.P99 != float64(1<<21)/1e9 || got.Max != got.P99 || len(got.Latency) != 2 {
		t.Errorf("%+v", got)
	}
	if got := io["read"]; got.Max != 0 || got.Latency == nil || last != nil {
		t.Errorf("%+v %v", got, last)
	}
	if errnoName(unix.EIO) != "EIO" || errnoName(4000) == "" {
		t.Error(errnoName(4000))
	}
}
