package ublk

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

const every = UserRecovery | uapi.UBLK_F_USER_RECOVERY_REISSUE | uapi.UBLK_F_USER_RECOVERY_FAIL_IO | UpdateSize | CanQuiesce | uapi.UBLK_F_CMD_IOCTL_ENCODE

// spec is a device of two queues over the shape mixed.
func spec(r Recovery) *Spec {
	return &Spec{ID: 0, Queues: min(2, max(1, cpus())), Depth: 4, MaxIO: 64 << 10, Sectors: 296, Recovery: r,
		Limits: limits.Limits{LogicalBlock: 512, PhysicalBlock: 4096, MaxSectors: 64, MaxDiscardSectors: 296, MaxWriteZeroesSectors: 296,
			WriteCache: true, FUA: true, DMAAlignment: 3, MaxSegments: 8, MaxSegmentSize: 1 << 16}}
}

// backings are three disks whose descriptors start at fd.
func backings(fd int) (out []Backing) {
	for i := range 3 {
		out = append(out, Backing{FD: fd + i, Block: true, Stats: &DiskStats{}})
	}
	return out
}

func (d *fakeDriver) live(r Recovery) *Device {
	d.t.Helper()
	dev, err := d.c.Add(d.t.Context(), spec(r))
	if err == nil {
		err = dev.Start(d.t.Context(), mixed.table(d.t), backings(firstFD))
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return dev
}

func (d *fakeDriver) stop(dev *Device) {
	d.t.Helper()
	if err := dev.Stop(d.t.Context()); err != nil {
		d.t.Error(err)
	}
}

// orphan is a device that a server has left.
func (d *fakeDriver) orphan(r Recovery) {
	d.t.Helper()
	if err := d.live(r).Detach(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent = nil
}

func descriptors(t *testing.T) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

// A device is detached, and recovered, and serves; nothing of it was stopped or deleted.
func TestDetachAndRecover(t *testing.T) {
	for _, r := range []Recovery{RecoveryReissue, RecoveryQueue, RecoveryFail} {
		for _, old := range []bool{false, true} {
			d := newDriver(t, every)
			d.old = old
			dev := d.live(r)
			want := Quiesced
			if r == RecoveryFail {
				want = FailIO
			}
			if _, err := d.c.Recover(t.Context(), 0, spec(r)); !errors.Is(err, unix.EBUSY) || !errors.As(err, new(*ServedError)) || !strings.Contains(err.Error(), "process") {
				t.Errorf("recover of what is served: %v", err)
			}
			before := descriptors(t)
			for range 3 {
				var tids []int
				for _, s := range dev.queues {
					tids = append(tids, s.tid)
				}
				if err := dev.Detach(t.Context()); err != nil {
					t.Fatal(err)
				}
				d.is(want)
				for _, tid := range tids {
					if err := unix.Tgkill(os.Getpid(), tid, 0); !errors.Is(err, unix.ESRCH) {
						t.Errorf("thread %d lives: %v", tid, err)
					}
				}
				if err := errors.Join(dev.Detach(t.Context()), dev.Stop(t.Context()), dev.Err()); err != nil {
					t.Errorf("behind detach: %v", err)
				}
				d.is(want)
				next, err := d.c.Recover(t.Context(), 0, spec(r))
				if err != nil {
					t.Fatal(err)
				}
				if !next.Recovered() || dev.Recovered() && dev == next || next.Spec().Recovery != r || len(next.Lost()) != len(dev.Lost()) {
					t.Errorf("recovered %v, lost %v and %v", next.Recovered(), next.Lost(), dev.Lost())
				}
				d.is(want)
				if err := next.Start(t.Context(), mixed.table(t), backings(firstFD)); err != nil {
					t.Fatal(err)
				}
				d.is(Live)
				d.give(0, 1, uapi.IODesc{OpFlags: uapi.UBLK_IO_OP_READ, NrSectors: 8})
				eventually(t, "answer", func() bool { n, res := d.ring(0).answered(1); return n == 1 && res == 4096 })
				dev = next
			}
			if n := d.count(uapi.UBLK_U_CMD_STOP_DEV) + d.count(uapi.UBLK_U_CMD_DEL_DEV_ASYNC); n != 0 {
				t.Errorf("%d stops and deletions", n)
			}
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors, then %d", before, after)
			}
			d.stop(dev)
			if d.there {
				t.Error("the device is still there")
			}
		}
	}
}

// Whatever step of a recovery fails, the device is left as it was found, to be recovered again.
func TestRecoveryFailsAtAnyStep(t *testing.T) {
	for name, breaks := range map[string]func(d *fakeDriver) (mend func()){
		"info":     d1(uapi.UBLK_U_CMD_GET_DEV_INFO),
		"params":   d1(uapi.UBLK_U_CMD_GET_PARAMS),
		"start":    d1(uapi.UBLK_U_CMD_START_USER_RECOVERY),
		"affinity": d1(uapi.UBLK_U_CMD_GET_QUEUE_AFFINITY),
		"end":      d1(uapi.UBLK_U_CMD_END_USER_RECOVERY),
		"open": func(d *fakeDriver) func() {
			_ = os.Rename(d.char(), d.char()+".away")
			_ = os.Mkdir(d.char(), 0o700)
			return func() { _ = os.Remove(d.char()); _ = os.Rename(d.char()+".away", d.char()) }
		},
		"first ring": func(d *fakeDriver) func() {
			d.ringAt = func(int) error { return unix.ENOMEM }
			return func() { d.ringAt = nil }
		},
		"second ring": func(d *fakeDriver) func() {
			d.ringAt = func(n int) error {
				if n == 1 {
					return unix.ENOMEM
				}
				return nil
			}
			return func() { d.ringAt = nil }
		},
		"fetch": func(d *fakeDriver) func() {
			d.refuse = func(q, tag int) unix.Errno {
				if q == 1 && tag == 2 {
					return unix.ENOMEM
				}
				return 0
			}
			return func() { d.refuse = nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t, every)
			d.orphan(RecoveryQueue)
			before := descriptors(t)
			mend := breaks(d)
			begin := func() (*Device, error) {
				dev, err := d.c.Recover(t.Context(), 0, spec(RecoveryQueue))
				if err != nil {
					return nil, err
				}
				return dev, dev.Start(t.Context(), mixed.table(t), backings(firstFD))
			}
			dev, err := begin()
			if err == nil {
				if len(dev.queues) < 2 && (name == "second ring" || name == "fetch") {
					d.stop(dev)
					t.Skip("one CPU, one queue")
				}
				t.Fatal("it did not fail")
			}
			if !errors.Is(err, unix.ENOMEM) && name != "open" {
				t.Errorf("%v", err)
			}
			d.is(Quiesced)
			if n := d.count(uapi.UBLK_U_CMD_STOP_DEV) + d.count(uapi.UBLK_U_CMD_DEL_DEV_ASYNC); n != 0 {
				t.Errorf("%d stops and deletions", n)
			}
			if dev != nil && dev.Stop(t.Context()) != nil {
				t.Error("Stop of what was taken back")
			}
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors, then %d", before, after)
			}
			mend()
			if dev, err = begin(); err != nil {
				t.Fatal(err)
			}
			d.is(Live)
			d.stop(dev)
		})
	}
}

// d1 lets one command fail, the first time or, for those that a recovery sends before, later.
func d1(op uint32) func(*fakeDriver) func() {
	return func(d *fakeDriver) func() {
		d.fail[op] = []error{unix.ENOMEM}
		return func() {}
	}
}

// A device that differs in anything is refused, with all that differs, and is not touched.
func TestRecoverComparesEverything(t *testing.T) {
	for what, change := range map[string]func(s *Spec){
		"sectors":                  func(s *Spec) { s.Sectors = 288 },
		"queues":                   func(s *Spec) { s.Queues = 3 - s.Queues },
		"depth":                    func(s *Spec) { s.Depth++ },
		"max I/O":                  func(s *Spec) { s.MaxIO = 128 << 10 },
		"recovery":                 func(s *Spec) { s.Recovery = RecoveryFail },
		"read-only":                func(s *Spec) { s.ReadOnly = true },
		"rotational":               func(s *Spec) { s.Limits.Rotational = true },
		"write cache":              func(s *Spec) { s.Limits.WriteCache = false },
		"FUA":                      func(s *Spec) { s.Limits.FUA = false },
		"logical block size":       func(s *Spec) { s.Limits.LogicalBlock = 4096; s.Sectors = 296 },
		"physical block size":      func(s *Spec) { s.Limits.PhysicalBlock = 512 },
		"io_min":                   func(s *Spec) { s.Limits.IOMin = 8192 },
		"io_opt":                   func(s *Spec) { s.Limits.IOOpt = 8192 },
		"max sectors":              func(s *Spec) { s.Limits.MaxSectors = 32 },
		"virt boundary":            func(s *Spec) { s.Limits.VirtBoundary = 4095 },
		"discard granularity":      func(s *Spec) { s.Limits.DiscardGranularity = 4096 },
		"max discard sectors":      func(s *Spec) { s.Limits.MaxDiscardSectors = 8 },
		"max write-zeroes sectors": func(s *Spec) { s.Limits.MaxWriteZeroesSectors = 0 },
		"dma alignment":            func(s *Spec) { s.Limits.DMAAlignment = 511 },
		"segment boundary":         func(s *Spec) { s.Limits.SegBoundaryMask = 65535 },
		"max segment size":         func(s *Spec) { s.Limits.MaxSegmentSize = 1 << 17 },
		"max segments":             func(s *Spec) { s.Limits.MaxSegments = 9 },
	} {
		t.Run(what, func(t *testing.T) {
			d := newDriver(t, every)
			d.orphan(RecoveryQueue)
			s := spec(RecoveryQueue)
			change(s)
			if s.Queues < 1 || s.Queues > cpus() {
				t.Skip("one CPU")
			}
			_, err := d.c.Recover(t.Context(), 0, s)
			var m *MismatchError
			if !errors.As(err, &m) {
				t.Fatalf("%v", err)
			}
			i := slices.IndexFunc(m.Differences, func(x Difference) bool { return x.What == what })
			if i < 0 || m.Differences[i].Want == m.Differences[i].Have || !strings.Contains(err.Error(), what+" is ") {
				t.Errorf("%v", err)
			}
			if n := d.count(uapi.UBLK_U_CMD_START_USER_RECOVERY); n != 0 {
				t.Errorf("%d recoveries begun", n)
			}
			d.is(Quiesced)
		})
	}
	// All at once.
	d := newDriver(t, every)
	d.orphan(RecoveryQueue)
	s := spec(RecoveryQueue)
	s.Sectors, s.Depth, s.ReadOnly = 8, 9, true
	var m *MismatchError
	if _, err := d.c.Recover(t.Context(), 0, s); !errors.As(err, &m) || len(m.Differences) < 3 {
		t.Errorf("%v", err)
	}
}

// A driver that does not know some parameters has dropped them: no difference.
func TestRecoverOfAnOlderDriver(t *testing.T) {
	d := newDriver(t, every&^UpdateSize)
	d.orphan(RecoveryQueue)
	d.params.Types &^= uapi.UBLK_PARAM_TYPE_DMA_ALIGN | uapi.UBLK_PARAM_TYPE_SEGMENT
	dev, err := d.c.Recover(t.Context(), 0, spec(RecoveryQueue))
	if err != nil {
		t.Fatal(err)
	}
	if len(dev.Lost()) == 0 {
		t.Error("nothing is lost")
	}
}

// The driver refuses as long as the old server's files are open: that is waited for, not for ever.
func TestRecoverWaitsForTheOldServer(t *testing.T) {
	d := newDriver(t, every)
	d.orphan(RecoveryQueue)
	d.fail[uapi.UBLK_U_CMD_START_USER_RECOVERY] = []error{unix.EBUSY, unix.EBUSY, unix.EBUSY}
	if _, err := d.c.Recover(t.Context(), 0, spec(RecoveryQueue)); err != nil {
		t.Error(err)
	}
	if n := d.count(uapi.UBLK_U_CMD_START_USER_RECOVERY); n != 4 {
		t.Errorf("asked %d times", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	d.onCmd = func(op uint32) {
		if op == uapi.UBLK_U_CMD_START_USER_RECOVERY {
			cancel()
		}
	}
	d.fail[uapi.UBLK_U_CMD_START_USER_RECOVERY] = slices.Repeat([]error{unix.EBUSY}, 1000)
	if _, err := d.c.Recover(ctx, 0, spec(RecoveryQueue)); !errors.Is(err, unix.EBUSY) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	dev := &Device{c: d.c, patience: 20 * time.Millisecond}
	if err := dev.beginRecovery(t.Context()); !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
}

// A recovery that another server has begun goes on where the driver can, and otherwise says that it cannot.
func TestRecoverOfAHalfRecovered(t *testing.T) {
	d := newDriver(t, every)
	d.orphan(RecoveryQueue)
	d.old = true
	d.begun, d.ready = true, 0
	dev, err := d.c.Recover(t.Context(), 0, spec(RecoveryQueue))
	if err == nil {
		err = dev.Start(t.Context(), mixed.table(t), backings(firstFD))
	}
	if err != nil {
		t.Fatal(err)
	}
	d.is(Live)
	if err := dev.Detach(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.ready = 0
	d.refuse = func(int, int) unix.Errno { return unix.EBUSY } // the other's fetches
	dev, err = d.c.Recover(t.Context(), 0, spec(RecoveryQueue))
	if err == nil {
		err = dev.Start(t.Context(), mixed.table(t), backings(firstFD))
	}
	if !errors.Is(err, ErrUnrecoverable) {
		t.Errorf("%v", err)
	}
	d.is(Quiesced)
	if err := d.c.Delete(t.Context(), 0); err != nil || d.there {
		t.Errorf("delete: %v", err)
	}
}

// What cannot be recovered.
func TestRecoverOfTheUnrecoverable(t *testing.T) {
	d := newDriver(t, every)
	if _, err := d.c.Recover(t.Context(), 0, spec(RecoveryQueue)); !errors.Is(err, unix.ENODEV) {
		t.Errorf("no device: %v", err)
	}
	dev, err := d.c.Add(t.Context(), spec(RecoveryQueue))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.c.Recover(t.Context(), 0, spec(RecoveryQueue)); !errors.Is(err, ErrDead) {
		t.Errorf("never started: %v", err)
	}
	d.stop(dev)
	dev = d.live(NoRecovery)
	if _, err := d.c.Recover(t.Context(), 0, spec(RecoveryQueue)); !errors.Is(err, ErrNoRecovery) {
		t.Errorf("without a policy: %v", err)
	}
	for _, err := range []error{dev.Detach(t.Context()), dev.Quiesce(t.Context(), 0)} {
		if !errors.Is(err, ErrNoRecovery) {
			t.Errorf("%v", err)
		}
	}
	d.stop(dev)
	if _, err := d.c.Recover(t.Context(), 0, &Spec{}); err == nil {
		t.Error("a Spec that is not in order")
	}
}

// Add asks for what the policy needs, and says what a driver lacks.
func TestAddAsksForRecovery(t *testing.T) {
	for _, c := range []struct {
		has  Features
		r    Recovery
		want Features // besides IOCTL_ENCODE
		miss string
	}{
		{every, NoRecovery, UpdateSize, ""},
		{every, RecoveryReissue, UserRecovery | uapi.UBLK_F_USER_RECOVERY_REISSUE | UpdateSize | CanQuiesce, ""},
		{every, RecoveryQueue, UserRecovery | UpdateSize | CanQuiesce, ""},
		{every, RecoveryFail, UserRecovery | uapi.UBLK_F_USER_RECOVERY_FAIL_IO | UpdateSize | CanQuiesce, ""},
		{every &^ (UpdateSize | CanQuiesce), RecoveryQueue, UserRecovery, ""},
		{every &^ uapi.UBLK_F_USER_RECOVERY_FAIL_IO, RecoveryFail, 0, "USER_RECOVERY_FAIL_IO (Linux 6.13)"},
		{uapi.UBLK_F_CMD_IOCTL_ENCODE, RecoveryReissue, 0, "USER_RECOVERY (Linux 6.1), USER_RECOVERY_REISSUE (Linux 6.1)"},
	} {
		d := newDriver(t, c.has)
		dev, err := d.c.Add(t.Context(), spec(c.r))
		if c.miss != "" {
			if err == nil || !strings.Contains(err.Error(), c.miss) || !errors.Is(err, unix.EOPNOTSUPP) || d.count(uapi.UBLK_U_CMD_ADD_DEV) != 0 {
				t.Errorf("%v: %v", c.r, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := dev.Flags(); got != c.want|uapi.UBLK_F_CMD_IOCTL_ENCODE || got.Recovery() != c.r {
			t.Errorf("%v: flags %v", c.r, got)
		}
		d.stop(dev)
	}
	// A driver that drops a flag without a word.
	d := newDriver(t, every)
	d.onCmd = func(op uint32) {
		if op == uapi.UBLK_U_CMD_ADD_DEV {
			d.c.features &^= uapi.UBLK_F_USER_RECOVERY_FAIL_IO
		}
	}
	if _, err := d.c.Add(t.Context(), spec(RecoveryFail)); err == nil || d.there {
		t.Errorf("%v, there %v", err, d.there)
	}
	if _, err := d.c.Add(t.Context(), spec(9)); err == nil || Recovery(9).String() != "unknown" {
		t.Errorf("%v", err)
	}
	if got := Features(0).Missing(CanQuiesce); !reflect.DeepEqual(got, []Feature{{"QUIESCE", "6.16", false}}) || every.Missing(every) != nil {
		t.Errorf("%v", got)
	}
}

// A driver may send what has waited for a server before the recovery is ended; before a device is started it may not.
func TestRequestsBeforeTheEndOfRecovery(t *testing.T) {
	d := newDriver(t, every)
	d.orphan(RecoveryReissue)
	d.early = true
	for q := range int(d.info.NrHwQueues) {
		d.describe(q, 0, readOf(8, 8))
	}
	dev, err := d.c.Recover(t.Context(), 0, spec(RecoveryReissue))
	if err == nil {
		err = dev.Start(t.Context(), mixed.table(t), backings(firstFD))
	}
	if err != nil {
		t.Fatal(err)
	}
	for q := range dev.queues {
		eventually(t, "answer", func() bool { n, res := d.ring(q).answered(0); return n == 1 && res == 4096 })
	}
	d.stop(dev)
	dev, err = d.c.Add(t.Context(), spec(RecoveryReissue))
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Start(t.Context(), mixed.table(t), backings(firstFD)); err == nil || d.there {
		t.Errorf("%v, there %v", err, d.there)
	}
}

// A recovered device may have a table that is longer than it: who died between Swap and Resize comes back.
func TestRecoveredTableMayBeLonger(t *testing.T) {
	d := newDriver(t, every)
	d.orphan(RecoveryReissue)
	long := append(slices.Clone(mixed), lin(1, 2000, 104))
	for _, sh := range []shape{{lin(0, 0, 8)}, long} {
		dev, err := d.c.Recover(t.Context(), 0, spec(RecoveryReissue))
		if err != nil {
			t.Fatal(err)
		}
		if err = dev.Start(t.Context(), sh.table(t), backings(firstFD)); (err == nil) != (len(sh) > 1) {
			t.Errorf("%v", err)
		}
		if err == nil {
			if err := dev.Resize(t.Context(), 400); err != nil {
				t.Error(err)
			}
			d.stop(dev)
		}
	}
	dev, err := d.c.Add(t.Context(), spec(RecoveryReissue))
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Start(t.Context(), long.table(t), backings(firstFD)); err == nil || d.there {
		t.Errorf("%v, there %v", err, d.there)
	}
}

func TestServes(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/ublkc5")
	if err != nil {
		t.Fatal(err)
	}
	if !serves(os.Getpid(), 5) || serves(os.Getpid(), 6) || serves(1<<30, 5) {
		t.Error("who serves")
	}
	_ = f.Close()
	if serves(os.Getpid(), 5) {
		t.Error("nobody serves")
	}
}

// A driver before 6.16 must not be asked to recover a device of which some queues were fetched and others not.
func TestRecoverOfAHalfFetched(t *testing.T) {
	if cpus() < 2 {
		t.Skip("one CPU, one queue")
	}
	for _, c := range []struct {
		ready [2]bool
		newer bool
		want  error
	}{
		{[2]bool{true, true}, false, nil},
		{[2]bool{false, false}, false, nil},
		{[2]bool{true, false}, false, ErrUnrecoverable},
		{[2]bool{false, true}, false, ErrUnrecoverable},
		{[2]bool{false, true}, true, nil},
	} {
		has := every
		if !c.newer {
			has &^= UpdateSize
		}
		d := newDriver(t, has)
		d.orphan(RecoveryQueue)
		d.ready1 = func(q int) bool { return c.ready[q] }
		before := descriptors(t)
		dev, err := d.c.Recover(t.Context(), 0, spec(RecoveryQueue))
		if !errors.Is(err, c.want) || err != nil && c.want == nil {
			t.Errorf("%+v: %v", c, err)
		}
		if n := d.count(uapi.UBLK_U_CMD_START_USER_RECOVERY); (n == 0) != (c.want != nil) {
			t.Errorf("%+v: %d recoveries begun", c, n)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors, then %d", before, after)
		}
		d.is(Quiesced)
		if dev != nil {
			if err := dev.Detach(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}
