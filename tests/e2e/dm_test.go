package e2e

import (
	"bytes"
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

// dmTable is a dm device to make: its name and table.
type dmTable struct{ name, table string }

// dmCreateAll makes dm devices with one call of dmsetup and returns their nodes by name. They are removed at the end of
// the test. Names and tables hold no comma, semicolon or backslash.
func dmCreateAll(t testing.TB, tables []dmTable) map[string]string {
	t.Helper()
	var specs, names []string
	for _, d := range tables {
		lines := strings.ReplaceAll(strings.TrimSpace(d.table), "\n", ",")
		specs = append(specs, d.name+",,,rw,"+lines)
		names = append(names, d.name)
	}
	t.Cleanup(func() { dmRemoveAll(t, names) })
	sh(t, "dmsetup", "create", "--noudevsync", "--concise", strings.Join(specs, ";"))
	nodes := map[string]string{}
	for l := range strings.Lines(sh(t, "dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "name,minor")) {
		name, minor, _ := strings.Cut(strings.TrimSpace(l), " ")
		if slices.Contains(names, name) {
			nodes[name] = "/dev/dm-" + minor
		}
	}
	if len(nodes) != len(names) {
		t.Fatalf("dmsetup made %d of %d devices", len(nodes), len(names))
	}
	return nodes
}

// dmRemoveAll removes those of the names that are there.
func dmRemoveAll(t testing.TB, names []string) {
	t.Helper()
	if len(names) == 0 {
		return // dmsetup calls that an error
	}
	out, err := exec.Command("dmsetup", append([]string{"remove", "--noudevsync", "--retry"}, names...)...).CombinedOutput()
	if err != nil && !t.Failed() {
		t.Errorf("dmsetup remove: %v\n%s", err, out)
	}
}

// scsiDisks makes n disks of scsi_debug with memory of their own and returns their nodes. They discard (UNMAP, and what is
// unmapped reads as zeroes) and zero by themselves (WRITE SAME), which null_blk does not.
func scsiDisks(t testing.TB, n, mib, lbs int) []string {
	t.Helper()
	sh(t, "modprobe", "sd_mod")
	_ = exec.Command("rmmod", "scsi_debug").Run() // it may be there without disks and with other parameters
	sh(t, "modprobe", "scsi_debug", "add_host=0", "per_host_store=1", "lbpu=1", "lbpws=1", "lbprz=1", "delay=0",
		fmt.Sprintf("dev_size_mb=%d", mib), fmt.Sprintf("sector_size=%d", lbs))
	t.Cleanup(func() {
		var out []byte
		var err error
		for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(100 * time.Millisecond) { // the last close of a disk is not quite done
			if out, err = exec.Command("rmmod", "scsi_debug").CombinedOutput(); err == nil {
				return
			}
		}
		t.Errorf("rmmod scsi_debug: %v\n%s", err, out)
	})
	for range n {
		if err := os.WriteFile("/sys/bus/pseudo/drivers/scsi_debug/add_host", []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		found, _ := filepath.Glob("/sys/bus/pseudo/devices/adapter*/host*/target*/*/block/sd*")
		var nodes []string
		for _, f := range found {
			node := "/dev/" + filepath.Base(f)
			if d, err := os.Open(node); err == nil {
				d.Close()
				if queue(t, node, "discard_max_bytes") > 0 {
					nodes = append(nodes, node)
				}
			}
		}
		if len(nodes) == n {
			return nodes
		}
	}
	t.Fatalf("scsi_debug did not bring %d disks", n)
	return nil
}

// queueText reads an attribute of a block device's queue.
func queueText(t testing.TB, node, attr string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(node), "queue", attr))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// queue reads one that is a number.
func queue(t testing.TB, node, attr string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(queueText(t, node, attr), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// majMin is how `dmsetup table` prints a disk.
func majMin(t testing.TB, node string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(node), "dev"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// raw is a block device without the page cache between.
type raw struct {
	*os.File
	node    string
	sectors uint64
}

// openRaw opens a device for direct I/O, beside whoever else has it. It is closed at the end of the test.
func openRaw(t testing.TB, node string) *raw {
	t.Helper()
	f, err := os.OpenFile(node, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	end, err := f.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	return &raw{f, node, uint64(end) / 512}
}

func openRaws(t testing.TB, nodes []string) []*raw {
	t.Helper()
	var out []*raw
	for _, n := range nodes {
		out = append(out, openRaw(t, n))
	}
	return out
}

// aligned is memory that direct I/O takes: whole pages of it.
func aligned(t testing.TB, bytes int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return b
}

// fill writes the pattern of a seed: as good as certainly no sector of it is that of any other place or seed.
func fill(b []byte, seed uint64) {
	for i := 0; i+8 <= len(b); i += 8 {
		seed += 0x9e3779b97f4a7c15 // splitmix64
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		_ = b[i+7]
		b[i], b[i+1], b[i+2], b[i+3] = byte(z), byte(z>>8), byte(z>>16), byte(z>>24)
		b[i+4], b[i+5], b[i+6], b[i+7] = byte(z>>32), byte(z>>40), byte(z>>48), byte(z>>56)
	}
}

// differ is the first sector in which two equally long pieces differ, and how many do; -1 if none does.
func differ(a, b []byte) (first, count int) {
	first = -1
	if bytes.Equal(a, b) {
		return first, 0
	}
	for s := 0; s*512 < len(a); s++ {
		if !bytes.Equal(a[s*512:s*512+512], b[s*512:s*512+512]) {
			if first < 0 {
				first = s
			}
			count++
		}
	}
	return first, count
}
