package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
)

func tempFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// shortDir is a folder whose path leaves room for a socket's name: sun_path has 108 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ul")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// answers is what a made-up server says, by method and path.
type answers map[string]struct {
	code int
	body any
}

// fakeServer listens where the server of a file would.
func fakeServer(t *testing.T, file, runDir string, a answers) {
	t.Helper()
	inst, err := daemon.NewInstance(file, runDir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", inst.Socket())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, ok := a[r.Method+" "+r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(x.code)
		if text, ok := x.body.(string); ok && (r.URL.Path == "/v1/copy" || r.URL.Path == "/v1/events") { // lines, as they are
			_, _ = io.WriteString(w, text)
			return
		}
		_ = json.NewEncoder(w).Encode(x.body)
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}

// TestServed is ls, status and down in words, and what a server's refusals become.
func TestServed(t *testing.T) {
	file, runDir := write(t, goodTOML), shortDir(t)
	dev := daemon.DeviceInfo{Name: "data", Node: "/dev/ublkb7", Link: "/dev/ublk-linear/data", ID: 7, State: "live", Bytes: 1280 * 512, PID: 812, Config: file}
	orphan := daemon.DeviceInfo{Node: "/dev/ublkb9", ID: 9, State: "dead", Bytes: 4096}
	type failure struct {
		Error string `json:"error"`
		Busy  bool   `json:"busy"`
	}
	fakeServer(t, file, runDir, answers{
		"GET /v1/devices":        {200, daemon.List{Schema: 1, Devices: []daemon.DeviceInfo{dev, orphan}}},
		"GET /v1/devices/data":   {200, daemon.Status{DeviceInfo: dev, Sectors: 1280, Table: "0 1024 linear a 8\n1024 256 linear a 0\n", Failure: "queue 0: EIO"}},
		"GET /v1/devices/nosuch": {404, failure{Error: `no device "nosuch"`}},
		"GET /v1/devices/broken": {500, "not what was asked for"},
		"POST /v1/down":          {409, failure{Error: "device data: /dev/ublkb7 is in use: mounted at /srv", Busy: true}},
	})
	for _, c := range []struct {
		args      []string
		code      int
		out, errs []string
	}{
		{[]string{"ls"}, exitOK, []string{"NAME  NODE         SIZE    STATE  PID  FILE\n", "data  /dev/ublkb7  640KiB  live   812  " + file, "\n-     /dev/ublkb9  4KiB    dead   -    -\n"}, nil},
		{[]string{"status", "data"}, exitOK, []string{"device    data (/dev/ublkb7, /dev/ublk-linear/data)\n", "failure   queue 0: EIO\n", "table     0 1024 linear a 8\n          1024 256 linear a 0\n"}, nil},
		{[]string{"status", "nosuch"}, exitNotFound, nil, []string{`no device "nosuch"`}},
		{[]string{"status", "data?x"}, exitNotFound, nil, []string{"404"}}, // and not data
		{[]string{"status", "a/b"}, exitNotFound, nil, []string{"404"}},
		{[]string{"status", ""}, exitNotFound, nil, []string{"404"}},
		{[]string{"status", "broken"}, exitFailure, nil, []string{"control socket: 500"}},
		{[]string{"down"}, exitBusy, nil, []string{"ublk-linear: device data: /dev/ublkb7 is in use: mounted at /srv\n"}},
	} {
		code, out, errs := cli(t, append(c.args, "-c", file, "--run-dir", runDir)...)
		if code != c.code || (out == "") != (c.out == nil) || (errs == "") != (c.errs == nil) {
			t.Errorf("%q: exit code %d, want %d\n%s%s", c.args, code, c.code, out, errs)
		}
		for _, x := range [][2]any{{out, c.out}, {errs, c.errs}} {
			for _, want := range x[1].([]string) {
				if !strings.Contains(x[0].(string), want) {
					t.Errorf("%q: no %q in\n%s", c.args, want, x[0])
				}
			}
		}
	}
}

// TestListPartial: a server that gives no list is named, the others are listed, and the exit code says that it is not all.
func TestListPartial(t *testing.T) {
	one, two, runDir := write(t, goodTOML), write(t, warnTOML), shortDir(t)
	dev := daemon.DeviceInfo{Name: "data", Node: "/dev/ublkb7", ID: 7}
	fakeServer(t, one, runDir, answers{"GET /v1/devices": {200, daemon.List{Schema: 1, Devices: []daemon.DeviceInfo{dev}}}})
	fakeServer(t, two, runDir, answers{"GET /v1/devices": {500, nil}})
	inst, _ := daemon.NewInstance(two, runDir)
	code, out, errs := cli(t, "ls", "--run-dir", runDir, "--json")
	if code != exitPartial || !strings.Contains(errs, inst.Socket()) {
		t.Errorf("exit code %d: %s", code, errs)
	}
	oneObject(t, out, &listDoc{})
	if !strings.Contains(out, "/dev/ublkb7") {
		t.Error(out)
	}
}

// TestHelp: every verb has an example, and says what it takes.
func TestHelp(t *testing.T) {
	for _, c := range newRoot().Commands() {
		if c.Name() == "help" || c.Name() == "completion" {
			continue // cobra's
		}
		code, out, errs := cli(t, c.Name(), "--help")
		if code != exitOK || errs != "" || !strings.Contains(out, "\nExamples:\n  ublk-linear "+c.Name()) && !strings.Contains(out, "ublk-linear "+c.Name()+" -c") {
			t.Errorf("%s: exit code %d, no example of it:\n%s%s", c.Name(), code, out, errs)
		}
		if !strings.Contains(out, "\nUsage:\n  ublk-linear "+c.Use) {
			t.Errorf("%s: usage:\n%s", c.Name(), out)
		}
	}
}

// TestExitCodes: other programs rely on these numbers.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), 1},
		{usagef("x"), 2},
		{usagef("x: %w", fs.ErrNotExist), 2},
		{config.Problems{{}}, 3},
		{errInvalid, 3},
		{fmt.Errorf("x: %w", config.Problems{{}}), 3},
		{&daemon.ServedError{}, 4},
		{unix.EBUSY, 4},
		{fs.ErrNotExist, 5},
		{unix.ENOENT, 5},
		{daemon.ErrNotServed, 5},
		{errors.Join(errPartial, unix.EBUSY), 7},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

type brokenPipe struct{ room int }

func (w *brokenPipe) Write(b []byte) (int, error) {
	if w.room -= len(b); w.room < 0 {
		return 0, unix.ENOSPC
	}
	return len(b), nil
}

// TestUnwritten: what could not be printed is a failure of every verb.
func TestUnwritten(t *testing.T) {
	file, runDir := write(t, goodTOML), shortDir(t)
	for _, args := range [][]string{
		{"check"}, {"check", "--json"}, {"table"}, {"table", "--json"}, {"map", "data", "read", "0s+1280s"}, {"map", "data", "read", "0s+1280s", "--json"},
		{"ls"}, {"ls", "--json"}, {"version"}, {"version", "--json"}, {"help"}, {"table", "--help"},
	} {
		var errs bytes.Buffer
		code := run(context.Background(), append(args, "-c", file, "--run-dir", runDir), &brokenPipe{10}, &errs)
		if code != exitFailure || !strings.Contains(errs.String(), "no space left") {
			t.Errorf("%q: exit code %d: %s", args, code, &errs)
		}
	}
}

// TestMapStops: a range of 2^31 segments would be printed for hours. A signal ends it, and so does a reader that is gone.
func TestMapStops(t *testing.T) {
	file := write(t, "version = 1\n[disk.a]\nsize = \"1TiB\"\n[device.d]\ntable = \"0 2147483648 striped 1 1 a 0\"\n")
	args := []string{"map", "d", "read", "0s+1TiB", "-c", file, "--json"}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errs bytes.Buffer
	if code := run(ctx, args, &out, &errs); code != exitFailure || !strings.Contains(errs.String(), "canceled") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	errs.Reset()
	if code := run(context.Background(), args, &brokenPipe{1 << 16}, &errs); code != exitFailure || !strings.Contains(errs.String(), "no space left") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
}

// TestTableRoundTrip: what table prints, put into a file as a table, prints the same again, and maps the same.
func TestTableRoundTrip(t *testing.T) {
	const demo = "../../examples/demo.toml"
	for _, dev := range []string{"data", "scratch"} {
		_, want, _ := cli(t, "table", dev, "-c", demo)
		text := "version = 1\n"
		for _, d := range []string{"a", "b", "c", "d"} {
			text += "[disk." + d + "]\nsize = \"1TiB\"\n"
		}
		file := write(t, text+"[device."+dev+"]\ntable = \"\"\"\n"+want+"\"\"\"\n")
		code, got, errs := cli(t, "table", "-c", file)
		if code != exitOK || got != want || got == "" {
			t.Errorf("%s: exit code %d %s\n%s\nwant\n%s", dev, code, errs, got, want)
		}
		for _, op := range []string{"read", "write", "discard", "write-zeroes"} {
			_, a, _ := cli(t, "map", dev, op, "30MiB+60MiB", "-c", demo)
			_, b, _ := cli(t, "map", dev, op, "30MiB+60MiB", "-c", file)
			if a != b || strings.Count(a, "\n") < 2 {
				t.Errorf("%s %s differs", dev, op)
			}
		}
	}
}
