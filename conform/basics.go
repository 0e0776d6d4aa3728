package conform

import "github.com/ublk-go/ublk-linear/target"

// basics are copies that nothing is special about.
var basics = []Scenario{
	{
		Name: "identify-sane", Expect: "MSSRL and MCL are not 0, MCL is not below MSSRL, and a command may have at least one range",
		Why: "a limit of 0 makes every copy fail, or a caller that rounds down to it loop for ever", Ref: refLimit + "; nvme-cli issue 3322; Le Moal 2022",
		Judged: "the geometry is read",
		run: func(x *trial) error {
			switch g := x.g; {
			case !g.limited():
				return skip("%s has no limits to read", g.Method)
			case g.MSSRL == 0 || g.MCL == 0:
				return differs("MSSRL is %d and MCL is %d", g.MSSRL, g.MCL)
			case g.MCL < g.MSSRL:
				return differs("MCL is %d, less than MSSRL, %d", g.MCL, g.MSSRL)
			case g.Ranges == 0 || g.Ranges > nvmeRanges:
				return differs("a command may have %d source ranges", g.Ranges)
			}
			return nil
		},
	},
	{
		Name: "one-block", Expect: "one logical block is copied", Why: "the smallest copy there is: NLB counts from 0", Ref: refCopy, Judged: "the arena is compared",
		run: func(x *trial) error { return x.inArena(16, []run{{3, 1}}, 10) },
	},
	{
		Name: "one-range", Expect: "eight blocks are copied", Why: "this is the command of v20 and of copy_file_range", Ref: refCopy, Judged: "the arena is compared",
		run: func(x *trial) error { return x.inArena(32, []run{{2, min(8, x.g.rangeMost())}}, 17) },
	},
	{
		Name: "gather-in-order", Expect: "several sources lie one after the other in the destination, in the order of the list, whatever their order on the device",
		Why: "a vectored copy is a file's extents: out of order they are another file", Ref: refCopy + "; Busch 20250521223107.709131-1-kbusch@meta.com", Judged: "the arena is compared",
		run: func(x *trial) error {
			src := []run{{20, 2}, {2, 1}, {30, 1}, {9, 1}}
			src = src[:min(uint64(len(src)), x.g.most())]
			if len(src) < 2 {
				return skip("a command has one source range")
			}
			return x.inArena(64, src, 40)
		},
	},
	{
		Name: "gather-single-blocks", Expect: "as many sources of one block each as a command may have are copied",
		Why: "defragmentation and garbage collection gather single blocks; SLBA and NLB of every list entry are used", Ref: refLimit, Judged: "the arena is compared",
		run: func(x *trial) error {
			n := min(x.g.most(), x.g.totalMost())
			if n < 2 {
				return skip("a command has one source range")
			}
			src := make([]run, n)
			for i, at := range x.rand.Perm(int(2 * n)) {
				if uint64(i) < n {
					src[i] = run{uint64(at), 1}
				}
			}
			return x.inArena(3*n+2, src, 2*n+1)
		},
	},
	{
		Name: "sources-overlap-each-other", Expect: "the same blocks may be a source twice",
		Why: "reflinked files have extents in common; no rule forbids it", Ref: refCopy + "; scenario 2 of the copy cases", Judged: "the arena is compared",
		run: func(x *trial) error {
			if x.g.most() < 2 {
				return skip("a command has one source range")
			}
			n := min(4, x.g.rangeMost(), x.g.totalMost()/2)
			if n < 2 {
				return skip("a command copies at most %d blocks", x.g.totalMost())
			}
			return x.inArena(32, []run{{4, n}, {5, n}}, 16)
		},
	},
	{
		Name: "source-unchanged", Expect: "the blocks of the source are what they were", Why: "a copy is not a move: after a failure the source is all there is",
		Ref: refCopy, Judged: "only the source is compared, after each of eight copies",
		run: func(x *trial) error {
			n := min(4, x.g.rangeMost())
			return x.eight(n, func(src, _ run) []run { return []run{src} })
		},
	},
	{
		Name: "guard-blocks", Expect: "the blocks before and behind the destination, and between source and destination, are what they were",
		Why: "a device that rounds to its own pages overwrites what nobody named", Ref: refCopy, Judged: "only blocks that are no source and no destination are compared, after each of eight copies",
		run: func(x *trial) error {
			n := min(3, x.g.rangeMost())
			return x.eight(n, func(src, dst run) []run {
				a, b := src, dst
				if b.at < a.at {
					a, b = b, a
				}
				return []run{{0, a.at}, {a.at + n, b.at - a.at - n}, {b.at + n, 64 - b.at - n}}
			})
		},
	},
	{
		Name: "unaligned-refused", Expect: "a range that is not of whole logical blocks is refused, and nothing changes",
		Why: "NVMe counts in blocks: what is rounded on the way copies other data", Ref: "blkdev_copy_sanity_check of v20; scenario 19 of the copy cases", Judged: "the refusal, and the arena is compared",
		run: func(x *trial) error {
			if x.g.Block == 512 {
				return skip("a logical block is a sector: everything is aligned")
			}
			if !x.g.limited() {
				return skip("%s takes any byte, or rounds by rules of its own", x.g.Method)
			}
			if err := x.arena(32); err != nil {
				return err
			}
			at, block := x.g.sectors(x.base), x.g.sectors(1)
			for _, c := range []struct {
				src target.Range
				dst uint64
			}{
				{target.Range{Start: at + 1, Len: block}, at + 8*block},
				{target.Range{Start: at, Len: block - 1}, at + 8*block},
				{target.Range{Start: at, Len: block}, at + 8*block + 1},
			} {
				if a := x.t.Copy([]target.Range{c.src}, c.dst, false); a.OK() {
					return differs("%d sectors from %d to %d of the region, with blocks of %d sectors, was taken", c.src.Len, c.src.Start, c.dst, block)
				}
			}
			return x.untouched("the refusals")
		},
	},
	{
		Name: "empty-refused", Expect: "no source, or one of no block, is refused before it is sent, and nothing changes",
		Why: "NLB counts from 0, so that 0 blocks would be encoded as 65536", Ref: refCopy + "; scenario 18 of the copy cases", Judged: "the refusal, and the arena is compared",
		run: func(x *trial) error {
			if !x.g.limited() {
				return skip("no bytes mean nothing to copy_file_range, and all up to the end to FICLONERANGE: they are not sent")
			}
			if err := x.arena(32); err != nil {
				return err
			}
			for _, src := range [][]run{nil, {{0, 0}}, {{0, 1}, {4, 0}}} {
				if a := x.send(src, 16, false); a.OK() {
					return differs("%s was taken", words(src, 16))
				}
			}
			return x.untouched("the refusals")
		},
	},
}

// inArena is one copy that must succeed.
func (x *trial) inArena(blocks uint64, src []run, dst uint64) error {
	if err := x.fits(src); err != nil {
		return err
	}
	if err := x.arena(blocks); err != nil {
		return err
	}
	return x.copies(src, dst)
}

// untouched compares the arena after what must not have changed it.
func (x *trial) untouched(after string) error {
	what, err := x.wrong()
	if err != nil || what != "" {
		return orDiffers(err, "after %s, %s", after, what)
	}
	return nil
}

// eight does eight copies of n blocks in an arena of 64, of which only what judge names is compared.
func (x *trial) eight(n uint64, judge func(src, dst run) []run) error {
	if err := x.arena(64); err != nil {
		return err
	}
	for i := range uint64(8) {
		src, dst := run{1 + i*3, n}, run{40 + i, n}
		if i%2 == 1 {
			src, dst = dst, src
		}
		if a := x.send([]run{src}, dst.at, false); !a.OK() {
			return skip("%s was refused (%v): see one-range", words([]run{src}, dst.at), a)
		}
		for _, r := range judge(src, dst) {
			got, err := x.get(r)
			if err != nil {
				return err
			}
			for j, f := range got {
				if want := x.shadow[r.at+uint64(j)]; !f.whole || f.id != want {
					return differs("after %s, block %d has %s instead of %s", words([]run{src}, dst.at), r.at+uint64(j), x.name(f), x.name(found{want, true}))
				}
			}
		}
		if err := x.write(run{0, 64}); err != nil {
			return err
		}
		x.first = *x.writes
	}
	return nil
}
