package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// A controller that goes may take long, since it waits for what it has been given. Meanwhile the disk of its subsystem, which
// is what is opened, is there and of full size, and fails what comes with EIO: that is no failure of a disk that is there.
func TestDiskLossWhileItGoes(t *testing.T) {
	needGuest(t)
	cleared(t)
	scsi := scsiDisks(t, 1, 64, 512)
	l := nvmeLoss(t, "cpt") // 1 MiB/s
	head := filepath.Base(l.node)
	instance, namespace, _ := strings.Cut(strings.TrimPrefix(head, "nvme"), "n")
	paths, _ := filepath.Glob("/sys/class/nvme/nvme*/nvme" + instance + "c*n" + namespace)
	if len(paths) != 1 {
		t.Fatalf("the paths to %s: %q", head, paths)
	}
	s := up(t, parkConfig(l.node, scsi[0], "park:60s", noCache))
	fd, b := openDirect(t, s.dev["data"]), pages(t, 4096)
	raw, slow := openDirect(t, l.node), pages(t, 4<<20)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait) // before the memory goes
	wg.Go(func() { transfer(raw, false, slow, 0) })
	within(t, "a read under way", func() bool {
		n, err := os.ReadFile(paths[0] + "/inflight")
		return err == nil && !strings.HasPrefix(strings.TrimSpace(string(n)), "0 ")
	})
	var went time.Duration
	wg.Go(func() {
		began := time.Now()
		l.away(t)
		went = time.Since(began)
	})
	within(t, "the controller goes", func() bool {
		state, err := os.ReadFile(filepath.Dir(paths[0]) + "/state")
		return err != nil || strings.HasPrefix(string(state), "deleting")
	})
	done := make(chan unix.Errno, 1)
	began := time.Now()
	wg.Go(func() {
		stampBlock(b, 7)
		_, e := transfer(fd, true, b, 8)
		done <- e
	})
	diskState(t, s, daemon.DiskParked)
	parked := time.Since(began)
	_, err := os.Stat("/sys/block/" + head)
	t.Logf("parked after %v, when the disk was still there: %v", parked.Round(time.Millisecond), err == nil)
	if err != nil {
		t.Error("the disk was not slow to go: nothing was shown")
	}
	within(t, "the disk is gone", func() bool { _, err := os.Stat("/sys/block/" + head); return err != nil })
	l.back(t)
	diskState(t, s, daemon.DiskPresent)
	if e := <-done; e != 0 {
		t.Errorf("the write that waited: %v", e)
	}
	if _, e := transfer(fd, false, b, 8); e != 0 {
		t.Error(e)
	} else if got, whole := blockValue(b); got != 7 || !whole {
		t.Errorf("%d is there", got)
	}
	wg.Wait()
	t.Logf("it went in %v", went.Round(time.Millisecond))
}
