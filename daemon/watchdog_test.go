package daemon

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// slowDisks is two devices over three disks, of which some keep commands.
type slowDisks struct {
	now   []ublk.Stall // of the first device
	asked []time.Duration
}

func (s *slowDisks) devices() []watched {
	disk := func(d target.Disk) string { return string(rune('a' + d)) }
	return []watched{
		{"data", func(than time.Duration) []ublk.Stall { s.asked = append(s.asked, than); return s.now }, disk},
		{"other", func(time.Duration) []ublk.Stall { return nil }, disk},
	}
}

// TestWatchdog: a disk that keeps a command is told of once, and again every minute, whatever number of queues and commands
// wait for it; and it is told when it answers again.
func TestWatchdog(t *testing.T) {
	var out bytes.Buffer
	s := &slowDisks{}
	beats := 0
	w := &watchdog{devices: s.devices, than: stalledAfter, alive: func() { beats++ }, log: slog.New(slog.NewTextHandler(&out, nil))}
	now := time.Unix(1000, 0)
	turn := func() string {
		out.Reset()
		w.turn(now)
		now = now.Add(watchEvery)
		return out.String()
	}
	if got := turn(); got != "" || len(w.of("data")) != 0 || w.of("data") == nil {
		t.Errorf("nothing waits: %s", got)
	}
	s.now = []ublk.Stall{
		{Queue: 0, Disk: 1, Op: target.Write, Sector: 77, Age: 11 * time.Second},
		{Queue: 2, Disk: 1, Op: target.Read, Sector: 88, Age: 12500 * time.Millisecond},
	}
	got := turn()
	for _, want := range []string{"level=WARN", "device=data", "disk=b", "op=read", "sector=88", "seconds=12", "queue=2"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("not once %s: %s", want, got)
		}
	}
	want := []StallInfo{{"b", 2, "read", 88, 12.5}, {"b", 0, "write", 77, 11}}
	if d := cmp.Diff(want, w.of("data")); d != "" {
		t.Error(d)
	}
	if len(w.of("other")) != 0 {
		t.Error("the other device waits for nothing")
	}
	for i := 1; i < int(stalledAgain/watchEvery); i++ {
		s.now[0].Sector++ // another command: it is the disk that is told of
		if got := turn(); got != "" {
			t.Fatalf("after %d s again: %s", i, got)
		}
	}
	if got := turn(); strings.Count(got, "does not answer") != 1 {
		t.Errorf("after a minute: %s", got)
	}
	s.now = append(s.now, ublk.Stall{Disk: 0, Age: time.Minute})
	if got := turn(); strings.Count(got, "does not answer") != 1 || !strings.Contains(got, "disk=a") {
		t.Errorf("another disk: %s", got)
	}
	s.now = s.now[:2]
	if got := turn(); !strings.Contains(got, "answers again") || !strings.Contains(got, "disk=a") || strings.Contains(got, "disk=b") {
		t.Errorf("one is back: %s", got)
	}
	s.now = nil
	if got := turn(); !strings.Contains(got, "disk=b") || len(w.of("data")) != 0 {
		t.Errorf("the other is back: %s", got)
	}
	if turns := int(now.Sub(time.Unix(1000, 0)) / watchEvery); beats != turns || len(s.asked) != turns || s.asked[0] != stalledAfter {
		t.Errorf("%d beats, asked %v, in %d turns", beats, s.asked, turns)
	}
	s.now = []ublk.Stall{{Disk: 1, Age: time.Minute}}
	turn()
	w.devices = func() []watched { return nil } // it is stopped
	if got := turn(); got != "" {
		t.Errorf("of a device that is gone: %s", got)
	}
}

// TestWatchdogStarts: it runs by itself, with the bound that is asked for, and ends.
func TestWatchdogStarts(t *testing.T) {
	var w watchdog
	w.stop() // of what never began
	if w.of("data") == nil {
		t.Error("JSON would say null")
	}
	s := &slowDisks{}
	beat := make(chan struct{}, 100)
	w.start(0, func() { beat <- struct{}{} }, s.devices, slog.New(slog.DiscardHandler))
	for range 2 {
		select {
		case <-beat:
		case <-time.After(time.Minute):
			t.Fatal("it does not beat")
		}
	}
	w.stop()
	w.stop()
	if len(s.asked) < 2 || s.asked[0] != stalledAfter {
		t.Error(s.asked)
	}
}

// TestWatchdogLock: a server that is stuck with its lock is not alive.
func TestWatchdogLock(t *testing.T) {
	s := &Server{}
	s.mu.Lock()
	beat := make(chan struct{}, 1)
	w := &watchdog{devices: s.watched, alive: func() { beat <- struct{}{} }, log: slog.New(slog.DiscardHandler)}
	done := make(chan struct{})
	go func() {
		w.turn(time.Now())
		close(done)
	}()
	select {
	case <-beat:
		t.Error("it beats without the lock")
	case <-time.After(50 * time.Millisecond): // it has had time to
	}
	s.mu.Unlock()
	<-done
	<-beat
}
