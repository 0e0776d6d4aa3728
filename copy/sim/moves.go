package sim

import "slices"

// move is one source range on its way.
type move struct {
	index int // in the command's list
	from  run
	to    uint64
}

// moves are the ranges with their places in the destination, as the device understood them.
func (d *Device) moves(c *command) []move {
	var out []move
	to := c.to
	from := c.from
	if d.bad[nrOnesBased] {
		from = from[:len(from)-1]
	}
	for i, r := range from {
		if d.bad[nlbOnesBased] {
			r.n--
		}
		out = append(out, move{i, r, to})
		to += r.n
	}
	if len(out) == 0 {
		return nil
	}
	if d.bad[sourcesSorted] {
		slices.SortStableFunc(out, func(a, b move) int {
			switch {
			case a.from.at < b.from.at:
				return -1
			case a.from.at > b.from.at:
				return 1
			}
			return 0
		})
		to := c.to
		for i := range out {
			out[i].to = to
			to += out[i].from.n
		}
	}
	last := &out[len(out)-1]
	switch {
	case d.bad[copiesLess]:
		last.from.n--
	case d.bad[copiesMore] && inside(last.from.at, last.from.n+1, c.src.end):
		last.from.n++
	}
	if first := &out[0]; d.bad[writesBefore] && first.from.at > 0 && first.to > 0 {
		first.from.at--
		first.from.n++
		first.to--
	}
	for i := range out { // what is past the end is left out
		if m := &out[i]; m.to >= d.end {
			m.from.n = 0
		} else {
			m.from.n = min(m.from.n, d.end-m.to)
		}
	}
	return out
}

// order is in which order moves are done.
func (d *Device) order(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	switch {
	case d.bad[rangesReversed]:
		slices.Reverse(out)
	case d.bad[limitsLate] || d.bad[lbaLate] || d.bad[overlapForward]: // as QEMU
	default:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.rand.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}

// careless says that the device does not see that sources overlap the destination.
func (d *Device) careless() bool {
	return d.bad[overlapForward] || d.bad[rangesReversed] || d.bad[rangesReordered]
}

// overlaps says whether a command writes what it reads.
func (d *Device) overlaps(c *command) bool {
	return c.src == d && slices.ContainsFunc(c.from, func(r run) bool { return r.at < c.to+c.n && c.to < r.at+r.n })
}
