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
//   - of a SCSI disk, or a partition of one, it is the LUN, though CopySCSI goes from one to another too;
//   - of a file it is the file system, its f_fsid and st_dev, if that shares blocks between files (reflink): see CopyRange.
//     Nothing is bounded.
//
// A disk without the ability says why in Reason. Finding out never fails Open.
func (d *Disk) Copy() limits.Copy { return d.copy }

func noCopy(format string, a ...any) limits.Copy {
	return limits.Copy{Method: limits.NoCopy, Reason: fmt.Sprintf(format, a...)}
}

// blockCopy is the ability of an open block device.
func blockCopy(fd int, info *Info, o *Options) (limits.Copy, *scsiAbility) {
	switch whole := info.dev.whole; {
	case isNVMe(whole):
		return nvmeCopy(fd, info, o, identifyNVMe), nil
	case isSCSI(whole):
		return scsiCopy(fd, info, callSCSI)
	}
	return noCopy("neither an NVMe namespace nor a SCSI disk"), nil
}

// memoryCopy: tmpfs has no copy of its own, so copy_file_range would move every page through a pipe.
func memoryCopy() limits.Copy { return noCopy("memory does not copy by itself") }

// fileCopy is the ability of the open file: that its file system lets files share blocks. copy_file_range is no ability. It
// works everywhere, but a file system that does not share has no copy of its own, and the kernel reads and writes every
// page (splice in vfs_copy_file_range): measured on ext4, and on XFS without reflink. Those of networks and FUSE may have
// one, but nothing tells whether their server does.
//
// No data is touched: FICLONERANGE of a range onto itself is EINVAL, since it overlaps, from a file system that shares, and
// EOPNOTSUPP from one that does not. A file opened for reading cannot be asked: it only is what is copied from, and the
// file system's type is believed.
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
	err := patient(func() error { return cloneRange(fd, fd, 0, 0, uint64(max(st.Bsize, 512))) })
	return sharing(uint32(st.Type), err, fsDomain(uint32(st.Fsid.Val[0]), uint32(st.Fsid.Val[1]), dev))
}

// sharing is the ability of a file whose file system, of that type, answered err to the range onto itself.
func sharing(magic uint32, err error, domain string) limits.Copy {
	if errors.Is(err, unix.EBADF) { // opened for reading
		if err = unix.EOPNOTSUPP; sharesByType(magic) {
			err = nil
		}
	}
	switch {
	case err == nil, errors.Is(err, unix.EINVAL):
		return limits.Copy{Method: limits.FileCopy, Domain: domain}
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY):
		return noCopy("%s does not share blocks between files, and copy_file_range would go through memory", fsName(magic))
	}
	return noCopy("FICLONERANGE: %v", err)
}

// bcachefsMagic is BCACHEFS_STATFS_MAGIC.
const bcachefsMagic = 0xca451a4e

// sharesByType says which file systems share blocks unless they were made without.
func sharesByType(magic uint32) bool {
	switch magic {
	case unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC, bcachefsMagic:
		return true
	}
	return false
}

func fsName(magic uint32) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "this XFS"
	}
	return fmt.Sprintf("the file system (type 0x%x)", magic)
}

func fsDomain(fsid0, fsid1 uint32, dev uint64) string {
	if fsid0|fsid1 == 0 {
		return "fs-" + majorMinor(dev)
	}
	return fmt.Sprintf("fs-%08x%08x-%s", fsid0, fsid1, majorMinor(dev))
}
