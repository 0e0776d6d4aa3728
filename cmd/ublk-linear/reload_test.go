package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// TestChangeVerbs: what cannot be meant is usage, and without a server there is nothing to change.
func TestChangeVerbs(t *testing.T) {
	file := write(t, filesTOML)
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"reload", "x"}, exitUsage, "no arguments"},
		{[]string{"reload", "--wait", "-1s"}, exitUsage, "--wait -1s is not in 0..1h0m0s"},
		{[]string{"reload", "--wait", "61m"}, exitUsage, "is not in 0..1h0m0s"},
		{[]string{"reload"}, exitNotFound, "no server is running"},
		{[]string{"reload", "--check"}, exitNotFound, "no server is running"},
		{[]string{"suspend"}, exitUsage, "one device"},
		{[]string{"suspend", "d", "--for", "0s"}, exitUsage, "--for 0s is not above 0 and up to 10m0s"},
		{[]string{"suspend", "d", "--for", "601s"}, exitUsage, "is not above 0 and up to 10m0s"},
		{[]string{"suspend", "d"}, exitNotFound, "no server is running"},
		{[]string{"resume"}, exitUsage, "one device"},
		{[]string{"resume", "d"}, exitNotFound, "no server is running"},
	} {
		var out, errw bytes.Buffer
		code := run(t.Context(), append(c.args, "-c", file, "--run-dir", t.TempDir()), &out, &errw)
		if code != c.code || out.Len() > 0 || !strings.Contains(errw.String(), c.say) {
			t.Errorf("%v: %d %s%s, want %d", c.args, code, &out, &errw, c.code)
		}
	}
}

// TestInvalidError: a file that a server refuses is an invalid file, with all that the server says.
func TestInvalidError(t *testing.T) {
	err := invalidError{&daemon.ReloadError{Invalid: []error{errors.New("v.toml:1:1: x")}}}
	if exitCode(err) != exitConfig || err.Error() != "v.toml:1:1: x" {
		t.Errorf("%d %v", exitCode(err), err)
	}
	if code := exitCode(&daemon.ReloadError{Busy: []error{unix.EBUSY}}); code != exitBusy {
		t.Errorf("busy: %d", code)
	}
	if code := exitCode(errWould); code != exitWould {
		t.Errorf("would change: %d", code)
	}
}

func TestPrintReload(t *testing.T) {
	span := func(start, n uint64, target, params string) daemon.Span {
		return daemon.Span{Start: start, Sectors: n, Target: target, Params: params}
	}
	r := &daemon.ReloadResult{Config: "v.toml", Changes: 5, Stall: 0.0123456,
		Disks: []daemon.DiskDiff{{Name: "a", Change: daemon.Removed, Source: `path "/dev/x"`}, {Name: "b", Change: daemon.Added, Source: `file "/b.img"`},
			{Name: "c", Change: daemon.Changed, Source: `file "/c.img"`, What: "limits, copy"}},
		Devices: []daemon.DeviceDiff{
			{Name: "data", Change: daemon.Changed, OldSectors: 100, NewSectors: 120, Moved: 40, MovedExact: true, Settings: []string{"allow_overlap: false, now true"},
				Gone: []daemon.Span{span(0, 60, "linear", "a 8"), span(80, 20, "linear", "a 100")}, Come: []daemon.Span{span(0, 40, "linear", "b 8"), span(40, 20, "linear", "a 48"), span(80, 40, "linear", "a 100")}},
			{Name: "large", Change: daemon.Changed, OldSectors: 100, NewSectors: 100, Moved: 100},
			{Name: "new", Change: daemon.Added, NewSectors: 8, Come: []daemon.Span{span(0, 8, "linear", "b 100")}},
			{Name: "old", Change: daemon.Removed, OldSectors: 8, Gone: []daemon.Span{span(0, 8, "linear", "a 200")}},
			{Name: "same", Change: daemon.Unchanged, OldSectors: 8, NewSectors: 8}},
		Copies: []daemon.CopyInfo{{Source: "data", Destination: "old", CopyProgress: daemon.CopyProgress{ID: 3, Bytes: 512, Total: 1024}}}}
	var out strings.Builder
	if err := printReload(&out, r); err != nil {
		t.Fatal(err)
	}
	const want = `- disk a (path "/dev/x")
+ disk b (file "/b.img")
! disk c (file "/c.img"): limits, copy
! device data: 120 sectors, were 100; 40 lie elsewhere
    allow_overlap: false, now true
  - 0 60 linear a 8
  + 0 40 linear b 8
  + 40 20 linear a 48
  - 80 20 linear a 100
  + 80 40 linear a 100
! device large: 100 sectors; at most 100 lie elsewhere
+ device new: 8 sectors
  + 0 8 linear b 100
- device old: 8 sectors
  - 0 8 linear a 200
copy 3 from data to old was ended after 512 of 1024 bytes
v.toml: 5 changes made; requests of changed devices waited for 12.346ms
`
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
	for _, c := range []struct {
		r    daemon.ReloadResult
		want string
	}{{daemon.ReloadResult{Config: "v"}, "v: nothing has changed\n"}, {daemon.ReloadResult{Config: "v", Check: true, Changes: 1}, "v: 1 change to make\n"}} {
		out.Reset()
		if err := printReload(&out, &c.r); err != nil || out.String() != c.want {
			t.Errorf("%q, %v", &out, err)
		}
	}
}

// fakeReloader counts reloads.
type fakeReloader struct{ asked chan daemon.ReloadRequest }

func (f *fakeReloader) Reload(_ context.Context, r daemon.ReloadRequest) (*daemon.ReloadResult, error) {
	f.asked <- r
	return nil, &daemon.ReloadError{Invalid: []error{errors.New("v.toml:3:1: wrong")}}
}

// TestHangups: a SIGHUP is a reload, also one that comes before there is a server; one that fails is logged, and the server
// goes on.
func TestHangups(t *testing.T) {
	h := catchHangups()
	hup := func() {
		t.Helper()
		if err := unix.Kill(os.Getpid(), unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hup()
	for len(h.sig) == 0 {
		runtime.Gosched()
	}
	f := &fakeReloader{make(chan daemon.ReloadRequest)}
	var log strings.Builder
	told := make(chan bool, 8)
	h.serve(t.Context(), f, slog.New(slog.NewTextHandler(&log, nil)), func(now bool) { told <- now })
	for i := range 2 {
		if r := <-f.asked; r != (daemon.ReloadRequest{}) {
			t.Errorf("asked %+v", r)
		}
		if a, b := <-told, <-told; !a || b {
			t.Errorf("told %v, then %v", a, b)
		}
		if i == 0 {
			hup()
		}
	}
	h.stop()
	if !strings.Contains(log.String(), "v.toml:3:1: wrong") {
		t.Error(log.String())
	}
}

// TestChangeServed: what a server answers becomes words, JSON and exit codes.
func TestChangeServed(t *testing.T) {
	file, runDir := write(t, goodTOML), shortDir(t)
	dev := daemon.DeviceInfo{Name: "data", Node: "/dev/ublkb7", ID: 7, State: "suspended", Suspended: 12.5, Bytes: 512}
	type failure struct {
		Error   string `json:"error"`
		Busy    bool   `json:"busy,omitempty"`
		Refused string `json:"refused,omitempty"`
	}
	result := daemon.ReloadResult{Schema: 1, Config: file, Check: true, Changes: 1, Disks: []daemon.DiskDiff{}, Copies: []daemon.CopyInfo{},
		Devices: []daemon.DeviceDiff{{Name: "data", Change: daemon.Added, NewSectors: 8, Gone: []daemon.Span{}, Come: []daemon.Span{{Sectors: 8, Target: "linear", Params: "a 0"}}, Settings: []string{}}}}
	held := daemon.SuspendResult{Schema: 1, DeviceInfo: dev}
	renewed := held
	renewed.Renewed = true
	for _, c := range []struct {
		name, route string
		code        int
		body        any
		args        []string
		exit        int
		out, errs   string
	}{
		{"check", "POST /v1/reload", 200, result, []string{"reload", "--check"}, exitWould, "+ device data: 8 sectors\n  + 0 8 linear a 0\n", ""},
		{"check in JSON", "POST /v1/reload", 200, result, []string{"reload", "--check", "--json"}, exitWould, "\"changes\": 1,", ""},
		{"invalid", "POST /v1/reload", 400, failure{Error: "v.toml:1:2: x\nv.toml:2:2: y", Refused: "file"}, []string{"reload"}, exitConfig, "", "ublk-linear: v.toml:1:2: x\nublk-linear: v.toml:2:2: y\n"},
		{"busy", "POST /v1/reload", 409, failure{Error: "copies are under way", Busy: true}, []string{"reload"}, exitBusy, "", "copies are under way"},
		{"failed", "POST /v1/reload", 500, failure{Error: "nothing has changed: x"}, []string{"reload"}, exitFailure, "", "nothing has changed: x"},
		{"suspend", "POST /v1/devices/data/suspend", 200, held, []string{"suspend", "data", "--for", "12500ms"}, exitOK, "data /dev/ublkb7 is suspended, and resumes in 12.5s\n", ""},
		{"renew", "POST /v1/devices/data/suspend", 200, renewed, []string{"suspend", "data"}, exitOK, "data /dev/ublkb7 is still suspended, and resumes in 30s\n", ""},
		{"suspend in JSON", "POST /v1/devices/data/suspend", 200, held, []string{"suspend", "data", "--json"}, exitOK, "\"suspended_seconds\": 12.5,", ""},
		{"resume", "POST /v1/devices/data/resume", 200, daemon.SuspendResult{Schema: 1, DeviceInfo: dev, Was: true}, []string{"resume", "data"}, exitOK, "data /dev/ublkb7 is resumed\n", ""},
		{"not suspended", "POST /v1/devices/data/resume", 200, held, []string{"resume", "data"}, exitFailure, "", "device data: it was not suspended"},
		{"status", "GET /v1/devices/data", 200, daemon.Status{DeviceInfo: dev}, []string{"status", "data"}, exitOK, "suspended  resumes in 12.5s\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			fakeServer(t, file, runDir, answers{c.route: {c.code, c.body}})
			code, out, errs := cli(t, append(c.args, "-c", file, "--run-dir", runDir)...)
			if code != c.exit || !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) || (c.out == "") != (out == "") || (c.errs == "") != (errs == "") {
				t.Errorf("%d, want %d\n%s%s", code, c.exit, out, errs)
			}
		})
	}
}

// TestReloadDoc: the JSON of reload has what docs/cli.md says, and nothing else.
func TestReloadDoc(t *testing.T) {
	type spanDoc struct {
		Start   uint64 `json:"start"`
		Sectors uint64 `json:"sectors"`
		Target  string `json:"target"`
		Params  string `json:"params"`
	}
	type reloadDoc struct {
		Schema  int    `json:"schema"`
		Config  string `json:"config"`
		Check   bool   `json:"check"`
		Changes int    `json:"changes"`
		Devices []struct {
			Name       string    `json:"name"`
			Change     string    `json:"change"`
			OldSectors uint64    `json:"old_sectors"`
			NewSectors uint64    `json:"new_sectors"`
			Moved      uint64    `json:"moved_sectors"`
			Exact      bool      `json:"moved_exact"`
			Gone       []spanDoc `json:"gone"`
			Come       []spanDoc `json:"come"`
			Settings   []string  `json:"settings"`
		} `json:"devices"`
		Disks []struct {
			Name   string `json:"name"`
			Change string `json:"change"`
			Source string `json:"source"`
			What   string `json:"what"`
		} `json:"disks"`
		Copies []struct {
			Source      string `json:"source"`
			Destination string `json:"destination"`
			progressDoc
		} `json:"copies"`
		Stall float64 `json:"stall_seconds"`
	}
	file, runDir := write(t, goodTOML), shortDir(t)
	given := daemon.ReloadResult{Schema: 1, Config: file, Changes: 2, Stall: 0.5,
		Devices: []daemon.DeviceDiff{{Name: "data", Change: daemon.Changed, OldSectors: 8, NewSectors: 16, Moved: 8, MovedExact: true, Gone: []daemon.Span{{Sectors: 8, Target: "linear", Params: "a 0"}}, Come: []daemon.Span{}, Settings: []string{"x"}}},
		Disks:   []daemon.DiskDiff{{Name: "a", Change: daemon.Changed, Source: "path", What: "copy"}}, Copies: []daemon.CopyInfo{{Source: "data", Destination: "data"}}}
	fakeServer(t, file, runDir, answers{"POST /v1/reload": {200, given}})
	code, out, errs := cli(t, "reload", "--json", "-c", file, "--run-dir", runDir)
	var got reloadDoc
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil || code != exitOK || errs != "" {
		t.Fatalf("%v: %d %s%s", err, code, out, errs)
	}
	again, err := json.Marshal(got)
	want, err2 := json.Marshal(given)
	if err := errors.Join(err, err2); err != nil || string(again) != string(want) {
		t.Errorf("%s\nwant\n%s (%v)", again, want, err)
	}
}
