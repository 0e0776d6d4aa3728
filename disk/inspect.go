package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/ublk-go/ublk-linear/limits"
	"golang.org/x/sys/unix"
)

// Info is what can be known of a disk without opening it.
type Info struct {
	Name         string // what the configuration calls it
	Kind         Kind
	Node         string // "/dev/nvme0n1", the path of a file, or "memory"
	Rdev         uint64 // of a block device, else 0
	Sectors      uint64
	LogicalBlock uint32 // bytes
	Identity     Identity
	ReadOnly     bool

	dev   node      // a block device
	inode [2]uint64 // a file's st_dev and st_ino; zero if it is not there yet
}

// Inspect finds and checks the disk that s names, without opening or holding it; it needs no root. It
// fails as Open would, but for what only opening tells: that the disk is busy, or the permission to open
// it missing. The Info is filled in as far as the error lets it: with an *UnstableError, or EROFS, it is
// whole. A file that is yet to be made is described as it would be.
func Inspect(s Spec, o *Options) (Info, error) {
	if err := s.Validate(); err != nil {
		return Info{Name: s.Name}, s.named(err)
	}
	opt := o.withDefaults()
	var info Info
	var err error
	switch {
	case s.File != "":
		info, err = inspectFile(&s, opt)
	case s.Memory != 0:
		info = memoryInfo(&s)
	default:
		info, _, err = inspectBlock(&s, opt)
	}
	info.Name = s.Name
	return info, s.named(err)
}

// inspectBlock does all of Open that needs no open device. The problems that do not hide each other are
// returned together.
func inspectBlock(s *Spec, o *Options) (Info, limits.Limits, error) {
	info := Info{Name: s.Name, Kind: Block, ReadOnly: s.ReadOnly}
	var n node
	var steps []string
	var err error
	if s.Match != nil {
		n, err = findMatch(s.Match, o)
	} else {
		n, steps, err = resolve(s.Path, o)
	}
	if err != nil {
		return info, limits.Limits{}, err
	}
	info.dev, info.Node, info.Rdev = n, n.path, n.rdev
	info.Identity = readIdentity(n, o)

	var errs []error
	if s.Path != "" && !s.UnstablePath {
		errs = append(errs, checkStable(s.Path, n, steps, o))
	}
	if ours := servedBelow(n, o); ours != "" {
		errs = append(errs, fmt.Errorf("%s is, or stands on, %s that ublk-linear serves: a device cannot stand on itself: %w",
			n.path, ours, unix.ELOOP))
	}
	info.Sectors, err = limits.Sectors(o.Sys, n.name)
	errs = append(errs, err)
	if err == nil && info.Sectors == 0 {
		errs = append(errs, fmt.Errorf("%s has no sectors: nothing is in the drive, or it is not set up: %w", n.path, unix.ENOMEDIUM))
	}
	l, err := limits.Read(o.Sys, n.name)
	errs = append(errs, err)
	info.LogicalBlock = l.LogicalBlock
	if l.ReadOnly && !s.ReadOnly {
		errs = append(errs, readOnly(n.path))
	}
	info.ReadOnly = s.ReadOnly || l.ReadOnly
	return info, l, errors.Join(errs...)
}

func readOnly(what string) error {
	return fmt.Errorf("%s is read-only: read_only = true uses it so: %w", what, unix.EROFS)
}

// servedBelow is the name of our own device that n is, or is made of; "" if there is none.
func servedBelow(n node, o *Options) string {
	seen := map[string]bool{}
	var walk func(name string) string
	walk = func(name string) string {
		if seen[name] {
			return ""
		}
		seen[name] = true
		if strings.HasPrefix(name, "ublkb") {
			return o.Served(name)
		}
		slaves, _ := fs.ReadDir(o.Sys, path.Join("class/block", name, "slaves"))
		for _, s := range slaves {
			whole, err := limits.WholeDisk(o.Sys, s.Name())
			if err != nil {
				continue
			}
			if ours := walk(whole); ours != "" {
				return ours
			}
		}
		return ""
	}
	if ours := walk(n.name); ours != "" {
		return ours
	}
	return walk(n.whole)
}
