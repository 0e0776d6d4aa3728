package conform

import "errors"

const (
	whyOverlap = "moving data up or down by less than its length is defragmentation, and inserting into a file; what succeeds and is wrong is silent corruption"
	expectMove = "memmove's result, or refused with 0x187 and nothing changed"
)

// overlaps are commands that write what they read.
var overlaps = []Scenario{
	overlap("overlap-onto-itself", "a range copied onto itself", func(n uint64) ([]run, uint64) { return []run{{8, n}}, 8 }),
	overlap("overlap-forward-one", "one range, moved up by half of its length", func(n uint64) ([]run, uint64) { return []run{{8, n}}, 8 + n/2 }),
	overlap("overlap-backward-one", "one range, moved down by half of its length", func(n uint64) ([]run, uint64) { return []run{{8 + n/2, n}}, 8 }),
	overlap("overlap-forward-ranges", "two ranges one after the other, moved up by the length of one: the second is where the first goes", func(n uint64) ([]run, uint64) {
		return []run{{8, n / 2}, {8 + n/2, n / 2}}, 8 + n/2
	}),
	overlap("overlap-backward-ranges", "two ranges one after the other, moved down by the length of one: the first is where the second goes", func(n uint64) ([]run, uint64) {
		return []run{{8 + n/2, n / 2}, {8 + n, n / 2}}, 8
	}),
}

// overlap is a command in which source and destination share blocks. n of it is even.
func overlap(name, what string, shape func(n uint64) (src []run, dst uint64)) Scenario {
	return Scenario{
		Name: name, Expect: what + ": " + expectMove, Why: whyOverlap, Ref: refCopy + ", Overlapping I/O Range; scenarios 1 to 3 of the copy cases; QEMU 10.0.2, format 0",
		Judged: "the arena is compared",
		run: func(x *trial) error {
			most := min(8, x.g.rangeMost(), x.g.totalMost())
			if most < 2 {
				return skip("a range has one block: it cannot overlap another place")
			}
			for i := range 4 * (most / 2) { // each length four times: who does ranges in any order is right at times
				src, dst := shape(2 + i/4*2)
				if err := x.fits(src); err != nil {
					return err
				}
				if err := x.arena(40); err != nil {
					return err
				}
				if x.g.Seam > 0 { // what is cut does not overlap
					if err := x.arenaAt(0, 40); err != nil {
						return err
					}
				}
				if err := x.moveOrRefuse(src, dst); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// moveOrRefuse judges a command whose ranges overlap.
func (x *trial) moveOrRefuse(src []run, dst uint64) error {
	switch a := x.send(src, dst, false); {
	case errors.Is(a.Err, ErrNotSent):
		return skip("this target never sends it: %v", a.Err)
	case a.OK():
		x.moved(src, dst)
		return x.untouched("the success of " + words(src, dst))
	case a.Err == nil && a.Status != StatusOverlap:
		return differs("%s was refused with 0x%x, not 0x187", words(src, dst), a.Status)
	case x.unanswered(a):
		return a.Err
	}
	return x.untouched("the refusal of " + words(src, dst))
}
