package ublk

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Commands of a disk that is gone wait, those of others do not, and all of them are sent when it is back, to where it is then.
func TestParked(t *testing.T) {
	l := loseDisks(t)
	l.vanish(0, unix.ENODEV)
	l.give(0, 0, io(uapi.UBLK_IO_OP_WRITE, 0, 8))
	l.waits(0, 1)
	l.mu.Lock()
	if !slices.Equal(l.suspects, []target.Disk{0}) {
		t.Errorf("suspects: %v", l.suspects)
	}
	l.mu.Unlock()
	l.away(0)
	l.give(0, 1, io(uapi.UBLK_IO_OP_READ, 8, 8))
	l.waits(0, 2)
	if n := l.count(firstFD); n != 1 {
		t.Errorf("%d commands were sent to the disk that is gone", n)
	}
	if res := l.answer(0, 2, io(uapi.UBLK_IO_OP_WRITE, 256, 8)); res != 8*512 {
		t.Errorf("another disk: %d", res)
	}
	l.unanswered(0, 1)
	if s := l.dev.Stalled(0); len(s) != 0 || l.dev.InFlight(0) != 0 {
		t.Errorf("stalled: %+v, in flight %d", s, l.dev.InFlight(0))
	}
	l.comeBack(0, false)
	if a, b := l.result(0, 0), l.result(1, 0); a != 8*512 || b != 8*512 {
		t.Errorf("answers %d, %d", a, b)
	}
	if n, m := l.count(firstFD), l.count(200); n != 1 || m != 2 || len(l.dev.Parked()) != 0 {
		t.Errorf("%d commands to the old, %d to the new, %v aside", n, m, l.dev.Parked())
	}
	if res := l.answer(0, 0, io(uapi.UBLK_IO_OP_READ, 0, 8)); res != 8*512 || l.count(200) != 3 {
		t.Errorf("afterwards: %d", res)
	}
}

// A disk that was there all the time fails what it failed, with what it said; what it failed since waits for another look.
func TestParkedAndThere(t *testing.T) {
	l := loseDisks(t)
	l.vanish(0, unix.EREMOTEIO)
	l.give(0, 0, io(uapi.UBLK_IO_OP_READ, 0, 8))
	l.waits(0, 1)
	asOf := time.Now()
	l.give(0, 1, io(uapi.UBLK_IO_OP_READ, 8, 8))
	l.waits(0, 2)
	l.dev.DiskThere(0, asOf)
	if res := l.result(0, 0); res != -int32(unix.EREMOTEIO) {
		t.Errorf("answer %d", res)
	}
	l.unanswered(1)
	if e, ok := l.dev.disks[0].Stats.LastError(); !ok || e.Errno != unix.EREMOTEIO || l.dev.disks[0].Stats.Ops[target.Read].Commands.Load() != 1 {
		t.Errorf("counted: %+v", e)
	}
	l.dev.DiskThere(0, time.Now())
	if res := l.result(1, 0); res != -int32(unix.EREMOTEIO) {
		t.Errorf("answer %d", res)
	}
}

// Errors that no vanished disk gives, and those of a device that does not park, are passed on.
func TestNotParked(t *testing.T) {
	l := loseDisks(t)
	l.vanish(0, unix.ENODATA)
	if res := l.answer(0, 0, io(uapi.UBLK_IO_OP_READ, 0, 8)); res != -int32(unix.ENODATA) {
		t.Errorf("a medium error: %d", res)
	}
	l.vanish(0, unix.EIO)
	l.dev.Park(false)
	if res := l.answer(0, 1, io(uapi.UBLK_IO_OP_READ, 0, 8)); res != -int32(unix.EIO) {
		t.Errorf("without park: %d", res)
	}
	if len(l.suspects) != 0 {
		t.Errorf("suspects: %v", l.suspects)
	}
	for _, c := range []struct {
		k    kind
		e    unix.Errno
		want bool
	}{{kindWrite, unix.ENOSPC, true}, {kindZero, unix.ENOSPC, false}, {kindDiscard, unix.EINVAL, true}, {kindZero, unix.EINVAL, true}, {kindRead, unix.EINVAL, false},
		{kindSync, unix.EIO, true}, {kindRead, unix.ENXIO, true}, {kindRead, unix.ENOLINK, true}, {kindRead, unix.ETIMEDOUT, true}, {kindDiscard, unix.EOPNOTSUPP, false}} {
		if got := vanished(c.k, c.e); got != c.want {
			t.Errorf("kind %d %v: %v", c.k, c.e, got)
		}
	}
}

// A file does not vanish.
func TestFileIsNotParked(t *testing.T) {
	l := loseDisks(t)
	disks := backings(300)
	for i := range disks {
		disks[i].Block = false
	}
	if err := l.dev.Swap(t.Context(), mixed.table(t), disks); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.bad[300] = -int32(unix.EIO)
	l.mu.Unlock()
	if res := l.answer(0, 0, io(uapi.UBLK_IO_OP_READ, 0, 8)); res != -int32(unix.EIO) {
		t.Errorf("answer %d", res)
	}
}

// When nobody waits for the disk any more, what is aside fails, and what comes fails without being sent, until it is back.
func TestParkedAndLost(t *testing.T) {
	l := loseDisks(t)
	l.vanish(0, unix.ENODEV)
	l.give(0, 0, io(uapi.UBLK_IO_OP_WRITE, 0, 8))
	l.give(0, 1, flushAll)
	l.waits(0, 2)
	l.away(0)
	l.dev.DiskLost(0)
	if a, b := l.result(0, 0), l.result(1, 0); a != -int32(unix.EIO) || b != -int32(unix.EIO) {
		t.Errorf("answers %d, %d", a, b)
	}
	n := l.count(firstFD)
	if res := l.answer(0, 0, io(uapi.UBLK_IO_OP_READ, 0, 64)); res != -int32(unix.EIO) || l.count(firstFD) != n {
		t.Errorf("answer %d, %d commands sent", res, l.count(firstFD)-n)
	}
	l.comeBack(0, false)
	if res := l.answer(0, 0, io(uapi.UBLK_IO_OP_READ, 0, 64)); res != 64*512 {
		t.Errorf("when it is back: %d", res)
	}
}

// What was on its way to a disk that nobody waits for fails with what it is answered.
func TestParkedAndLostMeanwhile(t *testing.T) {
	l := loseDisks(t)
	l.stick()
	l.vanish(0, unix.ENODEV)
	l.give(0, 0, io(uapi.UBLK_IO_OP_WRITE, 0, 8))
	eventually(t, "command", func() bool { return l.dev.InFlight(0) == 1 })
	l.dev.DiskLost(0)
	eventually(t, "heeded", func() bool { return l.dev.queues[0].gate.heeded.Load() == l.dev.loss.said.Load() })
	l.release()
	if res := l.result(0, 0); res != -int32(unix.ENODEV) {
		t.Errorf("answer %d", res)
	}
}

// Stop ends what waits for a disk.
func TestStopEndsParked(t *testing.T) {
	l := loseDisks(t)
	l.vanish(0, unix.ENODEV)
	l.give(0, 0, io(uapi.UBLK_IO_OP_WRITE, 0, 8))
	l.waits(0, 1)
	l.away(0)
	l.give(0, 1, io(uapi.UBLK_IO_OP_READ, 0, 8))
	l.waits(0, 2)
	r := l.ring(0)
	begun := time.Now()
	l.stop(l.dev)
	for _, tag := range []int{0, 1} {
		if n, res := r.answered(tag); n != 1 || res != -int32(unix.EIO) {
			t.Errorf("tag %d: %d answers, %d", tag, n, res)
		}
	}
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}

// A disk is not replaced while a command is on the old one: what is aside is sent behind that.
func TestBackWaitsForWhatIsInFlight(t *testing.T) {
	l := loseDisks(t)
	l.stick()
	l.give(0, 0, io(uapi.UBLK_IO_OP_WRITE, 0, 8))
	eventually(t, "command", func() bool { return l.dev.InFlight(0) == 1 })
	l.away(0)
	l.give(0, 1, io(uapi.UBLK_IO_OP_WRITE, 0, 8))
	l.waits(0, 1)
	fresh := l.back(0)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := l.dev.DiskBack(ctx, 0, fresh, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("back beside a command in flight: %v", err)
	}
	if err := l.dev.Swap(t.Context(), mixed.table(t), backings(300)); !errors.Is(err, errReplacing) {
		t.Errorf("swap meanwhile: %v", err)
	}
	l.unanswered(0, 1)
	if n := l.count(200); n != 0 {
		t.Errorf("%d commands on the new disk", n)
	}
	done := make(chan error, 1)
	go func() { done <- l.dev.DiskBack(t.Context(), 0, fresh, true) }()
	l.unanswered(0, 1) // by then it is asked for, and the queue has heard
	begun := time.Now()
	l.release()
	if err := <-done; err != nil || time.Since(begun) > time.Second {
		t.Fatalf("%v after %v", err, time.Since(begun))
	}
	if a, b := l.result(0, 0), l.result(1, 0); a != 8*512 || b != 8*512 || l.count(firstFD) != 1 {
		t.Errorf("answers %d, %d; %d commands on the old disk", a, b, l.count(firstFD))
	}
	if e := l.dev.loss.said.Load().era; e != 1 {
		t.Errorf("%d eras for one return", e)
	}
}

// What a queue puts aside after the word that the disk is back, because it has not heard it, is sent as well.
func TestBackBeforeItIsHeard(t *testing.T) {
	for _, same := range []bool{false, true} {
		l := loseDisks(t)
		l.vanish(0, unix.ENODEV)
		l.give(0, 0, io(uapi.UBLK_IO_OP_WRITE, 0, 8))
		l.waits(0, 1)
		l.away(0)
		l.mu.Lock()
		delete(l.bad, firstFD)
		l.mu.Unlock()
		fresh := l.back(0)
		if same {
			fresh = nil
		}
		l.ring(0).setDeaf(true)
		done := make(chan error, 1)
		go func() { done <- l.dev.DiskBack(t.Context(), 0, fresh, false) }()
		eventually(t, "the word", func() bool { return l.dev.loss.said.Load().disks[0].resend })
		l.give(0, 1, io(uapi.UBLK_IO_OP_READ, 8, 8))
		l.waits(0, 2)
		l.ring(0).setDeaf(false)
		l.dev.holds.ask(func(*gate) {})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if a, b := l.result(0, 0), l.result(1, 0); a != 8*512 || b != 8*512 || len(l.dev.Parked()) != 0 {
			t.Errorf("the same disk %v: answers %d, %d, %v aside", same, a, b, l.dev.Parked())
		}
	}
}

// A swap that fails behind the return goes back to the disk that is back, and one that does not has disks of its own.
func TestSwapBehindBack(t *testing.T) {
	l := loseDisks(t)
	l.vanish(0, unix.ENODEV)
	l.give(0, 0, io(uapi.UBLK_IO_OP_WRITE, 0, 8))
	l.waits(0, 1)
	l.away(0)
	l.comeBack(0, false)
	l.result(0, 0)
	r, gate := l.ring(0), l.dev.queues[0].gate
	l.dev.patience = 50 * time.Millisecond
	resume, err := l.dev.Suspend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gate.settled.Store(1 << 40) // it hears that all is suspended, and no more
	r.setDeaf(true)
	if err := l.dev.Swap(t.Context(), mixed.table(t), backings(300)); !errors.Is(err, ErrTimeout) {
		t.Fatalf("%v", err)
	}
	r.setDeaf(false)
	resume()
	gate.settled.Store(0)
	l.dev.patience = slowDeadline
	n := l.count(200)
	if res := l.answer(0, 0, io(uapi.UBLK_IO_OP_READ, 0, 8)); res != 8*512 || l.count(200) != n+1 {
		t.Errorf("answer %d, the disk that is back has had %d commands, then %d", res, n, l.count(200))
	}
	if err := l.dev.Swap(t.Context(), mixed.table(t), backings(300)); err != nil {
		t.Fatal(err)
	}
	l.away(1) // the queue looks at all that was said
	if res := l.answer(0, 0, io(uapi.UBLK_IO_OP_READ, 0, 8)); res != 8*512 || l.count(300) != 1 {
		t.Errorf("answer %d, the new disk has had %d commands", res, l.count(300))
	}
	// That one is away is not said of its successor.
	if err := l.dev.Swap(t.Context(), mixed.table(t), backings(400)); err != nil {
		t.Fatal(err)
	}
	if res := l.answer(0, 0, io(uapi.UBLK_IO_OP_READ, 72, 8)); res != 8*512 || l.count(401) != 1 {
		t.Errorf("answer %d, the successor has had %d commands", res, l.count(401))
	}
}

// Suspend waits for what is parked, and Detach leaves it.
func TestSuspendBesideParked(t *testing.T) {
	l := loseDisks(t)
	l.vanish(0, unix.ENODEV)
	l.give(0, 0, io(uapi.UBLK_IO_OP_WRITE, 0, 8))
	l.waits(0, 1)
	l.away(0)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := l.dev.Suspend(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("suspend: %v", err)
	}
	if err := l.dev.Detach(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("detach: %v", err)
	}
	l.comeBack(0, false)
	if res := l.result(0, 0); res != 8*512 {
		t.Errorf("answer %d", res)
	}
}
