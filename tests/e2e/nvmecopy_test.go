package e2e

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
)

// TestNVMeCopyRead reads the copy ability of QEMU's NVMe disks "cpa", with QEMU's defaults, and "cpb", with blocks of 4096
// bytes, MSSRL 16, MCL 40 and MSRC 3, each as a whole and through a partition. The runner passes them.
func TestNVMeCopyRead(t *testing.T) {
	if !inGuest {
		t.Skip("needs the guest")
	}
	seen := map[string]bool{}
	for _, tt := range []struct {
		serial string
		block  int64
		want   limits.Copy
	}{
		{"cpa", 512, limits.Copy{Method: limits.NVMeCopy, MSSRL: 128, MCL: 128, MSRC: 127}},
		{"cpb", 4096, limits.Copy{Method: limits.NVMeCopy, MSSRL: 16, MCL: 40, MSRC: 3}},
	} {
		name := nvmeBySerial(t, tt.serial)
		for _, dev := range []string{name, onePartition(t, name, tt.block)} {
			for _, ro := range []bool{false, true} {
				d, err := disk.Open(t.Context(), disk.Spec{Name: tt.serial, Path: "/dev/" + dev, UnstablePath: true, ReadOnly: ro}, nil)
				if err != nil {
					t.Fatal(err)
				}
				got := d.Copy()
				if err := d.Close(); err != nil {
					t.Error(err)
				}
				want := tt.want
				want.Domain = kernelDomain(t, name, tt.serial)
				if got != want {
					t.Errorf("%s %s: %+v, not %+v", tt.serial, dev, got, want)
				}
				t.Logf("%s %s, read-only %v: %+v", tt.serial, dev, ro, got)
			}
		}
		domain := kernelDomain(t, name, tt.serial)
		if seen[domain] {
			t.Errorf("two disks are %s", domain)
		}
		seen[domain] = true
	}
}

// nvmeBySerial is the kernel's name of the namespace whose controller has a serial number.
func nvmeBySerial(t *testing.T, serial string) string {
	t.Helper()
	files, _ := filepath.Glob("/sys/block/nvme*n*/device/serial")
	for _, f := range files {
		name := filepath.Base(filepath.Dir(filepath.Dir(f)))
		_, hidden := os.Stat("/dev/" + name) // nvme0c0n1 is a path of nvme0n1
		if b, _ := os.ReadFile(f); hidden == nil && strings.TrimSpace(string(b)) == serial {
			return name
		}
	}
	t.Fatalf("no NVMe disk with the serial number %q: pass -drive nvme:size=64M,serial=%s", serial, serial)
	return ""
}

// kernelDomain is the domain as the kernel's own reading of the namespace gives it.
func kernelDomain(t *testing.T, name, serial string) string {
	t.Helper()
	read := func(attr string) string {
		b, _ := os.ReadFile(filepath.Join("/sys/block", name, attr))
		return strings.TrimSpace(string(b))
	}
	hex := strings.NewReplacer("-", "", " ", "").Replace
	switch wwid := read("wwid"); {
	case strings.HasPrefix(wwid, "nvme."):
		return "nvme-serial." + serial + "-" + read("nsid")
	case hex(read("nguid")) != "" && strings.Trim(hex(read("nguid")), "0") != "":
		return "nvme-nguid." + hex(read("nguid"))
	case strings.Trim(hex(read("eui")), "0") != "":
		return "nvme-eui." + hex(read("eui"))
	}
	return "nvme-serial." + serial + "-" + read("nsid")
}

// onePartition makes a partition of a disk, at its 1 MiB, and returns the kernel's name. The table, an MBR, is taken off at
// the end of the test.
func onePartition(t *testing.T, name string, block int64) string {
	t.Helper()
	f, err := os.OpenFile("/dev/"+name, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	set := func(f *os.File, mbr []byte) error {
		if _, err := f.WriteAt(mbr, 0); err != nil {
			return err
		}
		return unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)
	}
	mbr := make([]byte, 4096)
	mbr[450] = 0x83
	binary.LittleEndian.PutUint32(mbr[454:], uint32(1<<20/block))
	binary.LittleEndian.PutUint32(mbr[458:], uint32(8<<20/block))
	mbr[510], mbr[511] = 0x55, 0xaa
	if err := set(f, mbr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f, err := os.OpenFile("/dev/"+name, os.O_RDWR|os.O_SYNC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if err := set(f, make([]byte, 4096)); err != nil {
			t.Error(err)
		}
	})
	part := name + "p1"
	within(t, "partition "+part, func() bool {
		_, err := os.Stat("/dev/" + part)
		return err == nil
	})
	return part
}
