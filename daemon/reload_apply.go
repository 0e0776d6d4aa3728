package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ublk-go/ublk-linear/ublk"
)

// drainWait bounds how long the I/O under way of a device may take to end when it is suspended.
const drainWait = 30 * time.Second

// live is a device that a reload changes: *ublk.Device.
type live interface {
	Suspend(ctx context.Context) (resume func(), err error)
	Swap(ctx context.Context, m ublk.Mapper, disks []ublk.Backing) error
	Resize(ctx context.Context, sectors uint64) error
}

// changes is what a reload does to the server around the devices.
type changes interface {
	// stop ends a device that goes, and restore brings it back.
	stop(ctx context.Context, s *step) error
	restore(ctx context.Context, s *step) error
	// start adds a device that comes, and remove takes it away again.
	start(ctx context.Context, s *step) error
	remove(ctx context.Context, s *step) error
	// live is a device that stays, and freeze keeps copies out of it.
	live(s *step) live
	freeze(ctx context.Context, s *step) (thaw func(), err error)
	// flush makes durable what was written to the disks that a device leaves.
	flush(s *step) error
	// note makes the new tables, or the old ones but those of the devices in kept, those that the server tells of and writes
	// down.
	note(new bool, kept map[string]bool) error
	// backings are the disks as the old tables, or the new ones, number them.
	backings(new bool) []ublk.Backing
	// done says that all is done; what is asked for from now on finds the new. It cannot fail.
	done()
}

// applier applies a plan, or takes back what it has done of it.
type applier struct {
	plan *reloadPlan
	out  changes
	undo []undo
	let  []func()        // let go on what was suspended
	kept map[string]bool // devices that have their new table and cannot be rid of it
}

// undo takes one step back.
type undo struct {
	do  func(ctx context.Context) error
	not string // what is so when it fails
}

func (a *applier) did(not string, do func(ctx context.Context) error) {
	a.undo = append(a.undo, undo{do, not})
}

// apply changes everything, or nothing. First devices end that go: nothing of them may reach their sectors any more when
// these are others'. Then all devices that are mapped otherwise are suspended, and stay so until the last step: nobody sees
// one changed and another not yet. What grows tells its users last, since that is what they could have used already if it
// were taken back. What shrinks tells them first, while the old tables are still those that are written down: whoever comes
// after a crash can make a device as long as its table, never shorter. stall is for how long they were suspended.
//
// Whatever fails, everything is taken back in reverse; a *MixedError says what could not be.
func (a *applier) apply(ctx context.Context) (stall time.Duration, err error) {
	var begun time.Time
	a.kept = map[string]bool{}
	defer func() {
		if err != nil {
			err = a.back(context.WithoutCancel(ctx), err)
		}
		for _, let := range slices.Backward(a.let) {
			let()
		}
		if !begun.IsZero() {
			stall = time.Since(begun)
		}
	}()
	for s := range a.each(func(s *step) bool { return s.conf == nil }) {
		a.did("device "+s.name+" is gone", func(ctx context.Context) error { return a.out.restore(ctx, s) })
		if err := a.out.stop(ctx, s); err != nil {
			return 0, err
		}
	}
	for s := range a.each((*step).remaps) {
		if begun.IsZero() {
			begun = time.Now()
		}
		if err := a.suspend(ctx, s); err != nil {
			return 0, fmt.Errorf("device %s: %w", s.name, err)
		}
	}
	for s := range a.each((*step).remaps) {
		if err := a.out.flush(s); err != nil {
			return 0, fmt.Errorf("device %s: %w", s.name, err)
		}
	}
	for s := range a.each(func(s *step) bool { return s.remaps() && s.table.Sectors() < s.old.table.Sectors() }) {
		if err := a.resize(ctx, s); err != nil {
			return 0, fmt.Errorf("device %s: %w", s.name, err)
		}
	}
	a.did("the state, which the next server goes by, may name the new tables", func(context.Context) error { return a.noteBack() })
	if err := a.out.note(true, nil); err != nil {
		return 0, err
	}
	for s := range a.each((*step).remaps) {
		if err := a.swap(ctx, s); err != nil {
			return 0, fmt.Errorf("device %s: %w", s.name, err)
		}
	}
	for s := range a.each(func(s *step) bool { return s.old == nil }) {
		if err := a.out.start(ctx, s); err != nil {
			return 0, err
		}
		a.did("device "+s.name+" is there", func(ctx context.Context) error { return a.keeps(s, a.out.remove(ctx, s)) })
	}
	for s := range a.each(func(s *step) bool { return s.remaps() && s.table.Sectors() > s.old.table.Sectors() }) {
		if err := a.resize(ctx, s); err != nil {
			return 0, fmt.Errorf("device %s: %w", s.name, err)
		}
	}
	a.out.done()
	return 0, nil
}

// each are the steps of a kind.
func (a *applier) each(want func(*step) bool) func(yield func(*step) bool) {
	return func(yield func(*step) bool) {
		for i := range a.plan.steps {
			if s := &a.plan.steps[i]; want(s) && !yield(s) {
				return
			}
		}
	}
}

// suspend keeps copies and requests out of a device until the end.
func (a *applier) suspend(ctx context.Context, s *step) error {
	ctx, cancel := context.WithTimeout(ctx, drainWait)
	defer cancel()
	thaw, err := a.out.freeze(ctx, s)
	if err != nil {
		return fmt.Errorf("copies under way: %w", err)
	}
	a.let = append(a.let, thaw)
	resume, err := a.out.live(s).Suspend(ctx)
	if err != nil {
		return err
	}
	a.let = append(a.let, resume)
	return nil
}

// swap gives a device its new table.
func (a *applier) swap(ctx context.Context, s *step) error {
	dev := a.out.live(s)
	if err := dev.Swap(ctx, s.table, a.out.backings(true)); err != nil {
		return err
	}
	a.did("device "+s.name+" has the new table", func(ctx context.Context) error {
		return a.keeps(s, dev.Swap(ctx, s.old.table, a.out.backings(false)))
	})
	return nil
}

// keeps notes that a device has its new table still, when that could not be taken back.
func (a *applier) keeps(s *step, err error) error {
	if err != nil {
		a.kept[s.name] = true
	}
	return err
}

// noteBack has the old tables written down again, but for devices that keep their new one: a server that comes after a crash
// would serve them by another table than they were written by.
func (a *applier) noteBack() error {
	err := a.out.note(false, a.kept)
	if err == nil {
		return nil
	}
	var not []string
	for s := range a.each((*step).remaps) {
		if !a.kept[s.name] {
			not = append(not, s.name)
		}
	}
	if len(not) > 0 {
		err = fmt.Errorf("%s: served by the old, which could not be written down: %w", strings.Join(not, ", "), err)
	}
	return err
}

func (a *applier) resize(ctx context.Context, s *step) error {
	dev, was, now := a.out.live(s), s.old.table.Sectors(), s.table.Sectors()
	// Also when it fails: the driver's answer may only be late.
	a.did(fmt.Sprintf("device %s may have %d sectors", s.name, now), func(ctx context.Context) error { return dev.Resize(ctx, was) })
	return dev.Resize(ctx, now)
}

// back takes everything back, and says what could not be.
func (a *applier) back(ctx context.Context, why error) error {
	mixed := &MixedError{Err: why}
	for _, u := range slices.Backward(a.undo) {
		if err := u.do(ctx); err != nil {
			mixed.Not = append(mixed.Not, fmt.Sprintf("%s: %v", u.not, err))
		}
	}
	a.undo = nil
	if len(mixed.Not) > 0 {
		return mixed
	}
	return fmt.Errorf("nothing has changed: %w", why)
}

var _ live = (*ublk.Device)(nil)
