package conform

// drawn are random requests. The seed of the run makes them again.
var drawn = []Scenario{
	{
		Name: "random-requests", Expect: "every copy within the limits is done, whatever its ranges", Why: "what no case above thought of", Ref: refCopy, Judged: "the arena is compared after each",
		run: func(x *trial) error {
			size := min(x.g.Length/x.g.Block, max(minBlocks, min(4*x.g.totalMost(), 1024)))
			if err := x.arena(size); err != nil {
				return err
			}
			for range x.rounds {
				src, dst := x.draw(size, x.g.most(), x.g.rangeMost(), x.g.totalMost())
				if err := x.copiesFUA(src, dst, x.rand.IntN(8) == 0); err != nil {
					return err
				}
				switch x.rand.IntN(8) {
				case 0:
					at := x.rand.Uint64N(size)
					if err := x.write(run{at, 1 + x.rand.Uint64N(size-at)}); err != nil {
						return err
					}
				case 1: // a small write, which is copied at once
					r := run{0, 1 + x.rand.Uint64N(min(4, x.g.rangeMost()))}
					r.at = x.rand.Uint64N(size/2 - r.n)
					if err := x.write(r); err != nil {
						return err
					}
					if err := x.copies([]run{r}, size/2+x.rand.Uint64N(size/2-r.n)); err != nil {
						return err
					}
				}
			}
			return nil
		},
	},
	{
		Name: "random-limits", Expect: "a command is done if it is within MSSRL, MCL and MSRC + 1, and refused if it is not", Why: "limits that hold for one shape of a command and not for another", Ref: refLimit,
		Judged: "the status alone; what a refused command leaves is judged by the scenarios of each limit",
		run: func(x *trial) error {
			g := x.g
			if g.Method != "nvme" || g.MSSRL == 0 || g.MCL == 0 || g.Ranges == 0 {
				return skip("it is not bounded by the device")
			}
			size := min(g.Length/g.Block, 4*g.MCL+minBlocks)
			if err := x.arena(size); err != nil {
				return err
			}
			for range x.rounds {
				over := func(limit, by, most uint64) uint64 { return min(limit+x.rand.Uint64N(2)*by, most) } // each half of the time
				src, dst := x.draw(size, over(g.Ranges, 2, nvmeRanges), over(g.MSSRL, 2, nvmeRangeBlocks), over(g.MCL, 4, size))
				within := uint64(len(src)) <= g.Ranges
				var total uint64
				for _, s := range src {
					within = within && s.n <= g.MSSRL
					total += s.n
				}
				within = within && total <= g.MCL
				switch a := x.send(src, dst, false); {
				case a.Err != nil:
					return a.Err
				case within && a.Status != 0:
					return differs("%s is within the limits and was refused: %v", words(src, dst), a)
				case !within && a.Status == 0:
					return differs("%s is over the limits and was done", words(src, dst))
				case !within && a.Status != StatusSize:
					return differs("%s is over the limits and was refused with 0x%x, not 0x183", words(src, dst), a.Status)
				}
			}
			return nil
		},
	},
}

// draw is a command in an arena of size blocks whose destination has nothing in common with its sources, of at most so many
// ranges, blocks a range and blocks. Small and large numbers are as likely.
func (x *trial) draw(size, ranges, length, total uint64) (src []run, dst uint64) {
	to := func(n uint64) uint64 { // 1 to n: one in three up to 3, one in three the most
		switch x.rand.IntN(3) {
		case 0:
			return 1 + x.rand.Uint64N(min(n, 3))
		case 1:
			return n
		}
		return 1 + x.rand.Uint64N(n)
	}
	total = to(min(total, size/2))
	dst = x.rand.Uint64N(size - total + 1)
	long := x.rand.IntN(3) == 0 // every range as long as it may be, so that the total is reached
	for left, n := total, to(ranges); left > 0 && n > 0; n-- {
		below, above := dst, size-dst-total
		l := min(length, left, max(below, above))
		if !long {
			l = to(l)
		}
		r := run{0, l}
		if below >= l && (above < l || x.rand.IntN(2) == 0) {
			r.at = x.rand.Uint64N(below - l + 1)
		} else {
			r.at = dst + total + x.rand.Uint64N(above-l+1)
		}
		src, left = append(src, r), left-l
	}
	return src, dst
}
