package blkcopy

import (
	"testing"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

func TestPairOf(t *testing.T) {
	good := Disk{Name: "a", LogicalBlock: 512, Copy: limits.Copy{Method: limits.NVMeCopy, MSSRL: 128, MCL: 256, MSRC: 7, Domain: "x"}}
	const unbounded = 1<<54 - 1
	for _, c := range []struct {
		name          string
		change        func(s, d *Disk)
		ranged, total uint64
		ranges        int
		reason        string
	}{
		{name: "as they are", change: func(s, d *Disk) {}, ranged: 128, total: 256, ranges: 8},
		{name: "ranges are the source's bound, commands the destination's", change: func(s, d *Disk) { s.Copy.MCL, d.Copy.MSSRL, s.Copy.MSRC = 1, 1, 0 }, ranged: 128, total: 256, ranges: 8},
		{name: "blocks of 4096", change: func(s, d *Disk) { s.LogicalBlock, d.LogicalBlock = 4096, 4096 }, ranged: 1024, total: 2048, ranges: 8},
		{name: "no block is 512", change: func(s, d *Disk) { s.LogicalBlock = 0 }, ranged: 128, total: 256, ranges: 8},
		{name: "MCL below MSSRL", change: func(s, d *Disk) { d.Copy.MCL = 100 }, ranged: 100, total: 100, ranges: 8},
		{name: "MSSRL 0 is unbounded", change: func(s, d *Disk) { s.Copy.MSSRL = 0 }, ranged: 256, total: 256, ranges: 8},
		{name: "MCL 0 is unbounded", change: func(s, d *Disk) { d.Copy.MCL = 0 }, ranged: 128, total: unbounded, ranges: 8},
		{name: "both 0", change: func(s, d *Disk) { s.Copy.MSSRL, d.Copy.MCL = 0, 0 }, ranged: unbounded, total: unbounded, ranges: 8},
		{name: "largest bounds", change: func(s, d *Disk) {
			s.LogicalBlock, d.LogicalBlock = 65536, 65536
			s.Copy.MSSRL, d.Copy.MCL = 1<<32-1, 1<<32-1
		}, ranged: (1<<32 - 1) * 128, total: (1<<32 - 1) * 128, ranges: 8},
		{name: "MSRC 0 is one range", change: func(s, d *Disk) { d.Copy.MSRC = 0 }, ranged: 128, total: 256, ranges: 1},
		{name: "MSRC 65534", change: func(s, d *Disk) { d.Copy.MSRC = 65534 }, ranged: 128, total: 256, ranges: 65535},
		{name: "MSRC 65535", change: func(s, d *Disk) { d.Copy.MSRC = 65535 }, ranged: 128, total: 256, ranges: 65536},
		{name: "MSRC 2^32-1", change: func(s, d *Disk) { d.Copy.MSRC = 1<<32 - 1 }, ranged: 128, total: 256, ranges: 65536},
		{name: "an EXTENDED COPY says no more", change: func(s, d *Disk) {
			s.Copy = limits.Copy{Method: limits.XCopy, MSSRL: 1 << 20, MCL: 1 << 30, MSRC: 1000, Domain: "x"}
			d.Copy, s.LogicalBlock, d.LogicalBlock = s.Copy, 4096, 4096
		}, ranged: 65535 * 8, total: 1 << 33, ranges: 256},
		{name: "an EXTENDED COPY without bounds", change: func(s, d *Disk) {
			s.Copy = limits.Copy{Method: limits.XCopy, Domain: "x"}
			d.Copy = s.Copy
		}, ranged: 65535, total: unbounded, ranges: 1},
		{name: "an EXTENDED COPY of less", change: func(s, d *Disk) { s.Copy.Method, d.Copy.Method = limits.XCopy, limits.XCopy }, ranged: 128, total: 256, ranges: 8},
		{name: "the source cannot", change: func(s, d *Disk) { s.Copy = limits.Copy{Method: limits.NoCopy, Reason: "it is old"} }, reason: "disk a: it is old"},
		{name: "the destination cannot", change: func(s, d *Disk) { d.Copy = limits.Copy{} }, reason: "disk b: does not copy by itself"},
		{name: "methods", change: func(s, d *Disk) { d.Copy.Method = limits.XCopy }, reason: "disks a and b copy by different methods: nvme, xcopy"},
		{name: "domains", change: func(s, d *Disk) { d.Copy.Domain = "y" }, reason: "disks a and b are not in one copy domain"},
		{name: "no domain is not a domain", change: func(s, d *Disk) { s.Copy.Domain, d.Copy.Domain = "", "" }, reason: "disks a and b are not in one copy domain"},
		{name: "blocks", change: func(s, d *Disk) { d.LogicalBlock = 4096 }, reason: "disks a and b have logical blocks of 512 and 4096 bytes"},
		{name: "files have no blocks", change: func(s, d *Disk) {
			s.Copy.Method, d.Copy.Method, d.LogicalBlock = limits.FileCopy, limits.FileCopy, 4096
		}, ranged: 128, total: 2048, ranges: 8},
		{name: "rounded down to the larger block", change: func(s, d *Disk) {
			s.Copy.Method, d.Copy.Method, d.LogicalBlock, s.Copy.MSSRL = limits.FileCopy, limits.FileCopy, 4096, 30
		}, ranged: 24, total: 2048, ranges: 8},
		{name: "total rounded down to the larger block", change: func(s, d *Disk) {
			s.Copy.Method, d.Copy.Method, s.LogicalBlock, d.Copy.MCL = limits.FileCopy, limits.FileCopy, 4096, 30
		}, ranged: 24, total: 24, ranges: 8},
		{name: "a range rounds to nothing", change: func(s, d *Disk) {
			s.Copy.Method, d.Copy.Method, d.LogicalBlock, s.Copy.MSSRL = limits.FileCopy, limits.FileCopy, 4096, 7
		}, reason: "disks a and b: a command has no whole block of 4096 bytes"},
		{name: "a command rounds to nothing", change: func(s, d *Disk) {
			s.Copy.Method, d.Copy.Method, s.LogicalBlock, d.Copy.MCL = limits.FileCopy, limits.FileCopy, 4096, 7
		}, reason: "disks a and b: a command has no whole block of 4096 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, d := good, good
			d.Name = "b"
			c.change(&s, &d)
			p := pairOf(&s, &d)
			if c.reason != "" {
				if p.method != Emulated || p.reason != c.reason {
					t.Fatalf("got %+v, want %q", p, c.reason)
				}
				return
			}
			if p.method != s.Copy.Method || p.ranged != c.ranged || p.total != c.total || p.ranges != c.ranges || p.reason != "" {
				t.Errorf("got %+v, want %d per range, %d per command, %d ranges", p, c.ranged, c.total, c.ranges)
			}
		})
	}
}

// The cache gives every pair its own answer, in any order, with more pairs than it has room for.
func TestPairsCache(t *testing.T) {
	disks := make([]Disk, 70)
	for i := range disks {
		disks[i] = Disk{Name: "d", Copy: limits.Copy{Method: limits.NVMeCopy, MSSRL: uint32(i + 1), MCL: uint32(i + 1), Domain: string(rune('a' + i%2))}}
	}
	c := pairs{disks: disks}
	for range 2 {
		for s := range disks {
			for d := range disks {
				p := c.get(target.Disk(s), target.Disk(d))
				if want := s%2 == d%2; (p.method != Emulated) != want || want && (p.total != uint64(d+1) || p.ranged != uint64(min(s, d)+1)) {
					t.Fatalf("%d to %d: %+v", s, d, p)
				}
			}
		}
	}
}

// Why names the reason of a pair, and is empty where there is none.
func TestWhy(t *testing.T) {
	disks := able(2, 512, 128, 128, 0)
	disks[1].Copy.Domain = "y"
	p, err := NewPlan(whole(linearOf(t, 64, 0, 0), linearOf(t, 64, 1, 0), 0, 0, 64), disks)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Why(0, 0); got != "" {
		t.Error(got)
	}
	if got := p.Why(0, 1); got != "disks disk0 and disk1 are not in one copy domain" {
		t.Error(got)
	}
}
