package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
)

// fakeUpgrades is the upgrading of a server without devices.
type fakeUpgrades struct {
	upgradeTo  []UpgradeRequest
	upgradeErr error
	last       atomic.Pointer[UpgradeResult]
	begun      func() // nil: nothing
}

func (f *fakeUpgrades) requestUpgrade(_ context.Context, r UpgradeRequest) (UpgradeResult, func(), error) {
	f.upgradeTo = append(f.upgradeTo, r)
	return UpgradeResult{Schema: Schema, Token: "t"}, func() {
		if f.begun != nil {
			f.begun()
		}
	}, f.upgradeErr
}

func (f *fakeUpgrades) lastUpgrade() *UpgradeResult { return f.last.Load() }

// TestUpgradeRoutes: what the control socket lets through.
func TestUpgradeRoutes(t *testing.T) {
	for _, c := range []struct {
		name, method, body string
		err                error
		last               *UpgradeResult
		code               int
		want               string
		asked              int
	}{
		{"begin", "POST", `{"binary":"/b","wait":true}`, nil, nil, 200, `{"schema":1,"token":"t","done":false`, 1},
		{"busy", "POST", `{"binary":"/b"}`, errUpgrading, nil, 409, `{"error":"the server is being upgraded: `, 1},
		{"unknown field", "POST", `{"binry":"/b"}`, nil, nil, 400, `{"error":"json: unknown field`, 0},
		{"no body", "POST", "", nil, nil, 400, `{"error":"EOF"}`, 0},
		{"none", "GET", "", nil, nil, 404, `{"error":"no upgrade since`, 0},
		{"done", "GET", "", nil, &UpgradeResult{Schema: 1, Token: "x", Done: true}, 200, `{"schema":1,"token":"x","done":true`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{}
			f.upgradeErr = c.err
			f.last.Store(c.last)
			w := httptest.NewRecorder()
			routes(f).ServeHTTP(w, httptest.NewRequest(c.method, "/v1/upgrade", strings.NewReader(c.body)))
			if w.Code != c.code || !strings.HasPrefix(w.Body.String(), c.want) || len(f.upgradeTo) != c.asked {
				t.Errorf("%d %s, asked %v", w.Code, w.Body, f.upgradeTo)
			}
		})
	}
}

// TestUpgradeAnswered: who asks has the answer before anything begins, after which nobody is there to give it.
func TestUpgradeAnswered(t *testing.T) {
	inst := instance(t, "v.toml", runDir(t))
	f, answered := &fake{}, make(chan struct{})
	f.begun = func() { // as long as this takes, the handler does not return
		select {
		case <-answered:
		case <-time.After(time.Minute):
			t.Error("no answer")
		}
	}
	start(t, inst, routes(f))
	var out UpgradeResult
	if err := NewClient(inst).call(t.Context(), "POST", "/v1/upgrade", UpgradeRequest{}, &out); err != nil || out.Token != "t" {
		t.Error(out, err)
	}
	close(answered)
}

// TestUpgradeClient: it waits for the new program, takes only the answer to its own upgrade, and tells a failure, and a
// program that does not come, from each other.
func TestUpgradeClient(t *testing.T) {
	inst := instance(t, "v.toml", runDir(t))
	lock, err := inst.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { lock.Close() }()
	f := &fake{}
	f.last.Store(&UpgradeResult{Token: "older", Done: true})
	start(t, inst, routes(f))
	c := NewClient(inst)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Upgrade(ctx, UpgradeRequest{Binary: "/b"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("took an older answer:", err)
	}
	f.last.Store(&UpgradeResult{Token: "t", Done: true, Stall: 3, Devices: []UpgradeStall{{"data", "/dev/ublkb7", 3}}})
	r, err := c.Upgrade(t.Context(), UpgradeRequest{})
	if err != nil || r.Stall != 3 || len(r.Devices) != 1 {
		t.Error(r, err)
	}
	f.last.Store(&UpgradeResult{Token: "t", Done: true, Error: "no luck"})
	if _, err := c.Upgrade(t.Context(), UpgradeRequest{}); err == nil || err.Error() != "no luck" {
		t.Error(err)
	}
	f.last.Store(nil) // answers, but not to this; and then the lock goes
	fd := int(lock.Fd())
	time.AfterFunc(50*time.Millisecond, func() { unix.Flock(fd, unix.LOCK_UN) })
	if _, err := c.Upgrade(t.Context(), UpgradeRequest{}); !errors.Is(err, ErrNotBack) {
		t.Error(err)
	}
}

// TestMayLetGo: whose requests would fail is refused, and what would be lost also by force.
func TestMayLetGo(t *testing.T) {
	for _, c := range []struct {
		p                      config.OnCrash
		memory, quiesce, force bool
		ok                     bool
	}{
		{config.CrashReissue, false, true, false, true},
		{config.CrashReissue, false, false, false, true},
		{config.CrashQueue, false, true, false, true},
		{config.CrashQueue, false, false, false, false},
		{config.CrashQueue, false, false, true, true},
		{config.CrashFail, false, true, false, false},
		{config.CrashFail, false, true, true, true},
		{config.CrashRemove, false, true, true, false},
		{config.CrashRemove, true, true, true, false},
	} {
		if err := mayLetGo(c.p, c.memory, c.quiesce, c.force); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestHandoff: the new program finds the lock and what it is told, once; anything else is refused.
func TestHandoff(t *testing.T) {
	dir := runDir(t)
	inst := instance(t, "v.toml", dir)
	lock, err := inst.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	s := &Server{inst: inst, lock: lock}
	h := &handoff{Schema: handoffSchema, Token: "t", Binary: "/new", PID: os.Getpid(), Began: map[string]int64{"data": 5e6, "more": 1e6}}
	var told *handoff
	s.upgrade.exec = func(binary string, env []string) error {
		told = nil
		if binary != "/new" || len(env) != 1 || env[0] != fmt.Sprintf("%s=%d", HandoffEnv, lock.Fd()) {
			t.Error(binary, env)
		}
		if flags, err := unix.FcntlInt(lock.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			t.Error("the lock would be closed", err)
		}
		told = inst.takeHandoff()
		return errors.New("no such program")
	}
	if err := s.become(h); err == nil || !strings.Contains(err.Error(), "no such program") {
		t.Error(err)
	}
	if d := cmp.Diff(h, told); d != "" {
		t.Error(d)
	}
	if flags, _ := unix.FcntlInt(lock.Fd(), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
		t.Error("after a failure, whatever the server starts has its lock")
	}
	if inst.takeHandoff() != nil {
		t.Error("told twice")
	}
	h.PID++
	s.upgrade.exec = func(string, []string) error {
		if inst.takeHandoff() != nil {
			t.Error("another process's")
		}
		return nil
	}
	if err := s.become(h); err == nil {
		t.Error("the program was not replaced, and nothing is said")
	}

	r := told.upgraded([]DeviceInfo{{Name: "data", Node: "/dev/ublkb7"}, {Name: "more"}, {Name: "new"}}, map[string]int64{"data": 9e6, "more": 8e6, "new": 99e6}, "v2")
	want := &UpgradeResult{Schema: 1, Token: "t", Done: true, To: "v2", Binary: "/new", PID: os.Getpid(), Stall: 8,
		Devices: []UpgradeStall{{"data", "/dev/ublkb7", 4}, {"more", "", 7}}}
	if d := cmp.Diff(want, r); d != "" {
		t.Error(d)
	}
}

// TestInherit: only the open file that has this instance's lock is taken for it.
func TestInherit(t *testing.T) {
	dir := runDir(t)
	inst, other := instance(t, "v.toml", dir), instance(t, "w.toml", dir)
	lock, err := inst.Lock()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(lock.Fd())) // as the new program has it
	if err != nil {
		t.Fatal(err)
	}
	got, err := inst.inherit(fmt.Sprint(fd))
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	if !inst.Served() {
		t.Error("the lock is gone")
	}
	if l, err := other.Lock(); err != nil {
		t.Error(err)
	} else {
		l.Close() // its file is there now
	}
	if x, err := other.inherit(fmt.Sprint(fd)); err == nil {
		t.Error("another's lock", x)
	}
	second, err := os.Open(inst.lockPath()) // another open file of it
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for _, n := range []string{"", "-1", "0", "2", "x", "99999", fmt.Sprint(second.Fd())} {
		if x, err := inst.inherit(n); err == nil {
			t.Errorf("%q: %v", n, x)
		}
	}
	got.Close()
	if inst.Served() {
		t.Error("the lock stays")
	}
}

// TestTryProgram: only a program that is ublk-linear, and takes the file, is upgraded to.
func TestTryProgram(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good := `case "$1" in version) echo '{"schema":1,"version":"v9","go":"x"}';; check) test "$3" = /v.toml;; esac`
	for _, c := range []struct{ name, path, version, want string }{
		{"good", script("good", good), "v9", ""},
		{"takes not the file", script("old", `case "$1" in version) echo '{"schema":1,"version":"v1"}';; *) echo "v.toml:3:1: unknown key x"; exit 3;; esac`), "v1", "unknown key x"},
		{"another program", script("cat", "echo hello"), "", "is not an answer of ublk-linear"},
		{"another schema", script("far", `echo '{"schema":2,"version":"v1"}'`), "", "is not an answer of ublk-linear"},
		{"fails", script("false", "exit 1"), "", "exit status 1"},
		{"not there", filepath.Join(dir, "none"), "", "no such file"},
		{"relative", "good", "", "absolute path"},
	} {
		v, err := tryProgram(t.Context(), c.path, "/v.toml")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || v != c.version {
			t.Errorf("%s: %q %v", c.name, v, err)
		}
	}
}

// TestUpgradeOnce: one at a time, and none while the server ends.
func TestUpgradeOnce(t *testing.T) {
	u := &upgrades{}
	if err := u.begin(); err == nil {
		t.Error("began without a way to")
	}
	u.exec = func(string, []string) error { return nil }
	if err := u.begin(); err != nil {
		t.Error(err)
	}
	if err := u.begin(); !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
	s := &Server{upgrade: upgrades{going: true}, down: make(chan struct{})}
	if _, err := s.requestDown(DownRequest{Force: true}); !errors.Is(err, unix.EBUSY) {
		t.Error("down in the middle of an upgrade:", err)
	}
	u.end(&UpgradeResult{Token: "t"})
	if u.upgrading() || u.look().Token != "t" {
		t.Error(u.look())
	}
	u.close()
	if err := u.begin(); !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
}

// TestCopiesPause: while a server is upgraded no copy begins, and one that is under way is waited for, or in the way.
func TestCopiesPause(t *testing.T) {
	var c copies
	j := newCopyJob(&CopyRequest{}, 1)
	if _, err := c.add(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	never := func() bool { return false }
	if err := c.pause(errUpgrading, false, never); !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
	if err := c.pause(errUpgrading, true, func() bool { return true }); !errors.Is(err, errStopping) {
		t.Error(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { c.remove(j) })
	if err := c.pause(errUpgrading, true, never); err != nil {
		t.Error(err)
	}
	if _, err := c.add(t.Context(), newCopyJob(&CopyRequest{}, 1)); !errors.Is(err, errUpgrading) {
		t.Error(err)
	}
	c.unpause()
	j = newCopyJob(&CopyRequest{}, 1)
	if _, err := c.add(t.Context(), j); err != nil {
		t.Error(err)
	}
	c.remove(j)
	c.end()
}
