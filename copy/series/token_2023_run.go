package series

import (
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// tokenRun is one BLKCOPY: ranges with comp_len, in bytes.
type tokenRun struct {
	*host
	opts   *Options
	ranges []run
	comp   []uint64
}

// runToken is blkdev_issue_copy of v6: checks, offload if both queues have QUEUE_FLAG_COPY, and reading and writing from
// each range's comp_len on if they have not or if that failed.
func runToken(w *World, r *Request, o *Options) *Outcome {
	out := &Outcome{Model: "token-2023", Limits: tokenLimits(w, r.Dst, o)}
	if why := r.uneven(); why != "" {
		return out.refuse(unix.EINVAL, "%s", why)
	}
	t := &tokenRun{host: newHost(w, r, out), opts: o, ranges: r.runs()}
	if n := len(t.ranges); n >= tokenMaxRanges {
		return out.refuse(unix.EINVAL, "%d ranges: MAX_COPY_NR_RANGE is %d, and the check is >= (blk_copy_sanity_check)", n, tokenMaxRanges)
	}
	if r.Dst.ReadOnly {
		return out.refuse(unix.EPERM, "the destination is read-only (blk_copy_sanity_check)")
	}
	if why, bad := r.unaligned(); bad {
		return out.refuse(unix.EINVAL, "%s (blk_copy_sanity_check)", why)
	}
	if n, _ := r.total(); n >= tokenMaxBytes {
		return out.refuse(unix.EINVAL, "%d bytes: MAX_COPY_TOTAL_LENGTH is %d, and the check is >= (blk_copy_sanity_check)", n, tokenMaxBytes)
	}
	out.Accepted = true
	if len(r.SrcSegs) > 1 || len(r.DstSegs) > 1 {
		out.say("%d range entries of one source and one destination", len(t.ranges))
	}
	t.comp = make([]uint64, len(t.ranges))
	out.overlap(w, r, "all bios are under way together")
	_, ms := tokenMax(w, r.Src, o)
	_, md := tokenMax(w, r.Dst, o)
	if hw, _ := tokenMax(w, r.Dst, o); hw > tokenMaxBytes/512 {
		out.fault(tokenClamp, "copy_max_bytes_hw is %d, and no request may have more than %d bytes", hw*512, tokenMaxBytes)
	}
	if most := min(ms, md); most > 0 {
		out.say("offload: both devices have copy limits")
		out.Errno = t.offload(most)
		if out.Never {
			out.Bytes = 0
			out.CompLen = t.comp
			return out
		}
		if out.Errno != 0 {
			out.say("the offload ended with %s, and the rest is read and written", unix.ErrnoName(out.Errno))
			out.Errno = t.emulate()
		}
	} else {
		out.say("read and written: a device has no copy limits (blk_check_copy_offload)")
		out.Errno = t.emulate()
	}
	out.CompLen = t.comp
	for _, n := range t.comp {
		out.Bytes += n
	}
	if out.Emulated > 0 {
		out.fault("", "read and written by the host, and nobody is told")
	}
	t.judge()
	return out
}

// judge compares what the caller is told with what was copied.
func (t *tokenRun) judge() {
	out := t.dev.o
	total, _ := t.r.total()
	if n := out.Offloaded + out.Emulated; n > out.Bytes && out.Bytes < total {
		out.fault("", "%d bytes were copied, and comp_len has %d: what lies behind a prefix may be old or new", n, out.Bytes)
	} else if n < out.Bytes {
		name := ""
		if t.opts.Has(tokenPastFailure) {
			name = tokenPastFailure
		}
		out.fault(name, "comp_len has %d bytes, and %d were copied", out.Bytes, n)
	}
}

// offload sends a read and a write bio for every chunk (blk_copy_offload). What fails cuts its range's comp_len to where
// the bio began; the last error is the call's. Writes follow their reads' completion: on a zoned destination in the order
// of the reads, since a zone is written at its write pointer only; elsewhere in any order.
func (t *tokenRun) offload(most uint64) (err unix.Errno) {
	zoned, stuck := t.zoned(), false
	for i, x := range t.ranges {
		t.comp[i] = x.src.Len * 512
		if stuck {
			t.comp[i] = 0
		}
		var at uint64
		for _, c := range chop(x.src, most) {
			dst := target.Range{Start: x.dst.Start + at, Len: c.Len}
			token, e, device := t.read(c)
			read := e == 0
			if e == 0 && !stuck {
				e, device = t.write(c, dst, token)
			}
			if !read && zoned && t.opts.Has(tokenZonedHang) && !stuck {
				stuck = true
			} else if read && stuck {
				t.dev.o.Never = true
			}
			if e != 0 {
				err = e
				t.failed(i, at, c.Len, device)
			}
			at += c.Len
		}
	}
	if t.dev.o.Never {
		t.dev.o.fault(tokenZonedHang, "a write behind a read that failed is never sent: the request never completes")
	}
	return err
}

// failed is comp_len's rule: a prefix. device says that the bio itself was completed by blk-mq.
func (t *tokenRun) failed(i int, at, n uint64, device bool) {
	if device && t.opts.Has(tokenPastFailure) {
		at += n
	}
	t.comp[i] = min(t.comp[i], at*512)
}

// zoned says whether a write may go to a zoned disk.
func (t *tokenRun) zoned() bool {
	for _, d := range t.r.Dst.Table.Disks() {
		if t.w.Disks[d].Zoned {
			return true
		}
	}
	return false
}

// read is the bio whose page the driver makes a token of: nothing is read (nvme_setup_copy_read). dm refuses one that it
// would have to split (__split_and_process_bio, max_io_len).
func (t *tokenRun) read(x target.Range) (token target.Extent, e unix.Errno, device bool) {
	return t.half("REQ_OP_READ|REQ_COPY", t.r.Src, x)
}

func (t *tokenRun) half(op string, d *Device, x target.Range) (at target.Extent, e unix.Errno, device bool) {
	if past(d, x) {
		t.refused(op, d, x, "past the end of the device: EIO")
		return at, unix.EIO, false
	}
	at, whole := d.place(x)
	if !whole {
		t.refused(op, d, x, "crosses an edge of the table: EIO")
		return at, unix.EIO, false
	}
	t.one(op, d, x, at, "token")
	return at, 0, d.Bare
}

// write is the bio that carries the token: the driver makes a copy command of both (nvme_setup_copy_write), and refuses a
// token of another namespace.
func (t *tokenRun) write(src, dst target.Range, token target.Extent) (e unix.Errno, device bool) {
	at, e, device := t.half("REQ_OP_WRITE|REQ_COPY", t.r.Dst, dst)
	if e != 0 {
		return e, device
	}
	a, b := &t.w.Disks[token.Disk], &t.w.Disks[at.Disk]
	if token.Disk != at.Disk && (a.Copy.Domain == "" || a.Copy.Domain != b.Copy.Domain) {
		t.dev.o.say("the token is of %s, and %s refuses it", a.Name, b.Name)
		return unix.EOPNOTSUPP, device
	}
	if !t.dev.send(Command{Method: limits.NVMeCopy, Sources: []target.Extent{token}, Dst: at}) {
		return errnoOf(t.dev.last().Status), device
	}
	return 0, device
}

// emulate reads and writes what comp_len does not have (blk_copy_emulate).
func (t *tokenRun) emulate() (err unix.Errno) {
	for i, x := range t.ranges {
		at := t.comp[i] / 512
		t.comp[i] = x.src.Len * 512
		for _, c := range chop(target.Range{Start: x.src.Start + at, Len: x.src.Len - at}, hostChunk) {
			_, e := t.readWrite(run{src: c, dst: target.Range{Start: x.dst.Start + at, Len: c.Len}})
			if e != 0 {
				err = e // the bio counts as nothing: the prefix ends where it began
				t.failed(i, at, c.Len, t.r.Dst.Bare && t.r.Src.Bare && !past(t.r.Src, c) && !past(t.r.Dst, target.Range{Start: x.dst.Start + at, Len: c.Len}))
			}
			at += c.Len
		}
	}
	return err
}
