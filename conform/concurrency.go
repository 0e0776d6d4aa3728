package conform

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const whyRace = "blocks are the unit of atomicity of NVMe (AWUN is at least one): a block of two halves is a torn page to every database"

// concurrency is commands that are under way together.
var concurrency = []Scenario{
	{
		Name: "concurrent-copies", Expect: "copies of blocks that have nothing in common, sixteen at a time, do not disturb each other", Why: "designs that pair two bios, and devices with one list buffer, mix up commands",
		Ref: "scenario 31 of the copy cases", Judged: "128 copies with a guard block behind each, and the arena is compared",
		run: func(x *trial) error {
			n, copies := min(4, x.g.rangeMost()), uint64(128)
			if copies = min(copies, x.g.Length/x.g.Block/(2*n+1)); copies < 16 {
				return skip("the region has no place for 16 copies")
			}
			if err := x.arena((2*n + 1) * copies); err != nil {
				return err
			}
			perm := x.rand.Perm(int(copies))
			answers := make([]Answer, copies)
			err := x.together(16, copies, func(i uint64) error {
				answers[i] = x.send([]run{{uint64(perm[i]) * n, n}}, n*copies+(n+1)*i, false)
				return nil
			})
			if err != nil {
				return err
			}
			for i, a := range answers {
				src, dst := []run{{uint64(perm[i]) * n, n}}, n*copies+(n+1)*uint64(i)
				if !a.OK() {
					return differs("%s, one of many at once, was refused: %v", words(src, dst), a)
				}
				x.moved(src, dst)
			}
			return x.untouched("copies at the same time")
		},
	},
	{
		Name: "concurrent-io", Expect: "reads and writes of other blocks of the region go on while copies do", Why: "a copy that holds up, or mixes up, foreground I/O is worse than none", Ref: "scenarios 31 and 33 of the copy cases",
		Judged: "every read is compared, and in the end the arena",
		run: func(x *trial) error {
			n := min(4, x.g.rangeMost())
			if err := x.arena(96); err != nil {
				return err
			}
			written := make([][]id, 32) // what each round writes: made before, since it is counted
			for i := range written {
				written[i] = x.fresh(16)
			}
			still := append([]id(nil), x.shadow[64:80]...)
			var answer Answer
			err := x.together(3, 3, func(who uint64) error {
				for i := range uint64(32) {
					switch who {
					case 0:
						if a := x.send([]run{{i % 8, n}}, 32+i%8*n, false); !a.OK() {
							answer = a
							return nil
						}
					case 1:
						if err := x.put(80, written[i]); err != nil {
							return err
						}
					case 2:
						got, err := x.get(run{64, 16})
						if err != nil {
							return err
						}
						for j, f := range got {
							if !f.whole || f.id != still[j] {
								return differs("while copies were under way, block %d, which nobody wrote, had %s", 64+j, x.name(f))
							}
						}
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			if !answer.OK() {
				return differs("a copy beside reads and writes was refused: %v", answer)
			}
			for i := range uint64(32) {
				x.moved([]run{{i % 8, n}}, 32+i%8*n)
			}
			copy(x.shadow[80:], written[31])
			return x.untouched("copies, reads and writes at the same time")
		},
	},
	{
		Name: "race-write-source", Expect: "each block of a copy whose source is written meanwhile is the old or the new one, whole", Why: whyRace, Ref: "scenario 25 of the copy cases",
		Judged: "sixteen races; every block of the destination is looked at, and what is around it",
		run: func(x *trial) error {
			n := min(16, x.g.rangeMost())
			if err := x.arena(64); err != nil {
				return err
			}
			for range 16 {
				before, after := append([]id(nil), x.shadow[:n]...), x.fresh(n)
				err := x.race(func() error { return x.put(0, after) }, n)
				if err != nil {
					return err
				}
				copy(x.shadow, after)
				got, err := x.get(run{32, n})
				if err != nil {
					return err
				}
				for i, f := range got {
					if !f.whole || f.id != before[i] && f.id != after[i] {
						return differs("the source was written while it was copied: block %d of the destination has %s, neither the old nor the new one", i, x.name(f))
					}
					x.shadow[32+i] = f.id
				}
				if err := x.untouched("a race of a copy with a write of its source"); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		Name: "race-read-destination", Expect: "each block of the destination that is read meanwhile is the old or the copied one, whole", Why: whyRace, Ref: "scenario 25 of the copy cases",
		Judged: "sixteen races; every block that was read is looked at, and in the end the arena",
		run: func(x *trial) error {
			n := min(16, x.g.rangeMost())
			if err := x.arena(64); err != nil {
				return err
			}
			for range 16 {
				if err := x.write(run{0, n}); err != nil {
					return err
				}
				var got []found
				err := x.race(func() (err error) {
					got, err = x.get(run{32, n})
					return err
				}, n)
				if err != nil {
					return err
				}
				for i, f := range got {
					if !f.whole || f.id != x.shadow[32+i] && f.id != x.shadow[i] {
						return differs("block %d of the destination, read while it was copied to, had %s, neither the old nor the new one", i, x.name(f))
					}
				}
				x.moved([]run{{0, n}}, 32)
				if err := x.untouched("a race of a copy with a read of its destination"); err != nil {
					return err
				}
			}
			return nil
		},
	},
}

// race copies the first n blocks to block 32 while other does something, which begins a little later in half of the races:
// a copy that is short is over, or has not begun, if the two are only let go.
func (x *trial) race(other func() error, n uint64) error {
	var a Answer
	var late time.Duration
	if x.rand.IntN(2) == 0 {
		late = time.Duration(x.rand.IntN(200)) * time.Microsecond
	}
	err := x.together(2, 2, func(i uint64) error {
		if i == 0 {
			a = x.send([]run{{0, n}}, 32, false)
			return nil
		}
		time.Sleep(late)
		return other()
	})
	if err == nil && !a.OK() {
		err = skip("%s was refused (%v): see one-range", words([]run{{0, n}}, 32), a)
	}
	return err
}

// together does do(0) to do(n-1), so many at a time, and returns when all have ended. The first error ends those that have
// not begun.
func (x *trial) together(workers int, n uint64, do func(i uint64) error) error {
	ctx, stop := context.WithCancelCause(x.ctx)
	defer stop(nil)
	next := make(chan uint64)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					stop(err)
				}
			}
		})
	}
	func() {
		defer close(next)
		for i := range n {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("at the same time: %w", err)
	}
	return nil
}
