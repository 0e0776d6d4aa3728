package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// heldDevice is a device that can be suspended, and notes what happens.
type heldDevice struct {
	mu   sync.Mutex
	said []string
	fail string // the step that fails
}

func (d *heldDevice) step(s string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said = append(d.said, s)
	if s == d.fail {
		return errFault
	}
	return nil
}

func (d *heldDevice) Sync() error { return d.step("sync") }

func (d *heldDevice) all() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.said, " ")
}

func (d *heldDevice) suspendable() *suspendable {
	return &suspendable{name: "data", disks: []interface{ Sync() error }{d},
		freeze:  func(context.Context) (func(), error) { return func() { _ = d.step("thaw") }, d.step("freeze") },
		suspend: func(context.Context) (func(), error) { return func() { _ = d.step("resume") }, d.step("suspend") }}
}

// TestSuspend: copies are kept out first, then requests; then the disks are flushed, behind the last write; and letting go
// is the other way round.
func TestSuspend(t *testing.T) {
	var l leases
	d := &heldDevice{}
	if renewed, err := l.suspend(t.Context(), d.suspendable(), time.Hour, slog.New(slog.DiscardHandler)); renewed || err != nil {
		t.Fatal(renewed, err)
	}
	if left := l.left("data"); left <= 0 || left > time.Hour || l.left("other") != 0 {
		t.Errorf("left %v", left)
	}
	if renewed, err := l.suspend(t.Context(), d.suspendable(), 2*time.Hour, slog.New(slog.DiscardHandler)); !renewed || err != nil {
		t.Error(renewed, err)
	}
	if left := l.left("data"); left <= time.Hour {
		t.Errorf("renewed, %v are left", left)
	}
	if !l.forget("data") || l.forget("data") || l.left("data") != 0 {
		t.Error("resumed twice, or not once")
	}
	if got := d.all(); got != "freeze suspend sync resume thaw" {
		t.Error(got)
	}
}

// TestSuspendFails: one that failed is not suspended, and nothing of it stays.
func TestSuspendFails(t *testing.T) {
	for fail, want := range map[string]string{"freeze": "freeze", "suspend": "freeze suspend thaw", "sync": "freeze suspend sync resume thaw"} {
		var l leases
		d := &heldDevice{fail: fail}
		if _, err := l.suspend(t.Context(), d.suspendable(), time.Hour, slog.New(slog.DiscardHandler)); !errors.Is(err, errFault) {
			t.Errorf("%s: %v", fail, err)
		}
		if got := d.all(); got != want || l.left("data") != 0 {
			t.Errorf("%s: %s, left %v", fail, got, l.left("data"))
		}
	}
	var l leases
	l.end()
	d := &heldDevice{}
	if _, err := l.suspend(t.Context(), d.suspendable(), time.Hour, slog.New(slog.DiscardHandler)); !errors.Is(err, errStopping) || d.all() != "freeze suspend sync resume thaw" {
		t.Error(err, d.all())
	}
}

// TestLeaseEnds: a device resumes by itself, and that is logged; one that is renewed at the last moment does not, until its
// new time is over.
func TestLeaseEnds(t *testing.T) {
	var l leases
	d := &heldDevice{}
	logged := make(chan string, 4)
	log := slog.New(slog.NewTextHandler(writerFunc(func(b []byte) { logged <- string(b) }), nil))
	if _, err := l.suspend(t.Context(), d.suspendable(), 5*time.Millisecond, log); err != nil {
		t.Fatal(err)
	}
	if said := <-logged; !strings.Contains(said, "level=WARN") || !strings.Contains(said, "name=data") {
		t.Error(said)
	}
	if got := d.all(); got != "freeze suspend sync resume thaw" || l.left("data") != 0 {
		t.Error(got, l.left("data"))
	}
	if l.renew("data", time.Hour) {
		t.Error("what is over was renewed")
	}

	began := time.Now()
	if !l.grant("data", time.Hour, func() {}, func() { logged <- "over" }) || !l.renew("data", 50*time.Millisecond) {
		t.Fatal("no lease")
	}
	<-logged
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("over after %v", took)
	}
	for i := range 3 {
		l.grant(fmt.Sprint(i), time.Hour, func() { logged <- "resumed" }, func() {})
	}
	l.end()
	for range 3 {
		<-logged
	}
	if l.grant("late", time.Hour, func() {}, func() {}) {
		t.Error("a lease of a server that has ended")
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}

// TestSuspendBounds: a lease has a time, and it is bounded.
func TestSuspendBounds(t *testing.T) {
	s := &Server{}
	for _, x := range []float64{0, -1, MaxLease.Seconds() + 1, 1e300} {
		if _, err := s.Suspend(t.Context(), "data", SuspendRequest{Seconds: x}); !errors.Is(err, ErrReload) {
			t.Errorf("%v: %v", x, err)
		}
	}
}

// TestChanging: one change at a time; and the server's end waits for the one that is under way, which learns of it.
func TestChanging(t *testing.T) {
	var c changing
	ctx, end, err := c.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.begin(t.Context()); !errors.Is(err, errOtherChange) || !errors.Is(c.idle(), errOtherChange) {
		t.Error(err)
	}
	ended := make(chan struct{})
	go func() {
		c.end()
		close(ended)
	}()
	<-ctx.Done()
	select {
	case <-ended:
		t.Error("ended under a change")
	default:
	}
	end()
	<-ended
	if _, _, err := c.begin(t.Context()); !errors.Is(err, errStopping) {
		t.Error(err)
	}
}

// TestLeaseExpires: a timer that fires as its lease is renewed, or when another has its place, ends nothing.
func TestLeaseExpires(t *testing.T) {
	now := &lease{until: time.Now().Add(-time.Second)}
	renewed := &lease{until: time.Now().Add(time.Hour)}
	l := leases{of: map[string]*lease{"now": now, "renewed": renewed}}
	if l.expire("renewed", renewed) || l.expire("now", renewed) || !l.expire("now", now) || l.expire("now", now) {
		t.Error("a lease ended that had not, or did not that had")
	}
	if l.of["renewed"] != renewed || len(l.of) != 1 {
		t.Errorf("left %v", l.of)
	}
}
