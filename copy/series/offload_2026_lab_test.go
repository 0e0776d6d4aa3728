package series

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// lab is a world with disks A, B, C, … and what is done in it, as text.
type lab struct {
	World
	text strings.Builder
}

// nvme is a disk of QEMU's limits in a namespace of that name, with descriptor format 2 enabled.
func nvme(name, namespace string) Disk {
	return Disk{Name: name, Driver: "nvme", LogicalBlock: 512, Sectors: 100000, CDFE: true,
		Copy: limits.Copy{Method: limits.NVMeCopy, MSSRL: 128, MCL: 128, MSRC: 127, Domain: namespace}}
}

// labOf has three disks, each a namespace.
func labOf(disks ...Disk) *lab {
	if len(disks) == 0 {
		disks = []Disk{nvme("A", "a"), nvme("B", "b"), nvme("C", "c")}
	}
	return &lab{World: World{Disks: disks}}
}

// one puts all disks into one namespace: partitions of it.
func (l *lab) one() *lab {
	for i := range l.Disks {
		l.Disks[i].Copy.Domain = "a"
	}
	return l
}

// labDevice is a device of a request that says nothing of its blocks.
func labDevice(t fataler, name, text string) *Device {
	t.Helper()
	return dmDevice(t, name, 0, text)
}

// cryptTarget maps as linear does and changes the data, which a copy of the bottom's sectors does not.
type cryptTarget struct{ target.Target }

func (cryptTarget) Type() string { return "crypt" }

// bareDevice is a disk, or a part of one.
func bareDevice(t fataler, name, text string) *Device {
	d := labDevice(t, name, text)
	d.Bare = true
	return d
}

// labSegs is pairs of position and length, in sectors.
func labSegs(ns ...uint64) (out []blkcopy.Seg) {
	for i := 0; i < len(ns); i += 2 {
		out = append(out, blkcopy.Seg{Pos: ns[i] * 512, Len: ns[i+1] * 512})
	}
	return out
}

// describe writes an outcome into the lab's text, and judges it by memmove.
func (l *lab) describe(title string, r *Request, o *Outcome) {
	p := func(format string, a ...any) { fmt.Fprintf(&l.text, format+"\n", a...) }
	errno := "0"
	if o.Errno != 0 {
		errno = unix.ErrnoName(o.Errno)
	}
	p("%s\n  accepted %v errno %s bytes %d never %v; offloaded %d emulated %d host %d; data %s", title, o.Accepted, errno, o.Bytes, o.Never, o.Offloaded, o.Emulated, o.Host, l.judge(r, o))
	if o.Why != "" {
		p("  why: %s", o.Why)
	}
	for _, b := range o.Bios {
		p("  bio %s %s %d+%d %s", b.Op, b.Device, b.Sector, b.Sectors, b.Note)
	}
	for i := range o.Commands {
		c := &o.Commands[i]
		var from []string
		for _, s := range c.Sources {
			from = append(from, fmt.Sprintf("%s:%d+%d", l.name(s.Disk), s.Start, s.Len))
		}
		p("  %s/%d %s -> %s:%d+%d status 0x%x ranges %d", c.Method, c.Format, strings.Join(from, " "), l.name(c.Dst.Disk), c.Dst.Start, c.Dst.Len, c.Status, c.Ranges)
	}
	for _, f := range o.Wrong {
		p("  wrong [%s] %s", f.Defect, f.Text)
	}
}

// memory is disks whose every sector holds a word of its own.
func (l *lab) memory() Memory {
	m := Memory{}
	for i := range l.Disks {
		words := make([]uint64, l.Disks[i].Sectors)
		for s := range words {
			words[s] = uint64(i+1)<<32 | uint64(s)
		}
		m[target.Disk(i)] = words
	}
	return m
}

// judge says in a word what became of the data: as memmove has it, none, of the first n bytes, or wrong.
func (l *lab) judge(r *Request, o *Outcome) string {
	got, want, before := l.memory(), l.memory(), l.memory()
	o.Replay(got)
	same := func(a, b Memory) bool {
		for d := range a {
			if !slices.Equal(a[d], b[d]) {
				return false
			}
		}
		return true
	}
	if same(got, before) {
		return "untouched"
	}
	l.memmove(want, r, ^uint64(0))
	if same(got, want) {
		return "memmove"
	}
	want = l.memory()
	l.memmove(want, r, o.Bytes)
	if same(got, want) {
		return "prefix"
	}
	return "WRONG"
}

// memmove is what the first n bytes of a request ought to do: all is read, then all is written.
func (l *lab) memmove(m Memory, r *Request, n uint64) {
	from, to := l.places(r.Src, r.SrcSegs), l.places(r.Dst, r.DstSegs)
	k := int(min(uint64(len(from)), uint64(len(to)), n/512))
	words := make([]uint64, k)
	for i := range words {
		words[i] = m[from[i].Disk][from[i].Sector]
	}
	for i, w := range words {
		m[to[i].Disk][to[i].Sector] = w
	}
}

// places is where every sector of segments lies, to the end of the device.
func (l *lab) places(d *Device, segs []blkcopy.Seg) (out []remap.Place) {
	for _, s := range segs {
		for at := s.Pos / 512; at < (s.Pos+s.Len)/512 && at < d.Table.Sectors(); at++ {
			g, _ := d.Table.Map(make([]target.Segment, 0, 1), target.Read, target.Range{Start: at, Len: 1})
			e := l.lowest(target.Extent{Disk: g[0].Disk, Range: target.Range{Start: g[0].Sector, Len: 1}})
			out = append(out, remap.Place{Disk: e.Disk, Sector: e.Start})
		}
	}
	return out
}

// golden compares the text with a file.
func (l *lab) golden(t *testing.T, name string) {
	t.Helper()
	golden(t, name, l.text.String())
}

// finding is the first finding of a defect, or empty.
func finding(o *Outcome, defect string) string {
	for _, f := range o.Wrong {
		if f.Defect == defect {
			return f.Text
		}
	}
	return ""
}

// only is options with some defects.
func only(names ...string) *Options {
	o := &Options{Defects: map[string]bool{}}
	for _, n := range names {
		o.Defects[n] = true
	}
	return o
}

// splitGolden runs the vectors in a world of three namespaces and in one of one, as described and as posted.
func splitGolden(t *testing.T, m *Model, file string) {
	all := labOf()
	for _, where := range []string{"three namespaces", "one namespace"} {
		for _, x := range splitVectors {
			r := within(labDevice(t, x.device, splitTables[x.device]), labSegs(x.src, x.n), labSegs(x.dst, x.n))
			for _, o := range []*Options{{}, {AsPosted: true}} {
				w := labOf()
				if where == "one namespace" {
					w.one()
				}
				if x.cap != 0 {
					for k := range w.Disks {
						w.Disks[k].Copy.MSSRL, w.Disks[k].Copy.MCL = uint32(x.cap), uint32(x.cap)
					}
				}
				how := "as described"
				if o.AsPosted {
					how = "as posted"
				}
				w.describe(fmt.Sprintf("%s, %s, %s", x.name, where, how), r, m.Run(&w.World, r, o))
				all.text.WriteString(w.text.String())
			}
		}
	}
	all.golden(t, file)
}

// fataler is testing.T or rapid.T.
type fataler interface {
	Helper()
	Fatal(...any)
}
