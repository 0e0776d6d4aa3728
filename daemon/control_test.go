package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/disk"
)

// fake is a server without devices behind it.
type fake struct {
	fakeCopies
	fakeChanges
	fakeUpgrades
	devices []DeviceInfo
	refuse  error
	asked   []DownRequest
	ring    events
}

func (f *fake) eventRing() *events { return &f.ring }

func (f *fake) List() []DeviceInfo { return f.devices }

func (f *fake) Status(name string) (Status, bool) {
	for _, d := range f.devices {
		if d.Name == name {
			return Status{Schema: Schema, DeviceInfo: d, Sectors: d.Bytes / 512}, true
		}
	}
	return Status{}, false
}

func (f *fake) requestDown(r DownRequest) (DownResult, error) {
	f.asked = append(f.asked, r)
	return DownResult{Schema: Schema, Stopped: f.devices}, f.refuse
}

var data = DeviceInfo{Name: "data", Node: "/dev/ublkb7", ID: 7, State: "live", Bytes: 4096, PID: 812, Config: "/v.toml"}

func busy() error {
	return fmt.Errorf("device data: %w", &disk.BusyError{Node: "/dev/ublkb7", Holders: []disk.Holder{{Kind: "mount", What: "/srv"}}})
}

func TestRoutes(t *testing.T) {
	const refusal = `{"error":"device data: /dev/ublkb7 is in use: mounted at /srv","busy":true}`
	for _, c := range []struct {
		name, method, path, body string
		refuse                   error
		code                     int
		want                     string // of the answer; "": any error
		down                     int    // requests that reach the server
	}{
		{"list", "GET", "/v1/devices", "", nil, 200, `{"schema":1,"devices":[{"name":"data",`, 0},
		{"status", "GET", "/v1/devices/data", "", nil, 200, `{"schema":1,"name":"data",`, 0},
		{"no device", "GET", "/v1/devices/nosuch", "", nil, 404, `{"error":"no device \"nosuch\": file does not exist"}`, 0},
		{"odd name", "GET", "/v1/devices/a%2Fb%3F", "", nil, 404, `{"error":"no device \"a/b?\": `, 0},
		{"down", "POST", "/v1/down", `{"force":true}`, nil, 200, `{"schema":1,"stopped":[{"name":"data",`, 1},
		{"down, nothing said", "POST", "/v1/down", `{}`, nil, 200, `{"schema":1,`, 1},
		{"busy", "POST", "/v1/down", `{}`, busy(), 409, refusal, 1},
		{"broken", "POST", "/v1/down", `{}`, errors.New("x"), 500, `{"error":"x"}`, 1},
		{"no body", "POST", "/v1/down", ``, nil, 400, `{"error":"EOF"}`, 0},
		{"not JSON", "POST", "/v1/down", `force`, nil, 400, `{"error":"invalid character`, 0},
		{"wrong type", "POST", "/v1/down", `{"force":1}`, nil, 400, `{"error":"json: cannot unmarshal`, 0},
		{"unknown field", "POST", "/v1/down", `{"forec":true}`, nil, 400, `{"error":"json: unknown field \"forec\""}`, 0},
		{"too large", "POST", "/v1/down", `{"force":` + strings.Repeat(" ", maxRequest) + `true}`, nil, 400, `{"error":"http: request body too large"}`, 0},
		{"wrong method", "GET", "/v1/down", "", nil, 405, "", 0},
		{"no such route", "GET", "/v2/devices", "", nil, 404, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{devices: []DeviceInfo{data}, refuse: c.refuse}
			w := httptest.NewRecorder()
			routes(f).ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
			if w.Code != c.code || !strings.HasPrefix(w.Body.String(), c.want) {
				t.Errorf("%d %s\nwant %d %s", w.Code, w.Body, c.code, c.want)
			}
			if len(f.asked) != c.down || c.down == 1 && f.asked[0].Force != strings.Contains(c.body, "true") {
				t.Errorf("asked %v", f.asked)
			}
			if c.want == "" {
				return
			}
			dec := json.NewDecoder(w.Body)
			if err := dec.Decode(new(map[string]any)); err != nil || dec.More() {
				t.Errorf("not one object: %v", err)
			}
		})
	}
}

// TestServerEmpty is the real server's side of the socket, with nothing served.
func TestServerEmpty(t *testing.T) {
	s := &Server{down: make(chan struct{})}
	if l := s.List(); l == nil || len(l) != 0 {
		t.Errorf("list %v: JSON would say null", l)
	}
	if _, ok := s.Status("data"); ok {
		t.Error("status of nothing")
	}
	for range 2 { // asked twice, it ends once
		r, err := s.requestDown(DownRequest{})
		if d := cmp.Diff(DownResult{Schema: 1, Stopped: []DeviceInfo{}}, r); err != nil || d != "" {
			t.Error(err, d)
		}
	}
	select {
	case <-s.Down():
	default:
		t.Error("nobody is told")
	}
}

// TestStartAll: whoever is told of a device can ask the server at once, and finds its state written; what is asked to end,
// or may go on no longer, starts no more.
func TestStartAll(t *testing.T) {
	s := &Server{inst: instance(t, "v.toml", runDir(t)), down: make(chan struct{})}
	c, ctx := NewClient(s.inst), t.Context()
	var calls []string
	end := func(int) {}
	run := func(ctx context.Context) error {
		calls = nil
		err := s.startAll(ctx, 3, func(i int) error {
			calls = append(calls, fmt.Sprint("start ", i))
			return os.Remove(s.inst.statePath())
		}, func(i int) {
			calls = append(calls, fmt.Sprint("announce ", i))
			if _, err := c.List(ctx); err != nil {
				t.Error("the server does not answer:", err)
			}
			if st := states(s.inst.dir); len(st) != 1 || st[0].Config != s.inst.Config {
				t.Errorf("states %+v", st)
			}
			end(i)
		})
		s.api.close()
		return err
	}
	check := func(err, want error, all ...string) {
		t.Helper()
		if d := cmp.Diff(all, calls); d != "" || !errors.Is(err, want) {
			t.Error(err, d)
		}
	}
	writeFile(t, s.inst.statePath(), "")
	check(run(ctx), nil, "start 0", "announce 0", "start 1", "announce 1", "start 2", "announce 2")
	ctx, cancel := context.WithCancel(ctx)
	end = func(int) { cancel() }
	check(run(ctx), context.Canceled, "start 0", "announce 0")
	end = func(int) {
		if _, err := s.requestDown(DownRequest{}); err != nil {
			t.Error(err)
		}
	}
	check(run(t.Context()), nil, "start 0", "announce 0")
	s.down = make(chan struct{})
	if err := os.Remove(s.inst.statePath()); err != nil {
		t.Fatal(err)
	}
	check(run(t.Context()), os.ErrNotExist, "start 0") // the start fails
}

// start serves f where the server of inst would.
func start(t *testing.T, inst *Instance, h http.Handler) {
	t.Helper()
	l, err := net.Listen("unix", inst.Socket())
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
}

func TestClient(t *testing.T) {
	inst := instance(t, "v.toml", runDir(t))
	f := &fake{devices: []DeviceInfo{data}}
	start(t, inst, routes(f))
	c, ctx := NewClient(inst), t.Context()
	l, err := c.List(ctx)
	if d := cmp.Diff(List{Schema: 1, Devices: f.devices}, l); err != nil || d != "" {
		t.Error(err, d)
	}
	st, err := c.Status(ctx, "data")
	if err != nil || st.Name != "data" || st.Sectors != 8 {
		t.Error(st, err)
	}
	for _, name := range []string{"nosuch", "data?", "data/", "data#x", "", "..", "%64ata", "../devices/data"} {
		if st, err := c.Status(ctx, name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("status of %q: %v %v", name, st.Name, err)
		}
	}
	d, err := c.Down(ctx, DownRequest{Force: true})
	if diff := cmp.Diff(DownResult{Schema: 1, Stopped: f.devices}, d); err != nil || diff != "" || !f.asked[0].Force {
		t.Error(err, diff, f.asked)
	}
	f.refuse = busy()
	_, err = c.Down(ctx, DownRequest{})
	remote, ok := errors.AsType[*RemoteError](err)
	if !ok || !errors.Is(err, unix.EBUSY) || remote.Message != f.refuse.Error() || f.asked[1].Force {
		t.Errorf("%v %v", err, f.asked)
	}
	f.refuse = errors.New("x")
	if _, err = c.Down(ctx, DownRequest{}); err == nil || err.Error() != "x" || errors.Is(err, unix.EBUSY) || errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestClientNotServed: no socket, and one that nobody listens on, are both no server.
func TestClientNotServed(t *testing.T) {
	inst := instance(t, "v.toml", runDir(t))
	c, ctx := NewClient(inst), t.Context()
	check := func(when string) {
		t.Helper()
		_, e1 := c.List(ctx)
		_, e2 := c.Status(ctx, "data")
		_, e3 := c.Down(ctx, DownRequest{})
		for _, err := range []error{e1, e2, e3} {
			if !errors.Is(err, ErrNotServed) {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	check("no socket")
	l, err := net.Listen("unix", inst.Socket())
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	check("a dead server's socket")
}

// TestClientBadServer: answers that are not the protocol's are errors that say so, and end.
func TestClientBadServer(t *testing.T) {
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		want string
	}{
		{"not JSON", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }, "invalid character"},
		{"error without JSON", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }, "control socket: 500 Internal Server Error"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"schema":1,`)
		}, "unexpected EOF"},
		{"hung up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "control socket: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			inst := instance(t, "v.toml", runDir(t))
			start(t, inst, c.h)
			if _, err := NewClient(inst).List(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrNotServed) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// TestDownWaits: Down returns when the instance is free, or when the caller gives up.
func TestDownWaits(t *testing.T) {
	inst := instance(t, "v.toml", runDir(t))
	start(t, inst, routes(&fake{}))
	lock, err := inst.Lock()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := NewClient(inst).Down(ctx, DownRequest{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("the lock is held:", err)
	}
	free := time.AfterFunc(30*time.Millisecond, func() { lock.Close() })
	defer free.Stop()
	if _, err := NewClient(inst).Down(t.Context(), DownRequest{}); err != nil || inst.Served() {
		t.Error(err)
	}
}

// TestListen: the socket is root's alone, takes the place of a dead server's, and is gone with the listener.
func TestListen(t *testing.T) {
	s := &Server{inst: instance(t, "v.toml", runDir(t)), down: make(chan struct{})}
	writeFile(t, s.inst.Socket(), "left over")
	l, err := listen(s)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.inst.Socket())
	if err != nil || info.Mode().Type() != os.ModeSocket || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if _, err := NewClient(s.inst).List(t.Context()); err != nil {
		t.Error(err)
	}
	l.close()
	if _, err := NewClient(s.inst).List(t.Context()); !errors.Is(err, ErrNotServed) {
		t.Error("after close:", err)
	}
	s.inst = instance(t, "v.toml", filepath.Join(s.inst.dir, "nosuch"))
	if l, err := listen(s); err == nil || !strings.HasPrefix(err.Error(), "control socket: ") {
		t.Error(l, err)
	}
}
