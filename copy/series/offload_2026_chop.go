package series

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/target"
)

// place is where one side of a request has got to: a segment, and bytes of it (in_idx and in_offset of the code).
type offloadPlace struct {
	i  int
	in uint64
}

// within is how many bytes of the next n segments are left (blk_max_src_len, blk_max_dst_len).
func (p *offloadPlace) within(segs []blkcopy.Seg, n uint64) (bytes uint64) {
	for i := p.i; i < len(segs) && uint64(i-p.i) < n; i++ {
		bytes += segs[i].Len
	}
	return bytes - min(bytes, p.in)
}

// take is the next part of at most n bytes that lies in one segment, in sectors.
func (p *offloadPlace) take(segs []blkcopy.Seg, n uint64) target.Range {
	s := segs[p.i]
	n = min(n, s.Len-p.in)
	r := target.Range{Start: (s.Pos + p.in) / 512, Len: n / 512}
	if p.in += n; p.in == s.Len {
		p.i, p.in = p.i+1, 0
	}
	return r
}

// offload is blkdev_copy_offload: an errno is a refusal, before anything is sent; otherwise the result is in status, once
// nothing is pending. Chunks are as long as both devices' max_copy_sectors and segment limits let them be; the contexts of
// all of them are in flight together, in no promised order.
func (v *offloadRun) offload() unix.Errno {
	if v.src.max == 0 || v.dst.max == 0 {
		v.out.Why = "a device has no support"
		return unix.EOPNOTSUPP
	}
	if why := v.check(); why != "" {
		v.out.Why = why
		return unix.EINVAL
	}
	if why := v.spans(); why != "" && !v.o.Has(oSplit) {
		v.out.Why = why
		return unix.EOPNOTSUPP
	}
	most := min(v.src.max, v.dst.max) * 512
	if !v.o.Has(oCap) {
		most -= most % v.mask()
	}
	if most == 0 {
		v.out.Why = fmt.Sprintf("the limit is less than a logical block of %d bytes", v.mask())
		return unix.EOPNOTSUPP
	}
	v.pending = 1
	v.chop(int64(sum(v.in)), most)
	if v.o.Has(oPut) && v.bios > 0 {
		v.out.fault(oPut, "%d bios leak", v.bios)
	}
	if v.pending--; v.pending > 0 && !v.crashed {
		v.out.Never = true
	}
	return 0
}

// enomem is the value of ENOMEM.
const enomem = 12

// chop is the loop of blkdev_copy_offload. Once a bio has ended past the device it stops: the kernel goes on, and can do
// so for as many chunks as the segments say, but the error stays the first.
func (v *offloadRun) chop(length int64, most uint64) {
	var src, dst offloadPlace
	failures := 0
	for offset := int64(0); offset < length && !v.crashed && !v.past; {
		n := min(uint64(length-offset), most)
		n = min(n, src.within(v.in, v.src.src))
		n = min(n, dst.within(v.to, v.dst.dst))
		if v.noMemory() {
			if !v.o.Has(oNoMem) {
				v.fail(unix.ENOMEM, "no memory for a context")
				return
			}
			if failures++; failures == 64 {
				v.crashed, v.out.Never = true, true
				v.out.fault(oNoMem, "while there is no memory the loop goes backwards, 12 bytes a time: offset %d", offset)
				return
			}
			offset -= enomem
			continue
		}
		if n == 0 { // only where the offset has gone backwards
			v.crash(oNoMem, "a context without bios is completed at offset %d of %d: NULL is followed", offset, length)
			return
		}
		v.context(&src, &dst, n)
		offset += int64(n)
	}
}

func (v *offloadRun) noMemory() bool {
	v.allocs++
	return v.w.NoMemory != nil && v.w.NoMemory(v.allocs-1)
}

// fail notes an error; the first stays.
func (v *offloadRun) fail(errno unix.Errno, why string) {
	if v.status == 0 {
		v.status, v.why = errno, why
	}
}

// crash is the end of the task: what it waits for never comes.
func (v *offloadRun) crash(defect, format string, a ...any) {
	v.crashed, v.out.Never = true, true
	v.out.fault(defect, format, a...)
}

// spans finds a segment with more than one place. The comment on blkdev_copy_offload has -EOPNOTSUPP for it, before anything
// is sent.
func (v *offloadRun) spans() string {
	for _, side := range []struct {
		d    *Device
		segs []blkcopy.Seg
	}{{v.r.Src, v.in}, {v.r.Dst, v.to}} {
		for _, s := range side.segs {
			r := target.Range{Start: s.Pos / 512, Len: s.Len / 512}
			if in := side.d.inside(r); in.Len > 0 && side.d.crosses(in) {
				return fmt.Sprintf("%s %d+%d spans more than one dm device", side.d.Name, r.Start, r.Len)
			}
		}
	}
	return ""
}
