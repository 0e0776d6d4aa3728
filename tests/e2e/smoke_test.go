package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/ublk-go/ublk-linear/daemon"
)

// What is written through a device is on the disks where the table says, and `ls`, `status` and the link know it.
func TestSmoke(t *testing.T) {
	needGuest(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	s := up(t, fmt.Sprintf(`
version = 1
[disk.a]
path = %q
unstable_path = true
[disk.b]
path = %q
unstable_path = true
[device.data]
table = """
0 2048 linear a 64
2048 4080 striped 2 24 a 4096 b 8
"""
`, a, b))
	want := make([]byte, (2048+4080)*512)
	_, _ = rand.Read(want)
	f, err := os.OpenFile(s.dev["data"], os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(want, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	disk, err := os.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	got := make([]byte, 2048*512)
	if _, err := disk.ReadAt(got, 64*512); err != nil || !bytes.Equal(got, want[:len(got)]) {
		t.Errorf("the linear part is not on the disk (%v)", err)
	}
	got = make([]byte, 24*512)
	if _, err := disk.ReadAt(got, (4096+24)*512); err != nil || !bytes.Equal(got, want[(2048+48)*512:][:len(got)]) {
		t.Errorf("the third chunk is not on the disk (%v)", err)
	}
	if to, err := os.Readlink("/dev/ublk-linear/data"); err != nil || "/dev/"+strings.TrimPrefix(to, "../") != s.dev["data"] {
		t.Errorf("link leads to %q (%v)", to, err)
	}
	if out := sh(t, "ublk-linear", "ls"); !strings.Contains(out, s.dev["data"]) {
		t.Errorf("ls: %s", out)
	}
	if out := sh(t, "ublk-linear", "status", "data", "-c", s.file); !strings.Contains(out, "0 2048 linear a 64") {
		t.Errorf("status: %s", out)
	}
}

// Whoever reads that a device is there may ask for it, or take all down, at once, though the server starts others yet.
func TestAskedAtOnce(t *testing.T) {
	needGuest(t)
	const n = 12
	a := nullBlk(t, 64)
	toml := pathDisks(a)
	for i := range n {
		toml += tableDevice(fmt.Sprintf("m%d", i), fmt.Sprintf("0 4096 linear a %d", i*4096))
	}
	file := writeConfig(t, toml)
	c := client(t, file)
	cmd := exec.Command("ublk-linear", "up", "-c", file)
	errs := &lockedBuffer{}
	cmd.Stderr = errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "m0 /dev/ublkb") {
		t.Errorf("it says %q (%v)", lines.Text(), lines.Err())
	}
	st, err := c.Status(t.Context(), "m0")
	if err != nil || "m0 "+st.Node != lines.Text() {
		t.Errorf("status after %q: %s, %v", lines.Text(), st.Node, err)
	}
	if text := sh(t, "ublk-linear", "ls"); !strings.Contains(text, fmt.Sprint(cmd.Process.Pid)) {
		t.Errorf("ls does not know the server %d:\n%s", cmd.Process.Pid, text)
	}
	if _, err := c.Down(t.Context(), daemon.DownRequest{}); err != nil {
		t.Errorf("down: %v", err)
		_ = cmd.Process.Signal(syscall.SIGTERM)
	}
	said := 1
	for lines.Scan() {
		said++
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("up: %v\n%s", err, errs)
	}
	t.Logf("%d of %d devices were announced", said, n)
	nothingLeft(t, a)
}
