package disk

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
)

func TestPlace(t *testing.T) {
	whole := unix.Mkdev(259, 0)
	for dev, want := range map[string]place{"nvme0n1": {whole, 0}, "nvme0n1p1": {whole, 2048}} {
		o := host(t)
		n, err := nodeOf(dev, o)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := placeOf(n, o); err != nil || got != want {
			t.Errorf("%s: %+v, %v", dev, got, err)
		}
	}
	for _, name := range []string{"devices/nvme0/nvme0n1/nvme0n1p1/start", "devices/nvme0/nvme0n1/dev"} {
		o := host(t)
		n, err := nodeOf("nvme0n1p1", o)
		if err != nil {
			t.Fatal(err)
		}
		o.Sys = withAttr(t, name, "")
		if got, err := placeOf(n, o); err == nil {
			t.Errorf("without %s: %+v", name, got)
		}
	}
}

// A partition knows where it lies; one that does not opens, and does not copy.
func TestOpenPlace(t *testing.T) {
	noLeak(t)
	for _, known := range []bool{true, false} {
		o := host(t)
		k := newFakeKernel(t)
		k.state.Rdev = unix.Mkdev(259, 2)
		o.kernel = k.kernel()
		want := place{unix.Mkdev(259, 0), 2048}
		if !known {
			o.Sys, want = withAttr(t, "devices/nvme0/nvme0n1/nvme0n1p1/start", ""), place{}
		}
		d, err := Open(t.Context(), Spec{Path: "/dev/nvme0n1p1", UnstablePath: true}, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := (place{d.Whole(), d.Start()}); got != want {
			t.Errorf("start known %v: %+v", known, got)
		}
		if c := d.Copy(); c.Method != limits.NoCopy || known == (c.Reason == `its place is unknown: sysfs nvme0n1p1: start: strconv.ParseUint: parsing "": invalid syntax`) {
			t.Errorf("start known %v: %+v", known, c)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if m := memoryDisk(t, 4096); m.Whole() != 0 || m.Start() != 0 {
		t.Errorf("memory lies at %d of %d", m.Start(), m.Whole())
	}
}
