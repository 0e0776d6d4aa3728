package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDrive(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Drive
		bad  bool
	}{
		{in: "nvme", want: Drive{Kind: "nvme", Size: 1 << 30}},
		{in: "virtio:size=64M,serial=v", want: Drive{Kind: "virtio", Size: 64 << 20, Serial: "v"}},
		{in: "nvme:size=2G,lbs=4096,mssrl=16,mcl=40,msrc=3", want: Drive{Kind: "nvme", Size: 2 << 30, Props: []string{
			"logical_block_size=4096", "mssrl=16", "mcl=40", "msrc=3", "physical_block_size=4096",
		}}},
		{in: "nvme:lbs=512,pbs=4096", want: Drive{Kind: "nvme", Size: 1 << 30, Props: []string{"logical_block_size=512", "physical_block_size=4096"}}},
		{in: "nvme:ctrl=c,ctrl.mdts=5", want: Drive{Kind: "nvme", Size: 1 << 30, Controller: "c", ControllerProps: []string{"mdts=5"}}},
		{in: "nvme:size=64M,bps=1M", want: Drive{Kind: "nvme", Size: 64 << 20, Rate: 1 << 20}},
		{in: "nvme:bps=0", bad: true},
		{in: "sata:size=1G", bad: true},
		{in: "nvme:size=1X", bad: true},
		{in: "nvme:size=-1G", bad: true},
		{in: "nvme:size=9000000T", bad: true},
		{in: "nvme:size", bad: true},
		{in: "nvme:size=", bad: true},
		{in: "virtio:ctrl=c", bad: true},
		{in: "virtio:ctrl.mdts=5", bad: true},
	} {
		got, err := ParseDrive(tt.in)
		if (err != nil) != tt.bad {
			t.Errorf("%s: error %v", tt.in, err)
		}
		if diff := cmp.Diff(tt.want, got); !tt.bad && diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.in, diff)
		}
	}
}

func TestDriveArgs(t *testing.T) {
	dir := t.TempDir()
	args, err := driveArgs([]Drive{
		{Kind: "nvme", Size: 1 << 20, Controller: "c", Serial: "one", ControllerProps: []string{"mdts=5"}, Props: []string{"mssrl=16"}},
		{Kind: "virtio", Size: 2 << 20},
		{Kind: "nvme", Size: 1 << 20, Controller: "c"},
		{Kind: "nvme", Size: 1 << 20},
	}, dir)
	if err != nil {
		t.Fatal(err)
	}
	slow, err := driveArgs([]Drive{{Kind: "nvme", Size: 1 << 20, Rate: 4096}}, t.TempDir())
	if err != nil || !strings.HasSuffix(slow[1], ",id=drive0,throttling.bps-total=4096") || !strings.HasSuffix(args[1], ",id=drive0") {
		t.Error(slow, args[1], err)
	}
	var devices []string
	for i, a := range args {
		if a == "-device" {
			devices = append(devices, args[i+1])
		}
	}
	want := []string{
		"nvme,id=nvme-c,serial=one,mdts=5", "nvme-ns,drive=drive0,bus=nvme-c,nsid=1,mssrl=16",
		"virtio-blk-pci,drive=drive1,serial=d1",
		"nvme-ns,drive=drive2,bus=nvme-c,nsid=2",
		"nvme,id=nvme3,serial=d3", "nvme-ns,drive=drive3,bus=nvme3,nsid=1",
	}
	if diff := cmp.Diff(want, devices); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(filepath.Join(dir, "drive1.img")); err != nil || info.Size() != 2<<20 {
		t.Errorf("drive 1: %v, %v", info, err)
	}
}
