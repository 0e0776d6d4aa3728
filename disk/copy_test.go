package disk

import (
	"encoding/binary"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
)

// identity is of a namespace of 4096-byte blocks with an EUI64.
func identity() identified {
	id := identified{nsid: 3, ns: make([]byte, limits.NVMeIdentifySize), ctrl: make([]byte, limits.NVMeIdentifySize)}
	id.ns[130] = 12
	binary.LittleEndian.PutUint16(id.ns[74:], 16)
	binary.LittleEndian.PutUint32(id.ns[76:], 40)
	id.ns[80], id.ns[127] = 3, 0x30
	copy(id.ctrl[4:24], "S5GXNG0N905360M     ")
	id.ctrl[521], id.ctrl[534] = 1, 1
	return id
}

func TestNVMeCopy(t *testing.T) {
	good := limits.Copy{Method: limits.NVMeCopy, MSSRL: 16, MCL: 40, MSRC: 3, Domain: "nvme-eui.0000000000000030"}
	bogus := good
	bogus.Domain = "nvme-serial.S5GXNG0N905360M-3"
	tests := []struct {
		name, wwid string
		err        error
		want       limits.Copy
	}{
		{"good", "eui.0000000000000030", nil, good},
		{"by UUID", "uuid.0ee0c97b-ffff-4b65-8f38-07e6f6ff1bd4", nil, good},
		{"the kernel has none", "", nil, good},
		{"the kernel does not believe it", "nvme.144d-5335-53616d-00000003", nil, bogus},
		{"refused", "", unix.EACCES, noCopy("identify: permission denied")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := host(t)
			for _, dev := range []string{"nvme0n1", "nvme0n1p1"} {
				o.Sys = withAttr(t, "devices/nvme0/nvme0n1/wwid", tt.wwid)
				n, err := nodeOf(dev, o)
				if err != nil {
					t.Fatal(err)
				}
				got := nvmeCopy(42, &Info{dev: n, LogicalBlock: 4096}, o, func(fd int) (identified, error) {
					if fd != 42 {
						t.Errorf("fd %d", fd)
					}
					return identity(), tt.err
				})
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Errorf("%s (-want +got):\n%s", dev, d)
				}
			}
		})
	}
}

// withAttr is the machine's sysfs with one attribute of a value, or without it.
func withAttr(t *testing.T, name, value string) fs.FS {
	t.Helper()
	sys := tree(t, "sys")
	if sys[name] == nil {
		t.Fatalf("no %s", name)
	}
	if delete(sys, name); value != "" {
		sys[name] = &fstest.MapFile{Data: []byte(value + "\n"), Mode: 0o444}
	}
	return sys
}

func TestIsNVMe(t *testing.T) {
	for name, want := range map[string]bool{
		"nvme0n1": true, "nvme10n24": true,
		"nvme0c0n1": false, "nvme0n1p1": false, "nvme0": false, "ng0n1": false, "sda": false, "dm-0": false, "": false, "xnvme0n1": false,
	} {
		if isNVMe(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// What answers no NVMe ioctl opens all the same.
func TestOpenCopy(t *testing.T) {
	noLeak(t)
	o := host(t)
	o.kernel = newFakeKernel(t).kernel()
	d, err := Open(t.Context(), Spec{Path: nvmePath}, o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got, want := d.Copy(), noCopy("identify: namespace number: inappropriate ioctl for device"); got != want {
		t.Errorf("a memfd for a namespace: %+v", got)
	}
	if got, port := blockCopy(-1, &Info{dev: node{name: "sda1", whole: "sda"}}, o); got != noCopy("inquiry: bad file descriptor") || port != nil {
		t.Errorf("SCSI: %+v", got)
	}
	if got, port := blockCopy(-1, &Info{dev: node{name: "vda1", whole: "vda"}}, o); got != noCopy("neither an NVMe namespace nor a SCSI disk") || port != nil {
		t.Errorf("virtio: %+v", got)
	}

	m, err := Open(t.Context(), Spec{Memory: 1 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := m.Copy(); got.Can() || got.Reason == "" {
		t.Errorf("memory: %+v", got)
	}
}

// What the temporary folder is on decides what its files can: one that is written to was asked, one that is read is judged
// by the file system's type.
func TestFileCopy(t *testing.T) {
	noLeak(t)
	dir := t.TempDir()
	var found []limits.Copy
	for _, s := range []Spec{
		{Name: "a", File: filepath.Join(dir, "a"), Create: 1 << 20},
		{Name: "b", File: filepath.Join(dir, "b"), Create: 1 << 20},
		{Name: "b again", File: filepath.Join(dir, "b"), ReadOnly: true},
	} {
		d, err := Open(t.Context(), s, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := d.Copy()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if c == memoryCopy() {
			t.Skip("the temporary folder is memory")
		}
		switch {
		case c.Can() && (c != (limits.Copy{Method: limits.FileCopy, Domain: c.Domain}) || !strings.HasPrefix(c.Domain, "fs-")):
			t.Errorf("%s: %+v", s.Name, c)
		case !c.Can() && (c != noCopy("%s", c.Reason) || !strings.Contains(c.Reason, "does not share blocks")):
			t.Errorf("%s: %+v", s.Name, c)
		}
		found = append(found, c)
	}
	if found[0] != found[1] || found[0].Can() && found[1] != found[2] {
		t.Errorf("one file system: %+v", found)
	}
	if c := fileCopy(-1, 0); c != noCopy("statfs: bad file descriptor") {
		t.Errorf("no file: %+v", c)
	}
	fd, err := unix.MemfdCreate("tmpfs", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if c := fileCopy(fd, 0); c != memoryCopy() {
		t.Errorf("tmpfs: %+v", c)
	}
	if err := unix.Close(fd); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		a, b uint32
		want string
	}{{0, 0, "fs-8:1"}, {1, 0xabcdef01, "fs-00000001abcdef01-8:1"}, {0, 1, "fs-0000000000000001-8:1"}} {
		if got := fsDomain(tt.a, tt.b, unix.Mkdev(8, 1)); got != tt.want {
			t.Errorf("%s, not %s", got, tt.want)
		}
	}
}

func TestSharing(t *testing.T) {
	yes := limits.Copy{Method: limits.FileCopy, Domain: "fs-8:1"}
	no := func(fs string) limits.Copy {
		return noCopy("%s does not share blocks between files, and copy_file_range would go through memory", fs)
	}
	for _, tt := range []struct {
		name  string
		magic uint32
		err   error
		want  limits.Copy
	}{
		{"XFS", unix.XFS_SUPER_MAGIC, unix.EINVAL, yes},
		{"XFS without reflink", unix.XFS_SUPER_MAGIC, unix.EOPNOTSUPP, no("this XFS")},
		{"XFS, for reading", unix.XFS_SUPER_MAGIC, unix.EBADF, yes},
		{"btrfs, for reading", unix.BTRFS_SUPER_MAGIC, unix.EBADF, yes},
		{"ext4", unix.EXT4_SUPER_MAGIC, unix.EOPNOTSUPP, no("ext4")},
		{"ext4, for reading", unix.EXT4_SUPER_MAGIC, unix.EBADF, no("ext4")},
		{"one that takes the range onto itself", 0x1234, nil, yes},
		{"one that has no such ioctl", 0x1234, unix.ENOTTY, no("the file system (type 0x1234)")},
		{"one in trouble", unix.XFS_SUPER_MAGIC, unix.EIO, noCopy("FICLONERANGE: input/output error")},
	} {
		if d := cmp.Diff(tt.want, sharing(tt.magic, tt.err, "fs-8:1")); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}
