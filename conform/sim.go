package conform

import (
	"fmt"
	"math"
	"time"

	"github.com/ublk-go/ublk-linear/copy/sim"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// Sim is a region of a simulated namespace. Its power can be cut and its blocks can be made unreadable, and the time that
// commands take is the device's own.
type Sim struct {
	geometry Geometry
	device   *sim.Device
}

// NewSim is the length bytes from byte start of d, of whole logical blocks. A device that misbehaves may overwrite all of d.
func NewSim(name string, d *sim.Device, start, length uint64) (*Sim, error) {
	if size := d.Bytes(); start > size || length > size-start {
		return nil, fmt.Errorf("%s: the region, %d bytes at %d, is past its end at %d", name, length, start, size)
	}
	c := d.Identify()
	g := Geometry{Name: name, Method: limits.NVMeCopy, Block: d.Block(), Length: length, Start: start, End: (d.Bytes() - start) / 512,
		MSSRL: uint64(c.MSSRL), MCL: uint64(c.MCL), Ranges: uint64(c.MSRC) + 1}
	return &Sim{g, d}, g.Check()
}

// Geometry is a Target's.
func (s *Sim) Geometry() Geometry { return s.geometry }

// ReadAt is a Target's.
func (s *Sim) ReadAt(p []byte, at uint64) error { return s.device.ReadAt(p, s.geometry.Start+at) }

// WriteAt is a Target's.
func (s *Sim) WriteAt(p []byte, at uint64) error { return s.device.WriteAt(p, s.geometry.Start+at) }

// Flush is a Target's.
func (s *Sim) Flush() error { return s.device.Flush() }

// Copy is a Target's.
func (s *Sim) Copy(sources []target.Range, dst uint64, fua bool) Answer {
	base, list := s.geometry.Start/512, make([]target.Range, len(sources))
	for i, r := range sources {
		if r.Start > math.MaxUint64-base {
			return Answer{Err: fmt.Errorf("%w: source %d cannot be said", ErrNotSent, i)}
		}
		list[i] = target.Range{Start: base + r.Start, Len: r.Len}
	}
	c, err := s.device.Copy(list, base+dst, fua)
	if err != nil {
		return answer(err)
	}
	return Answer{Status: c.Status, DW0: c.DW0}
}

// PowerCut is a PowerCutter's.
func (s *Sim) PowerCut() error { return s.device.PowerCut() }

// Break is a Breaker's.
func (s *Sim) Break(at, n uint64) error { return s.device.Break(s.geometry.Start+at, n) }

// Now is a Timer's.
func (s *Sim) Now() time.Time { return s.device.Now() }
