package blkcopy

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// Methods is the ways in which open disks copy by themselves, for an Engine on them. A disk that no plan uses may be nil.
func Methods(disks []*disk.Disk) map[limits.Method]Method {
	return map[limits.Method]Method{limits.NVMeCopy: nvmeMethod{openDisks{disks}}, limits.XCopy: scsiMethod{openDisks{disks}}, limits.FileCopy: fileMethod{disks}}
}

// openDisks are the disks of a method whose commands have one source disk.
type openDisks struct{ disks []*disk.Disk }

// source is that disk and the ranges on it. Errors: EOPNOTSUPP, when there are two.
func (m openDisks) source(c *Command) (*disk.Disk, []target.Range, error) {
	ranges := make([]target.Range, len(c.Sources))
	for i, s := range c.Sources {
		if s.Disk != c.Sources[0].Disk {
			return nil, nil, fmt.Errorf("sources on two disks: %w", unix.EOPNOTSUPP)
		}
		ranges[i] = s.Range
	}
	return m.disks[c.Sources[0].Disk], ranges, nil
}

// nvmeMethod is NVMe Copy inside one namespace.
type nvmeMethod struct{ openDisks }

// Copy sends one command. Whatever the disks' domains say, one whose sources are on another namespace than the destination
// is refused, and nothing is sent: it would take the sectors of the destination's namespace.
func (m nvmeMethod) Copy(c *Command, p *Policy) (done uint64, err error) {
	from, sources, err := m.source(c)
	if err != nil {
		return 0, err
	}
	return m.disks[c.Dst.Disk].CopyNVMeFrom(from, sources, c.Dst.Start, p.FUA)
}

// scsiMethod is SCSI EXTENDED COPY inside one LUN, and between LUNs whose domains say that one copy manager reaches both.
type scsiMethod struct{ openDisks }

// Copy sends one command. Where the device has refused such a command before, none is sent: then the disks have no such
// method.
func (m scsiMethod) Copy(c *Command, p *Policy) (done uint64, err error) {
	from, sources, err := m.source(c)
	if err != nil {
		return 0, err
	}
	done, err = m.disks[c.Dst.Disk].CopySCSI(from, sources, c.Dst.Start, p.FUA)
	if errors.Is(err, disk.ErrCopyUnable) {
		return 0, &refusal{err.Error(), ErrNoOffload, unix.EOPNOTSUPP}
	}
	return done, err
}

// fileMethod is the file system's copy, source by source.
type fileMethod struct{ disks []*disk.Disk }

// Copy stops at the first source that fails. What is done is counted in whole blocks of both disks, so that the rest can
// be read and written; under Policy.FUA only what is durable counts.
func (m fileMethod) Copy(c *Command, p *Policy) (done uint64, err error) {
	dst := m.disks[c.Dst.Disk]
	for _, s := range c.Sources {
		src := m.disks[s.Disk]
		var n uint64
		n, err = dst.CopyRange(src, s.Start*512, (c.Dst.Start+done)*512, s.Len*512, p.ShareExtents)
		if err == nil {
			done += s.Len
			continue
		}
		block := uint64(max(src.Limits().LogicalBlock, dst.Limits().LogicalBlock, 512))
		done += min(n, s.Len*512) / block * block / 512
		break
	}
	if p.FUA && done > 0 {
		if e := dst.Sync(); e != nil {
			return 0, e
		}
	}
	return done, err
}
