package series

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

var ours = &Model{
	Name:    "ublk-linear",
	Title:   "windows of commands that both tables were cut for, with the rest read and written",
	Author:  "ublk-linear",
	Limits:  oursLimits,
	Run:     runOurs,
	Message: "docs/copy.md",
}

// oursLimits are the plain minimum over all legs (limits.CopyMin). Nobody above is bound by them: a request of any size is
// cut.
func oursLimits(w *World, d *Device, _ *Options) []Value {
	l, _ := w.copyLimits(d, limits.CopyMin)
	return []Value{
		{"max_sectors", uint64(l.MaxSectors), "sectors"},
		{"max_range_sectors", uint64(l.MaxRangeSectors), "sectors"},
		{"max_ranges", uint64(l.MaxRanges), "ranges"},
		{"max_src_segments", uint64(l.MaxSrcSegments), "segments"},
		{"max_dst_segments", uint64(l.MaxDstSegments), "segments"},
	}
}

// oursRun is a plan being done as blkcopy.Engine does it, one command at a time.
type oursRun struct {
	w      *World
	dev    *devices
	out    *Outcome
	window blkcopy.Window
	prefix uint64 // sectors of the request before the first that is not copied
	failed bool
}

// runOurs plans the request with the default policy (split, emulate, memmove) and does its windows: offloads, then what
// is emulated anyway, then what an offload has not certainly copied. A window with something that is not copied is the
// last.
func runOurs(w *World, r *Request, o *Options) *Outcome {
	out := &Outcome{Model: "ublk-linear", Limits: oursLimits(w, r.Dst, o)}
	disks := make([]blkcopy.Disk, len(w.Disks))
	for i, d := range w.Disks {
		disks[i] = blkcopy.Disk{Name: d.Name, LogicalBlock: d.LogicalBlock, Copy: d.Copy}
	}
	src := oursDevice(w, r.Src)
	dst := src
	if r.Dst != r.Src {
		dst = oursDevice(w, r.Dst)
	}
	p, err := blkcopy.NewPlan(&blkcopy.Request{Src: src, Dst: dst, SrcSegs: r.SrcSegs, DstSegs: r.DstSegs}, disks)
	if err != nil {
		return out.refuse(oursErrno(err), "%s", err)
	}
	out.Accepted = true
	v := &oursRun{w: w, dev: w.devices(out), out: out, prefix: p.Bytes() / 512}
	n, plain := 0, 0
	for ; !v.failed && p.Next(&v.window); n++ {
		for i := range v.window.Commands {
			if v.window.Commands[i].Method == blkcopy.Emulated {
				plain++
			}
		}
		v.do(n + 1)
	}
	if v.failed { // windows that did not begin
		for p.Next(&v.window) {
			v.prefix = min(v.prefix, v.window.Offset)
		}
	}
	out.Bytes = v.prefix * 512
	out.say("%d windows", n)
	if plain > 0 {
		out.say("%d commands are read and written, and the result says how many bytes that is", plain)
	}
	if n := p.Onto(); n > 0 {
		out.say("%d bytes are copied onto themselves", n)
	}
	return out
}

func oursDevice(w *World, d *Device) *blkcopy.Device {
	out := &blkcopy.Device{Name: d.Name, Table: d.Table, LogicalBlock: d.LogicalBlock, ReadOnly: d.ReadOnly}
	for _, i := range d.Table.Disks() {
		out.Zoned = out.Zoned || w.Disks[i].Zoned
	}
	return out
}

// oursErrno is the errno of a refusal, the most telling if there are several.
func oursErrno(err error) unix.Errno {
	for _, e := range []unix.Errno{unix.EPERM, unix.EOPNOTSUPP, unix.EIO} {
		if errors.Is(err, e) {
			return e
		}
	}
	return unix.EINVAL
}

// do does the window that stands in v.
func (v *oursRun) do(number int) {
	var again []blkcopy.Command
	for i := range v.window.Commands {
		c := &v.window.Commands[i]
		if c.Method == blkcopy.Emulated {
			continue
		}
		if v.dev.send(Command{Method: c.Method, Sources: own(c.Sources), Dst: c.Dst}) {
			continue
		}
		last := v.dev.last()
		v.out.say("command %d failed with status 0x%x: what it has not certainly copied is read and written, and the result names it", len(v.out.Commands)-1, last.Status)
		done := last.done()
		again = append(again, blkcopy.Command{Sources: own(c.Sources[last.Ranges:]), Dst: target.Extent{Disk: c.Dst.Disk, Range: target.Range{Start: c.Dst.Start + done, Len: c.Dst.Len - done}}})
	}
	for i := range v.window.Commands {
		if c := &v.window.Commands[i]; c.Method == blkcopy.Emulated {
			v.emulate(c, number)
		}
	}
	for i := range again {
		v.emulate(&again[i], 0)
	}
}

// emulate reads and writes. The commands of a window that overlaps itself are read before any is written.
func (v *oursRun) emulate(c *blkcopy.Command, number int) {
	x := Command{Method: blkcopy.Emulated, Sources: own(c.Sources), Dst: c.Dst}
	if v.window.Bounce {
		x.Buffer = number
	}
	if v.dev.send(x) {
		return
	}
	last := v.dev.last()
	v.failed = true
	if v.out.Errno == 0 {
		v.out.Errno = errnoOf(last.Status)
	}
	done := last.done()
	v.missing(target.Extent{Disk: c.Dst.Disk, Range: target.Range{Start: c.Dst.Start + done, Len: c.Dst.Len - done}})
}

// missing cuts the prefix where an extent of a disk that was not written is in the request.
func (v *oursRun) missing(e target.Extent) {
	for _, p := range v.window.Pieces {
		if at := max(p.Dst.Sector, e.Start); p.Dst.Disk == e.Disk && at < min(p.Dst.Sector+p.Sectors, e.End()) {
			v.prefix = min(v.prefix, p.Offset+at-p.Dst.Sector)
		}
	}
}

// own is sources that do not change when the window is filled again.
func own(es []target.Extent) []target.Extent { return append([]target.Extent(nil), es...) }
