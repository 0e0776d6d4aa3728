package series

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// simpleCall is one BLKCOPY: sources, in order, to one destination.
type simpleCall struct {
	src []target.Range
	dst target.Range
}

// runSimple makes as many calls as the request has destinations that are apart, one after the other, until one fails.
func runSimple(w *World, r *Request, o *Options) *Outcome {
	out := &Outcome{Model: "simple-copy-2021", Limits: simpleLimits(w, r.Dst, o)}
	if why := r.uneven(); why != "" {
		return out.refuse(unix.EINVAL, "%s", why)
	}
	if r.Dst.ReadOnly {
		return out.refuse(unix.EPERM, "the destination is read-only (blkdev_issue_copy)")
	}
	if why, bad := r.unaligned(); bad {
		return out.refuse(unix.EINVAL, "%s (blkdev_issue_copy)", why)
	}
	calls := simpleCalls(r)
	for _, c := range calls {
		switch {
		case len(c.src) >= simpleMaxRanges:
			return out.refuse(unix.EINVAL, "%d ranges: MAX_COPY_NR_RANGE is %d, and the check is >=", len(c.src), simpleMaxRanges)
		case c.dst.Len >= simpleMaxSectors && !o.Has(simpleUnchecked):
			return out.refuse(unix.EINVAL, "%d sectors: MAX_COPY_TOTAL_LENGTH is %d, and the check is >=", c.dst.Len, simpleMaxSectors)
		case c.dst.Len >= simpleMaxSectors:
			out.fault(simpleUnchecked, "%d sectors in one call are not refused, although MAX_COPY_TOTAL_LENGTH is %d", c.dst.Len, simpleMaxSectors)
		}
	}
	out.Accepted = true
	if len(calls) > 1 {
		out.say("one destination a call: %d calls of BLKCOPY", len(calls))
	}
	h := newHost(w, r, out)
	l, _ := w.copyLimits(r.Dst, Copy2021)
	how, why := h.simpleRead, "read and written: "
	promise := "sources are written one by one, each through a buffer that may be smaller"
	switch {
	case !r.same(w):
		why += "source and destination are not one queue (blk_check_offload_scc)"
	case l.MaxSectors == 0 && !r.Dst.Bare:
		why += "a stacked device has no copy limits"
	case l.MaxSectors == 0:
		why += "the device has no Copy"
	default:
		why = "offload: one queue, and copy_offload is 1"
		how = func(c *simpleCall) unix.Errno { return h.simpleSend(c, l) }
		promise = "the bios of a call are under way together"
	}
	out.say("%s", why)
	out.overlap(w, r, promise)
	for i := range calls {
		if out.Errno = how(&calls[i]); out.Errno != 0 {
			break
		}
		out.Bytes += calls[i].dst.Len * 512
	}
	if out.Emulated > 0 {
		out.fault("", "read and written by the host, and nobody is told")
	}
	out.unsaid()
	return out
}

// unsaid finds bytes that were copied and are in no answer.
func (o *Outcome) unsaid() {
	if n := o.Offloaded + o.Emulated; o.Errno != 0 && n > o.Bytes {
		o.fault("", "%d bytes were copied, and the caller knows of %d", n, o.Bytes)
	}
}

// simpleCalls cuts a request into destinations that are contiguous.
func simpleCalls(r *Request) []simpleCall {
	var out []simpleCall
	starts, at := map[uint64]bool{}, uint64(0) // where in the request source segments start
	for _, s := range r.SrcSegs {
		starts[at] = true
		at += s.Len / 512
	}
	for _, x := range r.runs() {
		cut := !starts[x.offset] // one segment of the caller's, cut where a destination ended
		if n := len(out); n > 0 && out[n-1].dst.End() == x.dst.Start {
			c := &out[n-1]
			if cut {
				c.src[len(c.src)-1].Len += x.src.Len
			} else {
				c.src = append(c.src, x.src)
			}
			c.dst.Len += x.dst.Len
			continue
		}
		out = append(out, simpleCall{[]target.Range{x.src}, x.dst})
	}
	return out
}

// simpleSend makes payloads greedily (blk_copy_offload_scc): a source is cut to what a range, and what is left of the
// total, may have; a payload is sent when it has all the ranges or all the sectors that a command may have. All are
// submitted before any is waited for, and the last error is the call's (cio_bio_end_io).
func (h *host) simpleSend(c *simpleCall, l limits.CopyLimits) (e unix.Errno) {
	var payload []target.Range
	at, n := c.dst.Start, uint64(0)
	flush := func() {
		if f := h.simpleBio(payload, target.Range{Start: at, Len: n}); f != 0 {
			e = f
		}
		payload, at, n = nil, at+n, 0
	}
	for _, s := range c.src {
		for s.Len > 0 {
			k := min(s.Len, uint64(l.MaxRangeSectors), uint64(l.MaxSectors)-n)
			payload = append(payload, target.Range{Start: s.Start, Len: k})
			s.Start, s.Len, n = s.Start+k, s.Len-k, n+k
			if uint64(len(payload)) == uint64(l.MaxRanges) || n == uint64(l.MaxSectors) {
				flush()
			}
		}
	}
	if n > 0 {
		flush()
	}
	return e
}

// simpleBio is one REQ_OP_COPY. Every range of it is checked against the end of its device (blk_check_copy of
// block/blk-core.c), and moved by the partition's start.
func (h *host) simpleBio(payload []target.Range, dst target.Range) unix.Errno {
	h.dev.o.Bios = append(h.dev.o.Bios, Bio{Op: "REQ_OP_COPY", Device: h.r.Dst.Name, Sector: dst.Start, Sectors: dst.Len, Note: fmt.Sprintf("a payload of %d sources", len(payload))})
	if past(h.r.Dst, dst) {
		return unix.EIO
	}
	cmd := Command{Method: limits.NVMeCopy}
	for _, s := range payload {
		if past(h.r.Src, s) {
			return unix.EIO
		}
		e, _ := h.r.Src.place(s)
		cmd.Sources = append(cmd.Sources, e)
	}
	cmd.Dst, _ = h.r.Dst.place(dst)
	if !h.dev.send(cmd) {
		return errnoOf(h.dev.last().Status)
	}
	return 0
}

// simpleRead reads each source whole and writes it, one after the other (blk_copy_emulate). The buffer is taken to be as
// large as was asked for; the kernel halves it until it gets one.
func (h *host) simpleRead(c *simpleCall) unix.Errno {
	at := c.dst.Start
	for _, s := range c.src {
		if _, e := h.readWrite(run{src: s, dst: target.Range{Start: at, Len: s.Len}}); e != 0 {
			return e
		}
		at += s.Len
	}
	return 0
}
