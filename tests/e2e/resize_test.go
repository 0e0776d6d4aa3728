package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/daemon"
)

// A device grows again and again while all that it had is written and verified; what it grows by can be written at once. Before 6.16 the driver cannot: TestReloadGrow has what is said then.
func TestResizeUnderLoad(t *testing.T) {
	needGuest(t)
	if !has616(t) {
		t.Skip("UPDATE_SIZE is of Linux 6.16")
	}
	disks := pathDisks(nullBlk(t, 64, withCache), nullBlk(t, 64, withCache))
	const least, step = 16 * mib, mib / 8
	file := func(sectors int) string {
		more := ""
		if sectors > least {
			more = fmt.Sprintf("\n%d %d linear b 8", least, sectors-least)
		}
		return disks + tableDevice("data", fmt.Sprintf("0 %d striped 1 16 a 8%s", least, more))
	}
	s := up(t, file(least))
	c := client(t, s.file)
	node := s.dev["data"]
	plain := startBlocks(t, node, least, false)
	defer plain.end()
	fd := openDirect(t, node)
	n, sectors, longest := scaled(10, 10), least, 0.0
	for i := range n {
		sectors += step
		s.rewrite(file(sectors))
		plain.moves(10)
		r, err := c.Reload(t.Context(), daemon.ReloadRequest{})
		if err != nil || len(r.Devices) != 1 || r.Devices[0].NewSectors != uint64(sectors) {
			t.Fatalf("%d, to %d sectors: %v: %+v\n%s", i, sectors, err, r, s.err)
		}
		longest = max(longest, r.Stall)
		if got := capacity(t, node); got != uint64(sectors) {
			t.Fatalf("%d: %d sectors, want %d", i, got, sectors)
		}
		b := pages(t, blockSize) // the last block of what came
		fill(b, uint64(i))
		if k, e := transfer(fd, true, b, uint64(sectors)-blockSize/512); e != 0 || k != len(b) {
			t.Errorf("%d: the new end: %d %v", i, k, e)
		}
	}
	plain.end()
	t.Logf("%d times, the longest stall %.1f ms, the longest request %v", n, longest*1000, time.Duration(plain.longest.Load()).Round(time.Millisecond))
}
