package series

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// nvmet is the Driver of a disk that is a namespace of the Linux NVMe target (drivers/nvme/target, io-cmd-bdev.c).
const nvmet = "nvmet"

// pairRun is one request, as calls of copy_file_range on devices opened with O_DIRECT.
type pairRun struct {
	*host
	opts *Options
}

// runPair makes a call for every run of the request, one after the other, until one comes short.
func runPair(w *World, r *Request, o *Options) *Outcome {
	out := &Outcome{Model: "pair-2024", Limits: pairLimits(w, r.Dst, o)}
	if why := r.uneven(); why != "" {
		return out.refuse(unix.EINVAL, "%s", why)
	}
	p := &pairRun{newHost(w, r, out), o}
	same := r.same(w)
	_, most := pairMax(w, r.Src, o)
	offload := same && most > 0
	if e, why, vfs := p.check(offload); e != 0 {
		return p.lost(out.refuse(e, "%s", why), offload && !vfs)
	}
	out.Accepted = true
	if _, under := pairMax(w, r.Src, nil); most > under {
		out.fault(pairUserCap, "an administrator has capped a leg at %d bytes, and the device above has copy_max_bytes %d", under*512, most*512)
	}
	runs := r.runs()
	if len(runs) > 1 {
		out.say("one source and one destination a call: %d calls of copy_file_range", len(runs))
	}
	switch {
	case offload:
		out.say("offload: one device, and copy_max_bytes is not 0")
	case same:
		out.say("spliced through the page cache: copy_max_bytes is 0 (blkdev_copy_file_range)")
	default:
		out.say("spliced through the page cache: source and destination are not one device (blkdev_copy_file_range)")
	}
	out.overlap(w, r, "what is behind one device at two places is not looked at")
	for _, x := range runs {
		n, e := p.call(x, offload, most)
		out.Bytes += n
		if out.Errno = e; e != 0 || n < x.src.Len*512 {
			break
		}
	}
	if out.Emulated > 0 && !offload {
		out.fault("", "read and written by the host through the page cache, and nobody is told")
	}
	return p.told(out, offload)
}

// check is what the VFS and blkdev_copy_sanity_check refuse: the same for every run, before any is done. vfs says that it
// is refused before the device's own method is called.
func (p *pairRun) check(offload bool) (e unix.Errno, why string, vfs bool) {
	if p.r.Dst.ReadOnly {
		return unix.EPERM, "the destination is read-only (blkdev_copy_sanity_check)", false
	}
	if why, bad := p.r.unaligned(); bad {
		return unix.EINVAL, why + " (blkdev_copy_sanity_check; O_DIRECT)", false
	}
	for _, x := range p.r.runs() {
		if n := x.src.Len * 512; offload && n >= pairMaxBytes {
			return unix.EINVAL, fmt.Sprintf("%d bytes: BLK_COPY_MAX_BYTES is %d, and the check is >= (blkdev_copy_sanity_check)", n, pairMaxBytes), false
		}
		if p.r.same(p.w) && x.src.Start < x.dst.End() && x.dst.Start < x.src.End() {
			return unix.EINVAL, "source and destination overlap (generic_copy_file_checks)", true
		}
	}
	return 0, "", false
}

// lost takes the errno of a failed offload away, as posted.
func (p *pairRun) lost(out *Outcome, offload bool) *Outcome {
	if offload && out.Errno != 0 && p.opts.Has(pairZero) {
		out.fault(pairZero, "copy_file_range returns %d bytes and no error, where there was %s", out.Bytes, unix.ErrnoName(out.Errno))
		out.Errno = 0
	}
	return out
}

// told compares what the caller is told with what was copied.
func (p *pairRun) told(out *Outcome, offload bool) *Outcome {
	n := out.Offloaded + out.Emulated
	total, _ := p.r.total()
	if n > out.Bytes {
		out.fault("", "%d bytes were copied, and the caller is told of %d: what lies behind a prefix may be old or new", n, out.Bytes)
	}
	if out.Errno == 0 && out.Bytes < total {
		out.fault("", "%d of %d bytes, without an error: what failed is not said", out.Bytes, total)
	}
	return p.lost(out, offload)
}

// call is one copy_file_range. The VFS shortens it at the end of the source.
func (p *pairRun) call(x run, offload bool, most uint64) (uint64, unix.Errno) {
	if n := p.r.Src.inside(x.src).Len; n < x.src.Len {
		p.dev.o.say("shortened at the end of the source")
		if x.src.Len, x.dst.Len = n, n; n == 0 {
			return 0, 0
		}
	}
	if offload {
		return p.offload(x, most)
	}
	var at uint64
	for _, c := range chop(x.src, hostChunk) {
		done, e := p.readWrite(run{src: c, dst: target.Range{Start: x.dst.Start + at, Len: c.Len}})
		if at += done; e != 0 {
			if at > 0 {
				return at * 512, 0
			}
			return 0, e
		}
	}
	return at * 512, 0
}

// offload is blkdev_copy_offload: two bios a chunk of max_copy_sectors, all under way together, and the result is the
// bytes before the first chunk that failed, or its error if there are none. Nothing is read and written instead (since
// v16, Hannes Reinecke).
func (p *pairRun) offload(x run, most uint64) (uint64, unix.Errno) {
	copied, err, at := x.src.Len, unix.Errno(0), uint64(0)
	for _, c := range chop(x.src, most) {
		if e := p.pair(c, target.Range{Start: x.dst.Start + at, Len: c.Len}); e != 0 {
			copied = min(copied, at)
			if err == 0 {
				err = e
			}
		}
		at += c.Len
	}
	if copied > 0 {
		return copied * 512, 0
	}
	return 0, err
}

// pair is the destination's and the source's bio. dm refuses one that it would have to split (__split_and_process_bio);
// both must come to one queue, where the second is merged into the first one's request, or the driver refuses a request
// of one (nvme_setup_copy_offload).
func (p *pairRun) pair(src, dst target.Range) unix.Errno {
	to, e := p.half("REQ_OP_COPY_DST", p.r.Dst, dst)
	from, e2 := p.half("REQ_OP_COPY_SRC", p.r.Src, src)
	if e != 0 || e2 != 0 {
		return unix.EIO
	}
	if a, b := &p.w.Disks[from.Disk], &p.w.Disks[to.Disk]; from.Disk != to.Disk && (a.Copy.Domain == "" || a.Copy.Domain != b.Copy.Domain) {
		p.dev.o.say("the bios of a pair come to %s and %s, and are never one request", a.Name, b.Name)
		return unix.EIO
	}
	return p.command(Command{Method: limits.NVMeCopy, Sources: []target.Extent{from}, Dst: to})
}

func (p *pairRun) half(op string, d *Device, x target.Range) (target.Extent, unix.Errno) {
	if past(d, x) {
		p.refused(op, d, x, "past the end of the device: EIO")
		return target.Extent{}, unix.EIO
	}
	at, whole := d.place(x)
	if !whole {
		p.refused(op, d, x, "crosses an edge of the table: EIO")
		return at, unix.EIO
	}
	p.one(op, d, x, at, "plugged")
	return at, 0
}

// command sends a copy. A namespace of the Linux target does it there: as an offload if its own device can, else by
// reading and writing, which is the target's work and not the host's.
func (p *pairRun) command(c Command) unix.Errno {
	remote := p.w.Disks[c.Dst.Disk].Driver == nvmet
	if remote && p.opts.Has(pairReversed) {
		c.Sources[0], c.Dst = c.Dst, c.Sources[0]
		p.dev.o.fault(pairReversed, "%s copies sectors %d+%d to %d: the source is overwritten", p.w.name(c.Dst.Disk), c.Sources[0].Start, c.Sources[0].Len, c.Dst.Start)
	}
	if p.dev.send(c) {
		return 0
	}
	last := p.dev.last()
	if remote && p.opts.Has(pairCopiedLen) && last.Method != blkcopy.Emulated {
		p.dev.o.fault(pairCopiedLen, "%s failed with status 0x%x, and answers with success", p.w.name(last.Dst.Disk), last.Status)
		last.Status = 0
		return 0
	}
	return errnoOf(last.Status)
}
