package conform

import (
	"errors"
	"math"

	"github.com/ublk-go/ublk-linear/target"
)

const whyLBA = "a range that wraps, or that only the first of several is checked of, reads what is not the caller's (the vectored ioctl of 2025 checks none)"

// bounds are the ends of the device. In a command of which one range is past the end, those before it may be copied: that is
// what dw0 is for.
var bounds = []Scenario{
	outside("lba-first-out", 0), outside("lba-second-out", 1), outside("lba-last-out", 2),
	{
		Name: "lba-wraps", Expect: "a source at the end of 64-bit addresses is refused with 0x80, and nothing changes", Why: whyLBA, Ref: refCopy + "; scenario 21 of the copy cases",
		Judged: "the status, and the arena is compared",
		run: func(x *trial) error {
			if x.g.End == 0 {
				return skip("this target never sends what is past the end")
			}
			if err := x.arena(32); err != nil {
				return err
			}
			block := x.g.sectors(1)
			for _, start := range []uint64{math.MaxUint64 - block + 1, 1<<63 - block} {
				if err := x.outOfRange([]target.Range{{Start: start, Len: min(2, x.g.rangeMost()) * block}}, x.g.sectors(x.base+16)); err != nil {
					return err
				}
			}
			return x.untouched("the refusals")
		},
	},
	{
		Name: "destination-out", Expect: "a destination of which the last block is past the end is refused with 0x80, and nothing is copied", Why: "the destination has no list: all of it is known before the first block is moved",
		Ref: refCopy, Judged: "the status, and the arena is compared",
		run: func(x *trial) error {
			if err := x.atEnd(); err != nil {
				return err
			}
			n := min(2, x.g.rangeMost())
			last := uint64(len(x.shadow))
			if err := x.mustRefuse([]run{{0, n}}, last-n+1, StatusLBA); err != nil {
				return err
			}
			return x.untouched("the refusal")
		},
	},
	{
		Name: "device-end", Expect: "the last block of the device can be copied, and copied to", Why: "an end that is off by one loses the last block of every device", Ref: refCopy + "; scenario 21 of the copy cases",
		Judged: "the arena is compared",
		run: func(x *trial) error {
			if err := x.atEnd(); err != nil {
				return err
			}
			n, last := min(2, x.g.rangeMost()), uint64(len(x.shadow))
			if err := x.copies([]run{{last - n, n}}, 3); err != nil {
				return err
			}
			return x.copies([]run{{8, n}}, last-n)
		},
	},
}

// outside is a command of three ranges, or fewer, of which one is past the end.
func outside(name string, which int) Scenario {
	return Scenario{
		Name: name, Expect: "refused with 0x80; dw0 is not above the range that is out, and every range before dw0 is copied", Why: whyLBA, Ref: refDW0,
		Judged: "the status, dw0, and the arena is compared",
		run: func(x *trial) error {
			if x.g.End == 0 {
				return skip("this target never sends what is past the end")
			}
			if min(x.g.most(), x.g.totalMost()) < 3 {
				return skip("a command has %d ranges", min(x.g.most(), x.g.totalMost()))
			}
			if err := x.arena(32); err != nil {
				return err
			}
			src := []run{{1, 1}, {5, 1}, {9, 1}}
			src[which].at = x.g.End/x.g.sectors(1) - x.base // its first block is the one behind the device
			a, err := x.refusal(src, 20, StatusLBA)
			if err != nil {
				return err
			}
			return x.prefix(src, 20, a, uint32(which))
		},
	}
}

// atEnd takes an arena that ends where the device does.
func (x *trial) atEnd() error {
	if x.g.End == 0 || x.g.End*512 != x.g.Length {
		return skip("the region does not end where the device does, or this target never sends what is past the end")
	}
	return x.arenaAt(x.g.Length/x.g.Block-32, 32)
}

// outOfRange sends ranges that cannot be said in blocks of the arena, which must be refused.
func (x *trial) outOfRange(src []target.Range, dst uint64) error {
	switch a := x.t.Copy(src, dst, false); {
	case errors.Is(a.Err, ErrNotSent):
		return skip("this target never sends it: %v", a.Err)
	case a.OK():
		return differs("a source at sector 0x%x was not refused", src[0].Start)
	case a.Err != nil:
		return a.Err
	case a.Status != StatusLBA:
		return differs("a source at sector 0x%x was refused with 0x%x, not 0x80", src[0].Start, a.Status)
	}
	return nil
}
