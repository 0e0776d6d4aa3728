package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
	"golang.org/x/sys/unix"
)

// ErrCopyUnable is of a copy that was not sent, since the disk refused an earlier one for what it is (SCSIError.Unable).
// It is EOPNOTSUPP.
var ErrCopyUnable = fmt.Errorf("the disk has refused such a copy: %w", unix.EOPNOTSUPP)

// CopySCSI sends one SCSI command EXTENDED COPY (opcode 83h, LID1): the sources, in order, which are on src, another LUN or
// d itself, go to the sectors from dst of d. All are 512-byte sectors of the disks; of a partition they become the whole
// disk's here, and are held to the partition here, since the device looks at neither. The command goes to d, whose copy
// manager finds the other LUN by its NAA designator. It is one synchronous SG_IO, so that the holds of both disks last until
// it has ended, also when the process is killed.
//
// done is all, or beside an error 0: that the segments before the one that sense data name are done is not relied upon.
// Behind an error the destination is old, new or a mix of both, and so it is after a timeout (60 s, ETIMEDOUT): the call
// does not return before the kernel's error handling has aborted the command, reset the device, or given it up (offline).
// The copy is durable after Sync; with fua that follows at once, since the command has no such bit, and done is 0 if it
// fails.
//
// MSSRL, MCL and MSRC (Copy) are the device's to refuse. Errors before anything is sent:
//   - ErrCopyRequest: no source, or over 256; a source that is empty, over 65535 logical blocks or overlaps the
//     destination; anything not aligned to the logical block, or past the end of its disk;
//   - EOPNOTSUPP: the Copy of one of the disks is not of SCSI, their logical blocks differ, or two disks have one
//     designator (two paths to one LUN): the device could not tell them apart. ErrCopyUnable: it has refused such a command;
//   - EROFS: d is read-only; EBADF: one is closed.
//
// Of a *SCSIError that says the device will never do it (Unable), the next calls are ErrCopyUnable.
func (d *Disk) CopySCSI(src *Disk, sources []target.Range, dst uint64, fua bool) (done uint64, err error) {
	fd, err := d.openSCSI(src)
	if err != nil {
		return 0, err
	}
	check := d.checkCopy
	if src.Whole() != d.Whole() { // two disks: their sectors have nothing in common
		check = d.checkPlaces
	}
	total, err := d.checkSCSI(check, fd, src, sources, dst)
	if err != nil {
		return 0, err
	}
	d.scsi.turns <- struct{}{}
	defer func() { <-d.scsi.turns }()
	if e := d.unable.Load(); e != nil { // maybe since this one waited
		return 0, fmt.Errorf("disk %s: %w: %v", d.info.Name, ErrCopyUnable, e)
	}
	err = d.sendXCopy(fd, src, sources, dst)
	if e, ok := errors.AsType[*SCSIError](err); ok && e.Unable() {
		d.unable.Store(e)
	}
	if err != nil {
		return 0, fmt.Errorf("disk %s: extended copy to sector %d: %w", d.info.Name, dst, err)
	}
	if fua {
		if err := d.Sync(); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// CopySCSIUnchecked is CopySCSI inside one disk for testing devices: it sends a command whose sources overlap its
// destination, and one of a kind that the device has refused. Nothing that copies for somebody may use it. All else is
// refused as by CopySCSI. The failure is the device's answer, nil for success; an error is that nothing was sent, or that
// the kernel could not.
func (d *Disk) CopySCSIUnchecked(sources []target.Range, dst uint64) (*SCSIError, error) {
	fd, err := d.openSCSI(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.checkSCSI(d.checkPlaces, fd, d, sources, dst); err != nil {
		return nil, err
	}
	d.scsi.turns <- struct{}{}
	defer func() { <-d.scsi.turns }()
	err = d.sendXCopy(fd, d, sources, dst)
	if e, ok := errors.AsType[*SCSIError](err); ok {
		return e, nil
	}
	if err != nil {
		return nil, fmt.Errorf("disk %s: extended copy: %w", d.info.Name, err)
	}
	return nil, nil
}

// openSCSI is the descriptor for a copy from src to d, of two disks that can.
func (d *Disk) openSCSI(src *Disk) (fd int, err error) {
	if fd, err = d.openWrite("copy"); err != nil {
		return -1, err
	}
	for _, x := range []*Disk{d, src} {
		if x.FD() < 0 {
			return -1, fmt.Errorf("disk %s: copy: %w", x.info.Name, unix.EBADF)
		}
		if x.copy.Method != limits.XCopy || x.scsi == nil {
			return -1, fmt.Errorf("disk %s: copy: not by SCSI: %s: %w", x.info.Name, x.copy.Reason, unix.EOPNOTSUPP)
		}
	}
	switch {
	case src == d:
		return fd, nil
	case src.Whole() == 0 || d.Whole() == 0 || src.info.LogicalBlock != d.info.LogicalBlock:
		return -1, fmt.Errorf("disks %s and %s do not copy to each other: their blocks or places differ: %w", src.info.Name, d.info.Name, unix.EOPNOTSUPP)
	case (src.Whole() == d.Whole()) != bytes.Equal(src.scsi.NAA, d.scsi.NAA):
		return -1, fmt.Errorf("disks %s and %s have designators %x and %x, which do not tell them apart: %w",
			src.info.Name, d.info.Name, src.scsi.NAA, d.scsi.NAA, unix.EOPNOTSUPP)
	}
	return fd, nil
}

// checkSCSI is what must not be sent: that of check, and what a segment cannot say.
func (d *Disk) checkSCSI(check func(fd int, src *Disk, sources []target.Range, dst uint64) (uint64, error), fd int, src *Disk, sources []target.Range, dst uint64) (uint64, error) {
	total, err := check(fd, src, sources, dst)
	if err != nil {
		return 0, fmt.Errorf("disk %s: %w", d.info.Name, err)
	}
	block := uint64(max(d.info.LogicalBlock, 512)) / 512
	for i, r := range sources {
		if r.Len/block > limits.XCopyBlocks {
			return 0, fmt.Errorf("disk %s: %w: source %d has %d blocks, %d are the most", d.info.Name, ErrCopyRequest, i, r.Len/block, limits.XCopyBlocks)
		}
	}
	return total, nil
}

// sendXCopy sends a command that was checked.
func (d *Disk) sendXCopy(fd int, src *Disk, sources []target.Range, dst uint64) error {
	s, err := scsiSlots.get()
	if err != nil {
		return err
	}
	defer scsiSlots.put(s)
	return sendSCSI(func() error {
		n := d.xcopyList(s, src, sources, dst)
		cdb := [scsiCDB]byte{0: 0x83}
		binary.BigEndian.PutUint32(cdb[10:], uint32(n))
		s.prepare(cdb[:], n, true, scsiCopyTimeout)
		if err := d.calls.scsi(fd, s); err != nil {
			return err
		}
		if e := s.failure(true); e != nil {
			return e
		}
		return nil
	})
}

// Of the parameter list of EXTENDED COPY (LID1), SPC-4: a header, the source's and the destination's identification
// descriptors, and a segment for each source.
const (
	xcopyHeader = 16
	xcopyCSCDs  = 2 * limits.XCopyCSCD

	_ = uint(scsiData - xcopyHeader - xcopyCSCDs - limits.XCopySegments*limits.XCopySegment) // it fits
)

// xcopyList writes the parameter list, and says how long it is.
func (d *Disk) xcopyList(s *scsiSlot, src *Disk, sources []target.Range, dst uint64) int {
	n := xcopyHeader + xcopyCSCDs + len(sources)*limits.XCopySegment
	p := s.data()[:n]
	clear(p)
	if d.scsi.ListID {
		p[0], p[1] = s.id, 2<<3 // an identifier, and its results need not be kept
	} else {
		p[1] = 3 << 3 // no identifier
	}
	binary.BigEndian.PutUint16(p[2:], xcopyCSCDs)
	binary.BigEndian.PutUint32(p[8:], uint32(len(sources)*limits.XCopySegment))
	for i, x := range []*Disk{src, d} {
		c := p[xcopyHeader+i*limits.XCopyCSCD:]
		c[0] = 0xe4
		c[4], c[5], c[7] = 1, 3, byte(len(x.scsi.NAA)) // binary; of the logical unit, NAA
		copy(c[8:28], x.scsi.NAA)
		block := max(x.info.LogicalBlock, 512)
		c[29], c[30], c[31] = byte(block>>16), byte(block>>8), byte(block)
	}
	block := uint64(max(d.info.LogicalBlock, 512)) / 512
	to := (d.place.start + dst) / block
	for i, r := range sources {
		g := p[xcopyHeader+xcopyCSCDs+i*limits.XCopySegment:]
		g[0], g[3] = 0x02, limits.XCopySegment-4
		g[7] = 1 // from CSCD 0 to CSCD 1
		binary.BigEndian.PutUint16(g[10:], uint16(r.Len/block))
		binary.BigEndian.PutUint64(g[12:], (src.place.start+r.Start)/block)
		binary.BigEndian.PutUint64(g[20:], to)
		to += r.Len / block
	}
	return n
}
