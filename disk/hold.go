package disk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstPause = 10 * time.Millisecond
	longPause  = 500 * time.Millisecond

	// grace is how long a process must be seen to have a busy disk open before it is blamed: a disk that
	// is about to become free is looked at by passers-by, which do not hold it (udev, blkid).
	grace = 300 * time.Millisecond
)

// BusyError is returned when somebody has a disk. It is unix.EBUSY.
type BusyError struct {
	Node    string
	Holders []Holder // at least one
}

func (e *BusyError) Error() string {
	var who []string
	for _, h := range e.Holders {
		who = append(who, h.String())
	}
	return e.Node + " is in use: " + strings.Join(who, "; ")
}

func (e *BusyError) Unwrap() error { return unix.EBUSY }

// hold calls try until it succeeds, fails with other than EBUSY or EAGAIN, or it is clear that it will not
// succeed soon, which is a *BusyError:
//   - who names a holder that will not go by itself: a mount, a stacked device, a living process;
//   - o.Wait is over;
//   - ctx is done; then it is the context's error too.
//
// Whoever was killed with I/O in flight is none of the first: it is gone, or exiting, while its open file
// still holds the disk. Its last write lands before the hold ends.
func hold(ctx context.Context, o *Options, node string, try func() error, who func() []found) error {
	deadline := time.Now().Add(o.Wait)
	pause := firstPause
	first := map[Holder]time.Time{} // when a process was first seen
	for waited := false; ; waited = true {
		err := try()
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EAGAIN) {
			return err
		}
		now := time.Now()
		users := who()
		busy := &BusyError{Node: node, Holders: holders(users)}
		if len(busy.Holders) == 0 {
			busy.Holders = []Holder{{Kind: "exclusive", What: "another process, or I/O in flight of one that was killed"}}
		}
		first = seen(first, users, now)
		left := deadline.Sub(now)
		if left <= 0 || staying(users, first, now) {
			return busy
		}
		if !waited {
			o.Logger.Info("disk busy, waiting", "dev", node, "holders", busy.Error(), "wait", o.Wait)
		}
		if err := sleep(ctx, min(pause, left)); err != nil {
			return fmt.Errorf("%w: %w", busy, err)
		}
		pause = min(2*pause, longPause)
	}
}

// staying reports whether one of the users keeps the disk for good.
func staying(users []found, first map[Holder]time.Time, now time.Time) bool {
	for _, u := range users {
		switch {
		case u.claim == claimsAlways:
			return true
		case u.claim == claimsMaybe && now.Sub(first[u.Holder]) >= grace:
			return true
		}
	}
	return false
}

// seen carries first over to the users of now.
func seen(first map[Holder]time.Time, users []found, now time.Time) map[Holder]time.Time {
	next := make(map[Holder]time.Time, len(users))
	for _, u := range users {
		t, ok := first[u.Holder]
		if !ok {
			t = now
		}
		next[u.Holder] = t
	}
	return next
}

// sleep waits, or returns why ctx ended first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return ctx.Err()
	}
}
