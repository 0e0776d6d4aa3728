package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
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
