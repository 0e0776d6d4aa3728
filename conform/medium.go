package conform

import (
	"time"

	"github.com/ublk-go/ublk-linear/limits"
)

// patience is nvme_core.io_timeout: what takes longer the kernel aborts, and resets the controller for.
const patience = 30 * time.Second

// medium is what the device's inside does to a command: errors, and time.
var medium = []Scenario{
	{
		Name: "source-unreadable", Expect: "a command of which the last source cannot be read is refused with 0x281, and dw0 is the lowest range that is not copied: every range before it is, and it is not",
		Why: "an error that is lost is a destination with old data in it; callers go on at dw0, and who goes on before it in place reads what was overwritten", Ref: refDW0 + "; scenarios 15 to 17 of the copy cases",
		Judged: "sixteen times: a block is made unreadable; the status, dw0 against the destination, and the arena is compared",
		run: func(x *trial) error {
			b, ok := x.t.(Breaker)
			if !ok {
				return skip("no block of this target can be made unreadable from here")
			}
			src := []run{{1, 1}, {5, 1}, {9, 1}}
			src = src[:min(uint64(len(src)), x.g.most(), x.g.totalMost())]
			bad := src[len(src)-1]
			for range 16 {
				if err := x.arena(32); err != nil {
					return err
				}
				if err := b.Break((x.base+bad.at)*x.g.Block, bad.n*x.g.Block); err != nil {
					return err
				}
				a, err := x.refusal(src, 20, statusRead)
				if e := x.write(bad); e != nil { // mended, also for the scenarios behind this one
					return e
				}
				if err != nil {
					return err
				}
				if err := x.lowest(src, 20, a, uint32(len(src)-1)); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		Name: "ends-in-time", Expect: "64 copies, each of up to 256 blocks, end within 30 s", Why: "that is nvme_core.io_timeout: the kernel aborts the command, resets the controller, and everybody's I/O waits",
		Ref: "scenario 32 of the copy cases", Judged: "the time of each, by the device's own clock where it has one",
		run: func(x *trial) error {
			now := time.Now
			if t, ok := x.t.(Timer); ok {
				now = t.Now
			}
			n := min(1<<8, x.g.Length/x.g.Block/2, x.g.rangeMost())
			if err := x.arena(2 * n); err != nil {
				return err
			}
			for i := range 64 {
				began := now()
				a := x.send([]run{{0, n}}, n, false)
				if took := now().Sub(began); took > patience {
					return differs("copy %d of %d blocks took %v", i, n, took)
				}
				if !a.OK() {
					return skip("%s was refused (%v): see one-range", words([]run{{0, n}}, n), a)
				}
			}
			return nil
		},
	},
}

// lowest is prefix, and that the range that dw0 names is not copied.
func (x *trial) lowest(src []run, dst uint64, a Answer, failed uint32) error {
	if err := x.prefix(src, dst, a, failed); err != nil || x.g.Method != limits.NVMeCopy {
		return err
	}
	at := dst
	for _, s := range src[:a.DW0] {
		at += s.n
	}
	got, err := x.get(run{at, src[a.DW0].n})
	if err != nil {
		return err
	}
	for i, f := range got {
		if from := src[a.DW0].at + uint64(i); !f.whole || from >= uint64(len(x.shadow)) || f.id != x.shadow[from] {
			return nil
		}
	}
	return differs("%s failed with %v: range dw0 is not copied, but block %d and what is behind it has it", words(src, dst), a, at)
}
