package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/daemon"
)

// eventDoc is what docs/cli.md promises of events --json.
type eventDoc struct {
	Schema  int     `json:"schema"`
	Seq     uint64  `json:"seq"`
	Time    string  `json:"time"`
	Event   string  `json:"event"`
	Device  string  `json:"device,omitempty"`
	Node    string  `json:"node,omitempty"`
	Disk    string  `json:"disk,omitempty"`
	Op      string  `json:"op,omitempty"`
	Sector  *uint64 `json:"sector,omitempty"`
	Errno   string  `json:"errno,omitempty"`
	Errors  uint64  `json:"errors,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Old     uint64  `json:"old_sectors,omitempty"`
	New     uint64  `json:"new_sectors,omitempty"`
	Changes int     `json:"changes,omitempty"`
	From    string  `json:"from,omitempty"`
	To      string  `json:"to,omitempty"`
	Copy    *struct {
		Source      string `json:"source"`
		Destination string `json:"destination"`
		progressDoc
	} `json:"copy,omitempty"`
	Lost  uint64 `json:"lost,omitempty"`
	Error string `json:"error,omitempty"`
}

// someEvents is one of every shape.
func someEvents() []daemon.Event {
	zero := uint64(0)
	out := []daemon.Event{
		{Kind: daemon.EventsLost, Lost: 12},
		{Kind: daemon.DeviceRecovered, Device: "data", Node: "/dev/ublkb7"},
		{Kind: daemon.DiskFails, Disk: "a", Device: "data", Op: "write", Sector: &zero, Errno: "EIO", Errors: 812},
		{Kind: daemon.DeviceResized, Device: "data", Old: 2048, New: 4096},
		{Kind: daemon.Reloaded, Changes: 2, Seconds: 0.0125},
		{Kind: daemon.ReloadFailed, Error: "x\ny"},
		{Kind: daemon.Upgraded, From: "v1", To: "v2", Seconds: 0.5},
		{Kind: daemon.CopyFailed, Copy: &daemon.CopyInfo{Source: "a", Destination: "b", CopyProgress: daemon.CopyProgress{ID: 3, Bytes: 512, Total: 1024}}, Error: "read: EIO"},
	}
	for i := range out {
		out[i].Schema, out[i].Seq, out[i].Time = 1, uint64(12+i), time.Unix(1000, 0).UTC()
	}
	return out
}

// TestEvents: the lines of a server, in words and as promised, and how following ends.
func TestEvents(t *testing.T) {
	file, runDir := write(t, goodTOML), shortDir(t)
	var lines bytes.Buffer
	for _, x := range someEvents() {
		if err := json.NewEncoder(&lines).Encode(x); err != nil {
			t.Fatal(err)
		}
	}
	fakeServer(t, file, runDir, answers{"GET /v1/events": {200, lines.String()}})
	code, out, errs := cli(t, "events", "-c", file, "--run-dir", runDir)
	when := time.Unix(1000, 0).Local().Format("2006-01-02T15:04:05.000Z07:00") + " "
	want := `12 lost 12 events are gone
13 recovered device data /dev/ublkb7
14 disk-error disk a device data: write at sector 0 EIO, 812 errors since it was last told of
15 resized device data 2MiB, was 1MiB
16 reloaded 2 changes, 12.5ms
17 reload-failed: x; y
18 upgraded from v1 to v2, 500ms
19 copy-failed copy 3 from a to b, 512B of 1KiB: read: EIO
`
	if d := cmp.Diff(want, strings.ReplaceAll(out, when, "")); d != "" || code != exitOK || errs != "" || strings.Count(out, when) != 8 {
		t.Errorf("%d %s%s", code, errs, d)
	}

	code, out, errs = cli(t, "events", "--json", "-c", file, "--run-dir", runDir)
	if code != exitOK || errs != "" || out != lines.String() {
		t.Errorf("%d %s\n%s\nwant\n%s", code, errs, out, &lines)
	}
	var back bytes.Buffer
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	for {
		var doc eventDoc
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(&back).Encode(doc); err != nil {
			t.Fatal(err)
		}
	}
	if back.String() != out {
		t.Errorf("documented\n%s\nprinted\n%s", &back, out)
	}

	code, out, errs = cli(t, "events", "--follow", "-c", file, "--run-dir", runDir)
	if code != exitNotFound || strings.Count(out, "\n") != 8 || !strings.Contains(errs, "the server has ended, or was replaced") {
		t.Errorf("the end of the server: %d %q", code, errs)
	}
}

func TestEventsRefused(t *testing.T) {
	file, runDir := write(t, goodTOML), shortDir(t)
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"events", "data"}, exitUsage, "no arguments"},
		{[]string{"events", "--after", "-1"}, exitUsage, "invalid argument"},
		{[]string{"events"}, exitNotFound, "no server is running"},
		{[]string{"events", "--follow"}, exitNotFound, "no server is running"},
	} {
		code, out, errs := cli(t, append(c.args, "-c", file, "--run-dir", runDir)...)
		if code != c.code || out != "" || !strings.Contains(errs, c.say) {
			t.Errorf("%q: %d %s%s", c.args, code, out, errs)
		}
	}
	fakeServer(t, file, runDir, answers{"GET /v1/events": {409, map[string]any{"error": "16 follow the events", "busy": true}}})
	if code, _, errs := cli(t, "events", "-f", "-c", file, "--run-dir", runDir); code != exitBusy || !strings.Contains(errs, "16 follow") {
		t.Errorf("%d %q", code, errs)
	}
}

// TestStatusHealth: status tells of the operations that were asked of a disk, and of the last error.
func TestStatusHealth(t *testing.T) {
	var b strings.Builder
	err := printStatus(&b, daemon.Status{Disks: []daemon.DiskStatus{
		{Name: "a", IO: map[string]daemon.DiskIO{
			"read":  {Commands: 2, Bytes: 8192, P50: 131072e-9, P99: 262144e-9, Max: 262144e-9},
			"write": {Commands: 3, Bytes: 4096, Errors: 2, P50: 512e-9, P99: 1.073741824, Max: 1099.511627776}, "flush": {}},
			LastError: &daemon.DiskError{Errno: "EIO", Op: "write", Sector: 123, Time: time.Unix(1000, 0).UTC()}},
		{Name: "b", IO: map[string]daemon.DiskIO{"flush": {Commands: 1, P50: 2e-9, P99: 2e-9, Max: 2e-9}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := `disk I/O     a read: 2 commands, 8KiB, 0 errors, p50 < 131µs, p99 < 262µs, max < 262µs
             a write: 3 commands, 4KiB, 2 errors, p50 < 512ns, p99 < 1.07s, max < 18m20s
             b flush: 1 commands, 0B, 0 errors, p50 < 2ns, p99 < 2ns, max < 2ns
disk errors  a: the last is EIO, write at sector 123, 1970-01-01T00:16:40Z
`
	if !strings.Contains(b.String(), want) {
		t.Errorf("no\n%s\nin\n%s", want, &b)
	}
}
