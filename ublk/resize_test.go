package ublk

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// A resize that the driver does not answer may have been made, or may be made yet. Until it answers another one, the device
// is as long as it may be: no shorter table comes below it, its end is served, and the size that it had is asked for in
// earnest, not taken for granted.
func TestResizeUnanswered(t *testing.T) {
	long := append(slices.Clone(mixed), lin(1, 2000, 104)) // 400, after 296
	for _, c := range []struct {
		name     string
		from, to uint64
	}{{"grow", 296, 400}, {"shrink", 400, 296}} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, every)
			dev := d.live(RecoveryQueue)
			defer d.stop(dev)
			if err := dev.Swap(t.Context(), long.table(t), backings(firstFD)); err != nil {
				t.Fatal(err)
			}
			if c.from != dev.Spec().Sectors {
				if err := dev.Resize(t.Context(), c.from); err != nil {
					t.Fatal(err)
				}
			}
			was := d.count(uapi.UBLK_U_CMD_UPDATE_SIZE)
			d.fail[uapi.UBLK_U_CMD_UPDATE_SIZE] = []error{ErrTimeout, ErrTimeout, unix.EINVAL}
			asked := 0
			try := func(n uint64, want error) {
				t.Helper()
				asked++
				if err := dev.Resize(t.Context(), n); !errors.Is(err, want) {
					t.Errorf("to %d: %v, want %v", n, err, want)
				}
				if got := d.count(uapi.UBLK_U_CMD_UPDATE_SIZE) - was; got != asked {
					t.Errorf("to %d: the driver was asked %d times, want %d", n, got, asked)
				}
			}
			uncertain := func() {
				t.Helper()
				if n := dev.Spec().Sectors; n != 400 {
					t.Errorf("%d sectors, and it may have 400", n)
				}
				if err := dev.Swap(t.Context(), mixed.table(t), backings(firstFD)); err == nil {
					t.Fatal("a table is swapped that the device may be longer than")
				}
				for i := range dev.queues {
					if d.answer(i, 0, readOf(392, 8)) != 4096 {
						t.Errorf("queue %d does not serve the end that there may be", i)
					}
				}
			}
			try(c.to, ErrTimeout)
			uncertain()
			try(c.from, ErrTimeout)
			uncertain()
			try(c.from, unix.EINVAL) // which says nothing of the two before
			uncertain()
			try(c.from, nil)
			if n := dev.Spec().Sectors; n != c.from {
				t.Errorf("%d sectors, want %d", n, c.from)
			}
			if err := dev.Resize(t.Context(), c.from); err != nil || d.count(uapi.UBLK_U_CMD_UPDATE_SIZE)-was != asked {
				t.Errorf("it is known by now: %v", err)
			}
			if c.from == 296 {
				if err := dev.Swap(t.Context(), mixed.table(t), backings(firstFD)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
