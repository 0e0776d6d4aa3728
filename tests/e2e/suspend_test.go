package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/daemon"
)

// sentTo is all I/O that a disk has had.
func sentTo(t testing.TB, disk string) string {
	t.Helper()
	b, err := os.ReadFile("/sys/class/block/" + filepath.Base(disk) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b))
	return strings.Join([]string{f[0], f[4], f[11]}, " ")
}

// A suspended device sends its disks nothing, neither its users' requests nor copies, and goes on by itself when nobody
// resumes it: whoever had it suspended is long gone.
func TestSuspendLease(t *testing.T) {
	needGuest(t)
	a, b := nullBlk(t, 64, withCache), nullBlk(t, 64)
	s := up(t, pathDisks(a, b)+tableDevice("data", "0 65536 linear a 8")+tableDevice("other", "0 65536 linear b 0"))
	w := startWriter(t, s.dev["data"], 0)
	other := startWriter(t, s.dev["other"], 65528)
	c := client(t, s.file)
	began := time.Now()
	out := exits(t, 0, "suspend", "data", "--for", "6s", "-c", s.file) // and its process has ended
	if !strings.Contains(out, "is suspended, and resumes in 6s") {
		t.Error(out)
	}
	before := sentTo(t, a)
	copied := make(chan error, 1)
	go func() {
		seg := []daemon.CopySegment{{Pos: 0, Len: 1 << 20}}
		_, err := c.Copy(t.Context(), &daemon.CopyRequest{Source: daemon.CopySide{Device: "other", Segments: seg},
			Destination: daemon.CopySide{Device: "data", Segments: []daemon.CopySegment{{Pos: 8 << 20, Len: 1 << 20}}}}, &daemon.CopyOptions{Force: true})
		copied <- err
	}()
	time.Sleep(2 * time.Second)
	var st daemon.Status
	text := sh(t, "ublk-linear", "status", "data", "--json", "-c", s.file)
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		t.Fatal(err)
	}
	if now := sentTo(t, a); time.Since(began) < 5*time.Second && (now != before || st.State != "suspended" || st.Suspended <= 0 || st.Suspended > 6) {
		t.Errorf("the disk had %s, and has %s; %s, %v s left", before, now, st.State, st.Suspended)
	}
	if out := sh(t, "ublk-linear", "ls"); time.Since(began) < 5*time.Second && !strings.Contains(out, "suspended") {
		t.Error(out)
	}
	if err := <-copied; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < 6*time.Second {
		t.Errorf("a copy went on after %v", took)
	}
	within(t, "the I/O goes on", func() bool { return sentTo(t, a) != before })
	within(t, "it is logged", func() bool { return strings.Contains(s.err.String(), "the suspension has ended by itself") })
	if st, err := c.Status(t.Context(), "data"); err != nil || st.State != "live" {
		t.Errorf("%+v, %v", st.DeviceInfo, err)
	}
	w.end(t)
	other.end(t)
	if w.longest < 4*time.Second {
		t.Errorf("no request waited longer than %v", w.longest)
	}
	exits(t, 1, "resume", "data", "-c", s.file)
}

// A suspension is renewed, and ends at once by resume, by down, and by the device's end.
func TestSuspendRenewed(t *testing.T) {
	needGuest(t)
	a := nullBlk(t, 64)
	s := up(t, pathDisks(a)+tableDevice("data", "0 65536 linear a 8")+tableDevice("goes", "0 8192 linear a 70000"))
	exits(t, 2, "suspend", "data", "--for", "11m", "-c", s.file)
	exits(t, 5, "suspend", "nosuch", "-c", s.file)
	exits(t, 0, "suspend", "data", "--for", "2s", "-c", s.file)
	if out := exits(t, 0, "suspend", "data", "--for", "9m", "-c", s.file); !strings.Contains(out, "still suspended") {
		t.Error(out)
	}
	time.Sleep(2500 * time.Millisecond)
	if st, err := client(t, s.file).Status(t.Context(), "data"); err != nil || st.State != "suspended" || st.Suspended < 400 {
		t.Errorf("%+v, %v", st.DeviceInfo, err)
	}
	exits(t, 0, "resume", "data", "-c", s.file)
	w := startWriter(t, s.dev["data"], 0)
	exits(t, 0, "suspend", "data", "--for", "9m", "-c", s.file)
	exits(t, 0, "resume", "data", "-c", s.file)
	w.end(t)

	exits(t, 0, "suspend", "goes", "--for", "9m", "-c", s.file)
	s.rewrite(pathDisks(a) + tableDevice("data", "0 65536 linear a 8"))
	exits(t, 0, "reload", "-c", s.file)

	exits(t, 0, "suspend", "data", "--for", "9m", "-c", s.file)
	cmd := exec.Command("dd", "if=/dev/zero", "of="+s.dev["data"], "oflag=direct", "bs=4k", "count=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, "somebody has it open", func() bool {
		out, err := exec.Command("ublk-linear", "down", "-c", s.file).CombinedOutput()
		return exitStatus(err) == 4 && strings.Contains(string(out), "dd")
	})
	if out, err := exec.Command("ublk-linear", "down", "--force", "-c", s.file).CombinedOutput(); err != nil {
		t.Errorf("down: %v %s", err, out)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("a write that waited: %v", err)
	}
	if err := s.wait(); err != nil {
		t.Errorf("up: %v\n%s", err, s.err)
	}
}
