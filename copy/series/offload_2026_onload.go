package series

import (
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
)

// splice is splice_copy_file_range: reading and writing through a pipe. What was done before an error is a short count.
func (v *offloadRun) splice(src, dst, n uint64) {
	end := v.r.Dst.Table.Sectors() * 512
	if dst >= end {
		v.out.Errno = unix.ENOSPC
		v.out.Why += "; the destination begins past the device"
		return
	}
	n = min(n, end-dst)
	done, errno := v.host.lowest(run{src: target.Range{Start: src / 512, Len: n / 512}, dst: target.Range{Start: dst / 512, Len: n / 512}})
	if v.out.Bytes = done * 512; done == 0 {
		v.out.Errno = errno
	}
}

// onloadBuffer is the most that kmalloc gives (KMALLOC_MAX_SIZE on x86), in bytes; blkdev_copy_alloc_buf halves what it asks
// for until it gets it, and begins with the lesser of the queues' max_hw_sectors and the whole, which is not bounded here.
const onloadBuffer = 4 << 20

// onload is blkdev_copy_onload: a read, a write, and again, each chunk as far as the buffer and both segments go.
func (v *offloadRun) onload() {
	if why := v.check(); why != "" {
		v.out.Errno, v.out.Why = unix.EINVAL, why
		return
	}
	v.out.Accepted = true
	v.out.Why += ": read and written (blkdev_copy_onload)"
	total := sum(v.in)
	var src, dst offloadPlace
	for offset := uint64(0); offset < total; {
		n := min(onloadBuffer, total-offset, src.within(v.in, 1))
		if room := dst.within(v.to, 1); n > room {
			if v.o.Has(oClip) {
				v.out.fault(oClip, "%d bytes are written to a segment that has %d left", n, room)
			} else {
				n = room
			}
		}
		x := run{offset: offset / 512, src: src.take(v.in, n), dst: target.Range{Start: (v.to[dst.i].Pos + dst.in) / 512, Len: n / 512}}
		for left := n; left > 0; { // the destination's place goes by the offset
			left -= dst.take(v.to, left).Len * 512
		}
		if v.o.Has(oMember) {
			v.host.bio("READ", v.r.Src, x.src, "")
			v.crash(oMember, "the write of %d+%d is made from a context that is none", x.dst.Start, x.dst.Len)
			return
		}
		if _, errno := v.host.lowest(x); errno != 0 {
			v.out.Errno = errno
			return
		}
		offset += n
	}
	if v.o.Has(oLeak) {
		v.out.fault(oLeak, "a buffer of %d bytes leaks", min(onloadBuffer, total))
	}
	if v.o.Has(oNoEnd) {
		v.out.fault(oNoEnd, "a caller that waits, and so has no callback, would end here with NULL called")
	}
	v.out.Bytes = total
}

// lowest reads and writes a run. What lies on disks that are themselves stacked is noted where it lies below them.
func (h *host) lowest(x run) (done uint64, errno unix.Errno) {
	n := len(h.dev.o.Commands)
	done, errno = h.readWrite(x)
	for i := range h.dev.o.Commands[n:] {
		c := &h.dev.o.Commands[n+i]
		c.Dst = h.w.lowest(c.Dst)
		for k := range c.Sources {
			c.Sources[k] = h.w.lowest(c.Sources[k])
		}
	}
	return done, errno
}

// lowest is where an extent of a disk that is itself stacked lies.
func (w *World) lowest(e target.Extent) target.Extent {
	for range len(w.Disks) { // a ring is nobody's table
		d := &w.Disks[e.Disk]
		if d.Stacked == "" {
			break
		}
		e.Disk, e.Start = d.On.Disk, d.On.Start+e.Start
	}
	return e
}
