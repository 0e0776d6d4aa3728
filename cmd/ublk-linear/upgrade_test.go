package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/daemon"
)

// upgradeDoc is what docs/cli.md promises of upgrade --json.
type upgradeDoc struct {
	Schema  int     `json:"schema"`
	Token   string  `json:"token"`
	Done    bool    `json:"done"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	Binary  string  `json:"binary"`
	PID     int     `json:"pid"`
	Stall   float64 `json:"stall_milliseconds"`
	Devices []struct {
		Name  string  `json:"name"`
		Node  string  `json:"node"`
		Stall float64 `json:"stall_milliseconds"`
	} `json:"devices"`
}

// TestUpgradePrints: the stalls, in words and as promised; and why it was not done.
func TestUpgradePrints(t *testing.T) {
	file, runDir := write(t, goodTOML), shortDir(t)
	done := daemon.UpgradeResult{Schema: 1, Token: "t", Done: true, From: "v1", To: "v2", Binary: "/b", PID: 812, Stall: 12.5,
		Devices: []daemon.UpgradeStall{{Name: "data", Node: "/dev/ublkb7", Stall: 11.25}}}
	fakeServer(t, file, runDir, answers{"POST /v1/upgrade": {200, done}, "GET /v1/upgrade": {200, done}})
	code, out, errs := cli(t, "upgrade", "-c", file, "--run-dir", runDir)
	if code != exitOK || errs != "" || out != "data /dev/ublkb7 stood still for 11.2 ms\nupgraded from v1 to v2, process 812: 12.5 ms from the first device to the last\n" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	code, out, _ = cli(t, "upgrade", "-c", file, "--run-dir", runDir, "--json")
	var doc upgradeDoc
	oneObject(t, out, &doc)
	if code != exitOK || doc.Stall != 12.5 || len(doc.Devices) != 1 || doc.Devices[0].Stall != 11.25 {
		t.Errorf("%d %+v", code, doc)
	}

	file, runDir = write(t, goodTOML), shortDir(t)
	failed := done
	failed.Error = "execute /b: no such file or directory"
	fakeServer(t, file, runDir, answers{"POST /v1/upgrade": {200, done}, "GET /v1/upgrade": {200, failed}})
	if code, out, errs := cli(t, "upgrade", "-c", file, "--run-dir", runDir, "--json"); code != exitFailure || out != "" || !strings.Contains(errs, failed.Error) {
		t.Errorf("%d %q %q", code, out, errs)
	}
	file, runDir = write(t, goodTOML), shortDir(t)
	fakeServer(t, file, runDir, answers{"POST /v1/upgrade": {409, map[string]any{"error": "2 copies are under way", "busy": true}}})
	if code, _, errs := cli(t, "upgrade", "-c", file, "--run-dir", runDir); code != exitBusy || !strings.Contains(errs, "2 copies are under way") {
		t.Errorf("%d %q", code, errs)
	}
}

// TestPrintOrphans: each with its policy, then who has them and what is in the way.
func TestPrintOrphans(t *testing.T) {
	var b bytes.Buffer
	l := daemon.Orphans{Orphans: []daemon.Orphan{
		{DeviceInfo: daemon.DeviceInfo{Name: "data", Node: "/dev/ublkb7", ID: 7, State: "quiesced", Bytes: 4096, Config: "/v.toml"}, OnCrash: "reissue", Waits: true,
			Users: []string{"mounted at /srv"}, Why: []string{"/v.toml:3:1: id 7 → 3"}},
		{DeviceInfo: daemon.DeviceInfo{Node: "/dev/ublkb9", ID: 9, State: "dead", Bytes: 512}, OnCrash: "remove"}}}
	if err := printOrphans(&b, l); err != nil {
		t.Fatal(err)
	}
	want := `NAME  NODE         ID  SIZE  STATE     POLICY   FILE
data  /dev/ublkb7  7   4KiB  quiesced  reissue  /v.toml
-     /dev/ublkb9  9   512B  dead      remove   -
/dev/ublkb7: mounted at /srv
/dev/ublkb7 cannot be taken over: /v.toml:3:1: id 7 → 3
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}
