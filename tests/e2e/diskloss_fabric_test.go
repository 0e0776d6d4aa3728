package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

const fabricNQN = "nqn.2014-08.io.ublk-linear:e2e"

// fabricLoss is an NVMe namespace behind TCP, whose target goes and comes back. After a second without it, the host fails what
// it has kept (fast_io_fail_tmo), and goes on to connect.
func fabricLoss(t *testing.T) loss {
	t.Helper()
	sh(t, "modprobe", "nvmet-tcp")
	sh(t, "modprobe", "nvme-tcp")
	const nvmet = "/sys/kernel/config/nvmet/"
	subsystem, port := nvmet+"subsystems/"+fabricNQN, nvmet+"ports/7"
	disk := nullBlk(t, 64)
	for _, dir := range []string{subsystem, subsystem + "/namespaces/1", port} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
	}
	put(t, subsystem+"/attr_allow_any_host", "1")
	put(t, subsystem+"/namespaces/1/device_path", disk)
	put(t, subsystem+"/namespaces/1/enable", "1")
	t.Cleanup(func() { put(t, subsystem+"/namespaces/1/enable", "0") })
	put(t, port+"/addr_trtype", "tcp")
	put(t, port+"/addr_adrfam", "ipv4")
	put(t, port+"/addr_traddr", "127.0.0.1")
	put(t, port+"/addr_trsvcid", "4420")
	link := port + "/subsystems/" + fabricNQN
	back := func(t *testing.T) {
		if err := os.Symlink(subsystem, link); err != nil {
			t.Fatal(err)
		}
	}
	back(t)
	t.Cleanup(func() { _ = os.Remove(link) })

	f, err := os.OpenFile("/dev/nvme-fabrics", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "transport=tcp,traddr=127.0.0.1,trsvcid=4420,nqn=%s,hostnqn=%s:host,hostid=7b7a1c7e-6d0c-4b5a-9b55-0d1d3a7c9e01,fast_io_fail_tmo=1,reconnect_delay=1,ctrl_loss_tmo=600", fabricNQN, fabricNQN); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 256)
	n, err := f.Read(said)
	if err != nil {
		t.Fatal(err)
	}
	instance := -1
	if _, err := fmt.Sscanf(string(said[:n]), "instance=%d", &instance); err != nil {
		t.Fatalf("%q: %v", said[:n], err)
	}
	controller := fmt.Sprintf("/sys/class/nvme/nvme%d", instance)
	t.Cleanup(func() { put(t, controller+"/delete_controller", "1") })
	node := ""
	within(t, "the namespace", func() bool {
		all, _ := filepath.Glob("/sys/class/nvme-subsystem/*/nvme*n1/size")
		for _, s := range all {
			nqn, _ := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(s)), "subsysnqn"))
			if strings.TrimSpace(string(nqn)) == fabricNQN {
				node = "/dev/" + filepath.Base(filepath.Dir(s))
			}
		}
		_, err := os.Stat(node)
		return err == nil
	})
	return loss{"an NVMe disk whose only path fails", node, func(t *testing.T) {
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}, back}
}

// The paths to a disk fail and the disk is still there, of full size, behind a controller that connects: what the host then
// fails waits, and is sent when a path is back.
func TestDiskLossPaths(t *testing.T) {
	needGuest(t)
	cleared(t)
	scsi := scsiDisks(t, 1, 64, 512)
	l := fabricLoss(t)
	s := up(t, parkConfig(l.node, scsi[0], "park:60s", noCache))
	on, beside := startWriter(t, s.dev["data"], 8), startWriter(t, s.dev["data"], 65536+8)
	n := commandsOf(t, s, 0)
	within(t, "writes", func() bool { return commandsOf(t, s, 0) > n+10 })
	l.away(t)
	began := time.Now()
	diskState(t, s, daemon.DiskParked)
	if _, err := os.Stat(l.node); err != nil {
		t.Errorf("the disk went: %v", err)
	}
	t.Logf("parked after %v", time.Since(began).Round(time.Millisecond))
	n = commandsOf(t, s, 1)
	within(t, "writes beside it", func() bool { return commandsOf(t, s, 1) > n+20 })
	l.back(t)
	d := diskState(t, s, daemon.DiskPresent)
	n = commandsOf(t, s, 0)
	within(t, "writes afterwards", func() bool { return commandsOf(t, s, 0) > n+10 })
	on.end(t)
	beside.end(t)
	if d.Node != l.node || d.Returned == nil || d.Returned.Unflushed {
		t.Errorf("%s came back at %s: %+v", l.node, d.Node, d.Returned)
	}
	if st := state(t, s, "data"); st.Errors != 0 {
		t.Errorf("%d errors", st.Errors)
	}
	fd := openDirect(t, s.dev["data"])
	if err := unix.Fsync(fd); err != nil {
		t.Error(err)
	}
}
