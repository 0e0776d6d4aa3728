package e2e

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/daemon"
)

// Upgrades under fio: on a kernel without UBLK_F_QUIESCE the old program stops and the new one recovers. Nobody sees an error.
func TestUpgradeFio(t *testing.T) {
	needGuest(t)
	s, file, disks := crashBed(t, "")
	underFio(t, s.dev["life"], "upgrade", scaled(4, 25), func() time.Duration {
		var out daemon.UpgradeResult
		if code := tool(t, &out, "upgrade", "-c", file); code != 0 || !out.Done || out.Stall <= 0 {
			t.Fatalf("exit %d, %+v\n%s", code, out, s.err)
		}
		return time.Duration(out.Stall * float64(time.Millisecond))
	}, func() {})
	s.down()
	nothingLeft(t, disks...)
}

// Resizes under fio: its device grows, and in the same reload one beside it becomes smaller, or what it was. Its own device
// can become smaller only when nobody has it open, so that is done behind each run: what fio wrote is there as before.
func TestResizeFio(t *testing.T) {
	needGuest(t)
	if !has616(t) {
		t.Skip("UPDATE_SIZE is of Linux 6.16")
	}
	disks := pathDisks(nullBlk(t, 64, withCache), nullBlk(t, 64, withCache))
	const least, step = fioSpan / 512, 64 // sectors
	sectors, beside := least, []int{16384, 8192}
	reloads := 0
	file := func() string {
		more := ""
		if sectors > least {
			more = fmt.Sprintf("\n%d %d linear b 8", least, sectors-least)
		}
		return disks + tableDevice("data", fmt.Sprintf("0 %d striped 1 16 a 8%s", least, more)) +
			tableDevice("beside", fmt.Sprintf("0 %d linear b 100000", beside[reloads%2]))
	}
	s := up(t, file())
	c := client(t, s.file)
	reload := func() time.Duration {
		reloads++
		s.rewrite(file())
		r, err := c.Reload(t.Context(), daemon.ReloadRequest{Shrink: true})
		if err != nil || r.Changes != 2 {
			t.Fatalf("reload %d, to %d sectors: %v: %+v\n%s", reloads, sectors, err, r, s.err)
		}
		for name, want := range map[string]int{"data": sectors, "beside": beside[reloads%2]} {
			if got := capacity(t, s.dev[name]); got != uint64(want) {
				t.Fatalf("reload %d: %s has %d sectors, want %d", reloads, name, got, want)
			}
		}
		return time.Duration(r.Stall * float64(time.Second))
	}
	shrunk := 0
	underFio(t, s.dev["data"], "resize", scaled(10, 10), func() time.Duration {
		sectors += step
		return reload()
	}, func() {
		was := whole(t, s.dev["data"])[:fioSpan]
		sectors = least
		reload()
		shrunk++
		if is := whole(t, s.dev["data"]); !bytes.Equal(is, was) {
			t.Errorf("what is left is not what was there: %d bytes, of %d", len(is), len(was))
		}
	})
	t.Logf("made smaller %d times", shrunk)
	if st := status(t, s, "data"); st.Errors != 0 {
		t.Errorf("%d errors", st.Errors)
	}
}
