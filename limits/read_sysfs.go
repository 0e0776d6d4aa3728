package limits

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
)

// Bottom is a disk as stacking is given it: for a partition, its whole disk's limits and where on it the partition begins
// (bdev_limits and get_start_sect, as queue_limits_stack_bdev has them). A partition that begins inside an atomic unit has
// no atomic writes, wherever on it they would begin (bdev_can_atomic_write).
type Bottom struct {
	Limits
	Sectors uint64 // length; 0: unknown, and not checked
	Start   uint64 // of a partition, in sectors
}

// ReadBottom reads a block device for stacking. dev is the kernel's name. Errors are Read's.
func ReadBottom(sys fs.FS, dev string) (Bottom, error) {
	whole, err := WholeDisk(sys, dev)
	if err != nil {
		return Bottom{}, err
	}
	l, err := Read(sys, whole)
	start, err2 := PartStart(sys, dev)
	if unit := uint64(max(l.Atomic.UnitMin, l.Atomic.Boundary)) / 512; unit != 0 && start%unit != 0 {
		l.Atomic = Atomic{}
	}
	sectors, err3 := Sectors(sys, dev)
	if dev != whole {
		own, err4 := Read(sys, dev)
		l.ReadOnly = l.ReadOnly || own.ReadOnly
		err = errors.Join(err, err4)
	}
	return Bottom{l, sectors, start}, errors.Join(err, err2, err3)
}

// QueueBytes is the most bytes of reads and writes that a hardware queue of a disk has at once, nr_requests of max_sectors_kb
// each; what is sent beyond that waits until one of them has ended, whoever sends it. It is 0, unknown, for a disk that
// takes bios without requests (dm-linear, md, the head of NVMe multipath), which has no nr_requests. dev is the kernel's name; a
// partition has the queue of its disk. Both attributes change when somebody writes to them, nr_requests also with the scheduler. A device that sys does
// not have is fs.ErrNotExist.
func QueueBytes(sys fs.FS, dev string) (uint64, error) {
	_, queue, err := queueDirs(sys, dev)
	if err != nil {
		return 0, err
	}
	a := attrs{sys: sys, dir: queue}
	requests, kib := a.uint32("nr_requests", 0), a.uint32("max_sectors_kb", 0)
	return min(uint64(requests)*uint64(kib), math.MaxUint64>>10) << 10, a.err()
}

// PartStart is the sector at which a partition begins on its disk; 0 for a whole disk. dev is the kernel's
// name. A device that sys does not have is fs.ErrNotExist.
func PartStart(sys fs.FS, dev string) (sectors uint64, err error) {
	dir, err := deviceDir(sys, dev)
	if err != nil {
		return 0, err
	}
	a := attrs{sys: sys, dir: dir}
	return a.uint64("start", 0), a.err()
}

// Sectors is the length of a block device. dev is the kernel's name; a device that sys does not have is
// fs.ErrNotExist.
func Sectors(sys fs.FS, dev string) (uint64, error) {
	dir, err := deviceDir(sys, dev)
	if err != nil {
		return 0, err
	}
	a := attrs{sys: sys, dir: dir}
	return a.uint64("size", 0), a.err()
}

// WholeDisk is the kernel's name of the disk that dev is a partition of, or dev itself if it is not a
// partition. A device that sys does not have is fs.ErrNotExist.
func WholeDisk(sys fs.FS, dev string) (string, error) {
	dir, err := deviceDir(sys, dev)
	if err != nil {
		return "", err
	}
	if !exists(sys, path.Join(dir, "partition")) {
		return dev, nil
	}
	// class/block/sda1 -> ../../devices/…/block/sda/sda1: the disk is the parent folder.
	if target, err := fs.ReadLink(sys, dir); err == nil {
		return path.Base(path.Dir(target)), nil
	}
	if parts, _ := fs.Glob(sys, "block/*/"+escape(dev)); len(parts) == 1 {
		return path.Base(path.Dir(parts[0])), nil
	}
	return "", fmt.Errorf("sysfs %s: disk of the partition: %w", dev, fs.ErrNotExist)
}

// queueDirs is the device's own folder and the queue folder that it has or shares.
func queueDirs(sys fs.FS, dev string) (self, queue string, err error) {
	if self, err = deviceDir(sys, dev); err != nil {
		return "", "", err
	}
	whole, err := WholeDisk(sys, dev)
	if err != nil {
		return "", "", err
	}
	dir, err := deviceDir(sys, whole)
	return self, path.Join(dir, "queue"), err
}

// deviceDir is where sys keeps dev: class/block has disks and partitions; without it, block has the disks
// and each disk its partitions.
func deviceDir(sys fs.FS, dev string) (string, error) {
	if dev == "" || dev == "." || dev == ".." || strings.Contains(dev, "/") {
		return "", fmt.Errorf("sysfs block device %q: %w", dev, fs.ErrInvalid)
	}
	var errs error
	for _, dir := range [...]string{"class/block/", "block/"} {
		_, err := fs.Stat(sys, dir+dev)
		if err == nil {
			return dir + dev, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			errs = errors.Join(errs, err)
		}
	}
	if parts, _ := fs.Glob(sys, "block/*/"+escape(dev)+"/dev"); len(parts) == 1 {
		return path.Dir(parts[0]), nil
	}
	if errs != nil {
		return "", fmt.Errorf("sysfs block device %s: %w", dev, errs)
	}
	return "", fmt.Errorf("sysfs block device %s: %w", dev, fs.ErrNotExist)
}

func exists(sys fs.FS, name string) bool {
	_, err := fs.Stat(sys, name)
	return err == nil
}

// escape quotes a name for path.Match.
func escape(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}
