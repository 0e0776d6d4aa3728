package conform

import (
	"bytes"
	"errors"
	"testing"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
)

// fakeDisk is a model as a disk of NVMe, whose own layer refuses what is past its end.
type fakeDisk struct {
	modelIO
	sent int // guarded by the model's mu
}

func (f *fakeDisk) CopyNVMeUnchecked(src []target.Range, dst uint64, fua bool) (uint16, uint32, error) {
	f.Model.mu.Lock()
	a := f.Model.refuse(src, dst)
	if a.Status != StatusLBA && a.Status != statusInvalid {
		f.sent++
	}
	f.Model.mu.Unlock()
	if a.Status == StatusLBA || a.Status == statusInvalid {
		return 0, 0, disk.ErrCopyRequest
	}
	a = f.Model.Copy(src, dst, fua)
	return a.Status, a.DW0, nil
}

// TestDevice: a region of a disk is judged as the whole of one is, and not a byte around it is read as its own or changed.
func TestDevice(t *testing.T) {
	const size, start, length = 8 << 20, 3 << 20, 2 << 20
	f := &fakeDisk{modelIO: modelIO{NewModel(geometries[0], size)}}
	for i := range f.now {
		f.now[i] = byte(i>>12) ^ byte(i)
	}
	before := bytes.Clone(f.now)
	g := f.Model.Geometry()
	g.Start, g.Length, g.End = start, length, 0
	d := &Device{geometry: g, size: size, disk: f, memory: newBuffers()}
	defer d.Close()
	got := make([]byte, length)
	if err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, before[start:start+length]) {
		t.Error("the region is elsewhere:", err)
	}
	around, err := d.Surround(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := run1(t, d, Options{Seed: 2, Rounds: 40})
	if r.Differ > 0 || r.Conform < 30 || f.sent < 100 {
		t.Error(r.Summary())
	}
	if e, err := around.Check(t.Context()); err != nil || !e.Untouched {
		t.Error(e, err)
	}
	if !bytes.Equal(f.now[:start], before[:start]) || !bytes.Equal(f.now[start+length:], before[start+length:]) {
		t.Error("something outside the region has changed")
	}
	sent, now := f.sent, bytes.Clone(f.now)
	for _, c := range []struct{ start, n, dst uint64 }{
		{0, 8, length / 512}, {0, 16, length/512 - 8}, {0, 8, 1 << 63}, {0, 8, 1<<64 - 8}, {1<<64 - 8, 16, 0}, {size / 512, 8, 0}, {0, 1 << 60, 0},
	} {
		if a := d.Copy([]target.Range{{Start: c.start, Len: c.n}}, c.dst, false); !errors.Is(a.Err, ErrNotSent) {
			t.Errorf("%+v: %v", c, a)
		}
	}
	p := make([]byte, 8192)
	for _, at := range []uint64{length, length - 4096, 1<<64 - start} {
		if d.WriteAt(p, at) == nil || d.ReadAt(p, at) == nil {
			t.Errorf("byte %d of the region is there", at)
		}
	}
	if f.sent != sent || !bytes.Equal(f.now, now) {
		t.Error("what is outside the region was sent")
	}
}
