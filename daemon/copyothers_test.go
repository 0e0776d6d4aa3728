package daemon

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// TestUse: a disk is used if a look finds more commands than the one before, and for lull after; of a look that is long after
// the one before nobody can tell.
func TestUse(t *testing.T) {
	var u use
	now := time.Unix(1000, 0)
	for i, s := range []struct {
		later    time.Duration
		commands uint64
		want     bool
	}{
		{0, 7, false}, // the first
		{time.Millisecond, 7, false},
		{time.Millisecond, 8, true},
		{lull - time.Nanosecond, 8, true},
		{time.Nanosecond, 8, false},
		{recent - time.Nanosecond, 9, true}, // windows that take long
		{recent - time.Nanosecond, 10, true},
		{recent, 11, false},
		{time.Millisecond, 11, false},
		{time.Millisecond, 3, true}, // counted anew
		{lull, 3, false},
	} {
		now = now.Add(s.later)
		if got := u.look(now, s.commands); got != s.want {
			t.Errorf("look %d: %v", i, got)
		}
	}
}

// partition is one of a whole disk.
type partition uint64

func (p partition) Whole() uint64 { return uint64(p) }

// TestUsed: commands of any operation but flushes are use, of the disk that had them and of no other.
func TestUsed(t *testing.T) {
	h, _ := toldHealth()
	ds := memory(t, "a", "b", "c")
	b := h.backings(disks{ds[0], ds[1]})
	now := time.Unix(1000, 0)
	look := func(want bool, what string) {
		t.Helper()
		now = now.Add(lull)
		if h.used(ds[0], now) != want || h.used(ds[1], now) || h.used(ds[2], now) {
			t.Errorf("%s: want %v", what, want)
		}
	}
	look(false, "at first")
	for op := range b[0].Stats.Ops {
		b[0].Stats.Ops[op].Commands.Add(1)
		look(target.Op(op) != target.Flush, target.Op(op).String())
		look(false, "after "+target.Op(op).String())
	}
	if !oneQueue(partition(5), partition(5)) || oneQueue(partition(5), partition(6)) || oneQueue(ds[0], ds[1]) {
		t.Error("partitions of one disk have one queue, and nobody else has")
	}
}

// TestServedWorld: copies of a server are planned with what others do to its disks, and with what a disk takes at once, also after
// a reload; those without a server have nobody beside them.
func TestServedWorld(t *testing.T) { synctest.Test(t, testServedWorld) }

func testServedWorld(t *testing.T) {
	f := &config.File{Disks: []*config.Disk{{Name: "a", Kind: config.KindMemory}, {Name: "b", Kind: config.KindMemory}}}
	f.Devices = []*config.Device{{Name: "x", Segments: []config.Segment{{Type: "linear", Sectors: 2048, Legs: []config.Leg{{Disk: "b"}}}}}}
	tables, err := Tables(f)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{file: f, disks: memory(t, "a", "b")}
	b := s.health.backings(s.disks)
	r := ask("x", []CopySegment{{0, 512}}, "x", CopySegment{1024, 512})
	used := func() func(target.Disk) bool {
		p, err := s.world.plan(r)
		if err != nil {
			t.Fatal(err)
		}
		return p.Request().Used
	}
	look := func(when string) {
		t.Helper()
		u := used()
		u(0)
		u(1) // what was before
		time.Sleep(lull)
		b[1].Stats.Ops[target.Read].Commands.Add(1)
		if u(0) || !u(1) {
			t.Errorf("%s: the reads of disk b are not seen", when)
		}
	}
	specs := []ublk.Spec{{}}
	specs[0].Limits.LogicalBlock = 512
	s.prepareCopies([]*remap.Table{tables[0]}, specs)
	look("at first")
	s.devices = []*device{{conf: f.Devices[0], table: tables[0], dev: &ublk.Device{}}}
	s.renew()
	look("reloaded")
	s.world.queues[1] = 64 << 10
	if got := s.world.disks(false); got[0].QueueBytes != 0 || got[1].QueueBytes != 64<<10 {
		t.Errorf("%+v", got)
	}
	s.world = newCopyWorld(f, s.disks, s.world.devices)
	if used() != nil {
		t.Error("somebody is asked for without a server")
	}
}
