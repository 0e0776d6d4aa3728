package daemon

import (
	"fmt"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// Tables makes the table of every device of a checked file, in file order. A disk's index is its place in f.Disks.
func Tables(f *config.File) ([]*remap.Table, error) {
	index := make(map[string]target.Disk, len(f.Disks))
	for i, d := range f.Disks {
		index[d.Name] = target.Disk(i)
	}
	var out []*remap.Table
	for _, dev := range f.Devices {
		t, err := table(dev, index)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: device %s: %w", f.Path, dev.Pos.Line, dev.Name, err)
		}
		out = append(out, t)
	}
	return out, nil
}

func table(dev *config.Device, index map[string]target.Disk) (*remap.Table, error) {
	parts := make([]remap.Part, 0, len(dev.Segments))
	for _, s := range dev.Segments {
		var t target.Target
		var err error
		if s.Type == "linear" {
			t, err = linear.New(index[s.Legs[0].Disk], target.Range{Start: s.Legs[0].Offset, Len: s.Sectors})
		} else {
			legs := make([]stripe.Leg, len(s.Legs))
			for i, l := range s.Legs {
				legs[i] = stripe.Leg{Disk: index[l.Disk], Start: l.Offset}
			}
			t, err = stripe.New(s.Sectors, s.Chunk, legs)
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, remap.Part{Sectors: s.Sectors, Target: t})
	}
	return remap.NewTable(parts)
}

// DiskName is the name of a disk by its index in the tables of f.
func DiskName(f *config.File) func(target.Disk) string {
	return func(d target.Disk) string { return f.Disks[d].Name }
}
