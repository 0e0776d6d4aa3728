package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeChanges is a server that notes what it is asked to change.
type fakeChanges struct {
	reloads  []ReloadRequest
	suspends []float64
	resumed  []string
	change   error // what comes of it
}

func (f *fakeChanges) Reload(_ context.Context, r ReloadRequest) (*ReloadResult, error) {
	f.reloads = append(f.reloads, r)
	if f.change != nil {
		return nil, f.change
	}
	return &ReloadResult{Schema: Schema, Check: r.Check, Changes: 2, Devices: []DeviceDiff{}, Disks: []DiskDiff{}, Copies: []CopyInfo{}}, nil
}

func (f *fakeChanges) Suspend(_ context.Context, name string, r SuspendRequest) (*SuspendResult, error) {
	f.suspends = append(f.suspends, r.Seconds)
	return f.held(name)
}

func (f *fakeChanges) Resume(name string) (*SuspendResult, error) {
	f.resumed = append(f.resumed, name)
	return f.held(name)
}

func (f *fakeChanges) held(name string) (*SuspendResult, error) {
	if f.change != nil {
		return nil, f.change
	}
	out := &SuspendResult{Schema: Schema}
	out.Name = name
	return out, nil
}

func TestChangeRoutes(t *testing.T) {
	invalid := &ReloadError{Invalid: []error{errors.New("v.toml:1:2: x"), errors.New("y")}, Busy: []error{fmt.Errorf("z: %w", unix.EBUSY)}}
	for _, c := range []struct {
		name, path, body string
		change           error
		code             int
		want             string
		asked            int
	}{
		{"reload", "/v1/reload", `{}`, nil, 200, `{"schema":1,"config":"","check":false,"changes":2,`, 1},
		{"check", "/v1/reload", `{"check":true,"wait_seconds":0.5}`, nil, 200, `{"schema":1,"config":"","check":true,`, 1},
		{"invalid", "/v1/reload", `{}`, invalid, 400, `{"error":"v.toml:1:2: x\ny\nz: device or resource busy","refused":"file","problems":["v.toml:1:2: x","y","z: `, 1},
		{"busy", "/v1/reload", `{}`, &ReloadError{Busy: invalid.Busy}, 409, `{"error":"z: device or resource busy","busy":true,"problems":["z`, 1},
		{"other change", "/v1/reload", `{}`, errOtherChange, 409, `{"error":"another reload, suspend or resume is under way: device or resource busy","busy":true}`, 1},
		{"failed", "/v1/reload", `{}`, errors.New("x"), 500, `{"error":"x"}`, 1},
		{"no body", "/v1/reload", ``, nil, 400, `{"error":"EOF"}`, 0},
		{"unknown", "/v1/reload", `{"chekc":true}`, nil, 400, `{"error":"json: unknown field \"chekc\""}`, 0},
		{"two", "/v1/reload", `{}{}`, nil, 400, `{"error":"more than one object"}`, 0},
		{"too large", "/v1/reload", strings.Repeat(" ", maxRequest) + `{}`, nil, 400, `{"error":"http: request body too large"}`, 0},
		{"suspend", "/v1/devices/data/suspend", `{"seconds":30}`, nil, 200, `{"schema":1,"name":"data",`, 1},
		{"suspend what", "/v1/devices/data/suspend", `{"for":30}`, nil, 400, `{"error":"json: unknown field \"for\""}`, 0},
		{"suspend nothing", "/v1/devices/nosuch/suspend", `{"seconds":30}`, fmt.Errorf("no device: %w", os.ErrNotExist), 404, `{"error":"no device: `, 1},
		{"resume", "/v1/devices/data/resume", `{}`, nil, 200, `{"schema":1,"name":"data",`, 1},
		{"resume what", "/v1/devices/data/resume", `[]`, nil, 400, `{"error":"json: cannot`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{}
			f.change = c.change
			w := httptest.NewRecorder()
			routes(f).ServeHTTP(w, httptest.NewRequest("POST", c.path, strings.NewReader(c.body)))
			if w.Code != c.code || !strings.HasPrefix(w.Body.String(), c.want) {
				t.Errorf("%d %s\nwant %d %s", w.Code, w.Body, c.code, c.want)
			}
			if n := len(f.reloads) + len(f.suspends) + len(f.resumed); n != c.asked {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// TestClientChange: what a server says is an error of the same kind at its client.
func TestClientChange(t *testing.T) {
	inst := instance(t, "v.toml", runDir(t))
	f := &fake{}
	start(t, inst, routes(f))
	c := NewClient(inst)
	wait := 1.5
	out, err := c.Reload(t.Context(), ReloadRequest{Check: true, Shrink: true, WaitSeconds: &wait})
	if err != nil || !out.Check || out.Changes != 2 || len(f.reloads) != 1 || !f.reloads[0].Shrink || *f.reloads[0].WaitSeconds != wait {
		t.Errorf("%+v, %v, asked %+v", out, err, f.reloads)
	}
	for _, bad := range []float64{-1, 1e9} {
		if _, err := c.Reload(t.Context(), ReloadRequest{WaitSeconds: &bad}); !errors.Is(err, ErrReload) || len(f.reloads) != 1 {
			t.Errorf("wait %v: %v", bad, err)
		}
	}
	if s, err := c.Suspend(t.Context(), "a/b", SuspendRequest{Seconds: 2}); err != nil || s.Name != "a/b" || f.suspends[0] != 2 {
		t.Error(s, err)
	}
	if s, err := c.Resume(t.Context(), "data"); err != nil || s.Name != "data" {
		t.Error(s, err)
	}
	for _, x := range []struct{ is, want, not error }{
		{&ReloadError{Invalid: []error{errors.New("x")}, Busy: []error{unix.EBUSY}}, ErrReload, unix.EBUSY},
		{&ReloadError{Busy: []error{unix.EBUSY}}, unix.EBUSY, ErrReload},
		{os.ErrNotExist, os.ErrNotExist, ErrReload},
	} {
		f.change = x.is
		if _, err := c.Reload(t.Context(), ReloadRequest{}); !errors.Is(err, x.want) || errors.Is(err, x.not) || err.Error() != x.is.Error() {
			t.Errorf("%v became %v", x.is, err)
		}
	}
}
