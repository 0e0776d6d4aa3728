package daemon

import (
	"path/filepath"
	"strings"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/limits"
)

// SeriesCopy is a copy of a checked file as the models of the kernel's designs take it: disks are looked at as by PlanCopy,
// with the same abilities, and nothing is touched. A disk's place is that in f.Disks; those that neither device uses have a
// name and nothing else. The request is not checked: that is each model's. Errors: fs.ErrNotExist for a device that is not
// in the file, those of the disks, and dm's refusals of a table.
func SeriesCopy(f *config.File, r *CopyRequest) (*series.World, *series.Request, error) {
	w, all, err := lookAt(f, r)
	if err != nil {
		return nil, nil, err
	}
	out := &series.World{Disks: make([]series.Disk, len(f.Disks))}
	for i, d := range w.disks(r.Policy.ShareExtents) {
		l := all[i]
		out.Disks[i] = series.Disk{Name: f.Disks[i].Name, Driver: driver(f.Disks[i], d.Copy), LogicalBlock: l.LogicalBlock, Sectors: l.Sectors, Copy: d.Copy,
			ReadOnly: l.ReadOnly, Zoned: l.Zoned}
		if l.Zoned {
			out.Disks[i].ZoneSectors = uint64(l.ChunkSectors)
		}
	}
	q := &series.Request{SrcSegs: segs(r.Source.Segments), DstSegs: segs(r.Destination.Segments)}
	for _, d := range w.devices {
		s := &series.Device{Name: d.Name, Table: d.Table, LogicalBlock: d.LogicalBlock, ReadOnly: d.ReadOnly}
		if d.Name == r.Source.Device {
			q.Src = s
		}
		if d.Name == r.Destination.Device {
			q.Dst = s
		}
	}
	return out, q, nil
}

// driver is the kernel's driver of a disk, as far as the file tells: by the command that it copies with, else by what it is.
func driver(d *config.Disk, c limits.Copy) string {
	switch {
	case c.Method == limits.NVMeCopy, strings.HasPrefix(filepath.Base(d.Path), "nvme"):
		return "nvme"
	case c.Method == limits.XCopy:
		return "sd"
	case d.Kind == config.KindFile, c.Method == limits.FileCopy:
		return "loop"
	case d.Kind == config.KindMemory:
		return "brd"
	}
	return "sd"
}
