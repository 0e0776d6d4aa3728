package disk

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// SCSIError is a SCSI command that the device, or the kernel in its place, did not end well.
type SCSIError struct {
	Status       byte   // of SAM: 0x02 CHECK CONDITION, …
	Host, Driver uint16 // the kernel's own, of the host adapter and of the driver; 0: fine
	Residual     int32  // bytes of the data that did not go

	Key       byte // of the sense data, with ASC and ASCQ
	ASC, ASCQ byte
	Sensed    bool // there are sense data
	Deferred  bool // they are of an earlier command
	Segment   int  // of a copy that was aborted (COPY ABORTED), the segment that they name; -1: none
}

// Statuses of SAM-5, and of the kernel's scsi_status.h.
const (
	scsiCheckCondition = 0x02
	scsiBusy           = 0x08
	scsiReservation    = 0x18
	scsiTaskSetFull    = 0x28

	hostNoConnect = 0x01
	hostTimeout   = 0x03

	keyNotReady      = 0x2
	keyMedium        = 0x3
	keyHardware      = 0x4
	keyIllegal       = 0x5
	keyUnitAttention = 0x6
	keyProtect       = 0x7
	keyCopyAborted   = 0xa
	keyAborted       = 0xb
)

// sense reads sense data (SPC-4): fixed format, 70h and 71h, or descriptors, 72h and 73h.
func (e *SCSIError) sense(b []byte) {
	e.Segment = -1
	if len(b) < 8 {
		return
	}
	var specific []byte // the field COMMAND-SPECIFIC INFORMATION
	switch code := b[0] & 0x7f; code {
	case 0x70, 0x71:
		b = b[:min(len(b), 8+int(b[7]))]
		if len(b) < 14 {
			return
		}
		e.Key, e.ASC, e.ASCQ, e.Deferred = b[2]&0xf, b[12], b[13], code == 0x71
		specific = b[8:12]
	case 0x72, 0x73:
		e.Key, e.ASC, e.ASCQ, e.Deferred = b[1]&0xf, b[2], b[3], code == 0x73
		for d := b[8:min(len(b), 8+int(b[7]))]; len(d) >= 2; d = d[min(len(d), 2+int(d[1])):] {
			if d[0] == 0x01 && d[1] == 0x0a && len(d) >= 12 {
				specific = d[4:12]
			}
		}
	default:
		return
	}
	e.Sensed = true
	if e.Key == keyCopyAborted && specific != nil {
		e.Segment = int(binary.BigEndian.Uint16(specific[2:]))
	}
}

// Error has the status and the sense data in the words of SPC-4.
func (e *SCSIError) Error() string {
	var b strings.Builder
	switch {
	case e.Host == hostTimeout:
		b.WriteString("SCSI command: no answer in time, what it did is unknown")
	case e.Host != 0:
		fmt.Fprintf(&b, "SCSI command: host status 0x%x", e.Host)
	case e.Status == 0 && e.Driver == 0 && e.Residual != 0:
		fmt.Fprintf(&b, "SCSI command: %d bytes of its list were not taken", e.Residual)
	case e.Status == 0:
		fmt.Fprintf(&b, "SCSI command: driver status 0x%x", e.Driver)
	default:
		fmt.Fprintf(&b, "SCSI status 0x%02x", e.Status)
		if name := scsiStatuses[e.Status]; name != "" {
			b.WriteString(", " + name)
		}
	}
	if e.Sensed {
		fmt.Fprintf(&b, ", %s, %02xh/%02xh", senseKeys[e.Key&0xf], e.ASC, e.ASCQ)
		if name := additional[[2]byte{e.ASC, e.ASCQ}]; name != "" {
			b.WriteString(" " + name)
		}
		if e.Deferred {
			b.WriteString(", of an earlier command")
		}
	}
	if e.Segment >= 0 && e.Sensed {
		fmt.Fprintf(&b, ", segment %d", e.Segment)
	}
	return b.String()
}

// Unwrap is the errno of the status. The kernel's own reads and writes fail with the same where they can:
//   - EOPNOTSUPP: the device does not do this, or not so (Unable, and lists that are too long); data and medium are fine;
//   - ENODATA: the medium; EREMOTEIO: the device, not ready or not so long, or one that a copy manager does not reach;
//   - EROFS: write protected; EBADE: reservation; ETIMEDOUT: no answer; ENOLINK: no path;
//   - EIO: all others.
func (e *SCSIError) Unwrap() error {
	switch {
	case e.Host == hostTimeout:
		return unix.ETIMEDOUT
	case e.Host == hostNoConnect:
		return unix.ENOLINK
	case e.Host != 0:
		return unix.EIO
	case e.Status == scsiReservation:
		return unix.EBADE
	case e.Status != scsiCheckCondition || !e.Sensed || e.Deferred:
		return unix.EIO
	case e.Unable():
		return unix.EOPNOTSUPP
	}
	switch e.Key {
	case keyIllegal:
		if e.ASC == 0x26 || e.ASC == 0x1a {
			return unix.EOPNOTSUPP
		}
		return unix.EREMOTEIO
	case keyMedium:
		return unix.ENODATA
	case keyNotReady, keyHardware, keyCopyAborted, keyUnitAttention:
		return unix.EREMOTEIO
	case keyProtect:
		return unix.EROFS
	}
	return unix.EIO
}

// Unable says whether the device refused the command for what it is, not for what was asked of it: it will refuse the next
// one as well.
func (e *SCSIError) Unable() bool {
	if e.Status != scsiCheckCondition || !e.Sensed || e.Deferred || e.Key != keyIllegal {
		return false
	}
	switch [2]byte{e.ASC, e.ASCQ} {
	case [2]byte{0x20, 0x00}, [2]byte{0x24, 0x00}, [2]byte{0x26, 0x07}, [2]byte{0x26, 0x09}:
		return true
	}
	return false
}

// unstarted says whether the device answered before it did anything: it is to be asked again.
func (e *SCSIError) unstarted() bool {
	if e.Host != 0 {
		return false
	}
	return e.Status == scsiBusy || e.Status == scsiTaskSetFull ||
		e.Status == scsiCheckCondition && e.Sensed && !e.Deferred && e.Key == keyUnitAttention
}

var scsiStatuses = map[byte]string{
	scsiCheckCondition: "CHECK CONDITION", 0x04: "CONDITION MET", scsiBusy: "BUSY", scsiReservation: "RESERVATION CONFLICT",
	scsiTaskSetFull: "TASK SET FULL", 0x30: "ACA ACTIVE", 0x40: "TASK ABORTED",
}

var senseKeys = [16]string{
	"NO SENSE", "RECOVERED ERROR", "NOT READY", "MEDIUM ERROR", "HARDWARE ERROR", "ILLEGAL REQUEST", "UNIT ATTENTION", "DATA PROTECT",
	"BLANK CHECK", "VENDOR SPECIFIC", "COPY ABORTED", "ABORTED COMMAND", "sense key Ch", "VOLUME OVERFLOW", "MISCOMPARE", "COMPLETED",
}

// additional is those that a copy can meet.
var additional = map[[2]byte]string{
	{0x00, 0x16}: "operation in progress",
	{0x08, 0x00}: "logical unit communication failure",
	{0x0d, 0x01}: "third party device failure",
	{0x0d, 0x02}: "copy target device not reachable",
	{0x0d, 0x03}: "incorrect copy target device type",
	{0x0d, 0x04}: "copy target device data underrun",
	{0x0d, 0x05}: "copy target device data overrun",
	{0x1a, 0x00}: "parameter list length error",
	{0x20, 0x00}: "invalid command operation code",
	{0x21, 0x00}: "logical block address out of range",
	{0x24, 0x00}: "invalid field in CDB",
	{0x26, 0x00}: "invalid field in parameter list",
	{0x26, 0x06}: "too many target descriptors",
	{0x26, 0x07}: "unsupported target descriptor type code",
	{0x26, 0x08}: "too many segment descriptors",
	{0x26, 0x09}: "unsupported segment descriptor type code",
	{0x26, 0x0a}: "unexpected inexact segment",
	{0x27, 0x00}: "write protected",
	{0x55, 0x03}: "insufficient resources",
}
