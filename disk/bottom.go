package disk

import (
	"math"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
)

// InspectLimits is Inspect with what the disk would bring into stacking, again without opening it. What only opening tells
// is taken for granted: that a file system punches holes, and that the kernel has BLOCK_URING_CMD_DISCARD.
func InspectLimits(s Spec, o *Options) (Info, limits.Bottom, error) {
	info, err := Inspect(s, o)
	if err != nil {
		return info, limits.Bottom{}, err
	}
	switch info.Kind {
	case Memory:
		return info, limits.Bottom{Limits: memoryLimits(), Sectors: info.Sectors}, nil
	case File:
		l := softLimits(info.LogicalBlock)
		l.WriteCache, l.FUA, l.ReadOnly = true, true, info.ReadOnly
		if !info.ReadOnly {
			l.MaxDiscardSectors, l.MaxHWDiscardSectors = math.MaxUint32>>9, math.MaxUint32>>9
			l.MaxWriteZeroesSectors = math.MaxUint32 >> 9
			l.DiscardGranularity = max(4096, info.LogicalBlock)
		}
		return info, limits.Bottom{Limits: l, Sectors: info.Sectors}, nil
	}
	b, err := limits.ReadBottom(o.withDefaults().Sys, info.dev.name)
	return info, b, s.named(err)
}

// Bottom is an open disk as stacking sees it: for a partition its whole disk's limits, and where on it the partition begins.
func (d *Disk) Bottom(o *Options) limits.Bottom {
	own := limits.Bottom{Limits: d.Limits(), Sectors: d.Sectors()}
	if d.info.Kind != Block {
		return own
	}
	b, err := limits.ReadBottom(o.withDefaults().Sys, d.info.dev.name)
	if err != nil {
		return own // it was read a moment ago, when the disk was opened
	}
	own.Start, own.AlignmentOffset, own.Misaligned, own.Atomic = b.Start, b.AlignmentOffset, b.Misaligned, b.Atomic
	return own
}

// InspectCopy is the copy ability of what InspectLimits found, which it opens without holding it: that takes the permission
// to open it. A block device is opened for reading. So is a file that is read-only or cannot be opened otherwise; others
// are opened for writing, since only that can be asked (fileCopy), and nothing is written. What cannot be found out is the
// Reason of a disk without the ability.
func InspectCopy(info Info, o *Options) limits.Copy {
	if info.Kind == Memory {
		return memoryCopy()
	}
	if info.Kind == Block && !isNVMe(info.dev.whole) && !isSCSI(info.dev.whole) {
		c, _ := blockCopy(-1, &info, nil)
		return c
	}
	fd, err := -1, error(unix.EROFS)
	if info.Kind == File && !info.ReadOnly {
		fd, err = openFile(info.Node, unix.O_RDWR|unix.O_CLOEXEC)
	}
	if err != nil {
		fd, err = openFile(info.Node, unix.O_RDONLY|unix.O_CLOEXEC)
	}
	if err != nil {
		return noCopy("open: %v", err)
	}
	defer unix.Close(fd)
	if info.Kind == File {
		return fileCopy(fd, info.inode[0])
	}
	c, _ := blockCopy(fd, &info, o.withDefaults())
	return c
}
