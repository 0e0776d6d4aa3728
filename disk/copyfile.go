package disk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxCopyRange bounds one call, in bytes, so that done follows what is under way. The kernel stops before 2 GiB anyway.
const maxCopyRange = 1 << 30

// CopyRange copies n bytes from byte from of src to byte to of d; both are files, and may be the same one. done is how many
// bytes from to on are copied for certain, all without an error; behind them the range is old, new or a mix of both. Nothing
// is durable before Sync. It goes on after short copies, EINTR and, for a while, EAGAIN.
//
// With share the two files may have the blocks in common afterwards (FICLONERANGE): nothing is moved, a write to either
// takes new space and may fail with ENOSPC, and a bad block is bad in both. What cannot be shared is copied.
//
// Without share it is a second copy. copy_file_range has no flag for that: on the file systems that share, and those are
// the ones whose Copy is FileCopy, it shares before it copies (remap_file_range in vfs_copy_file_range). So there it is
// refused with EOPNOTSUPP, and the caller has to read and write. On others it is the kernel that copies, through its memory:
// correct, also between descriptors for direct I/O (no page cache is left behind, and what is not whole blocks is EINVAL), but
// in pieces of a pipe's length, and so two to four times slower than Readv and Writev of a MiB each on ext4.
//
// ErrCopyRequest is a range past an end (copy_file_range would make the file longer), or one that overlaps itself. EXDEV
// is another file system, EROFS a read-only d. A file that ends before its length is EIO.
func (d *Disk) CopyRange(src *Disk, from, to, n uint64, share bool) (done uint64, err error) {
	fd, err := d.openWrite("copy")
	if err != nil {
		return 0, err
	}
	srcFD, err := src.open("copy")
	if err != nil {
		return 0, err
	}
	switch {
	case d.info.Kind != File || src.info.Kind != File:
		return 0, fmt.Errorf("disk %s: copy from %s: only files copy so: %w", d.info.Name, src.info.Name, unix.EOPNOTSUPP)
	case !src.within(from, n) || !d.within(to, n):
		return 0, fmt.Errorf("disk %s: %w: %d bytes from %d of %s to %d reach past an end", d.info.Name, ErrCopyRequest, n, from, src.info.Name, to)
	case d.info.inode == src.info.inode && from < to+n && to < from+n:
		return 0, fmt.Errorf("disk %s: %w: %d bytes from %d to %d overlap", d.info.Name, ErrCopyRequest, n, from, to)
	case !share && d.copy.Can():
		return 0, fmt.Errorf("disk %s: copy: the file system shares blocks instead of copying: %w", d.info.Name, unix.EOPNOTSUPP)
	}
	if share {
		done, err = d.cloneAll(fd, srcFD, from, to, n)
	}
	if err == nil {
		done, err = d.copyAll(fd, srcFD, from, to, n, done)
	}
	return done, d.failed("copy from "+src.info.Name, to+done, err)
}

// cloneAll shares from the front as much as can be shared. That it cannot is no error: what comes is copied.
func (d *Disk) cloneAll(fd, src int, from, to, n uint64) (done uint64, err error) {
	for done < n {
		part := min(n-done, maxCopyRange)
		err := patient(func() error { return d.calls.clone(fd, src, from+done, to+done, part) })
		switch {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EXDEV):
			return done, nil // not aligned to the file system's block, or not its business
		case err != nil:
			return done, err
		}
		done += part
	}
	return done, nil
}

// copyAll goes on from done to n.
func (d *Disk) copyAll(fd, src int, from, to, n, done uint64) (uint64, error) {
	var t tries
	for done < n {
		got, err := d.calls.copyRange(fd, src, int64(from+done), int64(to+done), int(min(n-done, maxCopyRange)))
		switch {
		case err == nil && got > 0:
			done += uint64(got)
			t = 0
		case err == nil:
			return done, errEnd
		case !t.again(err):
			return done, err
		}
	}
	return done, nil
}
