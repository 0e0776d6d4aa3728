package workload

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
)

// draw is a reproducible source of numbers. PCG's sequence is fixed by its documentation; how math/rand/v2 makes bounded
// numbers of it is not, so that is done here. The bias of a remainder does not matter at 2^64.
type draw struct{ pcg *rand.PCG }

// newDraw is that of one request. The name is in it, so that two workloads of one seed do not draw the same places.
func newDraw(name string, seed, index uint64) *draw {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return &draw{rand.NewPCG(seed^h.Sum64(), index)}
}

// below is a number from 0 to n-1; n is not 0.
func (d *draw) below(n uint64) uint64 { return d.pcg.Uint64() % n }

// between is a number from lo to hi, both included.
func (d *draw) between(lo, hi uint64) uint64 {
	if hi <= lo {
		return lo
	}
	return lo + d.below(hi-lo+1)
}

// skewed is a number from 1 to 2^top, each power of two as likely as the next: extents of file systems are like that.
func (d *draw) skewed(top uint64) uint64 {
	n := uint64(1) << d.below(top+1)
	return d.between(max(n/2, 1), n)
}

// order is the numbers from 0 to n-1 in any order.
func (d *draw) order(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := int(d.below(uint64(i + 1)))
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// place finds places for runs of these lengths in a room of size, in any order, so that none overlap. Their sum is not
// more than the room.
func (d *draw) place(room uint64, lengths []uint64) []uint64 {
	free := room
	for _, n := range lengths {
		free -= n
	}
	gaps := make([]uint64, len(lengths))
	for i := range gaps {
		gaps[i] = d.between(0, free)
	}
	slices.Sort(gaps)
	out := make([]uint64, len(lengths))
	var before uint64
	for i, which := range d.order(len(lengths)) {
		out[which] = gaps[i] + before
		before += lengths[which]
	}
	return out
}

// cut divides total into n parts, none empty; n is from 1 to total.
func (d *draw) cut(total, n uint64) []uint64 {
	var out []uint64
	for ; n > 1; n-- {
		part := d.between(1, max(1, 2*(total/n)))
		part = min(part, total-(n-1))
		out = append(out, part)
		total -= part
	}
	return append(out, total)
}
