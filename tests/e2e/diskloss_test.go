package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// A disk is taken away under verified writes and comes back: nobody sees an error, what was answered is there, and others'
// disks are not held up meanwhile. Where the disk has a cache, the first flush afterwards fails and the next does not.
func TestDiskLoss(t *testing.T) {
	needGuest(t)
	scsi := scsiDisks(t, 2, 64, 512)
	for _, c := range []struct {
		loss  func() loss
		cache bool
	}{
		{func() loss { return offlineLoss(t, scsi[0]) }, false},
		{func() loss { return scsiLoss(t, scsi[0]) }, false},
		{func() loss { return nvmeLoss(t, "cpa") }, true},
	} {
		l := c.loss()
		t.Run(l.what, func(t *testing.T) {
			cleared(t)
			more := noCache
			if c.cache {
				more = ""
			}
			s := up(t, parkConfig(l.node, scsi[1], "park:60s", more))
			fd, b := openDirect(t, s.dev["data"]), pages(t, 4096)
			for i := range uint64(64) {
				stampBlock(b, 1000+i)
				if _, e := transfer(fd, true, b, 1024+8*i); e != 0 {
					t.Fatal(e)
				}
			}
			on, beside, other := startWriter(t, s.dev["data"], 8), startWriter(t, s.dev["data"], 65536+8), startWriter(t, s.dev["other"], 8)
			n := commandsOf(t, s, 0)
			within(t, "writes", func() bool { return commandsOf(t, s, 0) > n+10 })
			l.away(t)
			d := diskState(t, s, daemon.DiskParked)
			within(t, "a parked command", func() bool { return state(t, s, "data").Disks[0].Parked > 0 })
			n = commandsOf(t, s, 1)
			within(t, "writes beside it", func() bool { return commandsOf(t, s, 1) > n+20 })
			if st := state(t, s, "data"); len(st.Stalled) != 0 || st.Errors != 0 || d.Since == nil {
				t.Errorf("stalled %+v, %d errors, since %v", st.Stalled, st.Errors, d.Since)
			}
			l.back(t)
			d = diskState(t, s, daemon.DiskPresent)
			n = commandsOf(t, s, 0)
			within(t, "writes afterwards", func() bool { return commandsOf(t, s, 0) > n+10 })
			on.end(t)
			beside.end(t)
			other.end(t)
			for i := range uint64(64) {
				if _, e := transfer(fd, false, b, 1024+8*i); e != 0 {
					t.Fatal(e)
				} else if got, whole := blockValue(b); got != 1000+i || !whole {
					t.Fatalf("block %d has %d", i, got)
				}
			}
			if d.Returned == nil || d.Returned.Unflushed != c.cache {
				t.Errorf("returned: %+v", d.Returned)
			}
			first := unix.Fsync(fd)
			if c.cache && first != unix.EIO || !c.cache && first != nil {
				t.Errorf("the first flush: %v", first)
			}
			if err := unix.Fsync(fd); err != nil {
				t.Errorf("the next: %v", err)
			}
			if x := eventsOf(t, s, daemon.DiskGone, daemon.DiskReturned); len(x) != 2 || x[0].Disk != "a" || x[1].Kind != daemon.DiskReturned || (x[1].Error != "") != c.cache {
				t.Errorf("events %+v", x)
			}
			exits(t, 0, "status", "data", "-c", s.file)
		})
		if t.Failed() {
			return
		}
		scsi = scsiNodes(t, 2)
	}
}

// What waits fails when its time is over, and what comes then fails at once. Another disk is not taken for the one that is
// gone; that is, also then.
func TestDiskLossTimesOut(t *testing.T) {
	anyKernel(t)
	cleared(t)
	scsi := scsiDisks(t, 2, 64, 512)
	l := scsiLoss(t, scsi[0])
	const park = 2 * time.Second
	s := up(t, parkConfig(scsi[0], scsi[1], "park:2s", noCache))
	fd, b := openDirect(t, s.dev["data"]), pages(t, 4096)
	l.away(t)
	began := time.Now()
	if _, e := transfer(fd, true, b, 8); e != unix.EIO {
		t.Errorf("parked write: %v", e)
	}
	if d := time.Since(began); d < park || d > park+3*time.Second {
		t.Errorf("it failed after %v", d)
	}
	diskState(t, s, daemon.DiskLost)
	began = time.Now()
	if _, e := transfer(fd, false, b, 16); e != unix.EIO || time.Since(began) > time.Second {
		t.Errorf("read of a lost disk: %v after %v", e, time.Since(began))
	}
	put(t, "/sys/bus/pseudo/drivers/scsi_debug/add_host", "1")
	scsiNodes(t, 2)
	time.Sleep(time.Second) // five looks
	diskState(t, s, daemon.DiskLost)
	l.back(t)
	d := diskState(t, s, daemon.DiskPresent)
	if d.Node == scsi[0] {
		t.Errorf("it is still at %s", d.Node)
	}
	if _, e := transfer(fd, true, b, 8); e != 0 {
		t.Errorf("write when it is back: %v", e)
	}
	if x := eventsOf(t, s, daemon.ParkTimedOut); len(x) != 1 || x[0].Device != "data" || x[0].Disk != "a" || x[0].Errors != 1 {
		t.Errorf("events %+v", x)
	}
	put(t, "/sys/bus/pseudo/drivers/scsi_debug/add_host", "-1")
}

// A disk that is back and cannot be what it was is not taken: devices that were announced without a cache, so that nobody
// flushes them, do not get a disk with one. When that is mended, it is.
func TestDiskLossUnfit(t *testing.T) {
	anyKernel(t)
	cleared(t)
	scsi := scsiDisks(t, 2, 64, 512)
	for _, n := range scsi {
		put(t, "/sys/block/"+filepath.Base(n)+"/queue/write_cache", "write through")
	}
	l := scsiLoss(t, scsi[0])
	s := up(t, parkConfig(scsi[0], scsi[1], "park:1h", ""))
	w := startWriter(t, s.dev["data"], 8)
	l.away(t)
	diskState(t, s, daemon.DiskParked)
	l.back(t)
	within(t, "the disk is refused", func() bool {
		x := eventsOf(t, s, daemon.DiskUnfit)
		return len(x) > 0 && strings.Contains(x[0].Error, "write_cache")
	})
	diskState(t, s, daemon.DiskParked)
	var fresh string
	for _, n := range scsiNodes(t, 2) {
		if n != scsi[1] {
			fresh = n
		}
	}
	put(t, "/sys/block/"+filepath.Base(fresh)+"/queue/write_cache", "write through")
	if d := diskState(t, s, daemon.DiskPresent); d.Node != fresh || d.Returned == nil || d.Returned.Unflushed {
		t.Errorf("%+v, want %s", d, fresh)
	}
	w.end(t)
}

// While requests wait, what would wait for them is refused and says why; down ends them.
func TestDownBesideParked(t *testing.T) {
	anyKernel(t)
	cleared(t)
	scsi := scsiDisks(t, 2, 64, 512)
	l := scsiLoss(t, scsi[0])
	s, err := tryUp(t, writeConfig(t, parkConfig(scsi[0], scsi[1], "park:1h", noCache)))
	if err != nil {
		t.Fatal(err)
	}
	fd, b := openDirect(t, s.dev["data"]), pages(t, 4096)
	l.away(t)
	failed := make(chan unix.Errno, 1)
	go func() {
		_, e := transfer(fd, true, b, 8)
		failed <- e
	}()
	within(t, "a parked command", func() bool { return state(t, s, "data").Disks[0].Parked > 0 })
	diskState(t, s, daemon.DiskParked)
	for _, args := range [][]string{{"suspend", "data"}, {"upgrade", "--binary", "/proc/self/exe"}} {
		out, _ := exec.Command("ublk-linear", append(args, "-c", s.file)...).CombinedOutput()
		if !strings.Contains(string(out), "disk a is gone") {
			t.Errorf("%v: %s", args, out)
		}
	}
	if len(failed) != 0 {
		t.Errorf("the write has failed: %v", <-failed)
	}
	began := time.Now()
	exits(t, 0, "down", "--force", "-c", s.file)
	within(t, "the server has gone", func() bool { return len(s.done) == 1 })
	if d := time.Since(began); d > 15*time.Second {
		t.Errorf("down took %v", d)
	}
	if e := <-failed; e != unix.EIO {
		t.Errorf("the write: %v", e)
	}
	_ = unix.Close(fd)
	if err := <-s.done; err != nil {
		t.Errorf("the server: %v", err)
	}
	l.back(t)
	scsiNodes(t, 2)
	nothingLeft(t)
}

// A disk that fails what the kernel reads while the device is started does not keep it from starting.
func TestParkBesideStart(t *testing.T) {
	anyKernel(t)
	cleared(t)
	scsi := scsiDisks(t, 2, 64, 512)
	began := time.Now()
	s := inject(t, parkConfig(scsi[0], scsi[1], "park:1h", noCache), `disk = "a"; op = "read"; range = "0s+64s"; action = "eio"; count = 2`)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	if st := state(t, s, "data"); st.Errors == 0 {
		t.Errorf("the fault was met by nobody: %+v", st.Faults)
	}
}

// A disk that fails a command and is there fails it, as without park; and a disk that says nothing of itself cannot be waited
// for.
func TestParkIsForDisksThatVanish(t *testing.T) {
	anyKernel(t)
	cleared(t)
	scsi := scsiDisks(t, 2, 64, 512)
	s := inject(t, parkConfig(scsi[0], scsi[1], "park:1h", noCache), `disk = "a"; op = "read"; range = "2MiB+64KiB"; action = "eio"; nth = 1`)
	fd, b := openDirect(t, s.dev["data"]), pages(t, 4096)
	began := time.Now()
	if _, e := transfer(fd, false, b, 4096); e != unix.EIO || time.Since(began) > 5*time.Second {
		t.Errorf("read: %v after %v", e, time.Since(began))
	}
	if _, e := transfer(fd, false, b, 4096); e != 0 {
		t.Errorf("the next: %v", e)
	}
	if d := diskState(t, s, daemon.DiskPresent); d.Parked != 0 || len(eventsOf(t, s, daemon.DiskGone)) != 0 {
		t.Errorf("%+v", d)
	}
	refused(t, strings.Replace(pathDisks(nullBlk(t, 16))+tableDevice("data", "0 1024 linear a 0"), "[device.data]", "[device.data]\non_disk_loss = \"park:30s\"", 1), 3,
		fmt.Sprintf("on_disk_loss = %q of device %q: disk %q", "park:30s", "data", "a"), "has no identity to know it again by")
}
