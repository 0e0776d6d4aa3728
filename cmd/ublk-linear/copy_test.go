package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/daemon"
)

// filled makes filesTOML with random bytes on its disks, and says where they are.
func filled(t *testing.T) (file string, disks [2]string) {
	t.Helper()
	file = write(t, filesTOML)
	r := rand.NewChaCha8([32]byte{1})
	for i, name := range []string{"a.img", "b.img"} {
		disks[i] = filepath.Join(filepath.Dir(file), name)
		b := make([]byte, 1<<20)
		_, _ = r.Read(b)
		if err := os.WriteFile(disks[i], b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file, disks
}

// deviceBytes is device d of filesTOML: chunks of 48 sectors, in turn from a at 0 and from b at 512.
func deviceBytes(t *testing.T, disks [2]string) []byte {
	t.Helper()
	const chunk = 48 * 512
	a, err := os.ReadFile(disks[0])
	b, err2 := os.ReadFile(disks[1])
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for at := 0; at < 3072*512/2; at += chunk {
		out = append(out, a[at:at+chunk]...)
		out = append(out, b[512*512+at:512*512+at+chunk]...)
	}
	return out
}

// TestCopyFiles: without a server the bytes on the disks are memmove's, whatever the direction and the lists.
func TestCopyFiles(t *testing.T) {
	for _, c := range []struct {
		args     []string
		src, dst [][2]int // sectors
	}{
		{[]string{"d:0s+1024s", "d:2048s"}, [][2]int{{0, 1024}}, [][2]int{{2048, 1024}}},
		{[]string{"d:0s+2000s", "d:1000s"}, [][2]int{{0, 2000}}, [][2]int{{1000, 2000}}},
		{[]string{"d:1000s+2000s", "d:0s"}, [][2]int{{1000, 2000}}, [][2]int{{0, 2000}}},
		{[]string{"d:0s+2000s", "d:7s", "--window", "64KiB"}, [][2]int{{0, 2000}}, [][2]int{{7, 2000}}},
		{[]string{"d:0s+10s", "d:100s+30s", "d:2000s+40s"}, [][2]int{{0, 10}, {100, 30}}, [][2]int{{2000, 40}}},
		{[]string{"d:0s+40s", "d:2000s+30s,d:3000s+10s", "--fua", "--no-flush", "--zeroes"}, [][2]int{{0, 40}}, [][2]int{{2000, 30}, {3000, 10}}},
	} {
		file, disks := filled(t)
		want := deviceBytes(t, disks)
		var moved []byte
		for _, s := range c.src {
			moved = append(moved, want[s[0]*512:(s[0]+s[1])*512]...)
		}
		n := len(moved)
		for _, s := range c.dst {
			moved = moved[copy(want[s[0]*512:(s[0]+s[1])*512], moved):]
		}
		code, out, errs := cli(t, append([]string{"copy", "-c", file, "--run-dir", shortDir(t)}, c.args...)...)
		if code != exitOK || errs != "" || !strings.HasPrefix(out, fmt.Sprintf("copied %s of %s in ", about(float64(n)), about(float64(n)))) {
			t.Errorf("%q: exit code %d %s%s", c.args, code, out, errs)
		}
		if !bytes.Equal(deviceBytes(t, disks), want) {
			t.Errorf("%q: the bytes differ", c.args)
		}
	}
}

// TestCopyExit: every way to fail that needs no server.
func TestCopyExit(t *testing.T) {
	file, disks := filled(t)
	before := deviceBytes(t, disks)
	runDir := shortDir(t)
	held := func() func() {
		f, err := os.Open(disks[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		return func() { f.Close() }
	}
	served := func() func() {
		inst, err := daemon.NewInstance(file, runDir)
		if err != nil {
			t.Fatal(err)
		}
		lock, err := inst.Lock()
		if err != nil {
			t.Fatal(err)
		}
		return func() { lock.Close() }
	}
	for _, c := range []struct {
		name string
		args []string
		with func() func()
		code int
		want string
	}{
		{"past the end", []string{"d:0s+8s", "d:3070s"}, nil, exitUsage, "ends past the device"},
		{"no offload", []string{"d:0s+8s", "d:8s", "--fallback", "fail"}, nil, exitFailure, "refused: bytes 0+"},
		{"boundary", []string{"d:0s+80s", "d:800s", "--at-boundary", "refuse"}, nil, exitFailure, "refused: source d:0+40960 crosses the edge at 24576"},
		{"overlap", []string{"d:0s+8s", "d:4s", "--overlap", "refuse"}, nil, exitFailure, "refused: source and destination overlap"},
		{"disk in use", []string{"d:0s+8s", "d:8s"}, held, exitBusy, "a.img"},
		{"file in use", []string{"d:0s+8s", "d:8s"}, served, exitBusy, "is already served by process"},
		{"progress", []string{"d:0s+8s", "d:8s", "--progress", "loud"}, nil, exitUsage, `--progress "loud": auto, always or never`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.with != nil {
				defer c.with()()
			}
			code, out, errs := cli(t, append([]string{"copy", "-c", file, "--run-dir", runDir}, c.args...)...)
			if code != c.code || out != "" || !strings.Contains(errs, c.want) {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.code, out, errs)
			}
		})
	}
	if !bytes.Equal(deviceBytes(t, disks), before) {
		t.Error("bytes have changed")
	}
	bad := write(t, badTOML)
	if code, _, _ := cli(t, "copy", "data:0s+1s", "data:1s", "-c", bad); code != exitConfig {
		t.Errorf("invalid file: exit code %d", code)
	}
}

// TestCopyInterrupted: a signal ends a copy within a window. What was done is printed, and is what is on the disks.
func TestCopyInterrupted(t *testing.T) {
	file, disks := filled(t)
	before := deviceBytes(t, disks)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(400*time.Millisecond, cancel)
	var out, errs bytes.Buffer
	began := time.Now()
	code := run(ctx, []string{"copy", "-c", file, "--run-dir", shortDir(t), "d:0s+1536s", "d:1536s", "--json", "--window", "64KiB", "--in-flight", "64KiB", "--rate", "64KiB"}, &out, &errs)
	var doc copyDoc
	oneObject(t, out.String(), &doc)
	if code != exitPartial || doc.Complete || doc.Bytes == 0 || doc.Bytes >= doc.Total || doc.Error != "cancelled" || !strings.Contains(errs.String(), "copy: cancelled") {
		t.Errorf("exit code %d\n%s%s", code, &out, &errs)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Error("it took", d)
	}
	after := deviceBytes(t, disks)
	const half = 1536 * 512
	if !bytes.Equal(after[half:half+doc.Bytes], before[:doc.Bytes]) || !bytes.Equal(after[half+doc.Bytes:], before[half+doc.Bytes:]) {
		t.Error("the bytes are not what was said")
	}
	// Before it has begun, there is nothing to print.
	out.Reset()
	errs.Reset()
	if code := run(ctx, []string{"copy", "-c", file, "--run-dir", shortDir(t), "d:0s+8s", "d:8s"}, &out, &errs); code == exitOK {
		t.Errorf("exit code %d\n%s%s", code, &out, &errs)
	}
}

// lines answers a copy with lines of JSON.
func copyAnswer(lines ...any) string {
	var b strings.Builder
	for _, l := range lines {
		_ = json.NewEncoder(&b).Encode(l)
	}
	return b.String()
}

type lineJSON struct {
	Progress *daemon.CopyProgress `json:"progress,omitempty"`
	Result   *daemon.CopyResult   `json:"result,omitempty"`
}

// TestCopyServed: what a server answers, in words and as exit codes. A fallback is never silent.
func TestCopyServed(t *testing.T) {
	type failure struct {
		Error   string `json:"error"`
		Busy    bool   `json:"busy"`
		Refused string `json:"refused"`
	}
	res := func(bytes uint64, change func(*daemon.CopyResult)) lineJSON {
		r := &daemon.CopyResult{Schema: 1, Bytes: bytes, Total: 8 << 20, Offloaded: bytes, Seconds: 2, Failed: []daemon.CopyFailure{}, Fallbacks: []daemon.CopyFailure{},
			CommandsByMethod: map[string]uint64{"nvme": 128, "emulate": 2}, Commands: 130, Reads: 2, Complete: bytes == 8<<20}
		change(r)
		return lineJSON{Result: r}
	}
	nothing := func(*daemon.CopyResult) {}
	broken := func(at uint64) daemon.CopyFailure {
		return daemon.CopyFailure{Offset: at, Bytes: 65536, Method: "nvme", Side: "source", Disk: "a", Sector: at / 512,
			Error: fmt.Sprintf("disk a: copy to sector %d: NVMe status 0x281, Unrecovered Read Error", at/512)}
	}
	begin := lineJSON{Progress: &daemon.CopyProgress{ID: 1, Total: 8 << 20}}
	half := lineJSON{Progress: &daemon.CopyProgress{ID: 1, Bytes: 4 << 20, Total: 8 << 20, Seconds: 1, Offloaded: 4 << 20}}
	for _, c := range []struct {
		name      string
		code      int
		answer    any // a string is what is sent as it is
		exit      int
		out, errs string // each has all of these lines' words
	}{
		{"done", 200, copyAnswer(begin, half, res(8<<20, nothing)), exitOK,
			"copied 8MiB of 8MiB in 2 s (4MiB/s)\n8MiB offloaded, 0B emulated; 0B through this host\n130 commands sent (2 emulate, 128 nvme), 2 reads\n", ""},
		{"fallbacks", 200, copyAnswer(begin, res(8<<20, func(r *daemon.CopyResult) {
			r.Fallbacks = []daemon.CopyFailure{broken(0), broken(1 << 20), broken(2 << 20)}
		})), exitOK, "192KiB failed as offload and were emulated: nvme, source disk a at sector 0: disk a: copy to sector 0: NVMe status 0x281, Unrecovered Read Error (and 2 failures like it)\n", ""},
		{"partial", 200, copyAnswer(begin, res(4<<20, func(r *daemon.CopyResult) {
			r.Failed, r.Error, r.MoreFailures = []daemon.CopyFailure{broken(4 << 20)}, "nvme of bytes …", 7
		})), exitPartial, "not complete: copied without a gap 4MiB of 8MiB in 2 s|64KiB are not copied: nvme, source disk a|and 7 more failures, which are not listed", "copy: nvme of bytes …"},
		{"nothing", 200, copyAnswer(begin, res(0, func(r *daemon.CopyResult) { r.Error = "EIO" })), exitFailure, "not complete: copied without a gap 0B of 8MiB", "copy: EIO"},
		{"lost before", 200, copyAnswer(begin), exitFailure, "", "the server was lost during the copy"},
		{"lost after", 200, copyAnswer(begin, half), exitPartial, "", "the server was lost during the copy"},
		{"too many", 409, failure{Error: "16 copies are under way, which is the most", Busy: true}, exitBusy, "", "16 copies are under way"},
		{"no device", 404, failure{Error: `no device "data"`}, exitNotFound, "", `no device "data"`},
		{"request", 400, failure{Error: "one\ntwo", Refused: "request"}, exitUsage, "", "ublk-linear: one\nublk-linear: two\n"},
		{"offload", 400, failure{Error: "no", Refused: "offload"}, exitFailure, "", "refused: no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, runDir := write(t, goodTOML), shortDir(t)
			node := tempFile(t, "node", "x")
			fakeServer(t, file, runDir, answers{
				"GET /v1/devices": {200, daemon.List{Schema: 1, Devices: []daemon.DeviceInfo{{Name: "data", Node: node}}}},
				"POST /v1/copy":   {c.code, c.answer},
			})
			code, out, errs := cli(t, "copy", "data:0s+8s", "data:16s", "-c", file, "--run-dir", runDir)
			if code != c.exit || (out == "") != (c.out == "") || (errs == "") != (c.errs == "") {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.exit, out, errs)
			}
			for _, want := range strings.Split(c.out, "|") {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			if !strings.Contains(errs, c.errs) {
				t.Errorf("no %q in\n%s", c.errs, errs)
			}
		})
	}
}

// TestMeter: a line every few seconds, or a bar that is drawn over itself and taken away.
func TestMeter(t *testing.T) {
	var w bytes.Buffer
	half := daemon.CopyProgress{Bytes: 3 << 30, Total: 6 << 30, Offloaded: 2 << 30, Emulated: 1 << 30, Seconds: 30}
	m, err := newMeter(&w, "auto")
	if err != nil {
		t.Fatal(err)
	}
	m.tell(half)
	if w.String() != "" {
		t.Errorf("at once: %q", &w)
	}
	m.shown = time.Now().Add(-lineEvery)
	m.tell(half)
	m.tell(half)
	m.end()
	if got := w.String(); got != "copy: 3GiB of 6GiB (50%), 102MiB/s, 30s left, 66% offloaded\n" {
		t.Errorf("%q", got)
	}
	w.Reset()
	m, _ = newMeter(&w, "always")
	m.tell(half)
	m.tell(half) // too soon
	m.end()
	m.end()
	const bar = "[############............] 3GiB of 6GiB (50%), 102MiB/s, 30s left, 66% offloaded"
	if got := w.String(); got != "\r"+bar+"\r"+strings.Repeat(" ", len(bar))+"\r" {
		t.Errorf("%q", got)
	}
	w.Reset()
	m, _ = newMeter(&w, "never")
	m.shown = time.Time{}
	m.tell(half)
	m.end()
	if w.String() != "" || m.last != half {
		t.Errorf("%q", &w)
	}
	if got := progressText(daemon.CopyProgress{Total: 512}); got != "0B of 512B (0%), 0% offloaded" {
		t.Error(got)
	}
}

// TestRefused: the kinds that a plan prints and a copy tells apart.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{&blkcopy.RequestError{}, exitUsage}, {blkcopy.ErrOverlap, exitFailure}, {blkcopy.ErrNoOffload, exitFailure}, {blkcopy.ErrBoundary, exitFailure},
	} {
		if !daemon.Refused(c.err) || exitCode(copyError(context.Background(), c.err, false)) != c.code {
			t.Error(c.err)
		}
	}
	if daemon.Refused(errors.New("x")) || daemon.Refused(unix.EBUSY) {
		t.Error("not every error is a refusal")
	}
}
