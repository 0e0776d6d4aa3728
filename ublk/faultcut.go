package ublk

import (
	"context"

	"golang.org/x/sys/unix"

	faults "github.com/ublk-go/ublk-linear/fault"
)

// cut is what a command was before it was cut to its first half.
type cut struct {
	on   bool
	torn bool // the half is done, and then it is an error
	left uint64
	niov uint32
	last uint32 // the element that was made shorter
	len  uint64 // what it was
}

// cut makes of a command its first half, in whole blocks. It is false, and nothing is changed, if there is no half.
func (s *spoil) cut(i uint32, torn bool) bool {
	o := &s.q.ops[i]
	half := o.left / 2 / s.block * s.block
	if half == 0 {
		return false
	}
	c := cut{on: true, torn: torn, left: o.left, niov: o.niov}
	if o.kind > kindWrite {
		o.left = half
		s.cuts[i] = c
		return true
	}
	n := uint32(0)
	for rest := half; rest > 0; n++ {
		v := &s.q.iovs[o.iov+n]
		c.last, c.len = o.iov+n, v.Len
		v.Len = min(v.Len, rest)
		rest -= v.Len
	}
	o.niov = n
	s.cuts[i] = c
	return true
}

// mend makes a command that has come back what it was, and says what its result is taken for: of a torn one EIO, of a short
// one what came.
func (s *spoil) mend(i uint32, res int32) int32 {
	c, o := &s.cuts[i], &s.q.ops[i]
	if !c.on {
		return res
	}
	c.on = false
	if o.left = c.left; o.kind <= kindWrite {
		o.niov = c.niov
		s.q.iovs[c.last].Len = c.len
	}
	if c.torn {
		return -int32(unix.EIO)
	}
	return res
}

// afterRelease calls f when the set is released, until the returned function is called.
func afterRelease(set *faults.Set, f func()) func() bool {
	return context.AfterFunc(set.Released(), f)
}
