package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
)

// churnConfig is a file of two devices over the same two disks.
func churnConfig(a, b string) string {
	return pathDisks(a, b) + tableDevice("c"+filepath.Base(a), "0 8192 linear a 8\n8192 8160 striped 2 24 a 32776 b 0") +
		tableDevice("d"+filepath.Base(a), "0 8192 striped 2 64 a 65536 b 65536")
}

// kernelUse is what a leak in the kernel would make grow.
type kernelUse struct {
	slab  uint64 // bytes that cannot be reclaimed
	rings int    // io_uring workers of all processes
	run   int    // files in the run folder
}

func useOfKernel(t testing.TB) (u kernelUse) {
	t.Helper()
	u.slab = meminfo(t, "/proc/meminfo", "SUnreclaim:")
	tasks, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*/comm")
	for _, p := range tasks {
		if b, _ := os.ReadFile(p); strings.HasPrefix(string(b), "iou-") {
			u.rings++
		}
	}
	_ = filepath.WalkDir(daemon.RunDir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			u.run++
		}
		return nil
	})
	return u
}

// meminfo is a size in bytes of a file like /proc/meminfo.
func meminfo(t testing.TB, path, key string) uint64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) > 1 && f[0] == key {
			n, err := strconv.ParseUint(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("no %s in %s", key, path)
	return 0
}

// The kernel's slabs may grow by this much and so much per device: they are the whole system's, and what is freed behind an RCU grace
// period is counted until then. A device whose requests and queues leaked would be some hundred KiB of slab.
const slabSlack, slabPerDevice = 32 << 20, 32 << 10

func (u kernelUse) check(t testing.TB, devices int) {
	t.Helper()
	var now kernelUse
	bound := u.slab + slabSlack + uint64(devices)*slabPerDevice
	within(t, "the kernel has nothing more than before", func() bool {
		now = useOfKernel(t)
		return now.slab <= bound && now.rings <= u.rings && now.run <= u.run
	})
	t.Logf("behind %d devices: slab %+d KiB (bound %d), io_uring workers %d to %d, files in %s %d to %d", devices,
		(int64(now.slab)-int64(u.slab))>>10, (bound-u.slab)>>10, u.rings, now.rings, daemon.RunDir, u.run, now.run)
}

// cycle is one server's life. It is ended by `down`, by SIGTERM or by force.
func cycle(t testing.TB, file string, i int) error {
	s, err := tryUp(t, file)
	if err != nil {
		if s != nil && !s.gone {
			s.signal(os.Kill)
		}
		return err
	}
	for name, node := range s.dev {
		if _, err := os.Stat(filepath.Join(daemon.LinkDir, name)); err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
	}
	switch i % 3 {
	case 0:
		s.signal(os.Interrupt)
	default: // by force: a prober may have it open
		if out, err := exec.Command("ublk-linear", "down", "--force", "-c", file).CombinedOutput(); err != nil {
			return fmt.Errorf("down: %w\n%s%s", err, out, s.err)
		}
	}
	if err := s.wait(); err != nil {
		return fmt.Errorf("exit: %w\n%s", err, s.err)
	}
	return nil
}

// Servers come and go, three at a time, each with two devices; nothing of them stays. The second time somebody probes every device.
func TestChurn(t *testing.T) {
	anyKernel(t)
	var files, disks []string
	for range 3 {
		a, b := nullBlk(t, 64), nullBlk(t, 64)
		disks = append(disks, a, b)
		files = append(files, writeConfig(t, churnConfig(a, b)))
	}
	churn := func(t *testing.T, cycles int) {
		var wg sync.WaitGroup
		for k, file := range files {
			wg.Go(func() {
				for i := k; i < cycles && !t.Failed(); i += len(files) {
					if err := cycle(t, file, i); err != nil {
						t.Errorf("cycle %d: %v", i, err)
					}
				}
			})
		}
		wg.Wait()
	}
	churn(t, len(files)) // what is made once is there now
	nothingLeft(t, disks...)
	before := useOfKernel(t)
	t.Run("alone", func(t *testing.T) {
		n, start := scaled(15, 34), time.Now()
		churn(t, n)
		nothingLeft(t, disks...)
		before.check(t, 2*n)
		t.Logf("%d cycles of 2 devices, %v each", n, (time.Since(start) / time.Duration(n)).Round(time.Millisecond))
	})
	t.Run("probed", func(t *testing.T) {
		n, start := scaled(6, 18), time.Now()
		p, stop := startProber(t)
		churn(t, n)
		stop()
		nothingLeft(t, disks...)
		before.check(t, 2*n)
		t.Logf("%d cycles of 2 devices, %v each; %d disks opened, %d read, %d partition tables; %d character devices had before their server", n,
			(time.Since(start) / time.Duration(n)).Round(time.Millisecond), p.opened.Load(), p.read.Load(), p.partitions.Load(), p.chars.Load())
		if p.opened.Load() == 0 || p.read.Load() == 0 || p.partitions.Load() == 0 || p.chars.Load() == 0 {
			t.Error("the prober met too little")
		}
	})
}

// processUse is what a leak in a process would make grow.
type processUse struct {
	files, threads, workers, maps, routines int
	heap                                    uint64 // bytes of Go's heap in use
	anon, huge, size                        uint64 // bytes resident, not of files; how much of it in huge pages; of addresses
}

func useOfProcess(t testing.TB) (u processUse) {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	u.files, u.routines = len(fds), runtime.NumGoroutine()
	tasks, _ := filepath.Glob("/proc/self/task/[0-9]*/comm")
	for _, p := range tasks {
		b, err := os.ReadFile(p)
		switch {
		case err != nil:
		case strings.HasPrefix(string(b), "iou-"):
			u.workers++
		default:
			u.threads++
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	u.maps = strings.Count(string(maps), "\n")
	const status = "/proc/self/status"
	u.anon, u.size = meminfo(t, status, "RssAnon:"), meminfo(t, status, "VmSize:")
	u.huge = meminfo(t, "/proc/self/smaps_rollup", "AnonHugePages:")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.heap = m.HeapAlloc
	return u
}

// What a process may have more behind all cycles than behind the first few. Files, goroutines and io_uring's workers: nothing. The Go
// runtime keeps threads, and memory for them, as it sees fit.
const moreThreads, moreMaps, moreHeap, moreAnon, moreSize = 8, 48, 2 << 20, 8 << 20, 256 << 20

// One process that serves again and again does not grow: a server that stays for years must not lose a file or a thread with each device.
func TestChurnInProcess(t *testing.T) {
	anyKernel(t)
	a, b := nullBlk(t, 64, withCache), nullBlk(t, 64, withCache)
	f, ps, err := config.Load(writeConfig(t, churnConfig(a, b)))
	if err != nil || len(ps.Errors()) > 0 {
		t.Fatal(err, ps)
	}
	// The kernel makes huge pages of what is hardly used, when it comes to it: 20 MiB more that nobody asked for.
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0) })
	buf := pages(t, 64<<10)
	once := func(i int) {
		var nodes []string
		s, err := daemon.Up(t.Context(), f, &daemon.Options{Started: func(d daemon.DeviceInfo) { nodes = append(nodes, d.Node) }})
		if err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		for _, n := range nodes {
			d, err := os.OpenFile(n, os.O_RDWR|os.O_SYNC, 0)
			if err == nil {
				_, err = d.WriteAt(buf, 0)
				_ = d.Close()
			}
			if err != nil {
				t.Errorf("cycle %d: %v", i, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		if len(nodes) != 2 {
			t.Fatalf("cycle %d: %d devices", i, len(nodes))
		}
	}
	for i := range 6 {
		once(-i)
	}
	nothingLeft(t, a, b)
	kernel, before := useOfKernel(t), useOfProcess(t)
	n, start := scaled(15, 34), time.Now()
	for i := range n {
		once(i)
	}
	each := time.Since(start) / time.Duration(n)
	nothingLeft(t, a, b)
	var now processUse
	within(t, "the process has nothing more than before", func() bool {
		now = useOfProcess(t)
		return now.files <= before.files && now.workers <= before.workers && now.routines <= before.routines &&
			now.threads <= before.threads+moreThreads && now.maps <= before.maps+moreMaps && now.heap <= before.heap+moreHeap &&
			now.anon <= before.anon+moreAnon && now.size <= before.size+moreSize
	})
	t.Logf("%d cycles, %v each; before %+v, now %+v", n, each.Round(time.Millisecond), before, now)
	kernel.check(t, 2*n)
}
