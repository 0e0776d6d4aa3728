package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestStable(t *testing.T) {
	dir := t.TempDir()
	link := func(name, target string) string {
		p := filepath.Join(dir, name)
		if err := os.Symlink(target, p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	toKernel := link("kernel", "/dev/vda")
	toByID := link("by-id", "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4")
	toLink := link("twice", "by-id")

	nvme := []string{
		"/dev/disk/by-id/nvme-eui.0025385b21404a30",
		"/dev/disk/by-id/nvme-Samsung_SSD_980_PRO_1TB_S5GXNG0N905360M",
	}
	sda := []string{
		"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4",
		"/dev/disk/by-id/ata-ST4000NM0035-1V4_ZC15ABCD",
		"/dev/disk/by-path/pci-0000:00:17.0-ata-1",
	}
	tests := []struct {
		path string
		want *UnstableError
	}{
		{"/dev/disk/by-id/nvme-eui.0025385b21404a30", nil},
		{"/dev/disk/by-partuuid/0d6ea1a1-01", nil},
		{"/dev/disk/by-path/pci-0000:00:17.0-ata-1", nil},
		{"/dev/mapper/vg0-data", nil},
		{"/dev/mapper/node", nil}, // device-mapper without udev: no link
		{"/dev/vg0/data", nil},
		{"/dev/backup", nil}, // an administrator's udev rule
		{toByID, nil},
		{toLink, nil},
		{"/dev/nvme0n1", &UnstableError{Node: "/dev/nvme0n1", Stable: nvme, Match: `match = { wwid = "eui.0025385b21404a30" }`}},
		{"/dev/sda", &UnstableError{Node: "/dev/sda", Stable: sda, Match: `match = { serial = "ZC15ABCD" }`}},
		{"/dev/block/8:0", &UnstableError{Node: "/dev/sda", Stable: sda, Match: `match = { serial = "ZC15ABCD" }`}},
		{"/dev/root", &UnstableError{Node: "/dev/sda1", Stable: []string{"/dev/disk/by-partuuid/0d6ea1a1-01"}, Match: `match = { partuuid = "0d6ea1a1-01" }`}},
		{"/dev/nvme0n1p1", &UnstableError{
			Node: "/dev/nvme0n1p1",
			Stable: []string{
				"/dev/disk/by-id/nvme-eui.0025385b21404a30-part1",
				"/dev/disk/by-partuuid/6f4b2a10-5d0c-4a3e-9b2f-3f1d2c4b5a69",
			},
			Match: `match = { partuuid = "6f4b2a10-5d0c-4a3e-9b2f-3f1d2c4b5a69" }`,
		}},
		{"/dev/vda", &UnstableError{Node: "/dev/vda", Match: `match = { serial = "backup \"1\"" }`}},
		{"/dev/disk/by-diskseq/9", &UnstableError{Node: "/dev/vda", Match: `match = { serial = "backup \"1\"" }`}},
		{toKernel, &UnstableError{Node: "/dev/vda", Match: `match = { serial = "backup \"1\"" }`}},
		{"/dev/dm-0", &UnstableError{Node: "/dev/dm-0", Stable: []string{"/dev/mapper/vg0-data"}}},
		{"/dev/sdb", &UnstableError{Node: "/dev/sdb"}}, // its wwid is sdc's too
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			_, err := Inspect(Spec{Name: "a", Path: tt.path}, host(t))
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			tt.want.Path = tt.path
			got, ok := errors.AsType[*UnstableError](err)
			if !ok {
				t.Fatalf("got %v, want an UnstableError", err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if _, err := Inspect(Spec{Path: tt.path, UnstablePath: true}, host(t)); err != nil {
				t.Errorf("accepted: %v", err)
			}
		})
	}
}

func TestUnstableMessage(t *testing.T) {
	tests := []struct {
		path, want string
	}{
		{"/dev/sda", "disk a: path /dev/sda can be another disk after the next boot: use " +
			"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4 or /dev/disk/by-id/ata-ST4000NM0035-1V4_ZC15ABCD or " +
			"/dev/disk/by-path/pci-0000:00:17.0-ata-1, or match = { serial = \"ZC15ABCD\" }; unstable_path = true accepts it as it is"},
		{"/dev/sdb", "disk a: path /dev/sdb can be another disk after the next boot: " +
			"the disk has no name that stays with it; unstable_path = true accepts it as it is"},
		{"/dev/disk/by-diskseq/9", "disk a: path /dev/disk/by-diskseq/9 leads to /dev/vda, which can be another disk after the next boot: " +
			"use match = { serial = \"backup \\\"1\\\"\" }; unstable_path = true accepts it as it is"},
	}
	for _, tt := range tests {
		_, err := Inspect(Spec{Name: "a", Path: tt.path}, host(t))
		if err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

func TestInspectBlock(t *testing.T) {
	got, err := Inspect(Spec{Name: "a", Path: "/dev/disk/by-id/nvme-eui.0025385b21404a30-part1"}, host(t))
	if err != nil {
		t.Fatal(err)
	}
	want := Info{
		Name: "a", Kind: Block, Node: "/dev/nvme0n1p1", Rdev: unix.Mkdev(259, 2), Sectors: 1048576, LogicalBlock: 4096,
		Identity: Identity{
			Serial: "S5GXNG0N905360M", WWID: "eui.0025385b21404a30",
			PartUUID: "6f4b2a10-5d0c-4a3e-9b2f-3f1d2c4b5a69", Model: "Samsung SSD 980 PRO 1TB",
		},
	}
	got.dev = node{}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(Info{}, node{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestInspectErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		spec Spec
		is   error
		says string
	}{
		{"nothing", Spec{}, nil, "exactly one of path, match, file, memory: none given"},
		{"two", Spec{Path: "/dev/sda", Memory: 512}, nil, "path and memory given"},
		{"create without file", Spec{Memory: 512, Create: 512}, nil, "create: without file"},
		{"odd memory", Spec{Memory: 1000}, nil, "1000 bytes is not a multiple of 512: 488 over"},
		{"read-only memory", Spec{Memory: 512, ReadOnly: true}, nil, "read-only memory"},
		{"empty match", Spec{Match: map[string]string{}}, nil, "match: empty"},
		{"unknown key", Spec{Match: map[string]string{"uuid": "x"}}, nil, "unknown key uuid: one of serial, wwid, partuuid, model"},
		{"empty value", Spec{Match: map[string]string{"serial": " "}}, nil, "serial is empty"},
		{"relative", Spec{Path: "sda"}, nil, "absolute path"},
		{"not there", Spec{Path: "/dev/disk/by-id/none"}, unix.ENOENT, "is not there: the disk is not attached"},
		{"dangling", Spec{Path: "/dev/disk/by-id/gone"}, unix.ENOENT, "leads to /dev/sdz, which is not there"},
		{"character device", Spec{Path: "/dev/nvme0"}, unix.ENOTBLK, "not a block device but a character device"},
		{"folder", Spec{Path: "/dev/disk"}, unix.ENOTBLK, "a folder"},
		{"regular file", Spec{Path: file}, nil, "use file = "},
		{"read-only", Spec{Path: "/dev/disk/by-id/usb-Stick_1"}, unix.EROFS, "read_only = true"},
		{"empty drive", Spec{Path: "/dev/sr0", UnstablePath: true}, unix.ENOMEDIUM, "no sectors"},
		{"ours", Spec{Path: "/dev/ublk-linear/data"}, unix.ELOOP, "data that ublk-linear serves"},
		{"on ours", Spec{Path: "/dev/mapper/crypt"}, unix.ELOOP, "data that ublk-linear serves"},
		{"no such file", Spec{File: file + "x"}, unix.ENOENT, "create ="},
		{"no such folder", Spec{File: file + "x/y", Create: 512}, unix.ENOENT, "folder must be there"},
		{"file is a folder", Spec{File: filepath.Dir(file)}, unix.EISDIR, ""},
		{"file is a device", Spec{File: "/dev/null"}, unix.EINVAL, "not a regular file"},
		{"short", Spec{File: file, Create: 2048}, unix.EINVAL, "1536 less than create = 2048"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Inspect(tt.spec, host(t))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %v, want %q", err, tt.says)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			if _, openErr := Open(t.Context(), tt.spec, host(t)); openErr == nil || openErr.Error() != err.Error() {
				t.Errorf("Open says %v, Inspect %v", openErr, err)
			}
		})
	}
}

func TestInspectReadOnly(t *testing.T) {
	info, err := Inspect(Spec{Path: "/dev/disk/by-id/usb-Stick_1", ReadOnly: true}, host(t))
	if err != nil || !info.ReadOnly {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestInspectAllProblems(t *testing.T) {
	_, err := Inspect(Spec{Name: "a", Path: "/dev/sdd"}, host(t))
	if _, ok := errors.AsType[*UnstableError](err); !ok || !errors.Is(err, unix.EROFS) {
		t.Errorf("got %v, want both problems", err)
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		name  string
		match map[string]string
		node  string
		is    error
		says  []string
	}{
		{"serial", map[string]string{"serial": "ZC15ABCD"}, "/dev/sda", nil, nil},
		{"padded", map[string]string{"serial": " ZC15ABCD  "}, "/dev/sda", nil, nil},
		{"wwid", map[string]string{"wwid": "eui.0025385b21404a31"}, "/dev/nvme0n2", nil, nil},
		{"both", map[string]string{"serial": "S5GXNG0N905360M", "wwid": "eui.0025385b21404a30"}, "/dev/nvme0n1", nil, nil},
		{"partuuid", map[string]string{"partuuid": "6F4B2A10-5D0C-4A3E-9B2F-3F1D2C4B5A69"}, "/dev/nvme0n1p1", nil, nil},
		{"partuuid by link", map[string]string{"partuuid": "0d6ea1a1-02", "serial": "ZC15ABCD"}, "/dev/sda2", nil, nil},
		{"none", map[string]string{"serial": "x", "model": "y"}, "", unix.ENODEV,
			[]string{`no disk has model "y" and serial "x"`, `/dev/vda (serial "backup \"1\"")`, "/dev/sda (", "/dev/nvme0n2 ("}},
		{"no partition", map[string]string{"partuuid": "x"}, "", unix.ENODEV, []string{"/dev/sda2 (", "/dev/nvme0n1p1 ("}},
		{"one does not hold", map[string]string{"serial": "ZC15ABCD", "model": "y"}, "", unix.ENODEV, nil},
		{"several", map[string]string{"serial": "S5GXNG0N905360M"}, "", unix.ENOTUNIQ,
			[]string{"2 disks have", "/dev/nvme0n1 (", `wwid "eui.0025385b21404a30"`, "/dev/nvme0n2 ("}},
		{"empty drive", map[string]string{"model": "DVD"}, "", unix.ENODEV, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info, err := Inspect(Spec{Name: "a", Match: tt.match}, host(t))
			if tt.is == nil && err != nil || !errors.Is(err, tt.is) {
				t.Fatalf("got %v, want %v", err, tt.is)
			}
			if tt.is == nil && info.Node != tt.node {
				t.Errorf("found %s, want %s", info.Node, tt.node)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
}

func TestApart(t *testing.T) {
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	for _, f := range []string{a, c} {
		if err := os.WriteFile(f, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(a, b); err != nil {
		t.Fatal(err)
	}
	specs := []Spec{
		{Name: "one", Path: "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"},
		{Name: "two", Match: map[string]string{"serial": "ZC15ABCD"}},
		{Name: "part", Path: "/dev/disk/by-partuuid/0d6ea1a1-01"},
		{Name: "part2", Path: "/dev/disk/by-partuuid/0d6ea1a1-02"},
		{Name: "a", File: a}, {Name: "b", File: b}, {Name: "c", File: c},
		{Name: "m", Memory: 512}, {Name: "n", Memory: 512},
		{Name: "new", File: filepath.Join(dir, "new"), Create: 512},
		{Name: "new2", File: filepath.Join(dir, "new"), Create: 512},
		{Name: "vg", Path: "/dev/vg0/data"},
	}
	var infos []Info
	for _, s := range specs {
		info, err := Inspect(s, host(t))
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, info)
	}
	want := []string{
		"disks one and two: both are /dev/sda",
		"disks one and part: /dev/sda1 is a partition of /dev/sda",
		"disks two and part: /dev/sda1 is a partition of /dev/sda",
		"disks one and part2: /dev/sda2 is a partition of /dev/sda",
		"disks two and part2: /dev/sda2 is a partition of /dev/sda",
		"disks a and b: " + a + " and " + b + " are one file",
		"disks new and new2: both make the file " + filepath.Join(dir, "new"),
	}
	err := ApartInfos(infos)
	if err == nil {
		t.Fatal("no error")
	}
	if d := cmp.Diff(want, strings.Split(err.Error(), "\n")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := ApartInfos(infos[6:9]); err != nil {
		t.Error(err)
	}
}
