package daemon

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// goneStates are what sysfs says of a device whose disk is gone or going: of SCSI (sdev_states) and of an NVMe controller
// (nvme_sysfs_show_state). A SCSI device that is blocked, and a controller that resets or connects, keep commands waiting and
// fail none; but see fails.
var goneStates = []string{"offline", "transport-offline", "cancel", "deleted", "deleting", "deleting (no IO)", "dead"}

// takesCommands says whether what a disk hangs on, a SCSI device or an NVMe controller, carries commands out or keeps them.
func takesCommands(sys fs.FS, dev string) bool {
	state := sysText(sys, dev, "state")
	return !slices.Contains(goneStates, state) && !fails(sys, dev, state)
}

// fails says whether a controller behind a fabric may fail commands while it tries to connect: it does after
// fast_io_fail_tmo, unless that is off (nvme_failfast_work, __nvme_check_ready).
func fails(sys fs.FS, dev, state string) bool {
	tmo := sysText(sys, dev, "fast_io_fail_tmo")
	return state == "connecting" && tmo != "" && tmo != "off"
}

// Linux puts NVMe namespaces of controllers that may share them below a disk of the subsystem (nvme-multipath), also where
// there is one controller. That disk has neither a state nor, while its last controller goes, a capacity of 0: it fails its
// commands with EIO as soon as no controller is left that could carry them out (nvme_available_path), which may be long before
// it is taken away. So its paths are asked.

// isSubsystem says whether the device that a disk hangs on is an NVMe subsystem.
func isSubsystem(sys fs.FS, dev string) bool {
	to, err := fs.ReadLink(sys, path.Join(dev, "subsystem"))
	return err == nil && path.Base(to) == "nvme-subsystem"
}

// anyPath says whether one of the paths to a subsystem's disk takes commands: nvme1n2 of nvme-subsys1 has, by each controller
// that is linked there, a disk nvme1cXn2, whose capacity is 0 as soon as it goes (nvme_ns_remove).
func anyPath(sys fs.FS, subsystem, disk string) bool {
	n := strings.LastIndexByte(disk, 'n')
	paths, err := fs.Glob(sys, path.Join(subsystem, "nvme*", disk[:n]+"c*"+disk[n:]))
	return err == nil && slices.ContainsFunc(paths, func(p string) bool {
		return hasSize(sys, p) && takesCommands(sys, path.Dir(p))
	})
}
