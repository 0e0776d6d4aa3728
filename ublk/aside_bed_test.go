package ublk

import (
	"context"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// losing is a device of a fake driver whose disks vanish. Disk n has the descriptors firstFD+n, and 200+n when it is back.
type losing struct {
	*fakeDriver
	dev *Device

	mu       sync.Mutex
	bad      map[int32]int32 // what commands of a descriptor get
	cut      map[int32]int32 // likewise, once, and they go on
	suspects []target.Disk
}

func loseDisks(t *testing.T) *losing { return loseDisksOf(t, 1) }

func loseDisksOf(t *testing.T, queues int) *losing {
	t.Helper()
	l := &losing{fakeDriver: newDriver(t, every), bad: map[int32]int32{}, cut: map[int32]int32{}}
	l.does = func(e uapi.SQE, n int32) int32 {
		l.mu.Lock()
		defer l.mu.Unlock()
		if c, ok := l.cut[e.FD]; ok {
			delete(l.cut, e.FD)
			return c
		}
		if b, ok := l.bad[e.FD]; ok {
			return b
		}
		return n
	}
	s := spec(RecoveryReissue)
	s.Queues = queues
	s.DiskSuspect = func(d target.Disk) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.suspects = append(l.suspects, d)
	}
	dev, err := l.c.Add(t.Context(), s)
	if err == nil {
		err = dev.Start(t.Context(), mixed.table(t), backings(firstFD))
	}
	if err != nil {
		t.Fatal(err)
	}
	dev.Park(true)
	l.dev = dev
	t.Cleanup(func() {
		if err := dev.Stop(context.Background()); err != nil { // the test's context has ended by then
			t.Error(err)
		}
	})
	return l
}

func (l *losing) vanish(disk int, errno unix.Errno) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bad[int32(firstFD+disk)] = -int32(errno)
}

// waits fails the test unless so many commands wait for a disk.
func (l *losing) waits(disk target.Disk, n int) {
	l.t.Helper()
	eventually(l.t, "commands aside", func() bool { return l.dev.Parked()[disk] == n })
}

// away says that a disk is gone, and waits until the queue knows.
func (l *losing) away(disk target.Disk) {
	l.t.Helper()
	l.dev.DiskAway(disk)
	eventually(l.t, "heeded", func() bool { return l.dev.queues[0].gate.heeded.Load() == l.dev.loss.said.Load() })
}

// unanswered fails the test when a tag was answered.
func (l *losing) unanswered(tags ...int) {
	l.t.Helper()
	time.Sleep(5 * time.Millisecond) // nothing is to happen
	for _, tag := range tags {
		if n, res := l.ring(0).answered(tag); n != 0 {
			l.t.Errorf("tag %d was answered %d times, with %d", tag, n, res)
		}
	}
}

// result waits for a tag's next answer behind n.
func (l *losing) result(tag, n int) int32 {
	l.t.Helper()
	eventually(l.t, "answer", func() bool { m, _ := l.ring(0).answered(tag); return m > n })
	_, res := l.ring(0).answered(tag)
	return res
}

// back is a disk with a new descriptor.
func (l *losing) back(disk target.Disk) *Backing {
	b := l.dev.disks[disk]
	b.FD = 200 + int(disk)
	return &b
}

func (l *losing) comeBack(disk target.Disk, unflushed bool) {
	l.t.Helper()
	if err := l.dev.DiskBack(l.t.Context(), disk, l.back(disk), unflushed); err != nil {
		l.t.Fatal(err)
	}
}

// count is how many commands a descriptor has had.
func (l *losing) count(fd int32) (n int) {
	for _, x := range l.ring(0).disks() {
		if x == fd {
			n++
		}
	}
	return n
}

func io(op uint32, start, n uint64) uapi.IODesc {
	return uapi.IODesc{OpFlags: op, NrSectors: uint32(n), StartSector: start}
}

var flushAll = io(uapi.UBLK_IO_OP_FLUSH, 0, 0)
