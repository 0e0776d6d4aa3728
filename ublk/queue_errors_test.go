package ublk

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// A disk that fails fails the requests that touch it, and no other.
func TestErrorFailsWhatTouchesTheDisk(t *testing.T) {
	for seed := range uint64(30) {
		k := boot(t, setup{shape: mixed, depth: 4, maxIO: 64, seed: seed})
		k.fault = func(c *command) fault {
			if c.disk == 1 {
				return fault{errno: unix.EIO}
			}
			return fault{}
		}
		var asks []*ask
		for start := uint64(0); start+30 < k.bounds.sectors; start += 7 {
			asks = append(asks, read(k, start, 1+start%23), write(k, start, 1+start%17), discard(k, start, 1+start%9), zeroes(k, start, 1+start%30))
		}
		asks = append(asks, flush(k))
		k.serve(asks...)
		failed := 0
		for _, a := range asks {
			_, disks := mixed.touched(a.r)
			want := int32(0)
			switch {
			case slices.Contains(disks, 1) || a.op == target.Flush:
				want = -int32(unix.EIO)
				failed++
			case a.op == target.Read || a.op == target.Write:
				want = int32(a.r.Len) * 512
			}
			if a.res != want {
				t.Fatalf("%v: want %d", a, want)
			}
		}
		if failed < 10 || failed > len(asks)-10 || k.q.stats.Errors.Load() != uint64(failed) {
			t.Fatalf("%d of %d failed, %d counted", failed, len(asks), k.q.stats.Errors.Load())
		}
	}
}

// Of several failures the first to come back is the answer (the fake knows which that was).
func TestFirstErrnoWins(t *testing.T) {
	errnos := []unix.Errno{unix.ENOSPC, unix.EIO, unix.ETIMEDOUT}
	got := map[unix.Errno]int{}
	for seed := range uint64(60) {
		k := boot(t, setup{shape: mixed, seed: seed + 1, blank: true})
		k.fault = func(c *command) fault { return fault{errno: errnos[c.disk]} }
		a := flush(k)
		k.serve(a)
		got[unix.Errno(-a.res)]++
	}
	for _, e := range errnos {
		if got[e] == 0 {
			t.Errorf("%v never came first: %v", e, got)
		}
	}
}

// What no disk is asked: the answers are the block layer's.
func TestRefusals(t *testing.T) {
	const end = 800
	for _, c := range []struct {
		name       string
		op         uint32
		start, len uint64
		lbs        uint64
		readOnly   bool
		want       unix.Errno
	}{
		{"write same", uapi.UBLK_IO_OP_WRITE_SAME, 0, 8, 1, false, unix.EOPNOTSUPP},
		{"zone append", 7, 0, 8, 1, false, unix.EOPNOTSUPP},
		{"unknown", 0xff, 0, 8, 1, false, unix.EOPNOTSUPP},
		{"unknown, like a read", 0x80, 0, 8, 1, false, unix.EOPNOTSUPP},
		{"unknown, nowhere", 0x42, 1 << 60, 0, 8, true, unix.EOPNOTSUPP},
		{"nothing", uapi.UBLK_IO_OP_READ, 0, 0, 1, false, unix.EIO},
		{"at the end", uapi.UBLK_IO_OP_READ, end, 1, 1, false, unix.EIO},
		{"over the end", uapi.UBLK_IO_OP_WRITE, end - 1, 2, 1, false, unix.EIO},
		{"far out", uapi.UBLK_IO_OP_DISCARD, 1<<64 - 1, 1, 1, false, unix.EIO},
		{"round the end", uapi.UBLK_IO_OP_DISCARD, 1<<64 - 8, 16, 1, false, unix.EIO},
		{"longest", uapi.UBLK_IO_OP_WRITE_ZEROES, 1, 1<<32 - 1, 1, false, unix.EIO},
		{"odd start", uapi.UBLK_IO_OP_READ, 4, 8, 8, false, unix.EINVAL},
		{"odd length", uapi.UBLK_IO_OP_WRITE, 8, 7, 8, false, unix.EINVAL},
		{"odd discard", uapi.UBLK_IO_OP_DISCARD, 8, 9, 8, false, unix.EINVAL},
		{"too large", uapi.UBLK_IO_OP_READ, 0, 65, 1, false, unix.EINVAL},
		{"too large", uapi.UBLK_IO_OP_WRITE, 0, 72, 8, false, unix.EINVAL},
		{"write", uapi.UBLK_IO_OP_WRITE, 0, 8, 1, true, unix.EPERM},
		{"discard", uapi.UBLK_IO_OP_DISCARD, 0, 8, 1, true, unix.EPERM},
		{"zeroes", uapi.UBLK_IO_OP_WRITE_ZEROES, 0, 8, 1, true, unix.EPERM},
		{"read", uapi.UBLK_IO_OP_READ, 0, 64, 1, true, 0},
		{"flush", uapi.UBLK_IO_OP_FLUSH, 0, 0, 1, true, 0},
		{"to the end", uapi.UBLK_IO_OP_READ, end - 1, 1, 1, false, 0},
		{"all of it", uapi.UBLK_IO_OP_DISCARD, 0, end, 8, false, 0},
	} {
		k := boot(t, setup{shape: shape{lin(0, 3, 400), lin(1, 9, 400)}, maxIO: 64, lbs: c.lbs, readOnly: c.readOnly})
		a := k.ask(c.op, c.start, c.len)
		if errno := k.bounds.decode(&a.desc, &request{}); errno != c.want {
			t.Errorf("%s %d+%d: decoded with %v, want %v", c.name, c.start, c.len, errno, c.want)
		}
		k.serve(a, read(k, 0, 8))
		if c.want != 0 && a.res != -int32(c.want) || c.want == 0 && a.res < 0 {
			t.Errorf("%s %d+%d: result %d, want %v", c.name, c.start, c.len, a.res, c.want)
		}
	}
}

// A command that is to come again does, first as it was and then in a worker that may block; but not for ever.
func TestRetriesAreBounded(t *testing.T) {
	for _, c := range []struct {
		errno unix.Errno
		times int
		want  unix.Errno
	}{
		{unix.EAGAIN, 1, 0}, {unix.EINTR, 1, 0}, {unix.EAGAIN, maxRetries, 0}, {unix.EAGAIN, maxRetries + 1, unix.EIO}, {unix.EINTR, 1 << 20, unix.EIO},
	} {
		k := boot(t, setup{shape: mixed})
		k.fault = func(s *command) fault {
			if s.disk == 1 && s.try <= c.times {
				return fault{errno: c.errno}
			}
			return fault{}
		}
		a := read(k, 64, 64)
		for _, a := range []*ask{a, write(k, 64, 64), flush(k), discard(k, 64, 64), zeroes(k, 64, 64)} {
			k.log = nil
			retries := k.q.stats.Retries.Load()
			k.serve(a)
			if a.errno != c.want { // serve has compared it with the result
				t.Errorf("%v %d times, %v: want %v", c.errno, c.times, a, c.want)
			}
			tries := 0
			for _, s := range k.log {
				if s.disk == 1 {
					if tries++; s.flags&uapi.IOSQE_ASYNC != 0 != (tries > 1) {
						t.Errorf("try %d with flags %#x", tries, s.flags)
					}
				}
			}
			again := uint64(min(c.times, maxRetries))
			if uint64(tries) != again+1 || k.q.stats.Retries.Load()-retries != again {
				t.Errorf("%v %d times, %v: %d tries, %d counted", c.errno, c.times, a.op, tries, k.q.stats.Retries.Load()-retries)
			}
		}
	}
}

// A read or write of nothing is an error: the disk ends before it should.
func TestNothingIsAnError(t *testing.T) {
	k := boot(t, setup{shape: mixed})
	k.fault = func(c *command) fault {
		if c.try == 1 {
			return fault{short: 512}
		}
		return fault{zero: true}
	}
	asks := []*ask{read(k, 0, 64), write(k, 0, 64), flush(k)}
	k.serve(asks...)
	if asks[0].res != -int32(unix.EIO) || asks[1].res != -int32(unix.EIO) || asks[2].res != 0 {
		t.Error(asks)
	}
}

// What a completion makes of a command, and results that no kernel gives.
func TestComplete(t *testing.T) {
	const base = 1 << 20
	for _, c := range []struct {
		kind    kind
		res     int32
		retries uint8
		verdict verdict
		errno   unix.Errno
		niov    uint32 // left, when it is sent again
		first   uapi.Iovec
	}{
		{kindRead, 3072, 0, finished, 0, 0, uapi.Iovec{}},
		{kindRead, 3073, 0, finished, unix.EIO, 0, uapi.Iovec{}},
		{kindWrite, 1<<31 - 1, 0, finished, unix.EIO, 0, uapi.Iovec{}},
		{kindRead, 0, 0, finished, unix.EIO, 0, uapi.Iovec{}},
		{kindWrite, 1, 0, again, 0, 3, uapi.Iovec{Base: base + 1, Len: 511}},
		{kindWrite, 511, 0, again, 0, 3, uapi.Iovec{Base: base + 511, Len: 1}},
		{kindWrite, 512, 0, again, 0, 2, uapi.Iovec{Base: 2 * base, Len: 1024}},
		{kindRead, 513, 0, again, 0, 2, uapi.Iovec{Base: 2*base + 1, Len: 1023}},
		{kindRead, 1536, maxRetries, again, 0, 1, uapi.Iovec{Base: 3 * base, Len: 1536}},
		{kindRead, 3071, 0, again, 0, 1, uapi.Iovec{Base: 3*base + 1535, Len: 1}},
		{kindRead, -int32(unix.EAGAIN), 0, again, 0, 3, uapi.Iovec{Base: base, Len: 512}},
		{kindSync, -int32(unix.EINTR), maxRetries - 1, again, 0, 3, uapi.Iovec{Base: base, Len: 512}},
		{kindSync, -int32(unix.EINTR), maxRetries, finished, unix.EIO, 0, uapi.Iovec{}},
		{kindDiscard, -int32(unix.EOPNOTSUPP), 0, again, 0, 3, uapi.Iovec{Base: base, Len: 512}},
		{kindDiscard, -int32(unix.EOPNOTSUPP), 1, finished, unix.EOPNOTSUPP, 0, uapi.Iovec{}},
		{kindZero, -int32(unix.EOPNOTSUPP), 0, finished, unix.EOPNOTSUPP, 0, uapi.Iovec{}},
		{kindDiscard, 0, 0, finished, 0, 0, uapi.Iovec{}},
		{kindZero, 17, 0, finished, 0, 0, uapi.Iovec{}},
	} {
		iovs := []uapi.Iovec{{Base: base, Len: 512}, {Base: 2 * base, Len: 1024}, {Base: 3 * base, Len: 1536}}
		o := op{kind: c.kind, at: 4096, left: 3072, niov: 3, retries: c.retries}
		v, errno := o.complete(c.res, iovs)
		if v != c.verdict || errno != c.errno {
			t.Errorf("%d of kind %d: %d %v, want %d %v", c.res, c.kind, v, errno, c.verdict, c.errno)
		}
		if c.res > 0 && v == again && o.retries != 0 {
			t.Errorf("%d of kind %d: got on, and has %d retries behind it", c.res, c.kind, o.retries)
		}
		if n := uint64(max(c.res, 0)); v == again && (o.niov != c.niov || iovs[o.iov] != c.first || o.at != 4096+n || o.left != 3072-n) {
			t.Errorf("%d of kind %d: left %+v %+v", c.res, c.kind, o, iovs)
		}
	}
}

// The driver's end: fetched tags go at once, a tag with commands in flight when it has been answered, and run not before.
func TestAbortWaitsForWhatIsInFlight(t *testing.T) {
	for seed := range uint64(100) {
		k := boot(t, setup{shape: mixed, depth: 6, seed: seed + 1, pool: 4 + int(seed%9), blank: true})
		k.fault = k.roughly(true)
		var asks []*ask
		for i := range uint64(200) {
			asks = append(asks, write(k, i, 40), flush(k), read(k, i, 64))
		}
		turn := 0
		k.onTurn = func() {
			if turn++; turn == 5+int(seed%20) {
				k.abort()
			}
		}
		if err := k.run(asks...); err != nil {
			t.Fatal(err)
		}
		if k.next == len(asks) || k.next == 0 {
			t.Fatalf("seed %d: %d of %d requests were given", seed, k.next, len(asks))
		}
		k.settled(k.asks)
	}
}

// An idle device ends.
func TestAbortWhenIdle(t *testing.T) {
	k := boot(t, setup{shape: mixed})
	k.q.failed = func(err error) { t.Errorf("reported: %v", err) }
	k.serve()
}

// A fetch or commit that the driver refuses is reported once, at once; the other tags are served until the driver ends
// them.
func TestRefusedTagIsReported(t *testing.T) {
	for _, cmd := range []uint64{uapi.UBLK_U_IO_FETCH_REQ, uapi.UBLK_U_IO_COMMIT_AND_FETCH_REQ} {
		k := boot(t, setup{shape: mixed})
		refused := 0
		k.refuse = func(tag int, c uint64) unix.Errno {
			if c == cmd && (tag == 2 || tag == 5) {
				refused++
				return unix.EINVAL
			}
			return 0
		}
		var reports []error
		k.q.failed = func(err error) { reports = append(reports, err) }
		var asks []*ask
		for i := range uint64(60) {
			asks = append(asks, read(k, i, 64))
		}
		err := k.run(asks...)
		k.settled(asks)
		if !errors.Is(err, unix.EINVAL) || len(reports) != 1 || reports[0] != err || refused != 2 {
			t.Errorf("%#x refused: result %v, reports %v", cmd, err, reports)
		}
		if err.Error() != "queue 3 tag 2: invalid argument" {
			t.Errorf("message %q", err)
		}
	}
}

// A ring that breaks ends run with its error, wherever that shows, and it is not entered again.
func TestBrokenRing(t *testing.T) {
	for _, entries := range []int{1, 3, 2048} {
		for broken := 1; broken < 60; broken++ {
			k := boot(t, setup{shape: mixed, entries: entries, seed: uint64(broken), blank: true})
			k.enterErr = func(call int) error {
				if call == broken {
					return unix.EBADF
				}
				return nil
			}
			var asks []*ask
			for i := range uint64(200) {
				asks = append(asks, read(k, i, 64))
			}
			if err := k.run(asks...); !errors.Is(err, unix.EBADF) {
				t.Fatalf("%d entries, call %d: %v", entries, broken, err)
			}
			if calls := k.enters[0] + k.enters[1]; calls != broken {
				t.Fatalf("%d entries: broken at call %d, and %d were made", entries, broken, calls)
			}
		}
	}
}

// liar is a Mapper that maps nothing after so many calls.
type liar struct {
	Mapper
	good int
}

func (l *liar) Map(dst []target.Segment, op target.Op, r target.Range) ([]target.Segment, uint64) {
	if l.good--; l.good < 0 {
		return dst, 0
	}
	return l.Mapper.Map(dst, op, r)
}

// A mapper that breaks its word costs a request, not the queue.
func TestMapperWithoutProgress(t *testing.T) {
	for good := range 3 {
		k := boot(t, setup{shape: scattered, mapper: &liar{scattered.table(t), good}, blank: true})
		a := discard(k, 0, 1500)
		a.errno = unix.EIO
		k.serve(a)
		if len(k.log) != good*k.wave {
			t.Errorf("%d commands after %d waves", len(k.log), good)
		}
	}
	k := boot(t, setup{shape: mixed, mapper: &liar{mixed.table(t), 0}, blank: true})
	a := flush(k)
	a.errno = unix.EIO
	k.serve(a)
}
