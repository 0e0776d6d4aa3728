package e2e

import (
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/daemon"
)

// Reloads to the same places in other words, moves of all blocks to other places, suspensions and upgrades, while blocks
// are read, written and copied: nobody sees an error, and every history is one that some order explains.
func TestHistoryReload(t *testing.T) {
	needGuest(t)
	cleared(t)
	const ms = 60
	under := map[string]string{"a": nullBlk(t, 16), "b": nullBlk(t, 16)}
	slow, _ := delayed(t, "past-reload", under["a"], ms)
	raws := map[string]*raw{"a": openRaw(t, under["a"]), "b": openRaw(t, under["b"])}
	disks, mem := pathDisks(slow, under["b"]), aligned(t, register)
	var now shape
	s := up(t, disks+tableDevice("past", now.table()))
	a := act(t, s, "past", false)
	c := client(t, s.file)
	reload := func(to shape, moved uint64) {
		t.Helper()
		s.rewrite(disks + tableDevice("past", to.table()))
		r, err := c.Reload(t.Context(), daemon.ReloadRequest{})
		if err != nil || r.Changes != 1 || r.Devices[0].Moved != moved {
			t.Fatalf("reload: %v: %+v", err, r)
		}
		now = to
	}
	// move carries the blocks to their new places below the server, as someone does who empties a disk; what stays in the
	// old ones is nobody's.
	move := func() {
		t.Helper()
		a.still.Lock() // a copy would wait for the device, and the reload for the copy
		defer a.still.Unlock()
		if _, err := c.Suspend(t.Context(), "past", daemon.SuspendRequest{Seconds: 60}); err != nil {
			t.Fatal(err)
		}
		to := shape{moved: !now.moved, cut: now.cut}
		for b := range uint64(pastBlocks) {
			disk, at := now.place(b)
			if _, err := raws[disk].ReadAt(mem, int64(at)*512); err != nil {
				t.Fatal(err)
			}
			disk2, at2 := to.place(b)
			if _, err := raws[disk2].WriteAt(mem, int64(at2)*512); err != nil {
				t.Fatal(err)
			}
			stampBlock(mem, 1<<60)
			if _, err := raws[disk].WriteAt(mem, int64(at)*512); err != nil {
				t.Fatal(err)
			}
		}
		reload(to, pastSectors)
		if _, err := c.Resume(t.Context(), "past"); err != nil {
			t.Fatal(err)
		}
	}
	var reloads, moves, upgrades int
	for end := time.Now().Add(time.Duration(scaled(6, 10)) * time.Second); (time.Now().Before(end) || upgrades == 0 || !a.enough()) && !t.Failed(); {
		for range 3 {
			reload(shape{moved: now.moved, cut: !now.cut}, 0)
			reloads++
			time.Sleep(20 * time.Millisecond)
		}
		for range 2 {
			move()
			moves++
			time.Sleep(50 * time.Millisecond)
		}
		if moves%4 == 0 {
			a.still.Lock()
			exits(t, 0, "upgrade", "-c", s.file)
			a.still.Unlock()
			upgrades++
		}
	}
	a.end("reload")
	t.Logf("%d reloads, %d moves, %d upgrades", reloads, moves, upgrades)
}
