package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openFileDisk opens a regular file, in this order:
//  1. make it if it is to be made and is not there;
//  2. open it, once, for direct I/O where the file system has that;
//  3. lock it, and wait for a lock that is about to end;
//  4. check its length, which whoever had the lock may have changed, and ask what the file system can do.
//
// The lock is flock: it is the open file's and so lasts, as O_EXCL on a block device, until I/O in flight
// has ended. POSIX locks do not. It excludes only those who lock as well.
func openFileDisk(ctx context.Context, s *Spec, o *Options) (d *Disk, err error) {
	if err := createFile(s.File, s.Create); err != nil {
		return nil, err
	}
	if _, err := statRegular(s.File); err != nil {
		return nil, err
	}
	fd, direct, err := openDirect(s, o)
	if err != nil {
		return nil, explainFile(s.File, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	st, err := o.kernel.stat(fd)
	if err != nil {
		return nil, fmt.Errorf("file %s: stat: %w", s.File, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("file %s became something else while it was opened: %w", s.File, unix.ESTALE)
	}
	err = hold(ctx, o, s.File,
		func() error { return o.kernel.lock(fd) },
		func() []found { return lockers(realPath(s.File), st, o) })
	if _, busy := errors.AsType[*BusyError](err); err != nil && !busy {
		return nil, fmt.Errorf("file %s: lock: the file system must have locks, or writes of a killed server are not waited for: %w", s.File, err)
	} else if err != nil {
		return nil, err
	}

	if st, err = o.kernel.stat(fd); err != nil {
		return nil, fmt.Errorf("file %s: stat: %w", s.File, err)
	}
	a, err := fileAlign(fd, "", st, o)
	if err != nil {
		return nil, fmt.Errorf("file %s: statx: %w", s.File, err)
	}
	if direct && !a.direct {
		o.Logger.Info("file system has no direct I/O, using the page cache", "dev", s.File)
		if err := setBuffered(fd); err != nil {
			return nil, fmt.Errorf("file %s: page cache: %w", s.File, err)
		}
	}
	if !direct || !a.direct {
		a = align{block: 512, dma: 512, blksize: a.blksize}
	}
	info := fileInfo(s, st, a)
	if err := checkLength(s, st.Bytes, a); err != nil {
		return nil, err
	}
	for name, file := range loopFiles(o) {
		if file == realPath(s.File) {
			o.Logger.Warn("a loop device uses the file as well", "dev", s.File, "loop", name)
		}
	}
	d = newDisk(fd, info, fileLimits(fd, info, a))
	d.noZero = !info.ReadOnly && !zeroes(fd, st.Bytes, int64(a.block))
	d.copy = fileCopy(fd, st.Dev)
	return d, nil
}

// openDirect opens with O_DIRECT, or without it (direct is false) on a file system that refuses.
func openDirect(s *Spec, o *Options) (fd int, direct bool, err error) {
	flags := unix.O_RDWR | unix.O_CLOEXEC
	if s.ReadOnly {
		flags = unix.O_RDONLY | unix.O_CLOEXEC
	}
	fd, err = o.kernel.open(s.File, flags|unix.O_DIRECT)
	if !errors.Is(err, unix.EINVAL) {
		return fd, true, err
	}
	o.Logger.Info("file system has no direct I/O, using the page cache", "dev", s.File)
	fd, err = o.kernel.open(s.File, flags)
	return fd, false, err
}

// setBuffered takes O_DIRECT back.
func setBuffered(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags&^unix.O_DIRECT)
	return err
}

// inspectFile is Inspect for a file.
func inspectFile(s *Spec, o *Options) (Info, error) {
	info := Info{Name: s.Name, Kind: File, Node: s.File, ReadOnly: s.ReadOnly}
	st, err := statRegular(s.File)
	if errors.Is(err, unix.ENOENT) && s.Create != 0 {
		info.Sectors, info.LogicalBlock = s.Create/512, 512
		if _, err := os.Stat(filepath.Dir(s.File)); err != nil {
			return info, explainCreate(s.File, err)
		}
		return info, nil
	}
	if err != nil {
		return info, err
	}
	a, err := fileAlign(unix.AT_FDCWD, s.File, st, o)
	if err != nil {
		return info, fmt.Errorf("file %s: statx: %w", s.File, err)
	}
	return fileInfo(s, st, a), checkLength(s, st.Bytes, a)
}

func fileInfo(s *Spec, st state, a align) Info {
	return Info{
		Name: s.Name, Kind: File, Node: s.File, Sectors: st.Bytes / 512, LogicalBlock: a.block,
		ReadOnly: s.ReadOnly, inode: [2]uint64{st.Dev, st.Ino},
	}
}

// statRegular looks before opening: opening a pipe or a tape would do something.
func statRegular(name string) (state, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return state{}, explainFile(name, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return state{Mode: st.Mode, Dev: st.Dev, Ino: st.Ino, Bytes: uint64(st.Size)}, nil
	case unix.S_IFBLK:
		return state{}, fmt.Errorf("file %s: is a block device: use path = %q: %w", name, name, unix.EINVAL)
	case unix.S_IFDIR:
		return state{}, fmt.Errorf("file %s: %w", name, unix.EISDIR)
	}
	return state{}, fmt.Errorf("file %s: is not a regular file: %w", name, unix.EINVAL)
}

// checkLength refuses what no disk can be: a device ends with a whole block, and rounding the length down
// would hide what the file ends with.
func checkLength(s *Spec, bytes uint64, a align) error {
	switch block := uint64(a.block); {
	case bytes < s.Create:
		return fmt.Errorf("file %s: has %d bytes, %d less than create = %d: it is never resized: %w",
			s.File, bytes, s.Create-bytes, s.Create, unix.EINVAL)
	case bytes == 0:
		return fmt.Errorf("file %s: is empty: %w", s.File, unix.EINVAL)
	case bytes%block != 0:
		return fmt.Errorf("file %s: %d bytes is not a multiple of its block of %d: %d over, %d short: %w",
			s.File, bytes, block, bytes%block, block-bytes%block, unix.EINVAL)
	}
	return nil
}

func explainFile(name string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = "is not there; create = makes it: "
		err = unix.ENOENT
	case errors.Is(err, fs.ErrPermission):
		hint = "no permission: needs its owner, or root: "
	case errors.Is(err, unix.EROFS):
		return readOnly("file " + name)
	case errors.Is(err, unix.ETXTBSY):
		hint = "is being run, or swapped to: "
	}
	return fmt.Errorf("file %s: %s%w", name, hint, err)
}

// realPath is the name that /proc and sysfs have for an open file.
func realPath(name string) string {
	abs, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	return abs
}
