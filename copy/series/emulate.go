package series

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/target"
)

// host is reading and writing instead of an offload, and the bios of either, as one outcome has them.
type host struct {
	w       *World
	r       *Request
	dev     *devices
	buffers int
}

func newHost(w *World, r *Request, o *Outcome) *host {
	h := &host{w: w, r: r, dev: w.devices(o)}
	zoned := slices.ContainsFunc(r.Dst.Table.Disks(), func(d target.Disk) bool { return w.Disks[d].Zoned })
	for _, x := range r.runs() { // a caller writes a zone at its write pointer
		if !zoned {
			break
		}
		for _, s := range r.Dst.split(r.Dst.inside(x.dst)) {
			if d := &w.Disks[s.Disk]; d.Zoned && d.ZoneSectors != 0 {
				z := [2]uint64{uint64(s.Disk), s.Sector / d.ZoneSectors}
				if _, ok := h.dev.written[z]; !ok {
					h.dev.written[z] = s.Sector
				}
			}
		}
	}
	return h
}

// bio notes a bio for a device and, where that is stacked, what becomes of it: dm's clones, cut at the edges.
func (h *host) bio(op string, d *Device, x target.Range, note string) {
	o := h.dev.o
	o.Bios = append(o.Bios, Bio{Op: op, Device: d.Name, Sector: x.Start, Sectors: x.Len, Note: note})
	if d.Bare {
		return
	}
	segs := d.split(d.inside(x))
	for i, s := range segs {
		note := "remapped"
		if len(segs) > 1 {
			note = fmt.Sprintf("split at an edge: %d of %d", i+1, len(segs))
		}
		o.Bios = append(o.Bios, Bio{Op: op, Device: h.w.name(s.Disk), Sector: s.Sector, Sectors: s.Sectors, Note: note})
	}
}

// one notes a copy bio that a stacked device remaps as a whole.
func (h *host) one(op string, d *Device, x target.Range, to target.Extent, note string) {
	o := h.dev.o
	o.Bios = append(o.Bios, Bio{Op: op, Device: d.Name, Sector: x.Start, Sectors: x.Len, Note: note})
	if !d.Bare {
		o.Bios = append(o.Bios, Bio{Op: op, Device: h.w.name(to.Disk), Sector: to.Start, Sectors: to.Len, Note: "remapped"})
	}
}

// refused notes a bio that ends where it was given.
func (h *host) refused(op string, d *Device, x target.Range, note string) {
	h.dev.o.Bios = append(h.dev.o.Bios, Bio{Op: op, Device: d.Name, Sector: x.Start, Sectors: x.Len, Note: note})
}

// past says whether a range is not wholly on a device (bio_check_eod: BLK_STS_IOERR).
func past(d *Device, x target.Range) bool { return d.inside(x) != x }

// readWrite reads a run into one buffer and writes it. done is how many of its sectors, from the first, are written.
func (h *host) readWrite(x run) (done uint64, e unix.Errno) {
	h.bio("READ", h.r.Src, x.src, "")
	if past(h.r.Src, x.src) {
		return 0, unix.EIO
	}
	h.bio("WRITE", h.r.Dst, x.dst, "")
	if past(h.r.Dst, x.dst) {
		return 0, unix.EIO
	}
	h.buffers++
	prefix := true
	for _, p := range joined(h.r, x) {
		p.Buffer = h.buffers
		if !h.dev.send(p) {
			c := h.dev.last()
			if prefix {
				done += c.done()
			}
			prefix, e = false, errnoOf(c.Status)
		} else if prefix {
			done += p.Dst.Len
		}
	}
	return done, e
}

// joined is a run as commands that are read and write: a command for each stretch of the destination on one disk.
func joined(r *Request, x run) []Command {
	var out []Command
	for _, p := range r.pieces(x) {
		src := target.Extent{Disk: p.Src.Disk, Range: target.Range{Start: p.Src.Sector, Len: p.Sectors}}
		if n := len(out); n > 0 && out[n-1].Dst.Disk == p.Dst.Disk && out[n-1].Dst.End() == p.Dst.Sector {
			c := &out[n-1]
			c.Dst.Len += p.Sectors
			if k := len(c.Sources) - 1; c.Sources[k].Disk == src.Disk && c.Sources[k].End() == src.Start {
				c.Sources[k].Len += src.Len
			} else {
				c.Sources = append(c.Sources, src)
			}
			continue
		}
		out = append(out, Command{Method: blkcopy.Emulated, Sources: []target.Extent{src},
			Dst: target.Extent{Disk: p.Dst.Disk, Range: target.Range{Start: p.Dst.Sector, Len: p.Sectors}}})
	}
	return out
}

// same says whether both devices of a request are one request queue.
func (r *Request) same(w *World) bool {
	return r.Src == r.Dst || r.Src.Table == r.Dst.Table || r.Src.Bare && r.Dst.Bare && w.bare(r.Src) == w.bare(r.Dst)
}

// refuse ends an outcome before anything was sent.
func (o *Outcome) refuse(e unix.Errno, format string, a ...any) *Outcome {
	o.Errno, o.Why = e, fmt.Sprintf(format, a...)
	return o
}

// say adds to the reason of an outcome.
func (o *Outcome) say(format string, a ...any) {
	if o.Why != "" {
		o.Why += "; "
	}
	o.Why += fmt.Sprintf(format, a...)
}

// unaligned finds what a request has that is not on the larger logical block of both devices, or empty.
func (r *Request) unaligned() (what string, bad bool) {
	block := max(r.Src.block(), r.Dst.block())
	for _, segs := range [][]blkcopy.Seg{r.SrcSegs, r.DstSegs} {
		for _, s := range segs {
			if s.Len == 0 {
				return "a range has no length", true
			}
			if (s.Pos|s.Len)%block != 0 {
				return fmt.Sprintf("%d+%d is not on blocks of %d bytes, the larger of both devices", s.Pos, s.Len, block), true
			}
		}
	}
	return "", false
}

// uneven says why no design can say a request at all.
func (r *Request) uneven() string {
	s, d := r.total()
	switch {
	case len(r.SrcSegs) == 0 || len(r.DstSegs) == 0:
		return "there are no ranges"
	case s != d:
		return fmt.Sprintf("source and destination have %d and %d bytes, which no call of this design can say", s, d)
	}
	return ""
}
