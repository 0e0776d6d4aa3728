package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limitDisk is a disk that limits are read of. Of a disk and its partitions dm has either the one or the others.
type limitDisk struct {
	what, node string
	whole      string // a partition's disk, by its node
	sectors    uint64
	lbs, pbs   uint64 // in sectors
	zone       uint64 // sectors of a zone, 0: not zoned
	dev        uint32 // sectors that it takes at most, where sysfs hides it; 0: it does not
}

func (d *limitDisk) name() string { return filepath.Base(d.node) }

func newLimitDisk(t *testing.T, what, node, whole string) *limitDisk {
	t.Helper()
	d := &limitDisk{what: what, node: node, whole: whole, sectors: number(t, "/sys/class/block/"+filepath.Base(node)+"/size")}
	q := node
	if whole != "" {
		q = whole
	}
	d.lbs, d.pbs = queue(t, q, "logical_block_size")/512, queue(t, q, "physical_block_size")/512
	if queueText(t, q, "zoned") != "none" {
		d.zone = queue(t, q, "chunk_sectors")
	}
	return d
}

// limitDisks makes the disks of a whole run: two NVMe of QEMU's and their partitions, null_blk, loop, brd, and dm devices
// as dm has them too. Each has 32 MiB and more, a partition somewhat less.
func limitDisks(t *testing.T) []*limitDisk {
	t.Helper()
	var out []*limitDisk
	add := func(what, node string) { out = append(out, newLimitDisk(t, what, node, "")) }
	parts := func(what, node string, starts ...uint64) {
		for _, p := range addParts(t, node, starts...) {
			out = append(out, newLimitDisk(t, what, p, node))
		}
	}
	a, b := "/dev/"+nvmeBySerial(t, "cpa"), "/dev/"+nvmeBySerial(t, "cpb")
	add("nvme 512", a)
	add("nvme 4Kn", b)
	parts("nvme part", a, 63, 50001)
	parts("nvme 4Kn part", b, 56)
	add("null", nullBlk(t, 64, withCache))
	add("null no discard", nullBlk(t, 64, "discard=0", "max_sectors=255"))
	set := func(node, attr, v string) {
		if err := os.WriteFile("/sys/class/block/"+filepath.Base(node)+"/queue/"+attr, []byte(v), 0); err != nil {
			t.Fatal(err)
		}
	}
	set(out[len(out)-1].node, "rotational", "1")
	add("null 4Kn", nullBlk(t, 64, "blocksize=4096", "max_sectors=64", withCache, "fua=0"))
	add("null virt", nullBlk(t, 64, "virt_boundary=1", "max_sectors=255"))
	add("null 2K", nullBlk(t, 64, "blocksize=2048", "max_sectors=65535"))
	add("null large", nullBlk(t, 64, "max_sectors=2000000"))
	add("loop", loopDisk(t, 512))
	add("loop 4K", loopDisk(t, 4096))
	add("brd", ramDisk(t))
	// Discard capped at 0. The kernel lets nobody take that back: it wants a multiple of the granularity, which is 0 then.
	for _, attrs := range [][]string{{"max_sectors=2048"}, {"blocksize=4096"}} {
		node := nullBlk(t, 64, attrs...)
		set(node, "discard_max_bytes", "0")
		add("null discard off", node)
	}
	c := nullBlk(t, 128)
	add("dm odd", dmCreate(t, "leg-odd", fmt.Sprintf("0 129600 striped 3 2160 %[1]s 0 %[1]s 43200 %[1]s 86400", c)))
	add("dm large", dmCreate(t, "leg-large", fmt.Sprintf("0 131072 striped 2 16384 %[1]s 131072 %[1]s 196608", c)))
	add("zoned", nullBlk(t, 34, "zoned=1", "zone_size=4"))
	add("zoned 4Kn", nullBlk(t, 32, "zoned=1", "zone_size=4", "blocksize=4096"))
	add("zoned large", nullBlk(t, 32, "zoned=1", "zone_size=8"))
	return out
}

// addParts tells the kernel of partitions of a disk, at sectors that no partitioning program would take, and returns
// their nodes.
func addParts(t *testing.T, node string, starts ...uint64) []string {
	t.Helper()
	var out []string
	for i, at := range starts {
		no := strconv.Itoa(i + 1)
		sh(t, "addpart", node, no, strconv.FormatUint(at, 10), "24000")
		t.Cleanup(func() { sh(t, "delpart", node, no) })
		part := node + no
		if strings.ContainsAny(node[len(node)-1:], "0123456789") {
			part = node + "p" + no
		}
		within(t, part, func() bool {
			_, err := os.Stat(part)
			return err == nil
		})
		out = append(out, part)
	}
	return out
}

// loopDisk is a loop device of a logical block size over a file in memory.
func loopDisk(t *testing.T, block int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "loop")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	node := strings.TrimSpace(sh(t, "losetup", "--find", "--show", "--sector-size", strconv.Itoa(block), file))
	t.Cleanup(func() { sh(t, "losetup", "-d", node) })
	return node
}

// ramDisk is a disk of brd, which the guest has without any.
func ramDisk(t *testing.T) string {
	t.Helper()
	_ = exec.Command("rmmod", "brd").Run()
	sh(t, "modprobe", "brd", "rd_nr=1", "rd_size=65536")
	t.Cleanup(func() {
		removeModule(t, "brd")
		sh(t, "modprobe", "brd", "rd_nr=0")
	})
	return "/dev/ram0"
}

// removeModule waits for the last close of its disks, which is asynchronous.
func removeModule(t *testing.T, name string) {
	t.Helper()
	var out []byte
	var err error
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if out, err = exec.Command("rmmod", name).CombinedOutput(); err == nil {
			return
		}
	}
	t.Errorf("rmmod %s: %v\n%s", name, err, out)
}

// scsiHosts makes n disks of scsi_debug with parameters of the module, which are the same for all, and returns their
// nodes. They share their 32 MiB.
func scsiHosts(t *testing.T, n int, params ...string) []string {
	t.Helper()
	sh(t, "modprobe", "sd_mod")
	_ = exec.Command("rmmod", "scsi_debug").Run()
	sh(t, "modprobe", append([]string{"scsi_debug", "delay=0", "dev_size_mb=32", "add_host=" + strconv.Itoa(n)}, params...)...)
	t.Cleanup(func() { removeModule(t, "scsi_debug") })
	var nodes []string
	ready := func() bool {
		nodes = nil
		found, _ := filepath.Glob("/sys/bus/pseudo/devices/adapter*/host*/target*/*/block/sd*")
		for _, f := range found {
			// A disk is visible before it is added; its symbolic link in class/block comes last but one.
			b, _ := os.ReadFile(filepath.Join(f, "size"))
			node := "/dev/" + filepath.Base(f)
			d, err := os.OpenFile(node, os.O_RDONLY|unix.O_EXCL, 0) // nobody probes it any more
			if err == nil {
				d.Close()
			}
			if err == nil && strings.TrimSpace(string(b)) != "0" {
				nodes = append(nodes, node)
			}
		}
		return len(nodes) == n
	}
	if !within(t, "disks of scsi_debug", ready) {
		t.FailNow()
	}
	slices.Sort(nodes)
	return nodes
}
