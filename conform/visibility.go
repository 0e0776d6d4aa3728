package conform

// visibility is what is seen when: of a write that was not flushed, of a copy that has ended, and after a power cut.
var visibility = []Scenario{
	{
		Name: "unflushed-write-seen", Expect: "a copy sees every write that was acknowledged before it, flushed or not", Why: "a device that copies its medium past its own write cache copies old data",
		Ref: "scenario 26 of the copy cases", Judged: "twenty times: write the source, copy, compare the arena",
		run: func(x *trial) error {
			return x.twenty(func(src run, dst uint64) error {
				if err := x.write(src); err != nil {
					return err
				}
				return x.copies([]run{src}, dst)
			})
		},
	},
	{
		Name: "read-after-completion", Expect: "a read of the destination after the completion has the copied data", Why: "the completion is what a caller waits for; a device that is not done then, or a read cache that is not told, gives old data",
		Ref: refCopy + "; " + refDM, Judged: "twenty times: read the destination, copy, read the destination at once",
		run: func(x *trial) error {
			return x.twenty(func(src run, dst uint64) error {
				to := run{dst, src.n}
				if err := x.reads(to, "before the copy"); err != nil {
					return err
				}
				if a := x.send([]run{src}, dst, false); !a.OK() {
					return skip("%s was refused (%v): see one-range", words([]run{src}, dst), a)
				}
				x.moved([]run{src}, dst)
				return x.reads(to, "after the completion")
			})
		},
	},
	{
		Name: "write-after-copy", Expect: "a write to the destination after the completion stays", Why: "a copy that is still under way after its completion overwrites newer data",
		Ref: refCopy, Judged: "twenty times: copy, write the destination, compare the arena",
		run: func(x *trial) error {
			return x.twenty(func(src run, dst uint64) error {
				if a := x.send([]run{src}, dst, false); !a.OK() {
					return skip("%s was refused (%v): see one-range", words([]run{src}, dst), a)
				}
				if err := x.write(run{dst, src.n}); err != nil {
					return err
				}
				return x.untouched("a write to the destination of a copy that had ended")
			})
		},
	},
	{
		Name: "fua-read-back", Expect: "a copy with FUA copies", Why: "bit 30 of dword 12 lies beside fields that change what is copied", Ref: refCopy, Judged: "the arena is compared",
		run: func(x *trial) error {
			if err := x.arena(32); err != nil {
				return err
			}
			return x.copiesFUA([]run{{2, min(4, x.g.rangeMost())}}, 20, true)
		},
	},
	{
		Name: "fua-durable", Expect: "a copy with FUA is durable when it ends", Why: "journals rely on it: dm passes FUA on, and does not flush behind it", Ref: refCopy + "; scenario 27 of the copy cases",
		Judged: "the power is cut after the copy, and the arena is compared",
		run: func(x *trial) error {
			return x.cut(func(src run, dst uint64) error { return x.copiesFUA([]run{src}, dst, true) })
		},
	},
	{
		Name: "flush-durable", Expect: "a copy is durable after a flush", Why: "a device that has no place for copied blocks in its cache may forget to flush them", Ref: refCopy + "; scenario 27 of the copy cases",
		Judged: "the power is cut after copy and flush, and the arena is compared",
		run: func(x *trial) error {
			return x.cut(func(src run, dst uint64) error {
				if err := x.copies([]run{src}, dst); err != nil {
					return err
				}
				return x.t.Flush()
			})
		},
	},
}

// twenty does the same twenty times in an arena of 64 blocks, with other blocks each time.
func (x *trial) twenty(do func(src run, dst uint64) error) error {
	if err := x.arena(64); err != nil {
		return err
	}
	n := min(4, x.g.rangeMost())
	for i := range uint64(20) {
		if err := do(run{i % 5 * 5, n}, 32+i%4*7); err != nil {
			return err
		}
	}
	return nil
}

// reads compares some blocks with the shadow.
func (x *trial) reads(r run, when string) error {
	got, err := x.get(r)
	if err != nil {
		return err
	}
	for i, f := range got {
		if want := x.shadow[r.at+uint64(i)]; !f.whole || f.id != want {
			return differs("%s, block %d has %s instead of %s", when, r.at+uint64(i), x.name(f), x.name(found{want, true}))
		}
	}
	return nil
}

// cut makes the arena durable, does a copy, cuts the power and compares.
func (x *trial) cut(do func(src run, dst uint64) error) error {
	p, ok := x.t.(PowerCutter)
	if !ok {
		return skip("the power of this target cannot be cut from here")
	}
	if err := x.arena(32); err != nil {
		return err
	}
	if err := x.t.Flush(); err != nil {
		return err
	}
	if err := do(run{2, min(4, x.g.rangeMost())}, 20); err != nil {
		return err
	}
	if err := p.PowerCut(); err != nil {
		return err
	}
	return x.untouched("a power cut")
}
