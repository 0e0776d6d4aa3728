package conform

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// CopySCSIUnchecked is of no NVMe disk.
func (f *fakeDisk) CopySCSIUnchecked([]target.Range, uint64) (*disk.SCSIError, error) {
	return nil, unix.EOPNOTSUPP
}

// fakeSCSI is a model as a SCSI disk: it answers with sense data what the model answers with a status.
type fakeSCSI struct {
	*fakeDisk
	g       Geometry
	bad     func(f *fakeSCSI, src []target.Range, dst uint64) (*disk.SCSIError, bool)
	flushes int
}

func refusedBy(key, asc, ascq byte) *disk.SCSIError {
	return &disk.SCSIError{Status: 2, Sensed: true, Key: key, ASC: asc, ASCQ: ascq, Segment: -1}
}

func (f *fakeSCSI) CopyNVMeUnchecked([]target.Range, uint64, bool) (uint16, uint32, error) {
	return 0, 0, unix.EOPNOTSUPP
}

func (f *fakeSCSI) CopySCSIUnchecked(src []target.Range, dst uint64) (*disk.SCSIError, error) {
	f.Model.mu.Lock()
	a := f.Model.refuse(src, dst)
	f.Model.mu.Unlock()
	if a.Status == StatusLBA || a.Status == statusInvalid {
		return nil, disk.ErrCopyRequest
	}
	for _, s := range src {
		if s.Len > 65535*f.g.Block/512 {
			return nil, disk.ErrCopyRequest
		}
	}
	if f.bad != nil {
		if e, done := f.bad(f, src, dst); done {
			return e, nil
		}
	}
	switch a = f.Model.Copy(src, dst, false); {
	case a.Status == 0:
		return nil, nil
	case uint64(len(src)) > f.g.Ranges:
		return refusedBy(5, 0x26, 8), nil
	}
	return refusedBy(5, 0x26, 0), nil
}

func (f *fakeSCSI) Sync() error {
	f.Model.mu.Lock()
	f.flushes++
	f.Model.mu.Unlock()
	return f.fakeDisk.Sync()
}

// scsiDevice is a region of such a disk. MCL is above all that the suite sends.
func scsiDevice(t *testing.T, mssrl, ranges uint64) (*Device, *fakeSCSI) {
	const size, start, length = 8 << 20, 3 << 20, 2 << 20
	model := NewModel(Geometry{Block: 4096, MSSRL: mssrl, MCL: mssrl * ranges, Ranges: ranges}, size)
	g := model.Geometry()
	f := &fakeSCSI{fakeDisk: &fakeDisk{modelIO: modelIO{model}}, g: g}
	g.Method, g.Start, g.Length, g.End = limits.XCopy, start, length, 0
	d := &Device{geometry: g, size: size, disk: f, memory: newBuffers()}
	t.Cleanup(d.Close)
	return d, f
}

// A SCSI disk that does everything right conforms, in its own words; NVMe's rules are not applicable, with the reason.
func TestSCSIConforms(t *testing.T) {
	for _, c := range []struct{ mssrl, ranges uint64 }{{16, 4}, {32, 1}, {1, 256}} {
		d, f := scsiDevice(t, c.mssrl, c.ranges)
		before := bytes.Clone(f.now)
		r := run1(t, d, Options{Seed: 5, Rounds: 40})
		if r.Differ > 0 || r.Conform < 14 || f.flushes == 0 {
			t.Errorf("%+v: %s, %d flushes", c, r.Summary(), f.flushes)
		}
		for _, res := range r.Results {
			w := scsiWords[res.Name]
			if strings.Contains(res.Expect, "0x") && res.Outcome != NotApplicable || w.none != "" && (res.Outcome != NotApplicable || res.Happened != w.none) {
				t.Errorf("%+v: %s %s %s: %s", c, res.Name, res.Outcome, res.Happened, res.Expect)
			}
			if res.Outcome == NotApplicable && res.Happened == "" {
				t.Errorf("%+v: %s is not applicable without a reason", c, res.Name)
			}
		}
		if c.ranges == 4 && (!slices.ContainsFunc(r.Results, func(x Result) bool { return x.Name == "ranges-over" && x.Outcome == Conforms }) ||
			!slices.ContainsFunc(r.Results, func(x Result) bool { return x.Name == "range-over" && x.Outcome == Conforms })) {
			t.Error("the limits were not judged")
		}
		if !bytes.Equal(f.now[:3<<20], before[:3<<20]) || !bytes.Equal(f.now[5<<20:], before[5<<20:]) {
			t.Error("something outside the region has changed")
		}
	}
	for name := range scsiWords {
		if !slices.ContainsFunc(Scenarios(), func(s Scenario) bool { return s.Name == name }) {
			t.Errorf("no scenario %s", name)
		}
	}
}

// What a SCSI disk does wrong is found.
func TestSCSIMisbehaves(t *testing.T) {
	for _, c := range []struct {
		name string
		bad  func(f *fakeSCSI, src []target.Range, dst uint64) (*disk.SCSIError, bool)
		want string
	}{
		{"drops the segments over its limit", func(f *fakeSCSI, src []target.Range, dst uint64) (*disk.SCSIError, bool) {
			if uint64(len(src)) <= f.g.Ranges {
				return nil, false
			}
			return nil, f.Model.Copy(src[:f.g.Ranges], dst, false).OK()
		}, "ranges-over"},
		{"cuts a segment at its limit", func(f *fakeSCSI, src []target.Range, dst uint64) (*disk.SCSIError, bool) {
			if most := f.g.MSSRL * 8; len(src) == 1 && src[0].Len > most {
				return nil, f.Model.Copy([]target.Range{{Start: src[0].Start, Len: most}}, dst, false).OK()
			}
			return nil, false
		}, "range-over"},
		{"copies before it refuses", func(f *fakeSCSI, src []target.Range, dst uint64) (*disk.SCSIError, bool) {
			if most := f.g.MSSRL * 8; len(src) == 1 && src[0].Len > most {
				f.Model.Copy([]target.Range{{Start: src[0].Start, Len: most}}, dst, false)
				return refusedBy(5, 0x26, 0), true
			}
			return nil, false
		}, "range-over"},
		{"refuses what it says it takes", func(f *fakeSCSI, src []target.Range, dst uint64) (*disk.SCSIError, bool) {
			return refusedBy(0xa, 0x0d, 2), uint64(len(src)) == f.g.Ranges
		}, "ranges-most"},
		{"does nothing, well", func(f *fakeSCSI, src []target.Range, dst uint64) (*disk.SCSIError, bool) { return nil, true }, "one-range"},
	} {
		d, f := scsiDevice(t, 16, 4)
		f.bad = c.bad
		if r := run1(t, d, Options{Seed: 5, Rounds: 40}); !slices.Contains(r.Differing(), c.want) {
			t.Errorf("%s: %s", c.name, r.Summary())
		}
	}
	// No answer is no refusal.
	d, f := scsiDevice(t, 16, 4)
	lost := &disk.SCSIError{Host: 3, Segment: -1}
	f.bad = func(f *fakeSCSI, src []target.Range, _ uint64) (*disk.SCSIError, bool) {
		return lost, uint64(len(src)) > f.g.Ranges
	}
	if r, err := Run(t.Context(), d, Options{Only: []string{"ranges-over"}}); !errors.Is(err, unix.ETIMEDOUT) {
		t.Error(r.Summary(), err)
	}
}

// By the copy engine's parts a SCSI answer is the target's too, also one that is EOPNOTSUPP.
func TestSCSIAnswer(t *testing.T) {
	e := refusedBy(5, 0x20, 0)
	a := answer(fmt.Errorf("disk a: %w", e))
	if !errors.Is(e, unix.EOPNOTSUPP) || a.OK() || errors.Is(a.Err, ErrNotSent) || a.Err != e {
		t.Errorf("%+v", a)
	}
}
