package sim

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
)

// Method is NVMe Copy of disks of which some are simulated: devices has them by target.Disk, nil for one that is real, and
// real does what lies on real disks only. Two simulated disks copy to each other as two namespaces do by format 2; a plan
// asks for it where they share a domain.
func Method(devices []*Device, real blkcopy.Method) blkcopy.Method { return method{devices, real} }

type method struct {
	devices []*Device
	real    blkcopy.Method
}

// Copy is a blkcopy.Method's. As CopyNVMe of package disk it never sends what writes what it reads. Errors are those of
// CopyNVMe, with a *disk.NVMeError for a status.
func (m method) Copy(c *blkcopy.Command, p *blkcopy.Policy) (done uint64, err error) {
	dst := m.devices[c.Dst.Disk]
	sources, simulated := make([]target.Range, len(c.Sources)), 0
	for i, s := range c.Sources {
		if s.Disk != c.Sources[0].Disk {
			return 0, fmt.Errorf("sources on two disks: %w", unix.EOPNOTSUPP)
		}
		if m.devices[s.Disk] != nil {
			simulated++
		}
		if s.Disk == c.Dst.Disk && s.Start < c.Dst.End() && c.Dst.Start < s.End() {
			return 0, fmt.Errorf("%w: source %d overlaps the destination", disk.ErrCopyRequest, i)
		}
		sources[i] = s.Range
	}
	switch {
	case dst == nil && simulated == 0:
		return m.real.Copy(c, p)
	case dst == nil || simulated < len(sources):
		return 0, fmt.Errorf("a simulated disk and a real one: %w", unix.EOPNOTSUPP)
	case len(sources) == 0:
		return 0, fmt.Errorf("%w: no source", disk.ErrCopyRequest)
	}
	a, err := dst.CopyFrom(m.devices[c.Sources[0].Disk], sources, c.Dst.Start, p.FUA)
	switch {
	case err != nil:
		return 0, err
	case a.Status == 0:
		return c.Dst.Len, nil
	}
	if a.Status != StatusInvalid && uint64(a.DW0) < uint64(len(sources)) {
		for _, s := range sources[:a.DW0] {
			done += s.Len
		}
	}
	return done, fmt.Errorf("simulated copy to sector %d: %w", c.Dst.Start, &disk.NVMeError{Status: a.Status, Raw: a.Status, Result: a.DW0})
}
