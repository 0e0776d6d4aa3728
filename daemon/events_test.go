package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// TestEventsSince: a reader has every event once and in order, or is told how many are gone.
func TestEventsSince(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &events{}
		var after, seen, total uint64
		for range rapid.IntRange(1, 8).Draw(t, "rounds") {
			for range rapid.SampledFrom([]int{0, 1, 3, keptEvents - 1, keptEvents, keptEvents + 1, 3 * keptEvents}).Draw(t, "events") {
				total++
				e.publish(Event{Kind: DeviceUp, Errors: total})
			}
			got, more := e.since(after)
			if more == nil {
				t.Fatal("it has ended")
			}
			for i, x := range got {
				if x.Kind == EventsLost {
					if i != 0 || len(got) != 1+keptEvents || x.Seq != after+x.Lost || x.Lost == 0 {
						t.Fatalf("lost %+v, number %d of %d, after %d", x, i, len(got), after)
					}
					seen += x.Lost
				} else {
					seen++
					if x.Errors != seen || x.Seq != seen || x.Schema != 1 || x.Time.IsZero() {
						t.Fatalf("%+v, want number %d", x, seen)
					}
				}
				after = x.Seq
			}
			if seen != total {
				t.Fatalf("%d of %d events", seen, total)
			}
		}
		if got, _ := e.since(total + 5); uint64(len(got)) != min(total, keptEvents)+min(max(total, keptEvents)-keptEvents, 1) {
			t.Fatalf("%d events after one that is not there, of %d", len(got), total)
		}
	})
	(*events)(nil).publish(Event{}) // nobody is to know
}

// TestFollowers: many who publish, and readers of every speed: each has all, or is told of the rest, and all come to an end.
func TestFollowers(t *testing.T) {
	e := &events{}
	const publishers, each = 4, 3000
	var readers, writers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() {
			var after, seen uint64
			for {
				got, more := e.since(after)
				for _, x := range got {
					if x.Seq != after+max(x.Lost, 1) {
						t.Errorf("%+v after %d", x, after)
					}
					after = x.Seq
					seen += max(x.Lost, 1)
				}
				if more == nil {
					break
				}
				if r%2 == 0 {
					<-more
				}
			}
			if seen != publishers*each {
				t.Errorf("%d of %d events", seen, publishers*each)
			}
		})
	}
	for range publishers {
		writers.Go(func() {
			for range each {
				e.publish(Event{Kind: DeviceUp})
			}
		})
	}
	writers.Wait()
	e.end()
	readers.Wait()
}

// TestFollowersBound: there is room for so many, and for fewer who may only look.
func TestFollowersBound(t *testing.T) {
	e := &events{}
	var leave []func()
	fill := func(r right, want int) {
		t.Helper()
		for i := range want + 1 {
			l, err := e.follow(r)
			if (err == nil) != (i < want) || err != nil && !errors.Is(err, unix.EBUSY) {
				t.Fatalf("%d: %v", i, err)
			}
			if err == nil {
				leave = append(leave, l)
			}
		}
	}
	fill(look, maxLookFollowers)
	fill(everything, maxFollowers-maxLookFollowers)
	leave[0]()
	leave[0]() // is one
	fill(look, 1)
	for _, l := range leave {
		l()
	}
	fill(everything, maxFollowers)
}

// TestEventsRoute: the lines of an answer, and what cannot be meant.
func TestEventsRoute(t *testing.T) {
	f := &fake{}
	f.ring.publish(Event{Kind: DeviceUp, Device: "data", Node: "/dev/ublkb7"})
	zero := uint64(0)
	f.ring.publish(Event{Kind: DiskFails, Disk: "a", Op: "write", Sector: &zero, Errno: "EIO", Errors: 3})
	for _, c := range []struct {
		query string
		code  int
		lines []string
	}{
		{"", 200, []string{`"event":"up","device":"data","node":"/dev/ublkb7"}`, `"event":"disk-error","disk":"a","op":"write","sector":0,"errno":"EIO","errors":3}`}},
		{"?after=1", 200, []string{`{"schema":1,"seq":2,`}},
		{"?after=2&follow=0", 200, nil},
		{"?after=3", 200, []string{`"seq":1`, `"seq":2`}}, // of another process
		{"?after=-1", 400, []string{"no number"}},
		{"?follow=x", 400, []string{"0 or 1"}},
		{"?folow=1", 400, []string{"unknown parameter"}},
		{"?after=1&after=2", 400, []string{"2 times"}},
	} {
		w := httptest.NewRecorder()
		routes(f).ServeHTTP(w, httptest.NewRequest("GET", "/v1/events"+c.query, nil))
		lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
		if w.Body.Len() == 0 {
			lines = nil
		}
		ok := w.Code == c.code && len(lines) == len(c.lines)
		for i := 0; ok && i < len(lines); i++ {
			ok = json.Valid([]byte(lines[i])) && strings.Contains(lines[i], c.lines[i])
		}
		if !ok {
			t.Errorf("%q: %d %q", c.query, w.Code, lines)
		}
	}
}

// TestEventsClient: a follower has what was and what comes; it ends with its context, without an error, or with the server,
// with one; and then there is room again.
func TestEventsClient(t *testing.T) {
	inst := instance(t, "a.toml", runDir(t))
	f := &fake{}
	f.ring.publish(Event{Kind: DeviceUp, Device: "data"})
	start(t, inst, routes(f))
	c := NewClient(inst)
	var got []string
	each := func(x Event) error {
		got = append(got, fmt.Sprint(x.Seq, x.Kind))
		return nil
	}
	if err := c.Events(t.Context(), 0, false, each); err != nil || !slices.Equal(got, []string{"1up"}) {
		t.Fatalf("%q, %v", got, err)
	}
	got = nil
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := c.Events(ctx, 0, true, func(x Event) error {
		_ = each(x)
		switch x.Seq {
		case 1:
			f.ring.publish(Event{Kind: DeviceSuspended})
		case 2:
			cancel()
		}
		return nil
	}); err != nil || !slices.Equal(got, []string{"1up", "2suspended"}) {
		t.Fatalf("%q, %v", got, err)
	}
	enough := errors.New("enough")
	if err := c.Events(t.Context(), 1, true, func(Event) error { return enough }); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	free := func() bool {
		f.ring.mu.Lock()
		defer f.ring.mu.Unlock()
		return f.ring.followers[look] == 0
	}
	for end := time.Now().Add(30 * time.Second); !free(); time.Sleep(time.Millisecond) { // until the server has noticed
		if time.Now().After(end) {
			t.Fatal("a follower who went away still has its place")
		}
	}
	for range maxLookFollowers {
		if _, err := f.ring.follow(look); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Events(t.Context(), 0, true, each); !errors.Is(err, unix.EBUSY) {
		t.Errorf("one too many: %v", err)
	}
	f.ring.followers = nil
	if err := c.Events(t.Context(), 1, true, func(Event) error { f.ring.end(); return nil }); !errors.Is(err, ErrNotServed) {
		t.Errorf("the server ended: %v", err)
	}
}

// TestEventsSlow: a follower who reads nothing holds nobody up, and is told what it lost once it reads again.
func TestEventsSlow(t *testing.T) {
	f := &fake{}
	path := gated(t, routes(f), everything)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: server\r\n\r\n")
	long := strings.Repeat("x", 4096)
	const n = 20 * keptEvents // more than a socket takes
	for range n {
		f.ring.publish(Event{Kind: ReloadFailed, Error: long})
	}
	_ = conn.SetReadDeadline(time.Now().Add(60 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	var seen, lost uint64
	for dec := json.NewDecoder(resp.Body); seen < n; {
		var x Event
		if err := dec.Decode(&x); err != nil {
			t.Fatal(err)
		}
		seen, lost = seen+max(x.Lost, 1), lost+x.Lost
		if x.Seq != seen {
			t.Fatalf("%d after %d", x.Seq, seen)
		}
	}
	if seen != n || lost == 0 {
		t.Errorf("%d of %d events, %d lost", seen, n, lost)
	}
}

// TestCopyEvents: a copy's end is an event with what it did, or why not.
func TestCopyEvents(t *testing.T) {
	c := CopyInfo{Source: "a", Destination: "b", CopyProgress: CopyProgress{ID: 3, Total: 8}}
	if x := copyEnded(c, &CopyResult{Bytes: 8, Complete: true}); x.Kind != CopyDone || x.Copy.Bytes != 8 || x.Copy.ID != 3 || x.Error != "" {
		t.Errorf("%+v", x)
	}
	if x := copyEnded(c, &CopyResult{Bytes: 4, Error: "why"}); x.Kind != CopyFailed || x.Copy.Bytes != 4 || x.Error != "why" {
		t.Errorf("%+v", x)
	}
}

// TestWatchdogEvents: what the watchdog logs are events, too.
func TestWatchdogEvents(t *testing.T) {
	e, s := &events{}, &slowDisks{}
	w := &watchdog{devices: s.devices, than: stalledAfter, log: slog.New(slog.DiscardHandler), events: e}
	s.now = []ublk.Stall{{Disk: 1, Op: target.Write, Sector: 0, Age: 11 * time.Second}}
	w.turn(time.Unix(1000, 0))
	w.turn(time.Unix(1001, 0)) // told already
	s.now = nil
	w.turn(time.Unix(1002, 0))
	got, _ := e.since(0)
	if len(got) != 2 || got[0].Kind != DiskStalls || got[0].Device != "data" || got[0].Disk != "b" || got[0].Op != "write" || got[0].Sector == nil || got[0].Seconds != 11 || got[1].Kind != DiskAnswers || got[1].Disk != "b" {
		t.Errorf("%+v", got)
	}
}

// TestLeaseExpired: a suspension that nobody ended is told of, one that somebody did is not.
func TestLeaseExpired(t *testing.T) {
	for _, last := range []time.Duration{time.Millisecond, time.Hour} {
		var l leases
		told := make(chan struct{}, 1)
		nothing := func(context.Context) (func(), error) { return func() {}, nil }
		d := &suspendable{name: "data", freeze: nothing, suspend: nothing, expired: func() { told <- struct{}{} }}
		if _, err := l.suspend(t.Context(), d, last, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		if last == time.Hour {
			if !l.forget("data") || len(told) != 0 {
				t.Error("told of what somebody resumed")
			}
			continue
		}
		select {
		case <-told:
		case <-time.After(30 * time.Second):
			t.Error("nobody was told")
		}
	}
}

// TestResizeEvents: of what a reload changes, devices that are longer or shorter are events.
func TestResizeEvents(t *testing.T) {
	device := func(name, at string, size int) string {
		return fmt.Sprintf("[device.%s]\ntable = \"0 %d linear %s\"\n", name, size, at)
	}
	b := runFile(t, bedDisks+device("grows", "a 0", 64)+device("moves", "a 512", 64)+device("stays", "b 0", 64))
	f := b.write(noCreate(bedDisks) + device("grows", "a 0", 128) + device("moves", "a 1024", 64) + device("stays", "b 0", 64) + device("comes", "b 512", 8))
	p, err := planReload(b.running, f, &ReloadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	e := &events{}
	p.publish(e)
	if got, _ := e.since(0); len(got) != 1 || got[0].Kind != DeviceResized || got[0].Device != "grows" || got[0].Old != 64 || got[0].New != 128 {
		t.Errorf("%+v", got)
	}
}
