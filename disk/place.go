package disk

import (
	"fmt"
	"strconv"
)

// place is where a block device lies.
type place struct {
	whole uint64 // the number of the whole disk
	start uint64 // where on it the device begins, in sectors
}

// Whole is the device number of the whole disk that a block device lies on, as in st_rdev: its own unless it is a
// partition. It is 0 for files and memory, and where sysfs did not say. Two disks of one copy Domain are the same
// namespace for certain only if Whole is the same and not 0.
func (d *Disk) Whole() uint64 { return d.place.whole }

// Start is the sector of the whole disk at which a partition begins; 0 for all others.
func (d *Disk) Start() uint64 { return d.place.start }

// placeOf reads sysfs. A partition whose start is not there is an error, and never at 0: commands would go to the wrong
// blocks.
func placeOf(n node, o *Options) (place, error) {
	if n.whole == n.name {
		return place{whole: n.rdev}, nil
	}
	whole, err := parseNumber(attr(o.Sys, n.whole, "dev"))
	if err != nil {
		return place{}, fmt.Errorf("sysfs %s: dev: %w", n.whole, err)
	}
	start, err := strconv.ParseUint(attr(o.Sys, n.name, "start"), 10, 64)
	if err != nil {
		return place{}, fmt.Errorf("sysfs %s: start: %w", n.name, err)
	}
	return place{whole: whole, start: start}, nil
}
