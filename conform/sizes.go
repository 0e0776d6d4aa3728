package conform

const whySize = "the kernel and this project send up to the limits, and split what is over them by the answer"

// sizes are the limits of a command, each reached and each passed by one.
var sizes = []Scenario{
	{
		Name: "ranges-most", Expect: "a command of MSRC + 1 source ranges is copied", Why: whySize, Ref: refLimit, Judged: "the arena is compared",
		run: func(x *trial) error {
			n := x.g.Ranges
			if n == 0 {
				return skip("the number of ranges is not bounded")
			}
			if n < 2 {
				return skip("a command has one source range")
			}
			if n > nvmeRanges || n > x.g.totalMost() {
				return skip("%d ranges of a block are more than a command may have", n)
			}
			return x.inArena(3*n+2, every(n), 2*n+1)
		},
	},
	{
		Name: "ranges-over", Expect: "a command of one source range more is refused with 0x183 and dw0 0, and nothing is copied", Why: "a range that is dropped silently is a hole in the copy",
		Ref: refLimit, Judged: "the status, dw0, and the arena is compared",
		run: func(x *trial) error {
			n := x.g.Ranges + 1
			if x.g.Ranges == 0 || !x.g.limited() {
				return skip("the number of ranges is not bounded by the device")
			}
			if n > nvmeRanges {
				return skip("%d ranges cannot be encoded: NR has 8 bits", n)
			}
			return x.refused(3*n+2, every(n), 2*n+1, StatusSize)
		},
	},
	{
		Name: "range-longest", Expect: "one range of MSSRL blocks is copied", Why: whySize, Ref: refLimit, Judged: "the arena is compared",
		run: func(x *trial) error {
			n := x.g.MSSRL
			if n == 0 || n > x.g.totalMost() {
				return skip("a range is not bounded, or above the bound of a command")
			}
			return x.inArena(2*n+3, []run{{1, n}}, n+2)
		},
	},
	{
		Name: "range-over", Expect: "one range of MSSRL + 1 blocks is refused with 0x183 and dw0 0, and nothing is copied", Why: "what is cut short silently is data loss",
		Ref: refLimit, Judged: "the status, dw0, and the arena is compared",
		run: func(x *trial) error {
			n := x.g.MSSRL + 1
			if x.g.MSSRL == 0 || n > nvmeRangeBlocks {
				return skip("a longer range cannot be encoded, or nothing bounds it")
			}
			return x.refused(2*n+3, []run{{1, n}}, n+2, StatusSize)
		},
	},
	{
		Name: "total-most", Expect: "a command of MCL blocks in all is copied", Why: whySize, Ref: refLimit, Judged: "the arena is compared",
		run: func(x *trial) error {
			src, width, err := x.total(x.g.MCL)
			if err != nil {
				return err
			}
			return x.inArena(width+x.g.MCL+2, src, width+1)
		},
	},
	{
		Name: "total-over", Expect: "a command of MCL + 1 blocks in all is refused with 0x183 and dw0 0, and nothing is copied",
		Why: "the limit of the whole is known before anything is moved", Ref: refLimit, Judged: "the status, dw0, and the arena is compared",
		run: func(x *trial) error {
			src, width, err := x.total(x.g.MCL + 1)
			if err != nil {
				return err
			}
			return x.refused(width+x.g.MCL+3, src, width+1, StatusSize)
		},
	},
	{
		Name: "range-over-second", Expect: "a good range before one of MSSRL + 1 blocks: refused with 0x183, and nothing is copied, the good range neither",
		Why:    "the length of every range is in the list: a command that is refused for its size should not have changed the destination. A caller that takes 0x183 as 'nothing was done' and splits in place reads overwritten data",
		Ref:    refLimit + "; QEMU 10.0.2 checks MSSRL range by range while it copies",
		Judged: "the status, and the arena is compared",
		run: func(x *trial) error {
			src, width, err := x.secondOver()
			if err != nil {
				return err
			}
			if err := x.mustRefuse(src, width+1, StatusSize); err != nil {
				return err
			}
			return x.untouched("the refusal of " + words(src, width+1))
		},
	},
	{
		Name: "range-over-second-dw0", Expect: "of the same command, dw0 is the lowest range that is not copied: every range before it is, and it is not",
		Why: "callers take the ranges before dw0 as done and go on behind them", Ref: refDW0, Judged: "dw0 against the destination",
		run: func(x *trial) error {
			src, width, err := x.secondOver()
			if err != nil {
				return err
			}
			a := x.send(src, width+1, false)
			if a.OK() {
				return skip("it was not refused: see range-over-second")
			}
			return x.lowest(src, width+1, a, 1)
		},
	},
}

// every is n sources of one block, every second block.
func every(n uint64) []run {
	src := make([]run, n)
	for i := range src {
		src[i] = run{2 * uint64(i), 1}
	}
	return src
}

// total is sources of n blocks together, within MSSRL and the number of ranges, and how many blocks of the arena they take:
// they all lie on the same blocks, so that a large MCL needs no larger region than its destination does.
func (x *trial) total(n uint64) (src []run, width uint64, err error) {
	if x.g.MCL == 0 || x.g.Method != "nvme" {
		return nil, 0, skip("a command is not bounded")
	}
	width = min(orElse(x.g.MSSRL, nvmeRangeBlocks), nvmeRangeBlocks)
	for left := n; left > 0; left -= src[len(src)-1].n {
		src = append(src, run{0, min(left, width)})
	}
	if uint64(len(src)) > min(x.g.most(), nvmeRanges) {
		return nil, 0, skip("%d blocks cannot be reached with %d ranges of %d", n, x.g.most(), width)
	}
	return src, width, nil
}

// secondOver is a good range and one over MSSRL that are together within the other limits, in an arena that holds them.
func (x *trial) secondOver() (src []run, width uint64, err error) {
	g := &x.g
	switch {
	case g.MSSRL == 0 || g.Method != "nvme":
		return nil, 0, skip("a range is not bounded")
	case g.most() < 2:
		return nil, 0, skip("a command has one source range")
	case g.MSSRL+1 > nvmeRangeBlocks:
		return nil, 0, skip("a longer range cannot be encoded")
	case g.MSSRL+2 > g.totalMost():
		return nil, 0, skip("a range over MSSRL is over MCL too, which range-over judges: MSSRL %d, MCL %d", g.MSSRL, g.MCL)
	}
	n := min(4, g.totalMost()-g.MSSRL-1, g.MSSRL)
	width = n + g.MSSRL + 1
	return []run{{0, n}, {n, g.MSSRL + 1}}, width, x.arena(2*width + 2)
}
