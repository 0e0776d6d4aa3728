package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/daemon"
)

// parkConfig is two disks under the device data, and one on the second disk alone that does not park. more is of disk a.
func parkConfig(a, b, policy, more string) string {
	return pathDisks(a, b) + more + strings.Replace(tableDevice("data", "0 65536 linear a 8\n65536 32768 linear b 8"), "[device.data]", "[device.data]\non_disk_loss = \""+policy+"\"", 1) +
		tableDevice("other", "0 16384 linear b 40000")
}

// noCache says of disk a that nothing is lost with its cache.
const noCache = "[disk.a.limits]\nvolatile_cache = false\n"

// loss is a disk that a test takes away and brings back.
type loss struct {
	what       string
	node       string
	away, back func(t *testing.T)
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// scsiLoss deletes a SCSI device, and finds it again by a scan of its host: it is another block device then.
func scsiLoss(t *testing.T, node string) loss {
	t.Helper()
	dev, err := filepath.EvalSymlinks("/sys/block/" + filepath.Base(node) + "/device")
	if err != nil {
		t.Fatal(err)
	}
	host := dev[strings.Index(dev, "/host")+1:]
	host, _, _ = strings.Cut(host, "/")
	return loss{"a SCSI disk that is deleted", node,
		func(t *testing.T) { put(t, dev+"/delete", "1") },
		func(t *testing.T) { put(t, "/sys/class/scsi_host/"+host+"/scan", "- - -") }}
}

// offlineLoss sets a SCSI device offline, and running again: it is the same block device.
func offlineLoss(t *testing.T, node string) loss {
	t.Helper()
	state := "/sys/block/" + filepath.Base(node) + "/device/state"
	return loss{"a SCSI disk that is offline", node,
		func(t *testing.T) { put(t, state, "offline\n") },
		func(t *testing.T) { put(t, state, "running\n") }}
}

// nvmeLoss takes an NVMe controller off its bus, and finds it again by a scan of that.
func nvmeLoss(t *testing.T, serial string) loss {
	t.Helper()
	name := nvmeBySerial(t, serial)
	dev := ""
	all, _ := filepath.Glob("/sys/class/nvme/nvme*/serial") // the disk itself may hang on a subsystem (multipath)
	for _, f := range all {
		if b, _ := os.ReadFile(f); strings.TrimSpace(string(b)) == serial {
			dev, _ = filepath.EvalSymlinks(filepath.Dir(f) + "/device")
		}
	}
	if !strings.Contains(dev, "pci") {
		t.Fatalf("the controller of %s is at %q", name, dev)
	}
	l := loss{"an NVMe disk that is taken off its bus", "/dev/" + name,
		func(t *testing.T) { put(t, dev+"/remove", "1") },
		func(t *testing.T) { put(t, "/sys/bus/pci/rescan", "1") }}
	t.Cleanup(func() { // other tests need it
		put(t, "/sys/bus/pci/rescan", "1")
		within(t, serial+" is back", func() bool {
			found, _ := filepath.Glob("/sys/block/nvme*n*/device/serial")
			for _, f := range found {
				if b, _ := os.ReadFile(f); strings.TrimSpace(string(b)) == serial {
					return true
				}
			}
			return false
		})
	})
	return l
}

// diskState waits until a device's first disk is in a state.
func diskState(t *testing.T, s *server, want string) daemon.DiskStatus {
	t.Helper()
	var d daemon.DiskStatus
	if !within(t, "disk a is "+want, func() bool { d = state(t, s, "data").Disks[0]; return d.State == want }) {
		t.Fatalf("it is %+v\n%s", d, s.err)
	}
	return d
}

// eventsOf are the events of some kinds, as their lines.
func eventsOf(t *testing.T, s *server, kinds ...string) (out []daemon.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	err := client(t, s.file).Events(ctx, 0, false, func(x daemon.Event) error {
		for _, k := range kinds {
			if x.Kind == k {
				out = append(out, x)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// scsiNodes are the disks of scsi_debug as they are named now.
func scsiNodes(t *testing.T, n int) (nodes []string) {
	t.Helper()
	if !within(t, "disks of scsi_debug", func() bool {
		nodes = nil
		found, _ := filepath.Glob("/sys/bus/pseudo/devices/adapter*/host*/target*/*/block/sd*")
		for _, f := range found {
			nodes = append(nodes, "/dev/"+filepath.Base(f))
		}
		return len(nodes) == n
	}) {
		t.Fatal(nodes)
	}
	return nodes
}

// commandsOf is how many commands a disk of data has answered.
func commandsOf(t *testing.T, s *server, disk int) (n uint64) {
	t.Helper()
	for _, io := range state(t, s, "data").Disks[disk].IO {
		n += io.Commands
	}
	return n
}
