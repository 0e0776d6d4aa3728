package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Measure asks the kernel for the length of the open disk, in sectors: a file, a logical volume or a namespace may have
// grown since. Nothing relies on it before SetSectors. Memory stays as it is.
func (d *Disk) Measure() (uint64, error) {
	fd, err := d.open("length")
	if err != nil {
		return 0, err
	}
	size, err := d.calls.seek(fd, 0, unix.SEEK_END)
	if err != nil {
		return 0, fmt.Errorf("disk %s: length: %w", d.info.Name, err)
	}
	return uint64(size) / 512, nil
}

// SetSectors is the length that Sectors and the bounds of reads, writes and copies have from now on: one that Measure has
// found. It may be called while I/O is under way.
func (d *Disk) SetSectors(n uint64) { d.length.Store(n) }
