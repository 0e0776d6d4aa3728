package disk

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
)

// openBlock opens a block device, in this order:
//  1. find the device and check all that sysfs says: name, length, read-only, not ours (inspectBlock);
//  2. open it with O_EXCL, once, and wait for a hold that is about to end;
//  3. check that what was opened is what was found: its number and its length may have changed since;
//  4. ask where it lies (placeOf) and how it copies (blockCopy), which never fails Open.
//
// O_EXCL is bd_prepare_to_claim in the kernel: it excludes other holders, among them mounts, swap and
// device-mapper, of the device, of the disk that it is part of and of its partitions. Opens without
// O_EXCL are not excluded.
func openBlock(ctx context.Context, s *Spec, o *Options) (d *Disk, err error) {
	info, l, err := inspectBlock(s, o)
	if err != nil {
		return nil, err
	}
	flags := unix.O_RDWR
	if s.ReadOnly {
		flags = unix.O_RDONLY
	}
	flags |= unix.O_DIRECT | unix.O_EXCL | unix.O_CLOEXEC

	fd := -1
	defer func() {
		if err != nil && fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	err = hold(ctx, o, info.Node,
		func() (err error) {
			fd, err = o.kernel.open(info.Node, flags)
			return err
		},
		func() []found { return holdersOf(info.dev, o) })
	if err != nil {
		return nil, explainOpen(info.Node, err)
	}

	st, err := o.kernel.stat(fd)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: stat: %w", info.Node, err)
	case st.Mode&unix.S_IFMT != unix.S_IFBLK || st.Rdev != info.Rdev:
		return nil, fmt.Errorf("%s became another device while it was opened: %w", info.Node, unix.ESTALE)
	case st.ReadOnly && !s.ReadOnly:
		return nil, readOnly(info.Node)
	case st.Bytes/512 == 0:
		return nil, fmt.Errorf("%s has no sectors: %w", info.Node, unix.ENOMEDIUM)
	}
	info.Sectors = st.Bytes / 512
	info.ReadOnly = s.ReadOnly
	l.ReadOnly = s.ReadOnly
	d = newDisk(fd, info, l)
	d.prompt = nonBlocking(info.dev.whole, o)
	d.queue, _ = limits.QueueBytes(o.Sys, info.dev.name) // what cannot be read is unknown
	if d.place, err = placeOf(info.dev, o); err != nil {
		d.copy = noCopy("its place is unknown: %v", err)
		return d, nil
	}
	d.copy, d.scsi = blockCopy(fd, &d.info, o)
	return d, nil
}

// explainOpen says what to do about an errno of open(2).
func explainOpen(what string, err error) error {
	if _, busy := errors.AsType[*BusyError](err); busy {
		return err
	}
	hint := ""
	switch {
	case errors.Is(err, unix.EROFS):
		return readOnly(what)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		hint = "needs root, and in a container a device cgroup that allows it: "
	case errors.Is(err, unix.ENOENT):
		hint = "went away, or /dev does not have it: "
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		hint = "the device went away: "
	case errors.Is(err, unix.ENOMEDIUM):
		hint = "nothing is in the drive: "
	}
	return fmt.Errorf("%s: open: %s%w", what, hint, err)
}
