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
	if got := blockCopy(-1, &Info{dev: node{name: "sda1", whole: "sda"}}, o); got != noCopy("not an NVMe namespace; SCSI copy is not read yet") {
		t.Errorf("SCSI: %+v", got)
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

func TestFileCopy(t *testing.T) {
	noLeak(t)
	dir := t.TempDir()
	var domains []string
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
		if !c.Can() || c != (limits.Copy{Method: limits.FileCopy, Domain: c.Domain}) || !strings.HasPrefix(c.Domain, "fs-") {
			t.Errorf("%s: %+v", s.Name, c)
		}
		domains = append(domains, c.Domain)
	}
	if domains[0] != domains[1] || domains[1] != domains[2] {
		t.Errorf("one file system, the domains %q", domains)
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
