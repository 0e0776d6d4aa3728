// Package linear is dm-linear's arithmetic: a range of a device is a range of one disk, shifted.
package linear

import (
	"strconv"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// Linear maps sector s of the target to sector Start+s of a disk (linear_map_sector in dm-linear.c).
type Linear struct {
	disk target.Disk
	area target.Range
}

// New makes a linear target of area.Len sectors at area.Start on a disk. Errors: target.ErrZeroLength,
// target.ErrTooLong.
func New(disk target.Disk, area target.Range) (*Linear, error) {
	if area.Len == 0 {
		return nil, target.ErrZeroLength
	}
	if area.Len > target.MaxSectors || area.Start > target.MaxSectors-area.Len {
		return nil, target.ErrTooLong
	}
	return &Linear{disk: disk, area: area}, nil
}

// Map implements target.Target. Every op has one segment: dm-linear never splits.
// hot path
func (l *Linear) Map(dst []target.Segment, _ target.Op, r target.Range) ([]target.Segment, uint64) {
	if len(dst) == cap(dst) {
		return dst, 0
	}
	return append(dst, target.Segment{Sector: l.area.Start + r.Start, Sectors: r.Len, Disk: l.disk}), r.Len
}

// Extents implements target.Target.
func (l *Linear) Extents(yield func(target.Extent) bool) {
	yield(target.Extent{Disk: l.disk, Range: l.area})
}

// Hints implements target.Target: dm-linear has no io_hints.
func (l *Linear) Hints(*limits.Limits) {}

// Type implements target.Target.
func (l *Linear) Type() string { return "linear" }

// Params implements target.Target: "<disk> <start>".
func (l *Linear) Params(name func(target.Disk) string) string {
	return name(l.disk) + " " + strconv.FormatUint(l.area.Start, 10)
}

var _ target.Target = (*Linear)(nil)
