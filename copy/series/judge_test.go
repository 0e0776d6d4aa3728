package series

import (
	"slices"
	"strings"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// places is where every sector of one side of a request is, sector by sector: a slow reference.
func places(d *Device, ss []blkcopy.Seg) (out []target.Extent) {
	for _, s := range ss {
		for at := s.Pos / 512; at < (s.Pos+s.Len)/512; at++ {
			out = append(out, d.room(target.Range{Start: at, Len: 1}))
		}
	}
	return out
}

func fresh(w *World) Memory {
	m := Memory{}
	for i, d := range w.Disks {
		m[target.Disk(i)] = make([]uint64, d.Sectors)
		for s := range m[target.Disk(i)] {
			m[target.Disk(i)][s] = uint64(i)<<32 | uint64(s) | 1<<60
		}
	}
	return m
}

type reporter interface {
	Helper()
	Errorf(string, ...any)
}

// judge replays an outcome of a model without defects, and compares with memmove.
func judge(t reporter, name string, w *World, r *Request, o *Outcome) {
	t.Helper()
	var off, emu uint64
	for _, c := range o.Commands {
		var sum uint64
		for i, s := range c.Sources {
			if a, b := w.Disks[s.Disk].Copy.Domain, w.Disks[c.Dst.Disk].Copy.Domain; c.Method == limits.NVMeCopy && c.Format == 0 && s.Disk != c.Dst.Disk && (a == "" || a != b) {
				t.Errorf("%s: a command of format 0 from %s to %s, which are not one namespace", name, a, b)
			}
			if i < c.Ranges {
				sum += s.Len * 512
			}
		}
		if c.Method == blkcopy.Emulated {
			emu += sum
		} else {
			off += sum
		}
	}
	if off != o.Offloaded || emu != o.Emulated || o.Host != 2*emu {
		t.Errorf("%s: offloaded %d, emulated %d, host %d, and the commands have %d and %d", name, o.Offloaded, o.Emulated, o.Host, off, emu)
	}
	total, _ := r.total()
	if o.Bytes > total {
		t.Errorf("%s: %d of %d bytes", name, o.Bytes, total)
	}
	if !o.Accepted && (o.Errno == 0 || len(o.Commands) > 0 || o.Bytes > 0) {
		t.Errorf("%s: refused with errno %d, %d commands, %d bytes", name, o.Errno, len(o.Commands), o.Bytes)
	}
	if o.Why == "" {
		t.Errorf("%s: no reason", name)
	}
	if !o.Accepted || r.beyond() {
		return
	}
	got, was := fresh(w), fresh(w)
	o.Replay(got)
	src, dst := places(r.Src, r.SrcSegs), places(r.Dst, r.DstSegs)
	said := func(part string) bool {
		return slices.ContainsFunc(o.Wrong, func(f Finding) bool { return strings.Contains(f.Text, part) })
	}
	overlap, onto := alias(src, dst)
	if o.Model != "ublk-linear" && overlap != said("overlap: ") && !(onto && !overlap) {
		t.Errorf("%s: overlap %v, and the findings say %v", name, overlap, o.Wrong)
	}
	if overlap && o.Model != "ublk-linear" || said("rounds it down") {
		return // nothing is promised, and that is said
	}
	written := map[[2]uint64]bool{}
	sure := o.Bytes / 512
	if o.CompLen != nil {
		sure = 0
	}
	check := func(i uint64) {
		if v := was[src[i].Disk][src[i].Start]; got[dst[i].Disk][dst[i].Start] != v {
			t.Errorf("%s: sector %d of the request has %x, want %x\n%s", name, i, got[dst[i].Disk][dst[i].Start], v, w.outcome(o))
		}
	}
	for i := range sure {
		check(i)
	}
	for j, x := range r.runs() {
		if o.CompLen != nil {
			for i := range o.CompLen[j] / 512 {
				check(x.offset + i)
			}
		}
	}
	for _, d := range dst {
		written[[2]uint64{uint64(d.Disk), d.Start}] = true
	}
	for i := range w.Disks { // and nothing else has changed
		d := target.Disk(i)
		for s := range got[d] {
			if got[d][s] != was[d][s] && !written[[2]uint64{uint64(i), uint64(s)}] {
				t.Errorf("%s: sector %d of %s was written", name, s, w.name(d))
				return
			}
		}
	}
	if n := o.Offloaded + o.Emulated; o.Errno != 0 && n > o.Bytes && o.Model != "ublk-linear" && !said("were copied, and") {
		t.Errorf("%s: %d bytes are told of %d, and that is not said", name, o.Bytes, n)
	}
	if o.Emulated > 0 && o.Model != "ublk-linear" && !said("by the host") {
		t.Errorf("%s: emulated, and that is not said", name)
	}
}

// beyond says whether a request goes past the end of a device.
func (r *Request) beyond() bool {
	for _, x := range r.runs() {
		if past(r.Src, x.src) || past(r.Dst, x.dst) {
			return true
		}
	}
	return false
}

// alias says whether a sector is both read and written, or written twice. What is copied onto itself does not count: onto.
func alias(src, dst []target.Extent) (overlap, onto bool) {
	key := func(e target.Extent) [2]uint64 { return [2]uint64{uint64(e.Disk), e.Start} }
	written := map[[2]uint64]int{}
	for i, d := range dst {
		if _, ok := written[key(d)]; ok {
			return true, onto
		}
		written[key(d)] = i
		onto = onto || key(src[i]) == key(d)
	}
	for i, s := range src {
		if j, ok := written[key(s)]; ok && key(dst[i]) != key(s) && key(src[j]) != key(s) {
			return true, onto
		}
	}
	return false, onto
}
