package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// nvmeStatusMask leaves the status code and its type. Above them are retry delay, "more", and "do not retry".
const nvmeStatusMask = 0x7ff

// NVMeError is an NVMe command that the device, or the kernel in its place, ended with a status.
type NVMeError struct {
	Status uint16 // status code type in bits 10:8, status code in 7:0
	Raw    uint16 // as the kernel gave it, with the bits above
	Result uint32 // dword 0 of the completion: of a Copy the lowest source range that was not copied, see CopyNVMe
}

// Error has the status in the words of the NVMe specification.
func (e *NVMeError) Error() string {
	name := nvmeStatuses[e.Status].name
	if name == "" {
		name = "unknown"
	}
	if !e.ranged() {
		return fmt.Sprintf("NVMe status 0x%x, %s", e.Status, name)
	}
	return fmt.Sprintf("NVMe status 0x%x, %s, source range %d", e.Status, name, e.Result)
}

// Unwrap is the errno of the status. The kernel's own reads and writes fail with the same (nvme_error_status,
// blk_status_to_errno), but for EROFS, which says more, and for three that only Copy has, which it would call EIO:
//   - EOPNOTSUPP: the device does not do this, or not so much at once; data and medium are fine;
//   - EINVAL: overlapping ranges;
//   - ENODATA: the medium, or access to it; EILSEQ: protection information; EREMOTEIO: the device, not ready or not so long;
//   - EROFS, ENOSPC, EBADE (reservation), EOVERFLOW and ETOOMANYREFS (zones), ENOLINK (path);
//   - EIO: all others.
func (e *NVMeError) Unwrap() error {
	if s, ok := nvmeStatuses[e.Status]; ok {
		return s.errno
	}
	return unix.EIO
}

// Side is the side of a copy that failed, "source" or "destination"; "" where the status does not tell.
func (e *NVMeError) Side() string { return nvmeStatuses[e.Status].side }

// ranged reports whether the status is of the kind with which a device ends a Copy at one of its ranges, so that the
// result is the number of that range. With others a device may have looked at no range, and for a command that the kernel
// ended in its place (path related, 3xxh) the result is whatever an earlier command left.
func (e *NVMeError) ranged() bool { return nvmeStatuses[e.Status].ranged }

type nvmeStatus struct {
	name   string
	errno  unix.Errno
	side   string
	ranged bool
}

const (
	fromSource    = "source"
	toDestination = "destination"
)

// nvmeStatuses are those of the base, NVM and zoned command sets that a Copy can meet.
var nvmeStatuses = map[uint16]nvmeStatus{
	0x001: {"Invalid Command Opcode", unix.EOPNOTSUPP, "", false},
	0x002: {"Invalid Field in Command", unix.EOPNOTSUPP, "", false},
	0x004: {"Data Transfer Error", unix.EIO, "", false},
	0x005: {"Commands Aborted due to Power Loss Notification", unix.EIO, "", false},
	0x006: {"Internal Error", unix.EIO, "", false},
	0x007: {"Command Abort Requested", unix.EIO, "", false},
	0x008: {"Command Aborted due to SQ Deletion", unix.EIO, "", false},
	0x00b: {"Invalid Namespace or Format", unix.EOPNOTSUPP, "", false},
	0x00f: {"Data SGL Length Invalid", unix.EIO, "", false},
	0x020: {"Namespace is Write Protected", unix.EROFS, toDestination, true},
	0x021: {"Command Interrupted", unix.EREMOTEIO, "", false},
	0x080: {"LBA Out of Range", unix.EREMOTEIO, "", true},
	0x081: {"Capacity Exceeded", unix.ENOSPC, toDestination, true},
	0x082: {"Namespace Not Ready", unix.EREMOTEIO, "", false},
	0x083: {"Reservation Conflict", unix.EBADE, "", false},
	0x10a: {"Invalid Format", unix.EOPNOTSUPP, "", false},
	0x180: {"Conflicting Attributes", unix.EOPNOTSUPP, "", false},
	0x181: {"Invalid Protection Information", unix.EILSEQ, "", false},
	0x182: {"Attempted Write to Read Only Range", unix.EROFS, toDestination, true},
	0x183: {"Command Size Limit Exceeded", unix.EOPNOTSUPP, "", true},
	0x185: {"Incompatible Namespace or Format", unix.EOPNOTSUPP, "", false},
	0x187: {"Overlapping I/O Range", unix.EINVAL, "", true},
	0x1b8: {"Zone Boundary Error", unix.EIO, "", true},
	0x1b9: {"Zone Is Full", unix.EIO, toDestination, true},
	0x1ba: {"Zone Is Read Only", unix.EIO, toDestination, true},
	0x1bb: {"Zone Is Offline", unix.EIO, "", true},
	0x1bc: {"Zone Invalid Write", unix.EIO, toDestination, true},
	0x1bd: {"Too Many Active Zones", unix.EOVERFLOW, toDestination, true},
	0x1be: {"Too Many Open Zones", unix.ETOOMANYREFS, toDestination, true},
	0x1bf: {"Invalid Zone State Transition", unix.EIO, toDestination, true},
	0x280: {"Write Fault", unix.ENODATA, toDestination, true},
	0x281: {"Unrecovered Read Error", unix.ENODATA, fromSource, true},
	0x282: {"End-to-end Guard Check Error", unix.EILSEQ, "", true},
	0x283: {"End-to-end Application Tag Check Error", unix.EILSEQ, "", true},
	0x284: {"End-to-end Reference Tag Check Error", unix.EILSEQ, "", true},
	0x286: {"Access Denied", unix.ENODATA, "", true},
	0x287: {"Deallocated or Unwritten Logical Block", unix.ENODATA, fromSource, true},
	0x370: {"Host Pathing Error", unix.ENOLINK, "", false},
	0x371: {"Command Aborted By Host", unix.EIO, "", false},
}
