package disk

import (
	"errors"

	"golang.org/x/sys/unix"
)

// kernel is the few calls that touch a device, so that tests can stand in for it.
type kernel struct {
	open func(path string, flags int) (fd int, err error)
	stat func(fd int) (state, error)
	lock func(fd int) error // flock(LOCK_EX|LOCK_NB)
}

// state is what an open file says of itself.
type state struct {
	Mode     uint32 // st_mode
	Dev, Ino uint64
	Rdev     uint64
	Bytes    uint64
	ReadOnly bool // block devices
}

func systemKernel() *kernel {
	return &kernel{open: openFile, stat: statFile, lock: lockFile}
}

// openFile is open(2) without a mode. Opening a device may wait for it, and so be interrupted.
func openFile(path string, flags int) (int, error) {
	return retry(func() (int, error) { return unix.Open(path, flags, 0) })
}

func lockFile(fd int) error {
	_, err := retry(func() (int, error) { return 0, unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	return err
}

// statFile is fstat(2), and for a block device its length and whether it is read-only.
func statFile(fd int) (state, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return state{}, err
	}
	s := state{Mode: st.Mode, Dev: st.Dev, Ino: st.Ino, Rdev: st.Rdev, Bytes: uint64(st.Size)}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return s, nil
	}
	end, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err != nil {
		return state{}, err
	}
	s.Bytes = uint64(end)
	ro, err := unix.IoctlGetUint32(fd, unix.BLKROGET)
	s.ReadOnly = ro != 0
	return s, err
}

func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}
