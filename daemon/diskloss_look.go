package daemon

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
)

// blockDir is the folder of a block device's number in sysfs, and that of the disk which it is, or is part of.
func blockDir(sys fs.FS, rdev uint64) (own, whole string, err error) {
	link := fmt.Sprintf("dev/block/%d:%d", unix.Major(rdev), unix.Minor(rdev))
	to, err := fs.ReadLink(sys, link)
	if err != nil {
		return "", "", err
	}
	own = path.Join("dev/block", to)
	whole = own
	if _, err := fs.Stat(sys, path.Join(own, "partition")); err == nil {
		whole = path.Dir(own)
	}
	return own, whole, nil
}

func sysText(sys fs.FS, name ...string) string {
	b, err := fs.ReadFile(sys, path.Join(name...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// hasSize says whether sysfs has a block device with a capacity.
func hasSize(sys fs.FS, dir string) bool {
	size := sysText(sys, dir, "size")
	return size != "" && size != "0"
}

// isThere says whether a block device is there and takes commands: the kernel has it, with a capacity, and what it hangs on
// does not say that it is gone. Its number is no other's for as long as it is open.
func isThere(sys fs.FS, rdev uint64) bool {
	own, whole, err := blockDir(sys, rdev)
	if err != nil {
		return false
	}
	if !hasSize(sys, own) || sysText(sys, whole, "size") == "0" {
		return false
	}
	dev := path.Join(whole, "device")
	if isSubsystem(sys, dev) {
		return anyPath(sys, dev, path.Base(whole))
	}
	return takesCommands(sys, dev)
}

// knows says by what a disk is known again when it is back: its WWID or serial number, and a partition by its UUID besides.
// nil: by nothing. A partition's UUID alone is copied with the partition.
func knows(id disk.Identity, partition bool) map[string]string {
	out := map[string]string{}
	for k, v := range map[string]string{"wwid": id.WWID, "serial": id.Serial} {
		if v != "" {
			out[k] = v
		}
	}
	if len(out) == 0 || partition && id.PartUUID == "" {
		return nil
	}
	if partition {
		out["partuuid"] = id.PartUUID
	}
	return out
}

// isPartition says whether a block device is part of a disk.
func isPartition(sys fs.FS, rdev uint64) bool {
	own, whole, err := blockDir(sys, rdev)
	return err == nil && own != whole
}

// unknowable are the devices that are to wait for disks which nobody could know again.
func unknowable(f *config.File, sys fs.FS, infos map[string]disk.Info) config.Problems {
	var ps config.Problems
	for _, d := range f.Devices {
		if d.OnDiskLoss.Park() == 0 {
			continue
		}
		said := map[string]bool{}
		for i := range d.Segments {
			for _, l := range d.Segments[i].Legs {
				x, ok := infos[l.Disk]
				if !ok || said[l.Disk] || x.Kind != disk.Block || knows(x.Identity, isPartition(sys, x.Rdev)) != nil {
					continue
				}
				said[l.Disk] = true
				ps = append(ps, problem(f, d, "on_disk_loss", fmt.Sprintf("on_disk_loss = %q of device %q: disk %q (%s) has no identity to know it again by: a WWID or a serial number, and of a partition also its UUID",
					d.OnDiskLoss, d.Name, l.Disk, x.Node), `write on_disk_loss = "fail", or leave it out`))
			}
		}
	}
	return ps
}

// infos is what is known of the open disks, by name.
func (ds disks) infos() map[string]disk.Info {
	out := map[string]disk.Info{}
	for _, d := range ds.open() {
		out[d.Name()] = d.Info()
	}
	return out
}
