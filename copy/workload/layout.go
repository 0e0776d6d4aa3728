package workload

import (
	"fmt"
	"strings"

	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// Layout is devices and the disks below: where requests are made.
type Layout struct {
	Name     string // as the command line takes it
	What     string // one sentence
	World    series.World
	Src, Dst *series.Device // may be one
}

// Shape is what a generator needs to know of a layout.
func (l *Layout) Shape() Shape {
	return Shape{SrcBytes: l.Src.Table.Sectors() * 512, DstBytes: l.Dst.Table.Sectors() * 512,
		Block: max(l.Src.LogicalBlock, l.Dst.LogicalBlock), Same: l.Src == l.Dst}
}

// EnableFormats says whether the disks that copy by NVMe's command have descriptor formats 2 and 3 enabled (CDFE of Host
// Behavior Support). Linux does not enable them (7.2, nvme_configure_host_options), nor lets user space.
func (l *Layout) EnableFormats(on bool) {
	for i := range l.World.Disks {
		d := &l.World.Disks[i]
		d.CDFE = on && d.Copy.Method == limits.NVMeCopy
	}
}

// Sizes of the built-in layouts, in sectors: devices of 256 MiB on disks that have room for two.
const (
	deviceSectors = 256 << 20 / 512
	diskSectors   = 2*deviceSectors + 1<<20/512
	diskStart     = 2048 // where a logical volume begins
)

// Copy limits of the built-in disks with offload, in blocks: a command is larger than a range, and takes fewer sources than
// the 256 that NVMe can count, as the specification allows. QEMU's nvme-ns takes the same: mssrl=128,mcl=1024,msrc=63.
const (
	layoutMSSRL = 128
	layoutMCL   = 1024
	layoutMSRC  = 63
)

// nvme is a disk of one namespace with offload.
func nvme(name string, block uint32) series.Disk {
	return series.Disk{Name: name, Driver: "nvme", LogicalBlock: block, Sectors: diskSectors,
		Copy: limits.Copy{Method: limits.NVMeCopy, MSSRL: layoutMSSRL, MCL: layoutMCL, MSRC: layoutMSRC, Domain: name}}
}

// Layouts is every built-in layout: those that the designs were asked about.
func Layouts() []*Layout {
	without := series.Disk{Name: "c", Driver: "nvme", LogicalBlock: 512, Sectors: diskSectors, Copy: limits.Copy{Method: limits.NoCopy, Reason: "no Copy in ONCS"}}
	one := []series.Disk{nvme("a", 512)}
	concat := []remap.Part{run(0, diskStart, deviceSectors/4), run(0, diskStart+deviceSectors, deviceSectors/4), run(0, diskStart+deviceSectors/2, deviceSectors/2)}
	var legs []stripe.Leg
	var four []series.Disk
	for i, name := range []string{"a", "b", "c", "d"} {
		legs = append(legs, stripe.Leg{Disk: target.Disk(i), Start: diskStart})
		four = append(four, nvme(name, 512))
	}
	var here []stripe.Leg // four legs on one namespace
	for i := range uint64(4) {
		here = append(here, stripe.Leg{Start: diskStart + i*deviceSectors/4})
	}
	const chunk = 64 << 10 / 512
	bare := device("disk", 512, run(0, 0, deviceSectors))
	bare.Bare = true
	whole := nvme("a", 512)
	whole.Sectors = bare.Table.Sectors()
	return []*Layout{
		{"disk", "nothing stacked: a namespace by itself", series.World{Disks: []series.Disk{whole}}, bare, bare},
		within("linear", "one linear target; within the device", one, 512, run(0, diskStart, deviceSectors)),
		{"two-linear", "two devices, a linear target each, on one namespace; from one to the other", series.World{Disks: one},
			device("src", 512, run(0, diskStart, deviceSectors)), device("dst", 512, run(0, diskStart+deviceSectors, deviceSectors))},
		within("concat", "three linear targets on one namespace, not in its order (an extended logical volume); within the device", one, 512, concat...),
		within("stripe-one", "a stripe of 64 KiB over four places of one namespace; within the device", one, 512, striped(chunk, here)),
		within("stripe-many", "a stripe of 64 KiB over four namespaces; within the device", four, 512, striped(chunk, legs)),
		within("mixed", "half on a namespace with offload, half on one without; within the device", []series.Disk{nvme("a", 512), without}, 512,
			run(0, diskStart, deviceSectors/2), run(1, diskStart, deviceSectors/2)),
		within("blocks", "half on a namespace of 512-byte blocks, half on one of 4096; within the device", []series.Disk{nvme("a", 512), nvme("b", 4096)}, 4096,
			run(0, diskStart, deviceSectors/2), run(1, diskStart, deviceSectors/2)),
	}
}

// FindLayout is the built-in layout of a name. The error has the names there are.
func FindLayout(name string) (*Layout, error) {
	var names []string
	for _, l := range Layouts() {
		if l.Name == name {
			return l, nil
		}
		names = append(names, l.Name)
	}
	return nil, fmt.Errorf("no layout %q: %s", name, strings.Join(names, ", "))
}

func within(name, what string, disks []series.Disk, block uint32, parts ...remap.Part) *Layout {
	d := device("data", block, parts...)
	return &Layout{name, what, series.World{Disks: disks}, d, d}
}

func device(name string, block uint32, parts ...remap.Part) *series.Device {
	return &series.Device{Name: name, LogicalBlock: block, Table: must(remap.NewTable(parts))}
}

func run(disk target.Disk, start, sectors uint64) remap.Part {
	return remap.Part{Sectors: sectors, Target: must(linear.New(disk, target.Range{Start: start, Len: sectors}))}
}

func striped(chunk uint32, legs []stripe.Leg) remap.Part {
	return remap.Part{Sectors: deviceSectors, Target: must(stripe.New(deviceSectors, chunk, legs))}
}

// must is for tables that are constants: TestLayouts makes them all.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
