package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/daemon"
)

// zeroCopy makes a device hand the requests' own pages to the disks.
func zeroCopy(device string) string {
	return strings.Replace(device, "]\n", "]\ndata_path = \"zero-copy\"\n", 1)
}

// Zero copy: the same bytes on every kind of disk, through a new program, a dead server, a new table and copies.
func TestZeroCopy(t *testing.T) {
	needGuest(t)
	cleared(t)
	a, b := nullBlk(t, 64, withCache), nullBlk(t, 64)
	config := pathDisks(a, b) + "[disk.n]\nmatch = { serial = \"cpa\" }\n[disk.f]\nfile = \"f.img\"\ncreate = \"32MiB\"\n[disk.m]\nmemory = \"32MiB\"\n" +
		zeroCopy(tableDevice("life", "0 32768 linear a 8\n32768 49152 striped 2 24 a 32776 b 0")) +
		zeroCopy(tableDevice("nvme", "0 40000 linear n 8\n40000 16384 striped 2 128 n 40960 n 57344")) +
		zeroCopy(tableDevice("kinds", "0 24576 striped 2 8 f 8 m 0\n24576 100 linear f 20000"))
	file := writeConfig(t, config)
	if !has616(t) {
		if out := exits(t, 3, "up", "-c", file); strings.Count(out, "6.16") < 3 || !strings.Contains(out, "AUTO_BUF_REG") {
			t.Errorf("refused with %s", out)
		}
		return
	}
	s, err := tryUp(t, file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.down() }()
	for _, name := range []string{"life", "nvme", "kinds"} {
		var st daemon.Status
		if code := tool(t, &st, "status", "-c", file, name); code != 0 || st.DataPath != "zero-copy" {
			t.Errorf("%s: exit %d, data path %s", name, code, st.DataPath)
		}
		for _, words := range []string{
			"rw=randwrite bsrange=512-64k iodepth=16 size=10m io_size=" + fmt.Sprint(scaled(2, 8)) + "m",
			"rw=write bs=1m iodepth=4 size=6m",
			"rw=randrw bs=4k iodepth=32 size=8m io_size=" + fmt.Sprint(scaled(1, 8)) + "m fsync=32",
		} {
			fio(t, s.dev[name], job(words))
		}
	}
	blocks := startBlocks(t, s.dev["life"], 40960, false)
	defer blocks.end()
	for range scaled(1, 20) {
		blocks.moves(50)
		s.signal(syscall.SIGKILL)
		_ = s.wait()
		if s, err = tryUp(t, file); err != nil {
			t.Fatal(err)
		}
		blocks.moves(50)
		s.rewrite(strings.Replace(config, "0 32768 linear a 8\n", "0 16384 linear a 8\n16384 16384 linear a 16392\n", 1))
		exits(t, 0, "reload", "-c", file)
		blocks.moves(50)
		s.rewrite(config)
		exits(t, 0, "reload", "-c", file)
		copies{src: "life", n: 40960, dst: "nvme", policy: []string{"--force"}}.run(t, file)
	}
	blocks.end()
	t.Logf("the longest request took %v", time.Duration(blocks.longest.Load()).Round(time.Millisecond))
}

// Unless the file says otherwise, a device is zero-copy where the kernel can, and status says which it is.
func TestDataPathAuto(t *testing.T) {
	needGuest(t)
	want := "buffer"
	if has616(t) {
		want = "zero-copy"
	}
	s := up(t, pathDisks(nullBlk(t, 64))+tableDevice("a", "0 32768 linear a 0")+strings.Replace(tableDevice("b", "0 32768 linear a 32768"), "]\n", "]\ndata_path = \"buffer\"\n", 1))
	for name, path := range map[string]string{"a": want, "b": "buffer"} {
		var st daemon.Status
		if code := tool(t, &st, "status", "-c", s.file, name); code != 0 || st.DataPath != path {
			t.Errorf("%s: exit %d, data path %s, want %s", name, code, st.DataPath, path)
		}
	}
	for _, n := range []string{"a", "b"} {
		fio(t, s.dev[n], job("rw=randwrite bsrange=512-256k iodepth=16 size=8m io_size=2m"))
	}
}
