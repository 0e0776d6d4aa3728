package series

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with testdata/name.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// outcome is an outcome in words.
func (w *World) outcome(o *Outcome) string {
	var b strings.Builder
	errno := "0"
	if o.Errno != 0 {
		errno = unix.ErrnoName(o.Errno)
	}
	fmt.Fprintf(&b, "accepted %v, errno %s, bytes %d", o.Accepted, errno, o.Bytes)
	if o.CompLen != nil {
		fmt.Fprintf(&b, ", comp_len %d", o.CompLen)
	}
	fmt.Fprintf(&b, ", offloaded %d, emulated %d, host %d\n", o.Offloaded, o.Emulated, o.Host)
	if o.Never {
		b.WriteString("never completes\n")
	}
	if o.Why != "" {
		fmt.Fprintf(&b, "why: %s\n", o.Why)
	}
	for _, x := range o.Bios {
		b.WriteString(strings.TrimSpace(fmt.Sprintf("bio %s %s:%d+%d %s", x.Op, x.Device, x.Sector, x.Sectors, x.Note)) + "\n")
	}
	at := func(e target.Extent) string { return fmt.Sprintf("%s:%d+%d", w.name(e.Disk), e.Start, e.Len) }
	for _, c := range o.Commands {
		var src []string
		for _, s := range c.Sources {
			src = append(src, at(s))
		}
		fmt.Fprintf(&b, "command %s format %d %s -> %s", c.Method, c.Format, strings.Join(src, " "), at(c.Dst))
		if c.Status != 0 || c.Ranges != len(c.Sources) {
			fmt.Fprintf(&b, ", status 0x%x, %d of %d ranges", c.Status, c.Ranges, len(c.Sources))
		}
		if c.Buffer != 0 {
			fmt.Fprintf(&b, ", buffer %d", c.Buffer)
		}
		b.WriteByte('\n')
	}
	for _, f := range o.Wrong {
		fmt.Fprintf(&b, "wrong [%s] %s\n", f.Defect, f.Text)
	}
	return b.String()
}

// dmDevice reads a dm table with lines separated by '|' and disks A, B, C, …
func dmDevice(t fataler, name string, block uint32, text string) *Device {
	t.Helper()
	num := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var parts []remap.Part
	for line := range strings.SplitSeq(text, "|") {
		f := strings.Fields(line)
		n, args := num(f[1]), f[3:]
		var x target.Target
		var err error
		if f[2] == "striped" {
			var legs []stripe.Leg
			for i := 2; i < len(args); i += 2 {
				legs = append(legs, stripe.Leg{Disk: target.Disk(args[i][0] - 'A'), Start: num(args[i+1])})
			}
			x, err = stripe.New(n, uint32(num(args[1])), legs)
		} else {
			x, err = linear.New(target.Disk(args[0][0]-'A'), target.Range{Start: num(args[1]), Len: n})
		}
		if err != nil {
			t.Fatal(err)
		}
		if f[2] == "crypt" {
			x = cryptTarget{x}
		}
		parts = append(parts, remap.Part{Sectors: n, Target: x})
	}
	table, err := remap.NewTable(parts)
	if err != nil {
		t.Fatal(err)
	}
	return &Device{Name: name, Table: table, LogicalBlock: block}
}

// diskDevice is a disk by itself.
func diskDevice(t *testing.T, w *World, letter byte) *Device {
	t.Helper()
	d := &w.Disks[letter-'A']
	x := dmDevice(t, d.Name, d.LogicalBlock, fmt.Sprintf("0 %d linear %c 0", d.Sectors, letter))
	x.Bare = true
	return x
}

// able is n disks A, B, … of NVMe, each its own namespace.
func able(n int, mssrl, mcl, msrc uint32) *World {
	w := &World{}
	for i := range n {
		name := string(rune('A' + i))
		w.Disks = append(w.Disks, Disk{Name: name, Driver: "nvme", LogicalBlock: 512, Sectors: 1 << 12,
			Copy: limits.Copy{Method: limits.NVMeCopy, MSSRL: mssrl, MCL: mcl, MSRC: msrc, Domain: name}})
	}
	return w
}

// oneNamespace makes all disks parts of one.
func (w *World) oneNamespace() *World {
	for i := range w.Disks {
		w.Disks[i].Copy.Domain = "A"
	}
	return w
}

// segs is pairs of position and length, in sectors.
func segs(ns ...uint64) (out []blkcopy.Seg) {
	for i := 0; i < len(ns); i += 2 {
		out = append(out, blkcopy.Seg{Pos: ns[i] * 512, Len: ns[i+1] * 512})
	}
	return out
}

// within is a request inside one device.
func within(d *Device, src, dst []blkcopy.Seg) *Request {
	return &Request{Src: d, Dst: d, SrcSegs: src, DstSegs: dst}
}

// has says whether an outcome has a finding of a defect.
func (o *Outcome) has(defect string) bool {
	for _, f := range o.Wrong {
		if f.Defect == defect {
			return true
		}
	}
	return false
}
