package disk

import (
	"fmt"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
	"golang.org/x/sys/unix"
)

// CopyNVMeUnchecked is CopyNVMe for testing devices: it sends a command whose sources overlap its destination, which devices
// are known to answer with success and wrong data (QEMU 10.0.2, format 0, several ranges). Nothing that copies for somebody
// may use it. All else is refused as by CopyNVMe: every range, in sectors, is of whole logical blocks and inside the disk, or
// the partition.
//
// status is the device's answer, an NVMe status of 11 bits, 0 for success; result is dword 0 of the completion: of a failed
// copy the lowest source range that is not copied. An error is that nothing was sent (ErrCopyRequest and the others of
// CopyNVMe), or that the kernel could not.
func (d *Disk) CopyNVMeUnchecked(sources []target.Range, dst uint64, fua bool) (status uint16, result uint32, err error) {
	fd, err := d.openWrite("copy")
	if err != nil {
		return 0, 0, err
	}
	if d.copy.Method != limits.NVMeCopy {
		return 0, 0, fmt.Errorf("disk %s: copy: not by NVMe: %s: %w", d.info.Name, d.copy.Reason, unix.EOPNOTSUPP)
	}
	if _, err := d.checkPlaces(fd, d, sources, dst); err != nil {
		return 0, 0, fmt.Errorf("disk %s: %w", d.info.Name, err)
	}
	raw, result, err := d.sendCopy(fd, d, sources, dst, fua)
	if err != nil {
		return 0, 0, fmt.Errorf("disk %s: nvme copy: %w", d.info.Name, err)
	}
	return uint16(raw & nvmeStatusMask), result, nil
}
