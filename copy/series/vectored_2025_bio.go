package series

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// offload is blkdev_copy_offload: one bio, which the block layer splits. All parts are sent without waiting for each
// other; the first error is the bio's.
func (v *vectoredRun) offload(c *vectoredCall, q vectoredQueue, at target.Extent) (unix.Errno, string) {
	total := c.sectors()
	if total > maxBioSectors { // only with the defect
		v.out.fault(vSize, "%d sectors are taken for %d", total, total&maxBioSectors)
		total &= maxBioSectors
	}
	sources, joined := vectoredSources(c.sources, v.o.Has(vMerge))
	if joined != "" {
		v.out.fault(vMerge, "%s", joined)
	}
	v.out.Bios = append(v.out.Bios, Bio{"REQ_OP_COPY", v.d.Name, c.dst, total, fmt.Sprintf("%d sources", len(sources))})
	if dst := (target.Range{Start: c.dst, Len: total}); dst.End() < dst.Start || dst.End() > at.Len {
		return unix.EIO, fmt.Sprintf("the destination %d+%d ends past the device (bio_check_eod)", c.dst, total)
	}
	if v.o.Has(vSources) {
		v.sayEscape(sources, at)
	} else {
		for i := range sources {
			sources[i].Start += at.Start
		}
	}
	b := vectoredBio{disk: at.Disk, dst: at.Start + c.dst, sources: sources, left: total}
	var errno unix.Errno
	why := ""
	for b.left > 0 {
		ranges, n := b.front(q, v.o.Has(vZero))
		if n == 0 { // only a vector of empty sources
			break
		}
		e, w := v.command(&b, ranges, n, q)
		if v.out.Never {
			return 0, ""
		}
		if e != 0 && errno == 0 {
			errno, why = e, w
		}
		b.advance(n)
	}
	return errno, why
}

// vectoredSources is bio_add_copy_src for every source: one that goes on from the one before is joined to it.
func vectoredSources(in []target.Range, wrong bool) (out []target.Range, joined string) {
	for _, s := range in {
		if k := len(out) - 1; k >= 0 {
			last := &out[k]
			goesOn := last.End() == s.Start
			if wrong {
				goesOn = last.Start+s.Len == s.Start
			}
			if goesOn {
				if last.End() != s.Start {
					joined = fmt.Sprintf("source %d+%d is joined to %d+%d, and %d+%d is read for it", s.Start, s.Len, last.Start, last.Len, last.End(), s.Len)
				}
				last.Len += s.Len
				continue
			}
		}
		out = append(out, s)
	}
	return out, joined
}

func (v *vectoredRun) sayEscape(sources []target.Range, at target.Extent) {
	for _, s := range sources {
		if at.Start > 0 || s.End() > at.Len {
			v.out.fault(vSources, "source %d+%d is read from the disk, not from the partition at %d+%d", s.Start, s.Len, at.Start, at.Len)
			return
		}
	}
}

// vectoredBio is what is left of a bio: where its destination goes on, and its sources from in on.
type vectoredBio struct {
	disk    target.Disk
	dst     uint64
	sources []target.Range
	in      uint64 // of the first source, in sectors
	left    uint64
}

// front is bio_split_copy: how many sectors of the bio make one request, and its ranges. A source is cut at the limit of a
// range; the request ends with the limit of ranges or of sectors, inside a source if need be. Empty sources are ranges too,
// if they count.
func (b *vectoredBio) front(q vectoredQueue, empty bool) (ranges []target.Range, n uint64) {
	in := b.in
	for i := 0; i < len(b.sources) && n < b.left; {
		s := b.sources[i]
		if s.Len == 0 {
			if empty {
				ranges = append(ranges, s)
			}
			i, in = i+1, 0
		} else {
			k := min(s.Len-in, q.ranged, q.total-n, b.left-n)
			ranges = append(ranges, target.Range{Start: s.Start + in, Len: k})
			n += k
			if in += k; in == s.Len {
				i, in = i+1, 0
			}
		}
		if uint64(len(ranges)) >= q.ranges || n >= q.total {
			break
		}
	}
	return ranges, n
}

// rest is how much of the source goes on where a front of n sectors ends, if that is inside one.
func (b *vectoredBio) rest(n uint64) uint64 {
	in := b.in
	for _, s := range b.sources {
		if k := s.Len - in; n < k {
			return k - n
		} else if n -= k; n == 0 {
			return 0
		}
		in = 0
	}
	return 0
}

// advance takes n sectors off (bio_advance_iter).
func (b *vectoredBio) advance(n uint64) {
	b.dst, b.left = b.dst+n, b.left-n
	b.in += n
	for len(b.sources) > 0 && b.in >= b.sources[0].Len {
		b.in -= b.sources[0].Len
		b.sources = b.sources[1:]
	}
}

// command is nvme_setup_copy: one Copy of descriptor format 0.
func (v *vectoredRun) command(b *vectoredBio, ranges []target.Range, n uint64, q vectoredQueue) (unix.Errno, string) {
	name := v.w.name(b.disk)
	note := ""
	if n < b.left || len(v.out.Commands) > 0 {
		note = "split by the queue's limits"
	}
	v.out.Bios = append(v.out.Bios, Bio{"REQ_OP_COPY", name, b.dst, n, note})
	last := ranges[len(ranges)-1].Len
	if rest := b.rest(n); v.o.Has(vClip) && rest > 0 && last < q.ranged {
		v.out.Never = true
		v.out.fault(vClip, "the last range has %d sectors and is taken for %d: what is left of the bio goes below zero, and the driver's loop writes past the range list", last, min(last+rest, q.ranged))
		return 0, ""
	}
	if v.o.Has(vRanges) && len(ranges) >= nvmeRanges2025 {
		v.out.fault(vRanges, "a command of %d ranges is not sent", len(ranges))
		return unix.EIO, fmt.Sprintf("%d ranges, and %d are too many (nvme_setup_copy)", len(ranges), nvmeRanges2025)
	}
	c := Command{Method: limits.NVMeCopy, Dst: target.Extent{Disk: b.disk, Range: target.Range{Start: b.dst, Len: n}}}
	for _, r := range ranges {
		if r.Len == 0 {
			r.Len = 65536 * v.w.Disks[b.disk].block()
			v.out.fault(vZero, "the empty source at %d becomes %d sectors", r.Start, r.Len)
			c.Dst.Len += r.Len
		}
		c.Sources = append(c.Sources, target.Extent{Disk: b.disk, Range: r})
	}
	if v.o.Has(vList) && len(ranges) < nvmeRanges2025 {
		v.out.fault(vList, "a list of %d bytes is sent as 4096", 32*len(ranges))
	}
	if !v.host.dev.send(c) {
		return failed(v.host.dev.last()), fmt.Sprintf("%s answered 0x%x", name, v.host.dev.last().Status)
	}
	return 0, ""
}
