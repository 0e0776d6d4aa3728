package blkcopy

import (
	"slices"
	"sort"

	"github.com/ublk-go/ublk-linear/target"
)

// intervals is a set of sectors: sorted ranges that do not touch.
type intervals []target.Range

// add puts a range into the set.
func (s *intervals) add(r target.Range) {
	if r.Len == 0 {
		return
	}
	v := *s
	i, _ := slices.BinarySearchFunc(v, r.Start, func(x target.Range, at uint64) int {
		if x.End() < at {
			return -1
		}
		return 1
	})
	j := i
	for j < len(v) && v[j].Start <= r.End() {
		end := max(v[j].End(), r.End())
		r.Start = min(v[j].Start, r.Start)
		r.Len = end - r.Start
		j++
	}
	*s = slices.Replace(v, i, j, r)
}

// prefix is the sectors from 0 on that are all in the set.
func (s intervals) prefix() uint64 {
	if len(s) > 0 && s[0].Start == 0 {
		return s[0].Len
	}
	return 0
}

// sum is the number of sectors in the set.
func (s intervals) sum() (n uint64) {
	for _, r := range s {
		n += r.Len
	}
	return n
}

// gaps yields what of r is not in the set.
func (s intervals) gaps(r target.Range, yield func(target.Range)) {
	at := r.Start
	i := sort.Search(len(s), func(i int) bool { return s[i].End() > at })
	for _, x := range s[i:] {
		if x.Start >= r.End() {
			break
		}
		if x.Start > at {
			yield(target.Range{Start: at, Len: x.Start - at})
		}
		at = x.End()
	}
	if at < r.End() {
		yield(target.Range{Start: at, Len: r.End() - at})
	}
}

// within yields what of r is in the set.
func (s intervals) within(r target.Range, yield func(target.Range)) {
	at := r.Start
	s.gaps(r, func(g target.Range) {
		if g.Start > at {
			yield(target.Range{Start: at, Len: g.Start - at})
		}
		at = g.End()
	})
	if at < r.End() {
		yield(target.Range{Start: at, Len: r.End() - at})
	}
}
