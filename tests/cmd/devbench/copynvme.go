package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

// Serial numbers of QEMU's NVMe disks for copies, of 256 MiB (Makefile, COPYDRIVES).
var copySerials = []string{"bca", "bcb"}

// nvme finds the disks of serial numbers; none, when one is not there.
func nvme(serials ...string) []string {
	var out []string
	for _, want := range serials {
		files, _ := filepath.Glob("/sys/block/nvme*n*/device/serial")
		for _, f := range files {
			node := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(f)))
			_, hidden := os.Stat(node) // nvme0c0n1 is a path of nvme0n1
			if text, _ := os.ReadFile(f); hidden == nil && strings.TrimSpace(string(text)) == want {
				out = append(out, node)
			}
		}
	}
	if len(out) != len(serials) {
		return nil
	}
	return out
}

// bulkNVMe has one disk copy by itself, and the host copy from one to the other.
func (b *bencher) bulkNVMe() error {
	d := nvme(copySerials...)
	if d == nil {
		fmt.Printf("copy: no NVMe disks %s, NVMe Copy is left out\n", strings.Join(copySerials, ", "))
		return nil
	}
	const mib, sectors = 64, 64 << 11
	a, behind, other := place{node: d[0]}, place{d[0], mib << 20}, place{node: d[1]}
	s, err := b.copyServer(d, fmt.Sprintf("0 %d linear d0 0", sectors), fmt.Sprintf("0 %d linear d0 %d", sectors, sectors), fmt.Sprintf("0 %d linear d1 0", sectors))
	if err != nil {
		return err
	}
	all := []*way{
		b.ours("ublk-linear copy, NVMe Copy", s, mib, a, behind, "v0:0s", "v1:0s", "--fallback=fail", "--on-failure=fail"),
		b.ours("ublk-linear copy, to another disk", s, mib, a, other, "v0:0s", "v2:0s"),
		dd("dd bs=1M", "1M", mib, a, behind),
		dd("dd bs=1M, to another disk", "1M", mib, a, other),
		dd("dd bs=4M", "4M", mib, a, behind),
	}
	if err := b.copies(fmt.Sprintf("inside an NVMe disk, %d MiB", mib), all); err != nil {
		return err
	}
	if err := b.clear(); err != nil {
		return err
	}
	return b.copyStripes(d)
}

// copyStripes copies from a stripe to one of equal geometry on the same disks. What counts is how many commands it takes:
// no fewer than one per leg and limit unit.
func (b *bencher) copyStripes(d []string) error {
	const mib, leg = 64, 32 << 11 // of each of two legs, sectors
	for _, limit := range []struct {
		name    string
		sectors int // of a command: 0 as the disk has it
	}{{"the disks' own, 4 MiB", 0}, {"QEMU's, 64 KiB", 128}} {
		c := newConfig(d)
		unit := 4 << 11
		if limit.sectors > 0 {
			unit = limit.sectors
			for i := range d {
				fmt.Fprintf(&c.text, "[disk.d%d.copy]\nmssrl = %d\nmcl = %d\n", i, unit, unit)
			}
		}
		for i, at := range []int{0, leg} {
			c.device(fmt.Sprintf("v%d", i), "zero-copy", 1, fmt.Sprintf("0 %d striped 2 %d d0 %d d1 %d", 2*leg, chunk, at, at))
		}
		s, err := b.up(b.tools[0], b.tools[0].name, c, 2)
		if err != nil {
			return err
		}
		fewest := 2 * ((leg + unit - 1) / unit)
		for _, flags := range [][]string{nil, {"--window=4MiB"}, {"--window=32MiB", "--in-flight=128MiB"}} {
			w := b.ours(strings.Join(append([]string{"copy"}, flags...), " "), s, mib, place{node: s.nodes[0]}, place{node: s.nodes[1]}, "v0:0s", "v1:0s", append(flags, "--fallback=fail")...)
			if err := w.proved(); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			got, err := w.once()
			if err != nil {
				return err
			}
			b.add(bench.Sample{Set: "copystripe", Job: "limits: " + limit.name, Contender: w.name, Seconds: got.Seconds, MiBs: got.MiBs, Commands: got.Commands, HostMiB: got.HostMiB, Fewest: float64(fewest)})
			fmt.Printf("copystripe, limits: %s, %s: %.0f commands of %d, %.0f MiB through the host\n", limit.name, w.name, got.Commands, fewest, got.HostMiB)
		}
		if err := b.clear(); err != nil {
			return err
		}
	}
	return nil
}
