package sim

import "math"

// bounds are the limits that are enforced.
type bounds struct{ mssrl, mcl, ranges uint64 }

func (d *Device) bounds() bounds {
	b := bounds{uint64(d.c.MSSRL), uint64(d.c.MCL), uint64(d.c.MSRC) + 1}
	set := func(dst *uint64, over, under, ignored trait, more, none uint64) {
		switch {
		case d.bad[ignored]:
			*dst = none
		case d.bad[under]:
			*dst = more
		case d.bad[over]:
			*dst = max(1, *dst-1)
		}
	}
	set(&b.mssrl, mssrlOver, mssrlUnder, mssrlIgnored, 2*b.mssrl, mostBlocks)
	set(&b.mcl, mclOver, mclUnder, mclIgnored, 2*b.mcl, math.MaxUint64)
	set(&b.ranges, msrcOver, msrcUnder, msrcIgnored, min(2*b.ranges, mostRanges), mostRanges)
	return b
}

// refuse looks at a command before anything is moved.
func (d *Device) refuse(c *command) Completion {
	b := d.bounds()
	if uint64(len(c.from)) > b.ranges || c.n > b.mcl || d.bad[mclZero] {
		return Completion{Status: StatusSize}
	}
	for i, r := range c.from {
		if !d.bad[limitsLate] && r.n > c.src.bounds().mssrl {
			return Completion{Status: StatusSize}
		}
		if !d.bad[lbaLate] && d.away(c, i) {
			return Completion{Status: StatusLBA}
		}
	}
	if !d.bad[destinationClipped] && !inside(c.to, c.n, d.last()) {
		return Completion{Status: StatusLBA}
	}
	return Completion{}
}

// late looks at one range of a command while it is executed. 0 is good.
func (d *Device) late(c *command, i int) uint16 {
	switch {
	case d.bad[limitsLate] && c.from[i].n > c.src.bounds().mssrl:
		return StatusSize
	case d.bad[lbaLate] && d.away(c, i):
		return StatusLBA
	}
	return 0
}

// away says whether source i is past the end.
func (d *Device) away(c *command, i int) bool {
	if d.bad[lbaWrapped] || d.bad[lbaFirstOnly] && i > 0 {
		return false
	}
	return !inside(c.from[i].at, c.from[i].n, c.src.last())
}

// last is the end of the namespace as addresses are compared with it.
func (d *Device) last() uint64 {
	if d.bad[endOffByOne] {
		return d.end - 1
	}
	return d.end
}

func inside(at, n, end uint64) bool { return at <= end && n <= end-at }
