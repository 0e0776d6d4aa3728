package daemon

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// copyBetween is a copy between two devices.
func copyBetween(src, dst string) *copyJob {
	return newCopyJob(&CopyRequest{Source: CopySide{Device: src}, Destination: CopySide{Device: dst}}, 100)
}

// TestDrain: copies on the devices are waited for, others are not; who comes meanwhile is refused as busy; and when the wait
// is over, it says who is still there and how far.
func TestDrain(t *testing.T) {
	var c copies
	add := func(src, dst string) (*copyJob, context.Context) {
		t.Helper()
		j := copyBetween(src, dst)
		ctx, err := c.add(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		return j, ctx
	}
	one, _ := add("a", "x")
	two, ctx := add("x", "b")
	other, otherCtx := add("x", "y")
	open := c.shutOut([]string{"a", "b"})
	for _, d := range [][2]string{{"a", "y"}, {"y", "a"}, {"b", "b"}} {
		if _, err := c.add(t.Context(), copyBetween(d[0], d[1])); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "is being reloaded") {
			t.Errorf("%v: %v", d, err)
		}
	}
	if j := copyBetween("x", "y"); true {
		if _, err := c.add(t.Context(), j); err != nil {
			t.Errorf("not on the devices: %v", err)
		}
		c.remove(j)
	}
	one.tell(blkcopy.Progress{Done: 7})
	err := c.drain(t.Context(), []string{"a", "b"}, 0)
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "copy 1 from a to x, 7 of 100 bytes done") || !strings.Contains(err.Error(), "copy 2 from x to b") || strings.Contains(err.Error(), "to y") {
		t.Errorf("%v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.drain(gone, []string{"a"}, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits any more: %v", err)
	}
	drained := make(chan error, 1)
	go func() { drained <- c.drain(t.Context(), []string{"a", "b"}, time.Hour) }()
	c.remove(one)
	select {
	case err := <-drained:
		t.Fatalf("one of two is there: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	ended := c.cancelOn([]string{"a", "b"})
	if len(ended) != 1 || ended[0].ID != 2 || !errors.Is(context.Cause(ctx), errReloadCancels) || otherCtx.Err() != nil {
		t.Errorf("ended %v, cause %v, others' %v", ended, context.Cause(ctx), otherCtx.Err())
	}
	c.remove(two)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	open()
	if j, _ := add("a", "b"); true {
		c.remove(j)
	}
	c.remove(other)
}

// TestBehind: what an old engine is closed by waits for the copies that may use it, and for no later one.
func TestBehind(t *testing.T) {
	var c copies
	before := copyBetween("a", "b")
	if _, err := c.add(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	c.behind(func() { close(done) })
	later := copyBetween("a", "b")
	if _, err := c.add(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
		t.Error("closed under a copy")
	case <-time.After(20 * time.Millisecond):
	}
	c.remove(before)
	<-done
	c.remove(later)
	c.end()
}

// slowDisk waits in its first read until it may go on.
type slowDisk struct {
	blkcopy.IO
	reading chan struct{}
	goOn    chan struct{}
	reads   atomic.Int64
}

func (d *slowDisk) Readv(bufs [][]byte, at uint64) (uint64, error) {
	if d.reads.Add(1) == 1 {
		close(d.reading)
		<-d.goOn
	}
	return d.IO.Readv(bufs, at)
}

// TestCopyStale: a copy that is under way when its device gets another table finishes the window that it is in, on the old
// table, before the new one is there; and then sends no command any more, to where the old table has it.
func TestCopyStale(t *testing.T) {
	const window = 64 << 10
	open := func(name string) *disk.Disk {
		d, err := disk.Open(t.Context(), disk.Spec{Name: name, Memory: 4 * window}, &disk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	src, dst := open("a"), open("b")
	if _, err := src.Writev([][]byte{bytes.Repeat([]byte{7}, 4*window)}, 0, false); err != nil {
		t.Fatal(err)
	}
	f := &config.File{Disks: []*config.Disk{{Name: "a", Kind: config.KindMemory}, {Name: "b", Kind: config.KindMemory}}}
	f.Devices = []*config.Device{{Name: "x", Segments: []config.Segment{{Type: "linear", Sectors: 4 * window / 512, Legs: []config.Leg{{Disk: "a"}}}}},
		{Name: "y", Segments: []config.Segment{{Type: "linear", Sectors: 4 * window / 512, Legs: []config.Leg{{Disk: "b"}}}}}}
	tables, err := Tables(f)
	if err != nil {
		t.Fatal(err)
	}
	ds := disks{src, dst}
	devices, err := ds.devices(f, tables)
	if err != nil {
		t.Fatal(err)
	}
	all := []CopySegment{{0, 4 * window}}
	plan, err := newCopyWorld(f, ds, devices).plan(&CopyRequest{Source: CopySide{Device: "x", Segments: all}, Destination: CopySide{Device: "y", Segments: all},
		Policy: CopyPolicy{Window: window, InFlight: window}})
	if err != nil {
		t.Fatal(err)
	}
	slow := &slowDisk{IO: src, reading: make(chan struct{}), goOn: make(chan struct{})}
	engine := blkcopy.NewEngine([]blkcopy.IO{slow, dst}, &blkcopy.Options{})
	defer engine.Close()
	var regions regions
	var epochs [2]atomic.Uint64
	lock := &regionLock{regions: &regions, src: newPlace(0, newFakeDevice(), &epochs[0]), dst: newPlace(1, newFakeDevice(), &epochs[1])}
	type outcome struct {
		res *blkcopy.Result
		err error
	}
	copied := make(chan outcome, 1)
	go func() {
		r, err := engine.Run(t.Context(), plan, lock, nil)
		copied <- outcome{r, err}
	}()
	<-slow.reading // a window is under way
	frozen := make(chan func(), 1)
	go func() {
		thaw, err := regions.freeze(t.Context(), 1)
		if err != nil {
			t.Error(err)
		}
		frozen <- thaw
	}()
	for waits := false; !waits; { // the freeze is there, and in front of every further window
		regions.mu.Lock()
		waits = len(regions.windows) == 2
		regions.mu.Unlock()
	}
	select {
	case <-frozen:
		t.Fatal("frozen while a window is under way")
	default:
	}
	close(slow.goOn)
	thaw := <-frozen
	reads := slow.reads.Load()
	epochs[1].Add(1) // the swap: what y was is another's from now on
	mark := bytes.Repeat([]byte{9}, 4*window)
	if _, err := dst.Writev([][]byte{mark}, 0, false); err != nil {
		t.Fatal(err)
	}
	thaw()
	out := <-copied
	if !errors.Is(out.err, errStale) || out.res.Bytes != window {
		t.Errorf("%d bytes, %v", out.res.Bytes, out.err)
	}
	if n := slow.reads.Load(); n != reads {
		t.Errorf("%d reads behind the swap", n-reads)
	}
	got := make([]byte, 4*window)
	if _, err := dst.Readv([][]byte{got}, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, mark) {
		t.Error("the copy wrote to where the device is no more")
	}
}

// TestFreeze: several freeze one device at a time, and none waits for another; windows of other devices go on.
func TestFreeze(t *testing.T) {
	var r regions
	one, err := r.freeze(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	two, err := r.freeze(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	ranges := []target.Range{{Start: 8, Len: 8}}
	a, b, c := place{id: 1, holder: newFakeDevice()}, place{id: 2, holder: newFakeDevice()}, place{id: 3, holder: newFakeDevice()}
	unlock, err := (&regionLock{regions: &r, src: b, dst: c}).Lock(t.Context(), ranges, ranges)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	for _, l := range []*regionLock{{regions: &r, src: a, dst: b}, {regions: &r, src: b, dst: a}} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if _, err := l.Lock(ctx, ranges, ranges); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a window of a frozen device: %v", err)
		}
		cancel()
	}
	one()
	one() // twice is nothing
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := (&regionLock{regions: &r, src: a, dst: b}).Lock(ctx, ranges, ranges); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with one freeze left: %v", err)
	}
	two()
	unlock, err = (&regionLock{regions: &r, src: a, dst: b}).Lock(t.Context(), ranges, ranges)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// hookContext does something when somebody first looks at it.
type hookContext struct {
	context.Context
	do func()
}

func (c *hookContext) Done() <-chan struct{} {
	if do := c.do; do != nil {
		c.do = nil
		do()
	}
	return c.Context.Done()
}

// TestCopyReplanned: a copy that was planned as a reload ended, and that no reload could wait for since it was not listed yet,
// is planned again, by the new table.
func TestCopyReplanned(t *testing.T) {
	world := func(sectors uint64) (*copyWorld, []*device) {
		f := &config.File{Disks: []*config.Disk{{Name: "a", Kind: config.KindDeclared, Declared: 1 << 30}}}
		f.Devices = []*config.Device{{Name: "x", Segments: []config.Segment{{Type: "linear", Sectors: sectors, Legs: []config.Leg{{Disk: "a"}}}}}}
		tables, err := Tables(f)
		if err != nil {
			t.Fatal(err)
		}
		d := []*device{{conf: f.Devices[0], table: tables[0], dev: &ublk.Device{}}}
		return newCopyWorld(f, make(disks, 1), []*blkcopy.Device{{Name: "x", Table: tables[0], LogicalBlock: 512}}), d
	}
	s := &Server{}
	s.world, s.devices = world(2048)
	fresh, _ := world(1024)
	r := ask("x", []CopySegment{{0, 512}}, "x", CopySegment{1500 * 512, 512}) // behind the end of the new one
	ctx := &hookContext{t.Context(), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.world = fresh
	}}
	_, j, err := s.startCopy(ctx, r)
	if !errors.Is(err, blkcopy.ErrRequest) {
		t.Errorf("%v, %v", j, err)
	}
	if l := s.copies.list(""); len(l) != 0 {
		t.Errorf("listed: %v", l)
	}
	r.Destination.Segments[0].Pos = 512
	_, j, err = s.startCopy(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	s.copies.remove(j)
}
