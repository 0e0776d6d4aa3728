package disk

import (
	"errors"
	"fmt"

	"github.com/ublk-go/ublk-linear/limits"
	"golang.org/x/sys/unix"
)

// Copy is the disk's own ability to copy, as of when it was opened. Copies are inside one Domain:
//
//   - of an NVMe disk, or a partition of one, it is the namespace. The blocks are those of the whole namespace;
//   - of a file it is the file system, its f_fsid and st_dev. Nothing is bounded: copy_file_range takes any length, and
//     may copy less. What the file system cannot copy by itself, the kernel copies, through its memory.
//
// A disk without the ability says why in Reason. Finding out never fails Open.
func (d *Disk) Copy() limits.Copy { return d.copy }

func noCopy(format string, a ...any) limits.Copy {
	return limits.Copy{Method: limits.NoCopy, Reason: fmt.Sprintf(format, a...)}
}

// blockCopy is the ability of an open block device.
func blockCopy(fd int, info *Info, o *Options) limits.Copy {
	if !isNVMe(info.dev.whole) {
		return noCopy("not an NVMe namespace; SCSI copy is not read yet")
	}
	return nvmeCopy(fd, info, o, identifyNVMe)
}

// memoryCopy: tmpfs has no copy of its own, so copy_file_range would move every page through a pipe.
func memoryCopy() limits.Copy { return noCopy("memory does not copy by itself") }

// fileCopy is the ability of the open file. No data is tried: a copy of no bytes, from the file to itself, passes all of the
// kernel's checks and ends before the file system is asked.
//
// The domain has f_fsid and st_dev because neither is enough: a mounted snapshot has its origin's f_fsid (ext4 makes it
// from the UUID), and st_dev may be used again for another file system. f_fsid is zero where there is none.
func fileCopy(fd int, dev uint64) limits.Copy {
	var st unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstatfs(fd, &st) }); err != nil {
		return noCopy("statfs: %v", err)
	}
	switch uint32(st.Type) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.HUGETLBFS_MAGIC:
		return memoryCopy()
	}
	var from, to int64
	_, err := retry(func() (int, error) { return unix.CopyFileRange(fd, &from, fd, &to, 0, 0) })
	if err != nil && !errors.Is(err, unix.EBADF) { // opened for reading, it still is what is copied from
		return noCopy("copy_file_range: %v", err)
	}
	return limits.Copy{Method: limits.FileCopy, Domain: fsDomain(uint32(st.Fsid.Val[0]), uint32(st.Fsid.Val[1]), dev)}
}

func fsDomain(fsid0, fsid1 uint32, dev uint64) string {
	if fsid0|fsid1 == 0 {
		return "fs-" + majorMinor(dev)
	}
	return fmt.Sprintf("fs-%08x%08x-%s", fsid0, fsid1, majorMinor(dev))
}
