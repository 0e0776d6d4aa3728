package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// lossFake is a device that notes what it is told of its disks.
type lossFake struct {
	said   []string
	asOf   time.Time
	parked map[target.Disk]int
}

func (f *lossFake) DiskThere(_ target.Disk, asOf time.Time) {
	f.said, f.asOf = append(f.said, "there"), asOf
}
func (f *lossFake) DiskAway(target.Disk) { f.said = append(f.said, "away") }
func (f *lossFake) DiskLost(target.Disk) { f.said = append(f.said, "lost") }
func (f *lossFake) DiskBack(context.Context, target.Disk, *ublk.Backing, bool) error {
	f.said = append(f.said, "back")
	return nil
}
func (f *lossFake) InFlight(target.Disk) int    { return 0 }
func (f *lossFake) Parked() map[target.Disk]int { return f.parked }

// kept is a keeper of one disk under three devices: one waits for a minute, one for an hour, one does not.
type kept struct {
	*keeper
	disk         *disk.Disk
	short, long  lossFake
	never        lossFake
	suspected    bool
	isThere      func() bool
	comesBack    error
	copiesEnded  int
	looks, tries int
}

func keep(t *testing.T) *kept {
	t.Helper()
	d, err := disk.Open(t.Context(), disk.Spec{Name: "a", Memory: 4096}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	k := &kept{disk: d, comesBack: errStillGone, isThere: func() bool { return false }}
	k.keeper = &keeper{log: slog.New(slog.DiscardHandler), events: &events{}, wake: make(chan struct{}, 1),
		known: func() []*disk.Disk { return []*disk.Disk{d} },
		users: func(*disk.Disk) []diskUser {
			return []diskUser{{"short", 0, time.Minute, &k.short}, {"long", 1, time.Hour, &k.long}, {"never", 2, 0, &k.never}}
		},
		suspects: func() []*disk.Disk {
			if !k.suspected {
				return nil
			}
			k.suspected = false
			return []*disk.Disk{d}
		},
		there: func(*disk.Disk) bool { k.looks++; return k.isThere() },
		back:  func(context.Context, *disk.Disk) error { k.tries++; return k.comesBack },
		ended: func([]diskUser) { k.copiesEnded++ },
	}
	return k
}

func (k *kept) fail(t *testing.T) {
	k.suspected = true
	k.turn(t.Context())
}

func (k *kept) is(t *testing.T, short, long, never string) {
	t.Helper()
	for _, c := range []struct {
		f    *lossFake
		want string
	}{{&k.short, short}, {&k.long, long}, {&k.never, never}} {
		if got := strings.Join(c.f.said, " "); got != c.want {
			t.Errorf("told %q, want %q", got, c.want)
		}
		c.f.said = nil
	}
}

// A disk that fails a command and stays is there; nothing that failed after the look had begun is judged by it.
func TestKeeperThere(t *testing.T) {
	k := keep(t)
	k.isThere = func() bool { return true }
	before := time.Now()
	k.fail(t)
	k.is(t, "there", "there", "there")
	if took := time.Since(before); took < lossGrace || k.looks < 3 || k.short.asOf.After(before.Add(lossGrace/2)) {
		t.Errorf("looked at %d times for %v, as of %v", k.looks, took, k.short.asOf.Sub(before))
	}
	if s, _ := k.state(k.disk, "short"); s != DiskPresent || k.copiesEnded != 0 || k.tries != 0 {
		t.Errorf("state %s, %d copies ended", s, k.copiesEnded)
	}
}

// A disk may fail a moment before it is seen to be gone.
func TestKeeperGrace(t *testing.T) {
	k := keep(t)
	k.isThere = func() bool { return k.looks < 4 }
	k.fail(t)
	k.is(t, "away", "away", "lost")
	if s, since := k.state(k.disk, "short"); s != DiskParked || since.IsZero() || k.copiesEnded != 1 {
		t.Errorf("state %s since %v", s, since)
	}
}

// Each device waits for as long as it is to; what is told anew is what is so.
func TestKeeperTimes(t *testing.T) {
	k := keep(t)
	k.fail(t)
	k.is(t, "away", "away", "lost")
	g := k.look(k.disk)
	k.expire(k.disk, g.since.Add(time.Minute-time.Millisecond))
	k.is(t, "", "", "")
	k.short.parked = map[target.Disk]int{0: 7}
	k.expire(k.disk, g.since.Add(time.Minute))
	k.is(t, "lost", "", "")
	k.expire(k.disk, g.since.Add(2*time.Minute))
	k.fail(t) // a queue that had not heard
	k.is(t, "lost", "away", "lost")
	if s, _ := k.state(k.disk, "short"); s != DiskLost {
		t.Error(s)
	}
	if s, _ := k.state(k.disk, "long"); s != DiskParked {
		t.Error(s)
	}
	var timedOut []Event
	all, _ := k.events.since(0)
	for _, x := range all {
		if x.Kind == ParkTimedOut {
			timedOut = append(timedOut, x)
		}
	}
	if len(timedOut) != 1 || timedOut[0].Device != "short" || timedOut[0].Errors != 7 {
		t.Errorf("%+v", timedOut)
	}
}

// A disk is looked for until it is back, also when nobody waits any more; what is in the way is told once.
func TestKeeperBack(t *testing.T) {
	k := keep(t)
	k.fail(t)
	k.look(k.disk).since = time.Now().Add(-2 * time.Hour)
	k.turn(t.Context())
	k.is(t, "away lost", "away lost", "lost")
	for range 3 {
		k.comesBack = errors.New("smaller")
		k.turn(t.Context())
	}
	all, _ := k.events.since(0)
	if n := len(slices.DeleteFunc(all, func(x Event) bool { return x.Kind != DiskUnfit })); n != 1 {
		t.Errorf("told %d times what is in the way", n)
	}
	k.comesBack = nil
	k.turn(t.Context())
	tries := k.tries
	k.turn(t.Context())
	if s, _ := k.state(k.disk, "short"); s != DiskPresent || k.tries != tries {
		t.Errorf("state %s, looked for %d times when it was back", s, k.tries-tries)
	}
}

// A reload may say that a device waits no longer for a disk that is gone.
func TestKeeperPolicyChanges(t *testing.T) {
	k := keep(t)
	k.fail(t)
	k.is(t, "away", "away", "lost")
	users := k.users
	k.users = func(d *disk.Disk) []diskUser {
		out := users(d)
		out[1].park = 0
		return out
	}
	k.turn(t.Context())
	k.is(t, "", "lost", "")
}

// A disk that a reload has closed is not looked for.
func TestKeeperForgets(t *testing.T) {
	k := keep(t)
	k.fail(t)
	k.known = func() []*disk.Disk { return nil }
	tries := k.tries
	k.turn(t.Context())
	if k.look(k.disk) != nil || k.tries != tries {
		t.Error("it is still looked for")
	}
}

// Nothing is looked at while every disk is there; one that is gone is looked for again and again, until it is back.
func TestKeeperSleeps(t *testing.T) {
	k := keep(t)
	var turns, tries atomic.Int32
	var suspected, isBack atomic.Bool
	k.suspects = func() []*disk.Disk {
		turns.Add(1)
		if suspected.Swap(false) {
			return []*disk.Disk{k.disk}
		}
		return nil
	}
	k.back = func(context.Context, *disk.Disk) error {
		tries.Add(1)
		if isBack.Load() {
			return nil
		}
		return errStillGone
	}
	k.start()
	t.Cleanup(k.end)
	time.Sleep(3 * lossLook) // in which a turn would be seen
	if n := turns.Load(); n != 0 {
		t.Errorf("%d turns while nothing was wrong", n)
	}
	suspected.Store(true)
	k.suspect()
	for end := time.Now().Add(time.Minute); tries.Load() < 3; time.Sleep(lossAgain) { // for the keeper's goroutine
		if time.Now().After(end) {
			t.Fatalf("looked for %d times", tries.Load())
		}
	}
	isBack.Store(true)
	for end := time.Now().Add(time.Minute); k.look(k.disk) != nil; time.Sleep(lossAgain) { // likewise
		if time.Now().After(end) {
			t.Fatal("it is not taken back")
		}
	}
	n := turns.Load()
	time.Sleep(3 * lossLook) // as above
	if turns.Load() > n+1 {  // one may have been under way
		t.Errorf("%d turns when it was back", turns.Load()-n)
	}
}
