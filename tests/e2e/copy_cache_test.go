package e2e

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// cached is how many pages of a node are in the page cache. The node stays open to the test's end: its cache goes with the
// last who has it open.
func cached(t *testing.T, node string) func() uint64 {
	t.Helper()
	f, err := os.Open(node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return func() uint64 {
		t.Helper()
		var s unix.Cachestat_t
		if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &s, 0); err != nil {
			t.Fatal(err)
		}
		return s.Cache
	}
}

// A copy that is emulated leaves nothing in the page cache: not of the disks, not of the devices, offline nor online.
func TestCopyLeavesNoCache(t *testing.T) {
	needGuest(t)
	const n = 16 << 11
	a, b := nullBlk(t, 16), nullBlk(t, 16)
	toml := pathDisks(a, b) + tableDevice("v", "0 32768 linear a 0") + tableDevice("w", "0 32768 linear b 0")
	look := map[string]func() uint64{a: cached(t, a), b: cached(t, b)}
	clean := func(when string) {
		t.Helper()
		for node, pages := range look {
			if n := pages(); n > 16 { // 4096 are copied; who looks for partitions reads a few
				t.Errorf("%s: %d pages of %s", when, n, node)
			}
		}
	}
	all := copies{src: "v", dst: "w", n: n}
	if got := all.run(t, writeConfig(t, toml)); got.Emulated != n*512 {
		t.Fatalf("%+v", got)
	}
	clean("offline")
	s := up(t, toml)
	for _, d := range []string{"v", "w"} {
		look[s.dev[d]] = cached(t, s.dev[d])
	}
	all.policy = []string{"--force"} // this test has the destination open
	if got := all.run(t, s.file); got.Emulated != n*512 {
		t.Fatalf("%+v", got)
	}
	clean("online")
	buf := make([]byte, 1<<20)
	f, err := os.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(buf); err != nil || look[a]() < 256 {
		t.Errorf("a read through the page cache leaves %d pages: this test sees nothing (%v)", look[a](), err)
	}
}
