package daemon

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/disk"
)

// fakeSys makes a sysfs of one disk and its partition.
func fakeSys(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"dev/block/8:0": "../../devices/x/block/sda", "dev/block/8:1": "../../devices/x/block/sda/sda1", "devices/x/block/sda/device": "../../dev"} {
		p := filepath.Join(dir, link)
		_ = os.MkdirAll(filepath.Dir(p), 0o755)
		if err := os.Symlink(to, p); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestIsThere(t *testing.T) {
	const sda = "devices/x/block/sda/"
	good := map[string]string{sda + "size": "100", sda + "sda1/size": "50", sda + "sda1/partition": "1", "devices/x/dev/state": "running"}
	for _, c := range []struct {
		name, file, text string
		rdev             uint64
		want             bool
	}{
		{"disk", "", "", unix.Mkdev(8, 0), true},
		{"partition", "", "", unix.Mkdev(8, 1), true},
		{"another number", "", "", unix.Mkdev(8, 2), false},
		{"no capacity", sda + "size", "0", unix.Mkdev(8, 0), false},
		{"a capacity that cannot be read", sda + "size", "", unix.Mkdev(8, 0), false},
		{"partition of a disk without capacity", sda + "size", "0", unix.Mkdev(8, 1), false},
		{"offline", "devices/x/dev/state", "offline", unix.Mkdev(8, 0), false},
		{"transport offline", "devices/x/dev/state", "transport-offline", unix.Mkdev(8, 1), false},
		{"blocked: commands wait", "devices/x/dev/state", "blocked", unix.Mkdev(8, 0), true},
		{"NVMe that goes", "devices/x/dev/state", "deleting (no IO)", unix.Mkdev(8, 0), false},
		{"NVMe that is dead", "devices/x/dev/state", "dead", unix.Mkdev(8, 0), false},
		{"NVMe", "devices/x/dev/state", "live", unix.Mkdev(8, 0), true},
	} {
		files := map[string]string{}
		for k, v := range good {
			files[k] = v
		}
		if c.file != "" {
			files[c.file] = c.text
		}
		for _, subsystem := range []string{"bus/scsi", "class/nvme"} { // neither is an NVMe subsystem
			dir := fakeSys(t, files)
			if err := os.Symlink("../../../"+subsystem, filepath.Join(dir, "devices/x/dev/subsystem")); err != nil {
				t.Fatal(err)
			}
			if got := isThere(os.DirFS(dir), c.rdev); got != c.want {
				t.Errorf("%s, %s: %v", c.name, subsystem, got)
			}
		}
	}
}

// A disk of an NVMe subsystem is there as long as one of its paths takes commands.
func TestIsThereByPath(t *testing.T) {
	const sub = "devices/virtual/nvme-subsystem/nvme-subsys3/"
	for _, c := range []struct {
		name string
		put  map[string]string // beside what is good
		want bool
	}{
		{"both paths", nil, true},
		{"one goes", map[string]string{"devices/pci/nvme3/state": "deleting"}, true},
		{"one is of no size", map[string]string{"devices/pci/nvme3/nvme3c3n2/size": "0"}, true},
		{"both go, and the disk has its size still", map[string]string{"devices/pci/nvme3/state": "deleting", "devices/pci/nvme4/state": "dead"}, false},
		{"one is dead and the other has lost the namespace", map[string]string{"devices/pci/nvme3/nvme3c3n2/size": "0", "devices/pci/nvme4/state": "dead"}, false},
		{"one goes and the other resets", map[string]string{"devices/pci/nvme3/state": "deleting", "devices/pci/nvme4/state": "resetting"}, true},
		{"one goes and the other connects", map[string]string{"devices/pci/nvme3/state": "deleting", "devices/pci/nvme4/state": "connecting"}, true},
		{"one goes and the other connects for as long as it takes", map[string]string{"devices/pci/nvme3/state": "deleting", "devices/pci/nvme4/state": "connecting", "devices/pci/nvme4/fast_io_fail_tmo": "off"}, true},
		{"one goes and the other fails while it connects", map[string]string{"devices/pci/nvme3/state": "deleting", "devices/pci/nvme4/state": "connecting", "devices/pci/nvme4/fast_io_fail_tmo": "5"}, false},
		{"the disk has no size", map[string]string{sub + "nvme3n2/size": "0"}, false},
		{"another namespace is no path", map[string]string{"devices/pci/nvme3/state": "deleting", "devices/pci/nvme4/state": "dead", "devices/pci/nvme5/nvme3c5n12/size": "100", "devices/pci/nvme5/state": "live"}, false},
	} {
		files := map[string]string{sub + "nvme3n2/size": "100",
			"devices/pci/nvme3/state": "live", "devices/pci/nvme3/nvme3c3n2/size": "100",
			"devices/pci/nvme4/state": "live", "devices/pci/nvme4/nvme3c4n2/size": "100"}
		maps.Copy(files, c.put)
		dir := fakeSys(t, files)
		for link, to := range map[string]string{"dev/block/259:1": "../../" + sub + "nvme3n2", sub + "nvme3n2/device": "../../nvme-subsys3",
			sub + "subsystem": "../../../../class/nvme-subsystem", sub + "nvme3": "../../../pci/nvme3", sub + "nvme4": "../../../pci/nvme4", sub + "nvme5": "../../../pci/nvme5"} {
			if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
		}
		if got := isThere(os.DirFS(dir), unix.Mkdev(259, 1)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// A disk is waited for only if it can be known again.
func TestUnknowable(t *testing.T) {
	sys := os.DirFS(fakeSys(t, map[string]string{"devices/x/block/sda/sda1/partition": "1"}))
	file := func(policy string) *config.File {
		f, ps := config.Parse("v.toml", fmt.Appendf(nil, "version = 1\n[disk.a]\npath = \"/dev/disk/by-id/x\"\n[device.d]\n%stable = \"0 8 linear a 0\\n8 8 linear a 8\"\n", policy))
		if len(ps.Errors()) > 0 {
			t.Fatal(ps)
		}
		return f
	}
	for _, c := range []struct {
		name, policy string
		id           disk.Identity
		part         bool
		problems     int
	}{
		{"wwid", "on_disk_loss = \"park:30s\"\n", disk.Identity{WWID: "naa.1"}, false, 0},
		{"serial", "on_disk_loss = \"park:30s\"\n", disk.Identity{Serial: "s"}, false, 0},
		{"model", "on_disk_loss = \"park:30s\"\n", disk.Identity{Model: "m"}, false, 1},
		{"nothing", "on_disk_loss = \"park:30s\"\n", disk.Identity{}, false, 1},
		{"nothing, and fail", "on_disk_loss = \"fail\"\n", disk.Identity{}, false, 0},
		{"nothing, and nothing said", "", disk.Identity{}, false, 0},
		{"partition", "on_disk_loss = \"park:30s\"\n", disk.Identity{WWID: "naa.1", PartUUID: "p"}, true, 0},
		{"partition without a UUID", "on_disk_loss = \"park:30s\"\n", disk.Identity{WWID: "naa.1"}, true, 1},
		{"partition of what could be any disk", "on_disk_loss = \"park:30s\"\n", disk.Identity{PartUUID: "p"}, true, 1},
	} {
		rdev := unix.Mkdev(8, 0)
		if c.part {
			rdev = unix.Mkdev(8, 1)
		}
		ps := unknowable(file(c.policy), sys, map[string]disk.Info{"a": {Kind: disk.Block, Rdev: rdev, Identity: c.id}})
		if len(ps) != c.problems {
			t.Errorf("%s: %v", c.name, ps)
		}
	}
	if ps := unknowable(file("on_disk_loss = \"park:30s\"\n"), sys, map[string]disk.Info{"a": {Kind: disk.File}}); len(ps) != 0 {
		t.Errorf("a file: %v", ps)
	}
}
