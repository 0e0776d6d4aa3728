package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// A disk that fails is seen: status has the errors by operation, the errno and the sector of the last; the log has a line at
// once and few more, however many there are, and so have the events, with the number; and the disk that does not fail has
// none. A reload leaves the counters as they are.
func TestHealth(t *testing.T) {
	anyKernel(t)
	const size = 64 << 11
	bad := dmCreate(t, "health", badTable(nullBlk(t, 64), size))
	text := pathDisks(bad, nullBlk(t, 64)) + tableDevice("data", fmt.Sprintf("0 %d linear a 8\n%d 1024 linear b 0", size-8, size-8))
	s := up(t, text)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var followed []daemon.Event
	over, c := make(chan error, 1), client(t, s.file)
	go func() {
		over <- c.Events(ctx, 0, true, func(x daemon.Event) error {
			mu.Lock()
			defer mu.Unlock()
			followed = append(followed, x)
			return nil
		})
	}()
	told := func() (errors uint64, lines int, last daemon.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, x := range followed {
			if x.Kind == daemon.DiskFails {
				errors, lines, last = errors+x.Errors, lines+1, x
			}
		}
		return errors, lines, last
	}

	fd, b := openDirect(t, s.dev["data"]), pages(t, 4096)
	const writes = 300
	for i := range writes {
		if _, e := transfer(fd, true, b, badStart-8+uint64(i%10)*8); e != unix.EIO {
			t.Fatalf("write %d: %v, want EIO", i, e)
		}
	}
	if _, e := transfer(fd, true, b, 0); e != 0 {
		t.Fatal(e)
	}
	if _, e := transfer(fd, true, b, size-8); e != 0 {
		t.Fatal(e)
	}
	check := func(when string) {
		t.Helper()
		st, err := c.Status(t.Context(), "data")
		if err != nil {
			t.Fatal(err)
		}
		a, good := st.Disks[0], st.Disks[1]
		w := a.IO["write"]
		if w.Errors < writes || w.Commands <= w.Errors || w.P99 <= 0 || w.Max < w.P99 || w.P99 < w.P50 {
			t.Errorf("%s: writes of a %+v", when, w)
		}
		if e := a.LastError; e == nil || e.Errno != "EIO" || e.Op != "write" || e.Sector != badStart+uint64(writes-1)%10*8 {
			t.Errorf("%s: last error of a %+v", when, e)
		}
		if g := good.IO["write"]; g.Commands == 0 || g.Errors != 0 || g.Bytes == 0 || good.LastError != nil {
			t.Errorf("%s: writes of b %+v, %+v", when, g, good.LastError)
		}
	}
	check("after the errors")
	within(t, "an event of every error", func() bool { n, _, _ := told(); return n >= writes })
	n, lines, last := told()
	if last.Disk != "a" || last.Device != "data" || last.Op != "write" || last.Errno != "EIO" || last.Sector == nil || *last.Sector < badStart || *last.Sector >= badStart+badLen {
		t.Errorf("event %+v", last)
	}
	// A line needs 10 s: even writes that took a minute leave few.
	if logged := strings.Count(s.err.String(), "a disk fails commands"); logged == 0 || logged > writes/10 || lines > writes/10 {
		t.Errorf("%d lines in the log and %d events of %d errors\n%s", logged, lines, n, s.err.String())
	}

	if err := os.WriteFile(s.file, []byte(strings.Replace(text, "1024 linear b 0", "2048 linear b 0", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Suspend(t.Context(), "data", daemon.SuspendRequest{Seconds: 300}); err != nil {
		t.Error(err)
	}
	if _, err := c.Resume(t.Context(), "data"); err != nil {
		t.Error(err)
	}
	kinds := []string{daemon.DeviceUp, daemon.DiskFails, daemon.DeviceSuspended, daemon.DeviceResumed}
	if _, err := c.Reload(t.Context(), daemon.ReloadRequest{}); err == nil {
		kinds = append(kinds, daemon.DeviceResized, daemon.Reloaded)
		check("after a reload")
	} else {
		t.Logf("no reload to a larger device here: %v", err) // before 6.16
	}
	within(t, "all events", func() bool {
		mu.Lock()
		defer mu.Unlock()
		at := 0
		for _, x := range followed {
			if at < len(kinds) && x.Kind == kinds[at] {
				at++
			}
		}
		return at == len(kinds)
	})
	if out := sh(t, "ublk-linear", "events", "-c", s.file); !strings.Contains(out, " disk-error disk a device data: write at sector ") {
		t.Errorf("no disk error in\n%s", out)
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
