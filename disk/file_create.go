package disk

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// createFile makes a sparse file of the given length, 0600, unless one is there; 0 bytes makes none. The
// file and its name are on the disk when it returns, and a file that could not be given its length does
// not stay. It is locked until it has its length, so that another that opens it as a disk waits.
func createFile(name string, bytes uint64) (err error) {
	if bytes == 0 {
		return nil
	}
	fd, err := retry(func() (int, error) {
		return unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	})
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return explainCreate(name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("file %s: create: %w", name, err), unix.Unlink(name))
		}
	}()
	defer func() { err = errors.Join(err, unix.Close(fd)) }()

	// Best effort: a file system without locks is refused when the disk is opened.
	_ = lockFile(fd)
	if err := unix.Ftruncate(fd, int64(bytes)); err != nil {
		return fmt.Errorf("length of %d bytes: %w", bytes, err)
	}
	if err := unix.Fsync(fd); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(name))
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("folder %s: %w", dir, err)
	}
	err = unix.Fsync(fd)
	if errors.Is(err, unix.EINVAL) { // the file system has no way to
		err = nil
	}
	return errors.Join(err, unix.Close(fd))
}

func explainCreate(name string, err error) error {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("file %s: create: its folder must be there: %w", name, unix.ENOENT)
	}
	return explainFile(name, fmt.Errorf("create: %w", err))
}
