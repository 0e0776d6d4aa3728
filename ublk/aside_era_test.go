package ublk

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// A disk that is back may have lost its cache. A flush that was under way then fails, and so does the first that begins
// afterwards; the next does not.
func TestFlushOverLoss(t *testing.T) {
	for _, unflushed := range []bool{false, true} {
		l := loseDisks(t)
		l.vanish(1, unix.EIO)
		l.give(0, 0, flushAll)
		l.waits(1, 1)
		l.away(1)
		l.comeBack(1, unflushed)
		want := int32(0)
		if unflushed {
			want = -int32(unix.EIO)
		}
		if res := l.result(0, 0); res != want {
			t.Errorf("unflushed %v: the flush under way: %d", unflushed, res)
		}
		if res := l.answer(0, 1, flushAll); res != want {
			t.Errorf("unflushed %v: the first flush: %d", unflushed, res)
		}
		if res := l.answer(0, 2, flushAll); res != 0 {
			t.Errorf("unflushed %v: the second flush: %d", unflushed, res)
		}
	}
}

// A flush that began before and is answered afterwards does not use up the failure of the first one after.
func TestFlushFromBeforeDoesNotCount(t *testing.T) {
	l := loseDisks(t)
	l.vanish(1, unix.EIO)
	for tag := range 3 {
		l.give(0, tag, flushAll)
	}
	l.waits(1, 3)
	l.away(1)
	l.comeBack(1, true)
	for tag := range 3 {
		if res := l.result(tag, 0); res != -int32(unix.EIO) {
			t.Errorf("flush %d: %d", tag, res)
		}
	}
	if res := l.answer(0, 0, flushAll); res != -int32(unix.EIO) {
		t.Errorf("the first flush: %d", res)
	}
}

// A flush of a queue that has not heard yet fails, and does not use up the failure of the first one after.
func TestFlushOfADeafQueueDoesNotCount(t *testing.T) {
	if cpus() < 2 {
		t.Skip("needs two queues")
	}
	l := loseDisksOf(t, 2)
	l.ring(1).setDeaf(true)
	l.vanish(0, unix.EIO)
	l.give(0, 0, io(uapi.UBLK_IO_OP_WRITE, 0, 8))
	l.waits(0, 1)
	l.dev.DiskAway(0)
	l.mu.Lock()
	delete(l.bad, firstFD)
	l.mu.Unlock()
	fresh := l.back(0)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := l.dev.DiskBack(ctx, 0, fresh, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("back, and a queue is deaf: %v", err)
	}
	if res := l.answer(1, 0, flushAll); res != -int32(unix.EIO) {
		t.Errorf("the flush from before: %d", res)
	}
	l.ring(1).setDeaf(false)
	if err := l.dev.DiskBack(t.Context(), 0, fresh, true); err != nil {
		t.Fatal(err)
	}
	if a, b := l.answer(1, 0, flushAll), l.answer(0, 1, flushAll); a != -int32(unix.EIO) || b != 0 {
		t.Errorf("the first flush: %d, and the next: %d", a, b)
	}
}

// A request of which a part was written before the disk's cache was lost is done again as a whole; what is durable, or reads,
// is not.
func TestRedoOverLoss(t *testing.T) {
	const fua = uapi.UBLK_IO_F_FUA
	for _, c := range []struct {
		name      string
		op        uint32
		unflushed bool
		first     int // commands to the disk whose part was done, in all
	}{
		{"write", uapi.UBLK_IO_OP_WRITE, true, 2},
		{"write, nothing lost", uapi.UBLK_IO_OP_WRITE, false, 1},
		{"durable write", uapi.UBLK_IO_OP_WRITE | fua, true, 1},
		{"read", uapi.UBLK_IO_OP_READ, true, 1},
		{"discard", uapi.UBLK_IO_OP_DISCARD, true, 2},
		{"zeroes", uapi.UBLK_IO_OP_WRITE_ZEROES, true, 2},
		{"durable zeroes", uapi.UBLK_IO_OP_WRITE_ZEROES | fua, true, 4}, // each time with a flush
	} {
		l := loseDisks(t)
		l.vanish(1, unix.EIO)
		l.give(0, 0, io(c.op, 64, 16)) // a chunk of disk 0, and one of disk 1
		l.waits(1, 1)
		l.away(1)
		if n := l.count(firstFD); n != 1 {
			t.Errorf("%s: %d commands of the other part", c.name, n)
		}
		l.comeBack(1, c.unflushed)
		want := int32(0)
		if op := c.op & 0xff; op == uapi.UBLK_IO_OP_READ || op == uapi.UBLK_IO_OP_WRITE {
			want = 16 * 512
		}
		if res := l.result(0, 0); res != want {
			t.Errorf("%s: %d", c.name, res)
		}
		if n := l.count(firstFD); n != c.first {
			t.Errorf("%s: %d commands to the disk whose part was done, want %d", c.name, n, c.first)
		}
	}
}

// What counts as unflushed.
func TestUnflushed(t *testing.T) {
	l := loseDisks(t)
	s := l.dev.disks[2].Stats
	is := func(what string, want bool) {
		t.Helper()
		if got := s.Unflushed(); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	is("at first", false)
	l.answer(0, 0, io(uapi.UBLK_IO_OP_READ, 256, 8))
	l.answer(0, 0, io(uapi.UBLK_IO_OP_WRITE|uapi.UBLK_IO_F_FUA, 256, 8))
	is("a durable write", false)
	for _, op := range []uint32{uapi.UBLK_IO_OP_WRITE, uapi.UBLK_IO_OP_DISCARD, uapi.UBLK_IO_OP_WRITE_ZEROES} {
		l.answer(0, 0, io(op, 256, 8))
		is("a write", true)
		l.answer(0, 0, flushAll)
		is("a flush", false)
	}
	l.answer(0, 0, io(uapi.UBLK_IO_OP_WRITE, 256, 8))
	l.vanish(2, unix.ENODATA)
	l.answer(0, 0, flushAll)
	is("a flush that failed", true)
	s.Returned()
	is("the disk is back, and was not flushed", true)
	l.mu.Lock()
	delete(l.bad, firstFD+2)
	l.mu.Unlock()
	l.answer(0, 0, flushAll)
	is("a flush", false)
	// What is written while a flush is under way is not covered by it.
	l.stick()
	l.give(0, 2, io(uapi.UBLK_IO_OP_WRITE, 256, 8)) // answered before it
	l.give(0, 1, flushAll)
	eventually(t, "commands", func() bool { return l.dev.InFlight(2) == 2 })
	l.release()
	l.result(2, 0)
	l.result(1, 0)
	is("a write beside a flush", true)
}

// A write of which a part has come to the disk is unflushed when the disk is gone, though it was never answered.
func TestTornByLoss(t *testing.T) {
	l := loseDisks(t)
	l.mu.Lock()
	l.cut[firstFD+2] = 512
	l.bad[firstFD+2] = -int32(unix.EIO)
	l.mu.Unlock()
	l.give(0, 0, io(uapi.UBLK_IO_OP_WRITE, 256, 8))
	l.waits(2, 1)
	if !l.dev.disks[2].Stats.Unflushed() {
		t.Error("nothing is unflushed")
	}
	if l.dev.disks[2].Stats.Returned(); l.dev.disks[2].Stats.Unflushed() {
		t.Error("what was never answered counts as unflushed when it is to be done again")
	}
	l.away(2)
	l.comeBack(2, true)
	if res := l.result(0, 0); res != 8*512 || l.count(202) != 2 {
		t.Errorf("answer %d by %d commands, want the rest and then the whole", res, l.count(202))
	}
}

// A device that can park costs no more in the steady state.
func TestSteadyStateThatParksAllocatesNothing(t *testing.T) {
	for _, c := range steady {
		k, asks := steadyKernel(t, c.op, c.start, c.len, 200)
		k.q.loss = &losses{suspect: func(target.Disk) { t.Error("a disk is suspected") }}
		k.q.loss.park.Store(true)
		for i := range k.q.disks {
			k.q.disks[i].Stats = &DiskStats{}
		}
		if n := testing.AllocsPerRun(10, func() {
			if err := k.run(asks...); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations in %d requests", c.name, n, len(asks))
		}
	}
}
