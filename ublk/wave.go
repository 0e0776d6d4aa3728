package ublk

import "github.com/ublk-go/ublk-linear/target"

// group turns segments into commands, which it leaves at the end of the free list from the returned index on. A read or
// write that goes on where an earlier command of the wave ends on the same disk joins it: the rows of a stripe become one
// vector per leg.
//
// A vector per disk, rather than a command per chunk, or requests that the block layer cuts at chunk edges (chunk_sectors):
// neither did more I/O than this beyond the noise, at any size from 4 KiB to 1 MiB, and both have more commands
// (docs/performance.md, "One command per disk, or per chunk").
// hot path
func (q *queue) group(t uint16, segs []target.Segment, mop target.Op, done uint64) int {
	tg := &q.tags[t]
	top := len(q.free)
	first := top
	for i := range segs {
		s := &segs[i]
		if mop == target.Read || mop == target.Write {
			if j := q.joins(first, top, s); j >= 0 {
				q.segOp[i] = uint32(j)
				o := &q.ops[q.free[j]]
				o.left += s.Sectors * 512
				if !q.follows(segs, i, j) {
					o.niov++
				}
				continue
			}
		}
		first--
		q.segOp[i] = uint32(first)
		o := &q.ops[q.free[first]]
		*o = op{at: s.Sector * 512, left: s.Sectors * 512, tag: t, disk: s.Disk, niov: 1}
		switch mop {
		case target.Read:
			o.kind = kindRead
		case target.Write:
			o.kind, o.dsync = kindWrite, tg.q.fua
		case target.Flush:
			o.kind = kindSync
			if s := q.disks[s.Disk].Stats; s != nil {
				o.mark = s.written()
			}
		case target.Discard:
			o.kind = kindDiscard
		case target.WriteZeroes:
			o.kind, o.noUnmap = kindZero, tg.q.noUnmap
		}
	}
	tg.left = uint32(top - first)
	if mop == target.Read || mop == target.Write {
		q.vectors(t, segs, first, top, done)
	}
	return first
}

// single is group for a read or write of one segment, as small ones are: it takes a command for it off the free list.
// hot path
func (q *queue) single(t uint16, s *target.Segment, mop target.Op, done uint64) uint32 {
	tg := &q.tags[t]
	top := len(q.free) - 1
	i := q.free[top]
	q.free = q.free[:top]
	tg.left = 1
	iov := uint32(int(t) * q.wave)
	o := &q.ops[i]
	*o = op{}
	o.at, o.left, o.iov, o.niov, o.tag, o.disk = s.Sector*512, s.Sectors*512, iov, 1, t, s.Disk
	o.kind, o.dsync = kind(mop), tg.q.fua && mop == target.Write
	base := (done + s.Offset) * 512
	if !q.fixed {
		base += q.bufAddr + uint64(t)*q.bufLen
	}
	v := &q.iovs[iov]
	v.Base, v.Len = base, s.Sectors*512
	return i
}

// joinWindow is how many of the wave's last commands a segment is tried against: stripes of up to so many legs become
// one command per leg.
const joinWindow = 32

// maxIovecs is UIO_MAXIOV, the longest vector that a read or write takes.
const maxIovecs = 1024

// joins finds the command that a segment continues.
// hot path
func (q *queue) joins(first, top int, s *target.Segment) int {
	for j := first; j < top && j < first+joinWindow; j++ {
		o := &q.ops[q.free[j]]
		if o.disk == s.Disk && o.at+o.left == s.Sector*512 && o.niov < maxIovecs {
			return j
		}
	}
	return -1
}

// follows says whether segment i also follows in the buffer what command j has last: then both are one vector element.
// hot path
func (q *queue) follows(segs []target.Segment, i, j int) bool {
	return i > 0 && q.segOp[i-1] == uint32(j) && segs[i-1].Offset+segs[i-1].Sectors == segs[i].Offset
}

// vectors lays the iovecs of the wave's commands one behind the other in the tag's part of the array.
// hot path
func (q *queue) vectors(t uint16, segs []target.Segment, first, top int, done uint64) {
	next := uint32(int(t) * q.wave)
	for j := first; j < top; j++ {
		o := &q.ops[q.free[j]]
		o.iov = next
		next += o.niov
		o.niov = 0
	}
	base := done * 512
	if !q.fixed {
		base += q.bufAddr + uint64(t)*q.bufLen
	}
	for i := range segs {
		s, j := &segs[i], int(q.segOp[i])
		o := &q.ops[q.free[j]]
		if o.niov > 0 && q.follows(segs, i, j) {
			q.iovs[o.iov+o.niov-1].Len += s.Sectors * 512
			continue
		}
		v := &q.iovs[o.iov+o.niov]
		v.Base, v.Len = base+s.Offset*512, s.Sectors*512
		o.niov++
	}
}
