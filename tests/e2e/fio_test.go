package e2e

import (
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// soak scales the tests that can be longer.
var soak = os.Getenv("UBLK_LINEAR_SOAK") != ""

// sampled is what make test asks for.
var sampled = os.Getenv("UBLK_LINEAR_SAMPLE") != ""

// anyKernel is for a test of what is not of the kernel: in make test, which runs on two kernels side by side, it runs on one of
// them, by its name.
func anyKernel(t testing.TB) {
	t.Helper()
	needGuest(t)
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.Name()))
	oneKernel(t, h.Sum32()&1 == 0)
}

// oneKernel is anyKernel with the choice made.
func oneKernel(t testing.TB, newest bool) {
	t.Helper()
	if sampled && newest != has616(t) {
		t.Skip("in make test it runs on the other kernel; make e2e runs it here")
	}
}

// scaled is n, and many times that in a soak.
func scaled(n, many int) int {
	if soak {
		return n * many
	}
	return n
}

// pathDisks is the configuration of disks at paths, named a, b, c and so on.
func pathDisks(nodes ...string) string {
	var b strings.Builder
	b.WriteString("version = 1\n")
	for i, n := range nodes {
		fmt.Fprintf(&b, "[disk.%c]\npath = %q\nunstable_path = true\n", 'a'+i, n)
	}
	return b.String()
}

// tableDevice is a device of dmsetup's words.
func tableDevice(name, table string) string {
	return fmt.Sprintf("[device.%s]\ntable = \"\"\"\n%s\n\"\"\"\n", name, strings.TrimSpace(table))
}

// fioGlobal begins a job file for a node: what is written is read back and verified. Options of all jobs, and the jobs, follow.
func fioGlobal(node string) string {
	return fmt.Sprintf("[global]\nfilename=%s\nioengine=io_uring\ndirect=1\nverify=crc32c\nverify_fatal=1\ndo_verify=1\nrandrepeat=0\n"+
		"thread=1\ngroup_reporting=1\n", node)
}

// fio runs a job file; every job ends with crc32c verification of what it wrote. It must end well and in time.
func fio(t testing.TB, node, jobs string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "jobs.fio")
	if err := os.WriteFile(file, []byte(fioGlobal(node)+"stonewall\n"+jobs), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("timeout", "-s", "KILL", fmt.Sprint(scaled(int(hang.Seconds()), 8)), "fio", "--minimal", file)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("fio on %s after %v: %v\n%s\n%s", node, time.Since(start).Round(time.Millisecond), err, jobs, out)
	}
	t.Logf("fio on %s: %v", node, time.Since(start).Round(time.Millisecond))
}

// job is one section of a job file.
func job(words string) string {
	return "[j]\n" + strings.ReplaceAll(words, " ", "\n") + "\n"
}

// fioJobs are sets of jobs for a device of 64 MiB and more. Sizes are small: the emulated guest is slow.
func fioJobs(lbs int) map[string]string {
	mib := func(n int) string { return fmt.Sprintf("%dm", scaled(n, 8)) }
	odd := ""
	if lbs == 512 {
		odd = job("rw=randwrite bs=4608 iodepth=16 size="+mib(1)+" offset=7680") +
			job("rw=randwrite bssplit=512/30:4608/30:12800/20:66048/20 iodepth=32 size="+mib(2))
	}
	return map[string]string{
		"sizes": job("rw=randwrite bs=4k iodepth=64 size="+mib(1)+" offset_increment=16m numjobs=3") +
			job("rw=randwrite bs=96k iodepth=8 size="+mib(6)) +
			job("rw=write bs=1m iodepth=4 size="+mib(8)) + odd +
			job("rw=randwrite bsrange=4k-1m iodepth=32 size="+mib(16)+" offset=1m"),
		"sync": job("rw=randwrite bs=16k iodepth=8 size="+mib(2)+" fsync=16 fdatasync=5") +
			job("rw=randwrite bs=8k iodepth=4 size="+mib(1)+" sync=1") +
			job("rw=randrw bsrange=4k-64k iodepth=1 size="+mib(1)),
	}
}

// Three layouts over three disks of at least 64 MiB.
const (
	linearTable  = "0 65536 linear a 8\n65536 65536 linear b 1024"
	stripedTable = "0 196560 striped 3 24 a 8 b 1024 c 0"
	mixedTable   = "0 40000 linear c 8\n40000 131040 striped 3 24 a 0 b 64 c 45056\n171040 32768 linear a 49152"
)

// Whatever the shape of the requests, what was written is read back.
func TestFio(t *testing.T) {
	needGuest(t)
	disks := func(attrs ...string) string {
		return pathDisks(nullBlk(t, 64, attrs...), nullBlk(t, 64, attrs...), nullBlk(t, 64, attrs...))
	}
	cached := func() string { return disks(withCache) }
	for i, c := range []struct {
		name, disks, table string
		lbs                int
		sets               []string
	}{
		{"linear", disks(), linearTable, 512, []string{"sizes"}},
		{"striped", disks(), stripedTable, 512, []string{"sizes"}},
		{"mixed", cached(), mixedTable, 512, []string{"sizes", "sync"}},
		{"untold", pathDisks(scsiDisks(t, 3, 64, 512)...), mixedTable, 512, []string{"sizes", "sync"}}, // their driver never sleeps (disk.NonBlocking)
		{"files", fileDisks(), mixedTable, 512, []string{"sizes", "sync"}},
		{"memory", memoryDisks(), mixedTable, 512, []string{"sync"}},
		{"4k", fourK(t), "0 65536 linear a 8\n65536 65520 striped 2 24 a 65552 b 64", 4096, []string{"sizes", "sync"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			oneKernel(t, i%2 == 0)
			s := up(t, c.disks+tableDevice("data", c.table))
			for _, set := range c.sets {
				fio(t, s.dev["data"], fioJobs(c.lbs)[set])
			}
			if st := status(t, s, "data"); st.Errors != 0 || st.IO["write"].Requests == 0 {
				t.Errorf("%d errors, %d writes", st.Errors, st.IO["write"].Requests)
			}
		})
	}
}

func fileDisks() string {
	var b strings.Builder
	b.WriteString("version = 1\n")
	for _, n := range []string{"a", "b", "c"} {
		fmt.Fprintf(&b, "[disk.%s]\nfile = %q\ncreate = \"64MiB\"\n", n, n+".img")
	}
	return b.String()
}

func memoryDisks() string {
	return "version = 1\n[disk.a]\nmemory = \"64MiB\"\n[disk.b]\nmemory = \"64MiB\"\n[disk.c]\nmemory = \"64MiB\"\n"
}

// fourK is two disks of 4096-byte blocks, the first an NVMe disk where the guest has one
// (-drive nvme:size=128M,lbs=4096).
func fourK(t testing.TB) string {
	t.Helper()
	first := ""
	lbs, _ := filepath.Glob("/sys/block/nvme*n*/queue/logical_block_size")
	for _, p := range lbs {
		dir := filepath.Dir(filepath.Dir(p))
		if number(t, p) == 4096 && number(t, filepath.Join(dir, "size")) >= 64<<11 {
			first = "/dev/" + filepath.Base(dir)
		}
	}
	if first == "" {
		t.Log("no NVMe disk with 4096-byte blocks: null_blk instead")
		first = nullBlk(t, 128, "blocksize=4096")
	}
	return pathDisks(first, nullBlk(t, 64, "blocksize=4096"))
}
