package main

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/daemon"
)

// What docs/cli.md promises, written down a second time: these types are not the program's.
type (
	checkDoc struct {
		Schema   int          `json:"schema"`
		Problems []problemDoc `json:"problems"`
		Warnings []problemDoc `json:"warnings"`
	}
	problemDoc struct {
		Line    int    `json:"line"`
		Col     int    `json:"col"`
		Key     string `json:"key"`
		Message string `json:"message"`
		Hint    string `json:"hint"`
	}
	tableDoc struct {
		Schema  int `json:"schema"`
		Devices []struct {
			Name  string `json:"name"`
			Spans []struct {
				Start   uint64 `json:"start"`
				Sectors uint64 `json:"sectors"`
				Target  string `json:"target"`
				Params  string `json:"params"`
			} `json:"spans"`
		} `json:"devices"`
	}
	mapDoc struct {
		Schema   int `json:"schema"`
		Segments []struct {
			Disk    string `json:"disk"`
			Start   uint64 `json:"start"`
			Sectors uint64 `json:"sectors"`
			Offset  uint64 `json:"offset"`
		} `json:"segments"`
	}
	deviceDoc struct {
		Name   string `json:"name"`
		Node   string `json:"node"`
		Link   string `json:"link"`
		ID     int    `json:"id"`
		State  string `json:"state"`
		Bytes  uint64 `json:"bytes"`
		PID    int    `json:"pid"`
		Config string `json:"config"`
	}
	listDoc struct {
		Schema  int         `json:"schema"`
		Devices []deviceDoc `json:"devices"`
	}
	downDoc struct {
		Schema  int         `json:"schema"`
		Stopped []deviceDoc `json:"stopped"`
	}
	statusDoc struct {
		Schema int `json:"schema"`
		deviceDoc
		Sectors  uint64   `json:"sectors"`
		ReadOnly bool     `json:"read_only"`
		Queues   int      `json:"queues"`
		Depth    int      `json:"depth"`
		MaxIO    uint32   `json:"max_io_bytes"`
		DataPath string   `json:"data_path"`
		Features []string `json:"features"`
		Table    string   `json:"table"`
		Disks    []struct {
			Name   string `json:"name"`
			Kind   string `json:"kind"`
			Node   string `json:"node"`
			Bytes  uint64 `json:"bytes"`
			Serial string `json:"serial,omitempty"`
			WWID   string `json:"wwid,omitempty"`
			IO     map[string]struct {
				Commands uint64  `json:"commands"`
				Bytes    uint64  `json:"bytes"`
				Errors   uint64  `json:"errors"`
				P50      float64 `json:"p50_seconds"`
				P99      float64 `json:"p99_seconds"`
				Max      float64 `json:"max_seconds"`
				Latency  []struct {
					Below    float64 `json:"below_seconds"`
					Commands uint64  `json:"commands"`
				} `json:"latency"`
			} `json:"io"`
			LastError *struct {
				Errno  string `json:"errno"`
				Op     string `json:"op"`
				Sector uint64 `json:"sector"`
				Time   string `json:"time"`
			} `json:"last_error,omitempty"`
		} `json:"disks"`
		IO map[string]struct {
			Requests uint64 `json:"requests"`
			Bytes    uint64 `json:"bytes"`
		} `json:"io"`
		Errors        uint64   `json:"errors"`
		Commands      uint64   `json:"commands"`
		Retries       uint64   `json:"retries"`
		Inexpressible []string `json:"inexpressible"`
		Copies        []struct {
			Source      string `json:"source"`
			Destination string `json:"destination"`
			progressDoc
		} `json:"copies"`
		Stalled []struct {
			Disk    string  `json:"disk"`
			Queue   int     `json:"queue"`
			Op      string  `json:"op"`
			Sector  uint64  `json:"sector"`
			Seconds float64 `json:"seconds"`
		} `json:"stalled"`
		Process struct {
			IOFlusher   bool   `json:"io_flusher"`
			Threads     int    `json:"threads"`
			Locked      uint64 `json:"locked_bytes"`
			Resident    uint64 `json:"resident_bytes"`
			OOMScoreAdj int    `json:"oom_score_adj"`
			MemoryLimit int64  `json:"memory_limit_bytes"`
		} `json:"process"`
		Failure string `json:"failure,omitempty"`
		Faults  []struct {
			Line    int    `json:"line"`
			Disk    string `json:"disk"`
			Op      string `json:"op"`
			Range   string `json:"range"`
			When    string `json:"when"`
			Action  string `json:"action"`
			Matched uint64 `json:"matched"`
			Hits    uint64 `json:"hits"`
		} `json:"faults,omitempty"`
	}
	progressDoc struct {
		ID        uint64  `json:"id"`
		Bytes     uint64  `json:"bytes"`
		Total     uint64  `json:"total_bytes"`
		Offloaded uint64  `json:"offloaded_bytes"`
		Emulated  uint64  `json:"emulated_bytes"`
		Seconds   float64 `json:"seconds"`
	}
	planDoc struct {
		Schema int `json:"schema"`
		Pieces []struct {
			Src     placeDoc `json:"src"`
			Dst     placeDoc `json:"dst"`
			Sectors uint64   `json:"sectors"`
		} `json:"pieces"`
		Commands []struct {
			Method  string `json:"method"`
			Sources []struct {
				placeDoc
				Sectors uint64 `json:"sectors"`
			} `json:"sources"`
			Dst     placeDoc `json:"dst"`
			Sectors uint64   `json:"sectors"`
		} `json:"commands"`
		planTotalsDoc
	}
	planSummaryDoc struct {
		Schema   int    `json:"schema"`
		Pieces   uint64 `json:"piece_count"`
		Commands uint64 `json:"command_count"`
		planTotalsDoc
	}
	planTotalsDoc struct {
		Bytes     uint64  `json:"bytes"`
		Offloaded uint64  `json:"offloaded_bytes"`
		Emulated  uint64  `json:"emulated_bytes"`
		Host      uint64  `json:"host_bytes"`
		Refused   *string `json:"refused"`
	}
	placeDoc struct {
		Disk  string `json:"disk"`
		Start uint64 `json:"start"`
	}
	copyDoc struct {
		Schema    int            `json:"schema"`
		Bytes     uint64         `json:"bytes"`
		Offloaded uint64         `json:"offloaded_bytes"`
		Emulated  uint64         `json:"emulated_bytes"`
		Host      uint64         `json:"host_bytes"`
		Commands  uint64         `json:"commands"`
		Seconds   float64        `json:"seconds"`
		Failed    []failureDoc   `json:"failed"`
		Total     uint64         `json:"total_bytes"`
		Zeroed    uint64         `json:"zeroed_bytes"`
		Onto      uint64         `json:"onto_bytes"`
		Read      uint64         `json:"host_read_bytes"`
		Written   uint64         `json:"host_written_bytes"`
		By        map[string]int `json:"commands_by_method"`
		Reads     uint64         `json:"reads"`
		Fallbacks []failureDoc   `json:"fallbacks"`
		More      uint64         `json:"more_failures"`
		Complete  bool           `json:"complete"`
		Error     string         `json:"error"`
	}
	failureDoc struct {
		Offset uint64 `json:"offset"`
		Bytes  uint64 `json:"bytes"`
		Method string `json:"method"`
		Side   string `json:"side"`
		Disk   string `json:"disk"`
		Sector uint64 `json:"sector"`
		Error  string `json:"error"`
	}
	versionDoc struct {
		Schema  int    `json:"schema"`
		Version string `json:"version"`
		Go      string `json:"go"`
	}
)

// oneObject decodes the only JSON object of text into doc. A key that doc has not fails, and so does one of doc's that
// text has not.
func oneObject(t *testing.T, text string, doc any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(doc); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if err := dec.Decode(new(any)); err != io.EOF {
		t.Fatalf("more than one object (%v) in\n%s", err, text)
	}
	back, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	for _, x := range []struct {
		text []byte
		to   *any
	}{{[]byte(text), &got}, {back, &want}} {
		dec := json.NewDecoder(bytes.NewReader(x.text))
		dec.UseNumber() // a number that became a float would not be the same
		if err := dec.Decode(x.to); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("object (-documented +printed):\n%s", d)
	}
	if m := got.(map[string]any); m["schema"] != json.Number("1") {
		t.Errorf("schema %v", m["schema"])
	}
}

const (
	goodTOML = `version = 1
[disk.a]
size = "1GiB"
[disk.b]
size = "1GiB"
[device.data]
table = """
0 1024 linear a 8
1024 256 striped 2 32 a 2048 b 0
"""
`
	filesTOML = `version = 1
[disk.a]
file = "a.img"
create = "1MiB"
[disk.b]
file = "b.img"
create = "1MiB"
[device.d]
table = "0 3072 striped 2 48 a 0 b 512"
`
	warnTOML = goodTOML + "[disk.spare]\nsize = \"1MiB\"\n"
	badTOML  = goodTOML + "[device.bad]\nid = \"x\"\n"
)

// write makes a configuration file.
func write(t *testing.T, text string) string {
	t.Helper()
	return tempFile(t, "f.toml", text)
}

// TestSchema: with --json a verb that succeeds prints exactly the documented object, with warnings too, which go to
// stderr.
func TestSchema(t *testing.T) {
	good, warn, bad := write(t, goodTOML), write(t, warnTOML), write(t, badTOML)
	files := write(t, filesTOML)
	runDir := filepath.Join(t.TempDir(), "run")
	for _, c := range []struct {
		name string
		args []string
		code int
		doc  any
		errs bool
	}{
		{"check", []string{"check", "-c", good}, exitOK, &checkDoc{}, false},
		{"check warnings", []string{"check", "-c", warn}, exitOK, &checkDoc{}, false}, // they are in the object
		{"check problems", []string{"check", "-c", bad}, exitConfig, &checkDoc{}, false},
		{"table", []string{"table", "-c", good}, exitOK, &tableDoc{}, false},
		{"table one", []string{"table", "data", "-c", good}, exitOK, &tableDoc{}, false},
		{"table warnings", []string{"table", "-c", warn}, exitOK, &tableDoc{}, true},
		{"map", []string{"map", "data", "read", "0s+1280s", "-c", good}, exitOK, &mapDoc{}, false},
		{"map merged", []string{"map", "data", "write", "0s+1280s", "-c", good, "--merged"}, exitOK, &mapDoc{}, false},
		{"map discard", []string{"map", "data", "discard", "0s+1280s", "-c", good}, exitOK, &mapDoc{}, false},
		{"map flush", []string{"map", "data", "flush", "-c", good}, exitOK, &mapDoc{}, false},
		{"map warnings", []string{"map", "data", "read", "0s+1s", "-c", warn}, exitOK, &mapDoc{}, true},
		{"plan", []string{"plan", "data:0s+1024s", "data:256s", "-c", good}, exitOK, &planDoc{}, false},
		{"plan of nothing but onto itself", []string{"plan", "data:0s+8s", "data:0s", "-c", good}, exitOK, &planDoc{}, false},
		{"plan refused", []string{"plan", "data:0s+8s", "data:1280s", "-c", good}, exitOK, &planDoc{}, false},
		{"plan summary", []string{"plan", "data:0s+1024s", "data:256s", "-c", good, "--summary"}, exitOK, &planSummaryDoc{}, false},
		{"plan summary refused", []string{"plan", "data:0s+8s", "data:1280s", "-c", good, "--summary"}, exitOK, &planSummaryDoc{}, false},
		{"plan warnings", []string{"plan", "data:0s+8s", "data:8s", "-c", warn}, exitOK, &planDoc{}, true},
		{"copy", []string{"copy", "d:0s+1024s", "d:1024s", "-c", files, "--run-dir", runDir}, exitOK, &copyDoc{}, false},
		{"ls", []string{"ls", "--run-dir", runDir}, exitOK, &listDoc{}, false},
		{"version", []string{"version"}, exitOK, &versionDoc{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := cli(t, append(c.args, "--json")...)
			if code != c.code {
				t.Fatalf("exit code %d, want %d: %s", code, c.code, errs)
			}
			oneObject(t, out, c.doc)
			if (errs != "") != c.errs {
				t.Errorf("stderr %q", errs)
			}
		})
	}
}

// TestSchemaFailure: with --json a verb that fails prints nothing on stdout, and why on stderr. Only check prints its
// object (TestSchema).
func TestSchemaFailure(t *testing.T) {
	files := write(t, filesTOML)
	good, bad, none := write(t, goodTOML), write(t, badTOML), filepath.Join(t.TempDir(), "none.toml")
	runDir := filepath.Join(t.TempDir(), "run")
	for _, c := range []struct {
		code int
		args []string
	}{
		{exitNotFound, []string{"check", "-c", none}},
		{exitUsage, []string{"check", "-c", good, "more"}},
		{exitConfig, []string{"table", "-c", bad}},
		{exitNotFound, []string{"table", "-c", none}},
		{exitNotFound, []string{"table", "-c", good, "nosuch"}},
		{exitConfig, []string{"map", "-c", bad, "data", "read", "0s+1s"}},
		{exitNotFound, []string{"map", "-c", none, "data", "read", "0s+1s"}},
		{exitNotFound, []string{"map", "-c", good, "nosuch", "read", "0s+1s"}},
		{exitUsage, []string{"map", "-c", good, "data", "read", "0s+1281s"}},
		{exitUsage, []string{"map", "-c", good, "data", "reed", "0s+1s"}},
		{exitConfig, []string{"plan", "-c", bad, "data:0s+1s", "data:1s"}},
		{exitNotFound, []string{"plan", "-c", none, "data:0s+1s", "data:1s"}},
		{exitNotFound, []string{"plan", "-c", good, "nosuch:0s+1s", "data:1s"}},
		{exitUsage, []string{"plan", "-c", good, "data:0s", "data:1s"}},
		{exitConfig, []string{"copy", "-c", bad, "data:0s+1s", "data:1s", "--run-dir", runDir}},
		{exitNotFound, []string{"copy", "-c", none, "data:0s+1s", "data:1s", "--run-dir", runDir}},
		{exitNotFound, []string{"copy", "-c", good, "data:0s+1s", "nosuch:1s", "--run-dir", runDir}},
		{exitUsage, []string{"copy", "-c", files, "d:0s+1s", "d:3072s", "--run-dir", runDir}},
		{exitFailure, []string{"copy", "-c", files, "d:0s+1s", "d:8s", "--fallback", "fail", "--run-dir", runDir}},
		{exitConfig, []string{"up", "-c", bad, "--run-dir", runDir}},
		{exitNotFound, []string{"up", "-c", none, "--run-dir", runDir}},
		{exitNotFound, []string{"status", "data", "-c", good, "--run-dir", runDir}},
		{exitUsage, []string{"ls", "more"}},
		{exitUsage, []string{"version", "--bad"}},
		{exitUsage, []string{"nosuch"}},
	} {
		t.Run(strings.Join(c.args[:1], " "), func(t *testing.T) {
			code, out, errs := cli(t, append(c.args, "--json")...)
			if code != c.code || out != "" || !strings.HasPrefix(errs, "ublk-linear: ") {
				t.Errorf("%q: exit code %d, want %d\nstdout %q\nstderr %q", c.args, code, c.code, out, errs)
			}
		})
	}
}

// TestSchemaServed is the verbs that talk to a server, with one that is made up.
func TestSchemaServed(t *testing.T) {
	file, runDir := write(t, goodTOML), shortDir(t)
	dev := daemon.DeviceInfo{Name: "data", Node: "/dev/ublkb7", Link: "/dev/ublk-linear/data", ID: 7, State: "live", Bytes: 1280 * 512, PID: 812, Config: file}
	st := daemon.Status{Schema: 1, DeviceInfo: dev, Sectors: 1280, Queues: 2, Depth: 64, MaxIO: 1 << 20, DataPath: "buffer", Features: []string{"USER_COPY"},
		Table: "0 1280 linear a 0\n", Disks: []daemon.DiskStatus{{Name: "a", Kind: "file", Node: "/a.img", Bytes: 1 << 30, IO: map[string]daemon.DiskIO{"write": {Commands: 3, Bytes: 4096, Errors: 1, P50: 1e-6, P99: 2e-6, Max: 2e-6,
			Latency: []daemon.LatencyBucket{{Below: 1e-6, Commands: 2}, {Below: 2e-6, Commands: 1}}}}, LastError: &daemon.DiskError{Errno: "EIO", Op: "write", Sector: 8, Time: time.Unix(1000, 0).UTC()}},
			{Name: "b", Kind: "memory", IO: map[string]daemon.DiskIO{}}},
		IO: map[string]daemon.IOCount{"read": {Requests: 1, Bytes: 4096}}, Inexpressible: []string{},
		Stalled: []daemon.StallInfo{{Disk: "a", Queue: 1, Op: "write", Sector: 8, Seconds: 12.5}},
		Process: daemon.ProcessInfo{IOFlusher: true, Threads: 9, LockedBytes: 1 << 20, ResidentBytes: 1 << 19, OOMScoreAdj: -1000, MemoryLimit: 1 << 30},
		Copies:  []daemon.CopyInfo{{Source: "data", Destination: "data", CopyProgress: daemon.CopyProgress{ID: 3, Bytes: 512, Total: 1024, Emulated: 512, Seconds: 1}}},
		Faults:  []daemon.FaultStatus{{Line: 9, Disk: "a", Op: "write", Range: "all", When: "nth 3", Action: "errno:EIO", Matched: 5, Hits: 1}}}
	fakeServer(t, file, runDir, answers{
		"GET /v1/devices":      {200, daemon.List{Schema: 1, Devices: []daemon.DeviceInfo{dev}}},
		"GET /v1/devices/data": {200, st},
		"POST /v1/down":        {200, daemon.DownResult{Schema: 1, Stopped: []daemon.DeviceInfo{dev}}},
	})
	for _, c := range []struct {
		args []string
		doc  any
	}{
		{[]string{"ls"}, &listDoc{}},
		{[]string{"status", "data"}, &statusDoc{}},
		{[]string{"down"}, &downDoc{}},
	} {
		code, out, errs := cli(t, append(c.args, "--json", "-c", file, "--run-dir", runDir)...)
		if code != exitOK || errs != "" {
			t.Fatalf("%q: exit code %d: %s", c.args, code, errs)
		}
		oneObject(t, out, c.doc)
	}
}
