package conform

import (
	"context"
	"fmt"
	"math"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// Device is a region of an NVMe namespace or of a SCSI disk, or of a partition of one. The disk is the caller's, which holds it exclusively.
type Device struct {
	geometry Geometry
	size     uint64 // bytes of the disk
	disk     namespace
	memory   buffers
}

// namespace is what a Device needs of a *disk.Disk.
type namespace interface {
	blkcopy.IO
	CopyNVMeUnchecked(sources []target.Range, dst uint64, fua bool) (status uint16, dw0 uint32, err error)
	CopySCSIUnchecked(sources []target.Range, dst uint64) (*disk.SCSIError, error)
}

// NewDevice is the length bytes from byte start of d, of whole logical blocks. It refuses a disk that does not copy by itself
// by NVMe or SCSI, one that is read-only, and a region that is not on it.
func NewDevice(d *disk.Disk, start, length uint64) (*Device, error) {
	c, block, size := d.Copy(), uint64(max(d.Info().LogicalBlock, 512)), d.Sectors()*512
	switch {
	case c.Method != limits.NVMeCopy && c.Method != limits.XCopy:
		why := c.Reason
		if c.Can() {
			why = "its method is " + string(c.Method) + "; give --directory for a file system"
		}
		return nil, fmt.Errorf("disk %s does not copy by NVMe or SCSI: %s", d.Name(), why)
	case d.ReadOnly():
		return nil, fmt.Errorf("disk %s is read-only", d.Name())
	case start > size || length > size-start:
		return nil, fmt.Errorf("disk %s: the region, %d bytes at %d, is past its end at %d", d.Name(), length, start, size)
	}
	g := Geometry{Name: "disk " + d.Name(), Method: c.Method, Block: block, Length: length, Start: start, MSSRL: uint64(c.MSSRL), MCL: uint64(c.MCL), Ranges: uint64(c.MSRC) + 1}
	if err := g.Check(); err != nil {
		return nil, err
	}
	return &Device{geometry: g, size: size, disk: d, memory: newBuffers()}, nil
}

// Surround reads what is around the region.
func (d *Device) Surround(ctx context.Context) (*Surroundings, error) {
	g := &d.geometry
	read := func(p []byte, at uint64) error { return readFrom(d.disk, d.memory, p, at) }
	return Surround(ctx, read, g.Block, d.size, g.Start, g.Length)
}

// Geometry is a Target's.
func (d *Device) Geometry() Geometry { return d.geometry }

// ReadAt is a Target's.
func (d *Device) ReadAt(p []byte, at uint64) error {
	if err := d.inside("read", uint64(len(p)), at); err != nil {
		return err
	}
	return readFrom(d.disk, d.memory, p, d.geometry.Start+at)
}

// WriteAt is a Target's.
func (d *Device) WriteAt(p []byte, at uint64) error {
	if err := d.inside("write", uint64(len(p)), at); err != nil {
		return err
	}
	return writeTo(d.disk, d.memory, p, d.geometry.Start+at)
}

// inside keeps a mistake of the suite's in the region.
func (d *Device) inside(what string, n, at uint64) error {
	if at > d.geometry.Length || n > d.geometry.Length-at {
		return fmt.Errorf("%s of %d bytes at %d: outside the region", what, n, at)
	}
	return nil
}

// Flush is a Target's.
func (d *Device) Flush() error { return d.disk.Sync() }

// Copy is a Target's. A command whose destination is not in the region is not sent, nor one whose sources are past the end
// of the disk. The sum of the lengths is what the device is asked to write, so it is held to the region even where the device
// will refuse it.
func (d *Device) Copy(sources []target.Range, dst uint64, fua bool) Answer {
	base, list := d.geometry.Start/512, make([]target.Range, len(sources))
	var total uint64
	for i, s := range sources {
		if s.Start > math.MaxUint64-base || s.Len > d.geometry.Length {
			return Answer{Err: fmt.Errorf("%w: source %d is not on the disk", ErrNotSent, i)}
		}
		list[i] = target.Range{Start: base + s.Start, Len: s.Len}
		total += s.Len
	}
	if err := d.inside("copy", total*512, dst*512); dst > math.MaxUint64/512 || err != nil {
		return Answer{Err: fmt.Errorf("%w: the destination is not in the region", ErrNotSent)}
	}
	if d.geometry.Method == limits.XCopy {
		return d.extended(list, base+dst, fua)
	}
	status, dw0, err := d.disk.CopyNVMeUnchecked(list, base+dst, fua)
	if err != nil {
		return answer(err)
	}
	return Answer{Status: status, DW0: dw0}
}

// extended is one EXTENDED COPY; what NVMe's FUA is, a flush is here.
func (d *Device) extended(list []target.Range, dst uint64, fua bool) Answer {
	failure, err := d.disk.CopySCSIUnchecked(list, dst)
	switch {
	case err != nil:
		return answer(err)
	case failure != nil:
		return Answer{Err: failure}
	case fua:
		return answer(d.disk.Sync())
	}
	return Answer{}
}

// Close gives the memory back; the disk stays open.
func (d *Device) Close() { d.memory.close() }
