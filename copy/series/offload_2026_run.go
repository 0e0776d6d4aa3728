package series

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
)

// offloadRun is a request under way: struct blk_copy_params.
type offloadRun struct {
	w        *World
	r        *Request
	o        *Options
	out      *Outcome
	host     *host
	src, dst offloadQueue
	in, to   []blkcopy.Seg
	allocs   int
	bios     int        // that were made
	pending  int        // copy_ctx_count
	status   unix.Errno // the first error
	why      string     // of it
	crashed  bool
	past     bool // a bio has ended past its device
}

func runOffload(w *World, r *Request, o *Options) *Outcome {
	out := &Outcome{Model: "offload-2026", Limits: offloadLimits(w, r.Dst, o)}
	v := &offloadRun{w: w, r: r, o: o, out: out, host: newHost(w, r, out), src: offloadDevice(w, r.Src, o), dst: offloadDevice(w, r.Dst, o)}
	if r.Dst.ReadOnly || r.Dst.Bare && w.Disks[w.bare(r.Dst)].ReadOnly {
		out.Errno, out.Why = unix.EBADF, "the destination is not open for writing"
		return out
	}
	if why := loffT(r); why != "" {
		out.Errno, out.Why = unix.EINVAL, why
		return out
	}
	v.in, v.to = whole(r.SrcSegs), whole(r.DstSegs)
	if len(r.SrcSegs) == 1 && len(r.DstSegs) == 1 {
		v.file(r.SrcSegs[0], r.DstSegs[0])
	} else {
		v.api()
	}
	out.tell()
	return out
}

// tell says what the caller does not see of how a request was done.
func (o *Outcome) tell() {
	if o.Emulated > 0 {
		o.fault("", "read and written by the host, and nobody is told")
	}
	if n := o.Offloaded + o.Emulated; o.Errno != 0 && n > o.Bytes {
		o.fault("", "%d bytes were copied, and the caller knows of %d", n, o.Bytes)
	}
}

// loffT says why a request cannot be said in loff_t.
func loffT(r *Request) string {
	for _, segs := range [][]blkcopy.Seg{r.SrcSegs, r.DstSegs} {
		var total uint64
		for _, s := range segs {
			if total += s.Len; s.Pos > 1<<62 || s.Len > 1<<62 || total > 1<<62 {
				return "cannot be said: positions and lengths are loff_t"
			}
		}
	}
	return ""
}

// whole leaves out empty segments: nothing says what one would mean.
func whole(segs []blkcopy.Seg) []blkcopy.Seg {
	return slices.DeleteFunc(slices.Clone(segs), func(s blkcopy.Seg) bool { return s.Len == 0 })
}

// mask is the larger logical block in bytes.
func (v *offloadRun) mask() uint64 { return max(v.r.Src.block(), v.r.Dst.block()) }

// file is copy_file_range(): generic_copy_file_checks, then blkdev_copy_file_range.
func (v *offloadRun) file(s, d blkcopy.Seg) {
	n := s.Len
	size := v.r.Src.Table.Sectors() * 512
	switch {
	case s.Len != d.Len:
		v.out.Errno, v.out.Why = unix.EINVAL, "cannot be said: copy_file_range has one length"
		return
	case n == 0 || s.Pos >= size:
		v.out.Accepted, v.out.Why = true, "nothing to copy: copy_file_range returns 0"
		return
	}
	if s.Pos+n > size {
		n = size - s.Pos // shortened at the end of the source
	}
	switch {
	case v.r.Src.Table == v.r.Dst.Table && s.Pos < d.Pos+n && d.Pos < s.Pos+n:
		v.out.Errno, v.out.Why = unix.EINVAL, "source and destination overlap (generic_copy_file_checks)"
		return
	case (s.Pos|d.Pos|n)%v.mask() != 0:
		v.out.Errno, v.out.Why = unix.EINVAL, fmt.Sprintf("not a multiple of the larger logical block, %d bytes: offload refuses it, and so does O_DIRECT", v.mask())
		return
	}
	v.out.Accepted = true
	v.out.overlap(v.w, v.r, "copy_file_range compares the places on the device, not on its disks")
	v.in, v.to = []blkcopy.Seg{{Pos: s.Pos, Len: n}}, []blkcopy.Seg{{Pos: d.Pos, Len: n}}
	errno := unix.EOPNOTSUPP
	v.out.Why = "a device has no support"
	if v.src.max > 0 && v.dst.max > 0 {
		errno = v.sync()
	}
	if v.out.Never {
		return
	}
	if errno == 0 {
		v.out.Bytes, v.out.Why = n, "offloaded"
		return
	}
	v.out.Why += fmt.Sprintf(" (%s): read and written from the start (splice_copy_file_range)", unix.ErrnoName(errno))
	v.splice(s.Pos, d.Pos, n)
}

// sync is blkdev_copy_sync: offload, and wait.
func (v *offloadRun) sync() unix.Errno {
	if errno := v.offload(); errno != 0 {
		return errno
	}
	if v.out.Never || v.status == 0 {
		return 0
	}
	v.out.Why = v.why
	if v.o.Has(oSync) {
		v.out.fault(oSync, "%s, and the caller is told 0", v.why)
		return 0
	}
	return v.status
}

// api is blkdev_copy_offload and blkdev_copy_onload as nvmet calls them.
func (v *offloadRun) api() {
	v.out.overlap(v.w, v.r, "commands are in flight together, and nothing refuses or orders it")
	errno := v.offload()
	if errno == 0 {
		v.out.Accepted = true
		if v.o.Has(oStack) && len(v.out.Bios) > 0 {
			v.out.fault(oStack, "%d segments are freed while they are being copied", len(v.in))
		}
		if v.out.Never {
			return
		}
		if v.out.Errno = v.status; v.status != 0 {
			v.out.Why = v.why
			return
		}
		v.out.Bytes, v.out.Why = sum(v.in), "offloaded"
		return
	}
	v.onload()
	if v.o.Has(oTwice) && v.out.Accepted && !v.crashed {
		v.out.fault(oTwice, "completed with an error when it has only begun, and again when it ends")
		v.out.Errno, v.out.Bytes = unix.EIO, 0
	}
}

// sum is the bytes of segments.
func sum(segs []blkcopy.Seg) (n uint64) {
	for _, s := range segs {
		n += s.Len
	}
	return n
}

// check is blkdev_copy_check_params.
func (v *offloadRun) check() string {
	for _, segs := range [][]blkcopy.Seg{v.in, v.to} {
		for _, s := range segs {
			if (s.Pos|s.Len)%v.mask() != 0 {
				return fmt.Sprintf("%d+%d is not a multiple of the larger logical block, %d bytes", s.Pos, s.Len, v.mask())
			}
		}
	}
	if a, b := sum(v.in), sum(v.to); a != b {
		return fmt.Sprintf("the source has %d bytes, the destination %d", a, b)
	}
	return ""
}
