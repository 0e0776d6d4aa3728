package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// One fio measures all contenders, in turn, and each one's server is looked at when its section begins and when the next
// does. Files stand for devices, this process for a server.
func TestRound(t *testing.T) {
	if _, err := exec.LookPath("fio"); err != nil {
		t.Skip("needs fio")
	}
	b := &bencher{dir: t.TempDir()}
	var all []*contender
	for _, name := range []string{"a", "b", "c"} {
		file := filepath.Join(b.dir, name)
		if err := os.WriteFile(file, make([]byte, 4<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		all = append(all, &contender{name: name, node: file})
	}
	all[1].pids = []int{os.Getpid()}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for ctx.Err() == nil { // a server that is busy
		}
	}()
	for _, j := range []job{{"two", "randread", "4k", 4, 2}, {"w", "write", "64k", 1, 1}} {
		samples, err := b.round(j, 150*time.Millisecond, all)
		if err != nil {
			t.Fatal(err)
		}
		if len(samples) != 3 {
			t.Fatalf("%d samples", len(samples))
		}
		for i, s := range samples {
			if s.Contender != all[i].name || s.Job != j.name || s.IOPS <= 0 || s.P50 <= 0 || s.P99 < s.P50 || s.Requests < 1 {
				t.Errorf("%+v", s)
			}
			if busy := time.Duration(s.CPU * s.Requests * 1000); (i == 1) != (busy > 20*time.Millisecond) {
				t.Errorf("%s: a server that was busy for %v", s.Contender, busy)
			}
			if (s.RSS > 0) != (i == 1) {
				t.Errorf("%s: RSS %d KiB", s.Contender, s.RSS)
			}
		}
	}
	all[0].node = filepath.Join(b.dir, "no/such")
	if _, err := b.round(job{"none", "read", "4k", 1, 1}, 50*time.Millisecond, all); err == nil {
		t.Error("a device that is not there was measured")
	}
}
