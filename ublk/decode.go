package ublk

import (
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// request is a descriptor, checked.
type request struct {
	op      target.Op
	fua     bool
	noUnmap bool
	r       target.Range
}

// bounds is what a descriptor is checked against.
type bounds struct {
	sectors  uint64 // the device's
	maxIO    uint32 // sectors of a tag's buffer
	lbs      uint64 // sectors of a logical block
	readOnly bool
}

// decode checks one descriptor, which the caller has copied out of the shared page, and puts it into an empty request:
// whatever the driver wrote, what comes out lies on the device and fits the tag's buffer. The errno is the one that the block layer gives for such a
// request: EOPNOTSUPP for an operation nobody advertised, EIO past the end, EPERM for a write to a read-only device.
// hot path
func (b *bounds) decode(d *uapi.IODesc, q *request) unix.Errno {
	q.fua, q.noUnmap = d.OpFlags&uapi.UBLK_IO_F_FUA != 0, d.OpFlags&uapi.UBLK_IO_F_NOUNMAP != 0
	q.r = target.Range{Start: d.StartSector, Len: uint64(d.NrSectors)}
	switch d.OpFlags & 0xff {
	case uapi.UBLK_IO_OP_READ:
		q.op = target.Read
	case uapi.UBLK_IO_OP_WRITE:
		q.op = target.Write
	case uapi.UBLK_IO_OP_FLUSH: // its range means nothing
		*q = request{op: target.Flush}
		return 0
	case uapi.UBLK_IO_OP_DISCARD:
		q.op = target.Discard
	case uapi.UBLK_IO_OP_WRITE_ZEROES:
		q.op = target.WriteZeroes
	default:
		return unix.EOPNOTSUPP
	}
	switch {
	case q.op != target.Read && b.readOnly:
		return unix.EPERM
	case q.r.Len == 0 || q.r.Start >= b.sectors || q.r.Len > b.sectors-q.r.Start:
		return unix.EIO
	case (q.r.Start|q.r.Len)&(b.lbs-1) != 0:
		return unix.EINVAL
	case !q.op.Ranged() && q.r.Len > uint64(b.maxIO):
		return unix.EINVAL
	}
	return 0
}
