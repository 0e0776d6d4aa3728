package conform

import "errors"

// mustRefuse sends a command that must be refused with a status, and does not look at the arena.
func (x *trial) mustRefuse(src []run, dst uint64, status uint16) error {
	_, err := x.refusal(src, dst, status)
	return err
}

func (x *trial) refusal(src []run, dst uint64, status uint16) (Answer, error) {
	a := x.send(src, dst, false)
	switch {
	case errors.Is(a.Err, ErrNotSent):
		return a, skip("this target never sends it: %v", a.Err)
	case a.OK():
		return a, differs("%s was not refused", words(src, dst))
	case x.unanswered(a):
		return a, a.Err
	case a.Err == nil && a.Status != status:
		return a, differs("%s was refused with 0x%x, not 0x%x", words(src, dst), a.Status, status)
	}
	return a, nil
}

// refused is a command that must be refused as a whole, in an arena of its own.
func (x *trial) refused(blocks uint64, src []run, dst uint64, status uint16) error {
	if err := x.arena(blocks); err != nil {
		return err
	}
	a, err := x.refusal(src, dst, status)
	if err != nil {
		return err
	}
	if err := x.untouched("the refusal of " + words(src, dst)); err != nil {
		return err
	}
	if a.DW0 != 0 {
		return differs("%s was refused as a whole, and dw0 is %d: it says that ranges before that are copied", words(src, dst), a.DW0)
	}
	return nil
}

// prefix judges a failed command by its dw0, which must not be above the range that failed: every range before dw0 is
// copied, a block behind them is as it was or copied, and no other block has changed.
func (x *trial) prefix(src []run, dst uint64, a Answer, failed uint32) error {
	if a.DW0 > failed {
		return differs("%s failed at range %d, and dw0 is %d", words(src, dst), failed, a.DW0)
	}
	old := append([]id(nil), x.shadow...)
	var sure, at uint64
	for i, s := range src {
		if uint32(i) == a.DW0 {
			sure = at
		}
		at += s.n
	}
	got, err := x.get(run{0, uint64(len(old))})
	if err != nil {
		return err
	}
	offset := uint64(0)
	want := append([]id(nil), old...) // if all had been copied, as far as it is known
	for _, s := range src {
		for j := range s.n {
			if s.at+j < uint64(len(old)) && dst+offset < uint64(len(old)) {
				want[dst+offset] = old[s.at+j]
			}
			offset++
		}
	}
	for i, f := range got {
		b := uint64(i)
		switch isNew := f.whole && f.id == want[b]; {
		case isNew && (b >= dst && b < dst+offset || want[b] == old[b]):
		case b >= dst && b < dst+sure:
			return differs("%s failed with %v: ranges before dw0 are copied, but block %d has %s", words(src, dst), a, b, x.name(f))
		case !f.whole || f.id != old[b]:
			return differs("%s failed with %v, and block %d has %s", words(src, dst), a, b, x.name(f))
		}
	}
	return nil
}
