package series

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
)

// vectoredCall is one ioctl: BLKCPY with one source, BLKCPY_VEC with more. Sectors of the device.
type vectoredCall struct {
	dst     uint64
	sources []target.Range
}

func (c *vectoredCall) sectors() (n uint64) {
	for _, s := range c.sources {
		n += s.Len
	}
	return n
}

// vectoredRun is a request under way.
type vectoredRun struct {
	w    *World
	o    *Options
	d    *Device
	out  *Outcome
	host *host
}

// runVectored does a request as its caller would have to: one ioctl for every destination segment, one after the other, to
// the first that fails.
func runVectored(w *World, r *Request, o *Options) *Outcome {
	out := &Outcome{Model: "vectored-2025", Limits: vectoredLimits(w, r.Dst, o)}
	v := &vectoredRun{w, o, r.Dst, out, newHost(w, r, out)}
	if r.Src.Table != r.Dst.Table { // two partitions of a disk are two block devices
		out.Errno, out.Why = unix.EOPNOTSUPP, "cannot be said: BLKCPY and BLKCPY_VEC are ioctls on one block device"
		return out
	}
	if r.Dst.ReadOnly || v.readOnlyDisk() {
		out.Errno, out.Why = unix.EBADF, "the device is not open for writing (blk_ioctl_copy, BLK_OPEN_WRITE)"
		return out
	}
	calls, why := vectoredCalls(r)
	if why != "" {
		out.Errno, out.Why = unix.EINVAL, why
		return out
	}
	if len(calls) > 1 {
		out.Why = fmt.Sprintf("%d ioctls, since one has one destination and at most 65535 sources", len(calls))
	}
	defer func() {
		if out.Accepted {
			out.overlap(w, r, "the test knows one ioctl, and not the disks")
		}
		out.tell()
	}()
	for i := range calls {
		c := &calls[i]
		errno, why := v.check(c)
		if errno == 0 {
			out.Accepted = true
			errno, why = v.copyRange(c)
		}
		if errno != 0 {
			out.Errno, out.Why = errno, fmt.Sprintf("ioctl %d of %d: %s", i+1, len(calls), why)
			return out
		}
		if out.Never {
			return out
		}
		out.Bytes += c.sectors() * 512
	}
	if out.Why == "" {
		out.Why = "offloaded"
	}
	if o.Has(vCache) {
		out.fault(vCache, "nothing flushes or drops the page cache over the device")
	}
	return out
}

func (v *vectoredRun) readOnlyDisk() bool {
	return v.d.Bare && v.w.Disks[v.w.bare(v.d)].ReadOnly
}

// vectoredCalls cuts a request into what the ioctls can say; why is not empty when they cannot.
func vectoredCalls(r *Request) (calls []vectoredCall, why string) {
	if len(r.SrcSegs) == 0 || len(r.DstSegs) == 0 {
		return nil, "no segments"
	}
	i, in := 0, uint64(0) // the source segment, and how much of it is taken
	for _, d := range r.DstSegs {
		if d.Pos%512 != 0 || d.Len%512 != 0 {
			return nil, "cannot be said: the ioctls count sectors"
		}
		c := vectoredCall{dst: d.Pos / 512}
		for left := d.Len; ; {
			if len(c.sources) == 1<<16-1 { // nr_ranges has 16 bits
				calls = append(calls, c)
				c = vectoredCall{dst: c.dst + c.sectors()}
			}
			if i == len(r.SrcSegs) {
				if left > 0 {
					return nil, "the destination is longer than the source"
				}
				break
			}
			s := r.SrcSegs[i]
			if s.Pos%512 != 0 || s.Len%512 != 0 {
				return nil, "cannot be said: the ioctls count sectors"
			}
			if left == 0 && s.Len > 0 { // an empty segment goes to the destination before it
				break
			}
			n := min(s.Len-in, left)
			c.sources = append(c.sources, target.Range{Start: (s.Pos + in) / 512, Len: n / 512})
			left -= n
			if in += n; in == s.Len {
				i, in = i+1, 0
			}
		}
		if len(c.sources) > 0 || d.Len == 0 {
			calls = append(calls, c)
		}
	}
	if i < len(r.SrcSegs) {
		return nil, "the source is longer than the destination"
	}
	return calls, ""
}

// check is blk_ioctl_copy and blk_ioctl_copy_vec. What the second forgets is what the first does, source by source.
func (v *vectoredRun) check(c *vectoredCall) (unix.Errno, string) {
	block := v.d.block() / 512
	vec := len(c.sources) > 1
	total := c.sectors()
	if c.dst%block != 0 {
		return unix.EINVAL, fmt.Sprintf("the destination, sector %d, is not a multiple of the logical block of %d sectors", c.dst, block)
	}
	if len(c.sources) == 0 {
		return unix.EINVAL, "zero length"
	}
	at := c.dst
	for _, s := range c.sources {
		switch {
		case (s.Start|s.Len)%block != 0:
			return unix.EINVAL, fmt.Sprintf("source %d+%d is not a multiple of the logical block of %d sectors", s.Start, s.Len, block)
		case s.Len == 0 && !(vec && v.o.Has(vZero)):
			return unix.EINVAL, "zero length"
		case (s.End() < s.Start || s.End() > v.d.Table.Sectors()) && !(vec && v.o.Has(vSources)):
			return unix.EINVAL, fmt.Sprintf("source %d+%d ends past the device", s.Start, s.Len)
		}
		with := target.Range{Start: c.dst, Len: total}
		if v.o.Has(vOverlap) {
			with.Len = s.Len
		}
		own := s.Start == at || v.o.Has(vOverlap) && s.Start == c.dst // onto itself is no overlap: both comparisons are strict
		if !own && s.Start < with.End() && with.Start < s.End() {
			return unix.EINVAL, fmt.Sprintf("source %d+%d overlaps the destination %d+%d", s.Start, s.Len, with.Start, with.Len)
		}
		at += s.Len
	}
	if q, _ := vectoredOf(v.w, v.d, v.o); total > maxBioSectors && (q.total == 0 || !v.o.Has(vSize)) {
		return unix.EINVAL, fmt.Sprintf("%d sectors, at most %d (UINT_MAX bytes)", total, uint64(maxBioSectors))
	}
	if v.o.Has(vOverlap) {
		v.sayOverlap(c, total)
	}
	return 0, ""
}

// sayOverlap finds a source that the destination of one before it covers, which is what the test misses.
func (v *vectoredRun) sayOverlap(c *vectoredCall, total uint64) {
	at := c.dst
	for _, s := range c.sources {
		if s.Start != at && s.Start < c.dst+total && c.dst < s.End() {
			v.out.fault(vOverlap, "source %d+%d overlaps the destination %d+%d, and is accepted", s.Start, s.Len, c.dst, total)
			return
		}
		at += s.Len
	}
}

// copyRange is blkdev_copy_range: the device's command where there is support, reading and writing where there is none.
// After a command that failed there is no fallback.
func (v *vectoredRun) copyRange(c *vectoredCall) (unix.Errno, string) {
	if q, at := vectoredOf(v.w, v.d, v.o); q.total > 0 {
		return v.offload(c, q, at)
	}
	if v.out.Why == "" {
		v.out.Why = "no support: read and written"
		if !v.d.Bare {
			v.out.Why = "the limits do not stack: read and written"
		}
	}
	at := c.dst
	for i, s := range c.sources {
		if errno, why := v.readWrite(s.Start, at, s.Len); errno != 0 {
			return errno, why
		}
		switch {
		case !v.o.Has(vFallbackDst):
			at += s.Len
		case i == 1:
			v.out.fault(vFallbackDst, "every source is written to sector %d", c.dst)
		}
	}
	return 0, ""
}

// copyBuffer is the fallback's buffer in sectors: BIO_MAX_VECS pages (__blkdev_copy, __blkdev_sectors_to_bio_pages).
const copyBuffer = 256 * 4096 / 512

// readWrite is __blkdev_copy: a buffer is read, then written, and again.
func (v *vectoredRun) readWrite(src, dst, left uint64) (unix.Errno, string) {
	for left > 0 {
		n := min(left, copyBuffer)
		if _, errno := v.host.readWrite(run{src: target.Range{Start: src, Len: n}, dst: target.Range{Start: dst, Len: n}}); errno != 0 {
			return errno, fmt.Sprintf("reading %d+%d or writing %d+%d failed", src, n, dst, n)
		}
		src, dst, left = src+n, dst+n, left-n
	}
	return 0, ""
}

// failed is the errno of a command that was not done wholly. The block layer sees the status and nothing else: a device that
// says success and copies less is believed.
func failed(c *Command) unix.Errno { return errnoOf(c.Status) }

// fault adds what goes wrong; defect may be empty.
func (o *Outcome) fault(defect, format string, a ...any) {
	o.Wrong = append(o.Wrong, Finding{defect, fmt.Sprintf(format, a...)})
}
