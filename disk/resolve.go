package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/ublk-go/ublk-linear/limits"
	"golang.org/x/sys/unix"
)

// node is a block device, found.
type node struct {
	name  string // the kernel's: "nvme0n1p1"
	path  string // "/dev/nvme0n1p1"
	whole string // the name of its disk, name itself unless it is a partition
	rdev  uint64
}

// maxLinks is the kernel's limit for one path (MAXSYMLINKS).
const maxLinks = 40

// resolve follows path to a block device. What is below /dev is looked up in o.Dev, and the kernel's name
// of a device number in o.Sys. steps is the path, then what each symbolic link led to.
func resolve(given string, o *Options) (n node, steps []string, err error) {
	cur := filepath.Clean(given)
	if !filepath.IsAbs(cur) {
		return n, nil, fmt.Errorf("path %s: a block device is named by its absolute path; a regular file by file =", given)
	}
	for range maxLinks {
		if !inDev(cur) {
			if dir, err := filepath.EvalSymlinks(filepath.Dir(cur)); err == nil {
				cur = filepath.Join(dir, filepath.Base(cur)) // folders may be links too
			}
		}
		steps = append(steps, cur)
		fi, err := lstat(cur, o)
		if err != nil {
			return n, steps, missing(given, cur, err)
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			err := n.identify(given, cur, fi, o)
			return n, steps, err
		}
		target, err := readlink(cur, o)
		if err != nil {
			return n, steps, fmt.Errorf("path %s: %w", given, err)
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(cur), target)
		}
		cur = filepath.Clean(target)
	}
	return n, steps, fmt.Errorf("path %s: %w", given, unix.ELOOP)
}

// identify fills in what fi, found at cur, is.
func (n *node) identify(given, cur string, fi fs.FileInfo, o *Options) error {
	switch {
	case fi.Mode().IsRegular():
		return fmt.Errorf("path %s: is a regular file, not a block device: use file = %q", given, given)
	case fi.Mode()&fs.ModeDevice == 0 || fi.Mode()&fs.ModeCharDevice != 0:
		return fmt.Errorf("path %s: %s is not a block device but %s: %w", given, cur, what(fi.Mode()), unix.ENOTBLK)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		n.rdev = uint64(st.Rdev)
		if name, err := kernelName(n.rdev, o); err == nil {
			return n.fill(name, o)
		}
	}
	// Without dev/block: the device of that name, unless its number is another.
	rdev := n.rdev
	err := n.fill(sysName(cur), o)
	if err == nil && rdev != 0 && rdev != n.rdev {
		err = fmt.Errorf("path %s: sysfs has no block device %s", given, majorMinor(rdev))
	}
	return err
}

// fill sets everything from the kernel's name.
func (n *node) fill(name string, o *Options) error {
	whole, err := limits.WholeDisk(o.Sys, name)
	if err != nil {
		return err
	}
	rdev, err := parseNumber(attr(o.Sys, name, "dev"))
	if err != nil {
		return fmt.Errorf("sysfs %s: dev: %w", name, err)
	}
	n.name, n.whole, n.rdev = name, whole, rdev
	n.path = devPath(name)
	return nil
}

// kernelName is the kernel's name of a device number.
func kernelName(rdev uint64, o *Options) (string, error) {
	target, err := fs.ReadLink(o.Sys, "dev/block/"+majorMinor(rdev))
	if err != nil {
		return "", err
	}
	return path.Base(target), nil
}

// nodeOf is the node of a name that sysfs has.
func nodeOf(name string, o *Options) (node, error) {
	var n node
	err := n.fill(name, o)
	return n, err
}

func lstat(p string, o *Options) (fs.FileInfo, error) {
	if inDev(p) {
		return fs.Lstat(o.Dev, p[len("/dev/"):])
	}
	return os.Lstat(p)
}

func readlink(p string, o *Options) (string, error) {
	if inDev(p) {
		return fs.ReadLink(o.Dev, p[len("/dev/"):])
	}
	return os.Readlink(p)
}

func inDev(p string) bool { return strings.HasPrefix(p, "/dev/") }

// missing says what to do about a path that cannot be looked up.
func missing(given, cur string, err error) error {
	at := ""
	if cur != filepath.Clean(given) {
		at = " leads to " + cur + ", which"
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("path %s:%s is not there: the disk is not attached, or the name is misspelt (ls -l /dev/disk/by-id): %w",
			given, at, unix.ENOENT)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("path %s: needs root: %w", given, err)
	}
	return fmt.Errorf("path %s: %w", given, err)
}

func what(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m.IsRegular():
		return "a regular file"
	case m&fs.ModeCharDevice != 0:
		return "a character device"
	case m&fs.ModeDevice != 0:
		return "a block device"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "something else"
}

// devPath is where the node of a kernel name is: sysfs has ! for the / of cciss/c0d0.
func devPath(name string) string { return "/dev/" + strings.ReplaceAll(name, "!", "/") }

// sysName is the inverse of devPath.
func sysName(p string) string {
	return strings.ReplaceAll(strings.TrimPrefix(p, "/dev/"), "/", "!")
}

// attr is a sysfs attribute of a block device, "" if it does not have it.
func attr(sys fs.FS, dev, name string) string {
	b, err := fs.ReadFile(sys, path.Join("class/block", dev, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func majorMinor(rdev uint64) string {
	return fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev))
}

// parseNumber is the inverse of majorMinor.
func parseNumber(s string) (uint64, error) {
	a, b, _ := strings.Cut(s, ":")
	major, err := strconv.ParseUint(a, 10, 32)
	if err != nil {
		return 0, err
	}
	minor, err := strconv.ParseUint(b, 10, 32)
	if err != nil {
		return 0, err
	}
	return unix.Mkdev(uint32(major), uint32(minor)), nil
}
