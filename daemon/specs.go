package daemon

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/ublk"
)

// specs says every device in the driver's words; all that do not fit are reported.
func (s *Server) specs(tables []*remap.Table) ([]ublk.Spec, error) {
	var errs []error
	out := make([]ublk.Spec, len(tables))
	bottoms := s.disks.bottoms(s.file)
	for i, t := range tables {
		dev := s.file.Devices[i]
		l, err := s.disks.stack(t, bottoms)
		if err == nil {
			out[i], err = deviceSpec(s.file, dev, t, l, s.inst.Mark())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d:%d: device %s: %w", s.file.Path, dev.Pos.Line, dev.Pos.Col, dev.Name, err))
		}
	}
	return out, errors.Join(errs...)
}

// deviceSpec says one device in the driver's words.
func deviceSpec(f *config.File, dev *config.Device, t *remap.Table, l limits.Limits, mark uint64) (ublk.Spec, error) {
	if l.Zoned {
		return ublk.Spec{}, errors.New("a zoned disk can be mapped and stacked, not served")
	}
	out := ublk.Spec{ID: dev.ID, Queues: dev.Queues, Depth: dev.Depth, MaxIO: uint32(dev.MaxIO), Sectors: t.Sectors(), Limits: l,
		ReadOnly: dev.ReadOnly || l.ReadOnly, Mark: mark, Recovery: recoveries[f.Crash(dev)], DataPath: dataPaths[dev.DataPath]}
	if out.Queues == 0 {
		out.Queues = min(runtime.NumCPU(), defaultQueues)
	}
	return out, out.Validate()
}

// dataPaths are the words of the file in the driver's.
var dataPaths = map[config.DataPath]ublk.DataPath{config.PathBuffer: ublk.BufferPath, config.PathZeroCopy: ublk.ZeroCopyPath}
