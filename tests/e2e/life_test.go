package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shown is what the tests read of `status --json`.
type shown struct {
	Errors  uint64 `json:"errors"`
	Retries uint64 `json:"retries"`
	IO      map[string]struct {
		Requests uint64 `json:"requests"`
		Bytes    uint64 `json:"bytes"`
	} `json:"io"`
}

func status(t testing.TB, s *server, name string) (st shown) {
	t.Helper()
	out := sh(t, "ublk-linear", "status", name, "--json", "-c", s.file)
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		t.Fatalf("status: %v\n%s", err, out)
	}
	return st
}

// number reads a file that holds one number.
func number(t testing.TB, path string) uint64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// within waits for something that is to become true.
func within(t testing.TB, what string, ok func() bool) bool {
	t.Helper()
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	t.Errorf("%s: not within %v", what, hang)
	return false
}

// nothingLeft fails the test when a ublk device, a name or a hold of one of the disks is still there.
func nothingLeft(t testing.TB, disks ...string) {
	t.Helper()
	within(t, "no ublk device", func() bool {
		char, _ := filepath.Glob("/sys/class/ublk-char/*")
		nodes, _ := filepath.Glob("/dev/ublk[bc]*")
		block, _ := filepath.Glob("/sys/block/ublkb*")
		return len(char)+len(nodes)+len(block) == 0
	})
	within(t, "no reference to ublk_drv", func() bool {
		b, _ := os.ReadFile("/sys/module/ublk_drv/refcnt")
		return strings.TrimSpace(string(b)) == "0"
	})
	if links, _ := filepath.Glob("/dev/ublk-linear/*"); len(links) > 0 {
		t.Errorf("links %v", links)
	}
	for _, d := range disks {
		isFree(t, d)
	}
}

// isFree fails the test when somebody holds a disk. The I/O of a process that is gone, and its rings, may for a moment.
func isFree(t testing.TB, disk string) {
	t.Helper()
	var last error
	if !within(t, disk+" is free", func() bool {
		fd, err := unix.Open(disk, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
		if last = err; err == nil {
			_ = unix.Close(fd)
		}
		return err == nil
	}) {
		t.Log(last)
	}
}

// exitStatus of a process; -1 for a signal, 0 for none.
func exitStatus(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return 0
}

// load is one fio that runs until its device fails.
type load struct {
	cmd  *exec.Cmd
	out  *lockedBuffer
	done chan error
}

func startLoad(t testing.TB, node string, direct int) *load {
	t.Helper()
	l := &load{out: &lockedBuffer{}, done: make(chan error, 1)}
	engine, depth := "io_uring", "32"
	if direct == 0 {
		engine, depth = "psync", "1"
	}
	l.cmd = exec.Command("fio", "--name=load", "--filename="+node, "--ioengine="+engine, fmt.Sprintf("--direct=%d", direct),
		"--rw=randrw", "--bsrange=4k-128k", "--iodepth="+depth, "--time_based", "--runtime=3600", "--fsync=64", "--thread=1", "--minimal")
	l.cmd.Stdout, l.cmd.Stderr = l.out, l.out
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { l.done <- l.cmd.Wait() }()
	return l
}

// failed waits for fio's end, which must be one with I/O errors.
func (l *load) failed(t testing.TB) {
	t.Helper()
	select {
	case err := <-l.done:
		if err == nil {
			t.Errorf("fio ended without an error\n%s", l.out)
		}
	case <-time.After(hang):
		t.Errorf("fio still runs after %v", hang)
		_ = l.cmd.Process.Kill()
		<-l.done
	}
}

// writtenAtLeast waits until the disks below have taken so many writes: the load has begun.
func writtenAtLeast(t testing.TB, node string, ios uint64) {
	t.Helper()
	within(t, "load", func() bool {
		b, _ := os.ReadFile("/sys/class/block/" + filepath.Base(node) + "/stat")
		f := strings.Fields(string(b))
		n := uint64(0)
		if len(f) > 4 {
			n, _ = strconv.ParseUint(f[4], 10, 64)
		}
		return n >= ios
	})
}

// lifeConfig is a device over two disks of 64 MiB.
func lifeConfig(a, b string) string {
	return pathDisks(a, b) + tableDevice("life", "0 32768 linear a 8\n32768 98304 striped 2 24 a 32776 b 0")
}

// SIGTERM under load: the server ends well, its users get errors, nothing is left.
func TestTermUnderLoad(t *testing.T) {
	anyKernel(t)
	a, b := nullBlk(t, 64, withCache), nullBlk(t, 64, withCache)
	file := writeConfig(t, lifeConfig(a, b))
	for i := range scaled(5, 10) {
		s, err := tryUp(t, file)
		if err != nil {
			t.Fatal(err)
		}
		direct, buffered := startLoad(t, s.dev["life"], 1), startLoad(t, s.dev["life"], 0)
		writtenAtLeast(t, a, 200)
		start := time.Now()
		s.signal(syscall.SIGTERM)
		if err := s.wait(); err != nil {
			t.Errorf("round %d: %v after %v\n%s", i, err, time.Since(start), s.err)
			s.signal(syscall.SIGKILL)
		}
		t.Logf("ended %v after SIGTERM", time.Since(start).Round(time.Millisecond))
		direct.failed(t)
		buffered.failed(t)
		nothingLeft(t, a, b)
		if t.Failed() {
			return
		}
	}
}

// SIGKILL under load of a device that goes with its server: users get errors, `ls` shows what is left, and the next `up`, or `down`, removes it.
func TestKillUnderLoad(t *testing.T) {
	needGuest(t)
	a, b := nullBlk(t, 64, withCache), nullBlk(t, 64, withCache)
	file := writeConfig(t, onCrash(lifeConfig(a, b), "remove"))
	var s *server
	for i := range scaled(5, 10) {
		start := time.Now()
		var err error
		if s, err = tryUp(t, file); err != nil {
			t.Fatal(err)
		}
		t.Logf("up after %v", time.Since(start).Round(time.Millisecond))
		direct, buffered := startLoad(t, s.dev["life"], 1), startLoad(t, s.dev["life"], 0)
		writtenAtLeast(t, a, 200)
		start = time.Now()
		s.signal(syscall.SIGKILL)
		direct.failed(t)
		buffered.failed(t)
		t.Logf("load ended %v after SIGKILL", time.Since(start).Round(time.Millisecond))
		_ = s.wait()
		orphan(t, s)
		if i%2 == 1 { // else the next up does it
			sh(t, "ublk-linear", "down", "-c", file)
			nothingLeft(t, a, b)
		}
		if t.Failed() {
			break
		}
	}
	if s, err := tryUp(t, file); err != nil {
		t.Error(err)
	} else {
		s.down()
	}
	nothingLeft(t, a, b)
	if out, err := exec.Command("ublk-linear", "down", "-c", file).CombinedOutput(); exitStatus(err) != 5 {
		t.Errorf("down of nothing: %v\n%s", err, out)
	}
}

// orphan checks that `ls` knows a device whose server is gone.
func orphan(t testing.TB, s *server) {
	t.Helper()
	var l struct {
		Devices []struct {
			Name, Node, State, Config string
			PID                       int
		}
	}
	out := sh(t, "ublk-linear", "ls", "--json")
	if err := json.Unmarshal([]byte(out), &l); err != nil {
		t.Fatalf("ls: %v\n%s", err, out)
	}
	if len(l.Devices) != 1 || l.Devices[0].PID != 0 || l.Devices[0].Name != "life" || l.Devices[0].Config != s.file {
		t.Errorf("ls after SIGKILL: %+v", l.Devices)
	}
}

// Devices come and go while somebody opens them, as udev does.
func TestCycles(t *testing.T) {
	anyKernel(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	file := writeConfig(t, lifeConfig(a, b))
	stop := make(chan struct{})
	var probes atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 4096)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			nodes, _ := filepath.Glob("/dev/ublkb*")
			for _, n := range nodes {
				fd, err := unix.Open(n, unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					continue
				}
				if _, err := unix.Pread(fd, buf, 0); err == nil {
					probes.Add(1)
				}
				_ = unix.Close(fd)
			}
		}
	})
	start := time.Now()
	var ups time.Duration
	n := scaled(30, 20)
	for i := range n {
		begin := time.Now()
		s, err := tryUp(t, file)
		ups += time.Since(begin)
		if err != nil {
			t.Errorf("cycle %d: %v", i, err)
			break
		}
		if i%10 == 0 { // by force: the prober may have it open
			sh(t, "ublk-linear", "down", "--force", "-c", file)
		} else {
			s.signal(syscall.SIGTERM)
		}
		if err := s.wait(); err != nil {
			t.Errorf("cycle %d: %v\n%s", i, err, s.err)
			break
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d cycles, %v each, %v of it up; %d probes", n, (time.Since(start) / time.Duration(n)).Round(time.Millisecond),
		(ups / time.Duration(n)).Round(time.Millisecond), probes.Load())
	if probes.Load() == 0 {
		t.Error("the prober never read a device")
	}
	nothingLeft(t, a, b)
}

// A server's threads and open files do not grow with what it does: with I/O, with requests to its control socket, or with
// who opens and closes its device.
func TestServerSteady(t *testing.T) {
	anyKernel(t)
	// The Go runtime starts a thread whenever none is idle while one blocks, and keeps it: how many depends on the machine.
	// What leaked once per action would be many times this.
	const actions, slack = 200, 16
	s := up(t, lifeConfig(nullBlk(t, 64, withCache), nullBlk(t, 64, withCache)))
	c := client(t, s.file) // a process for each request would be slow
	work := func(n int) {
		fio(t, s.dev["life"], job("rw=randwrite bsrange=4k-64k iodepth=32 size=2m fsync=16"))
		for range n {
			if _, err := c.Status(t.Context(), "life"); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(s.dev["life"], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	work(4)
	fds, threads := openFiles(t, s), threadCount(t, s)
	work(scaled(actions, 10))
	f, n := 0, 0
	within(t, "as many open files and threads as before, or nearly", func() bool { // the last connection's end
		f, n = openFiles(t, s), threadCount(t, s)
		return f <= fds+slack && n <= threads+slack
	})
	t.Logf("open files from %d to %d, threads from %d to %d", fds, f, threads, n)
}

// openFiles counts a server's.
func openFiles(t testing.TB, s *server) int {
	t.Helper()
	e, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

// threadCount counts a server's threads without io_uring's, which the kernel starts and ends as it sees fit.
func threadCount(t testing.TB, s *server) (n int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", s.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	for _, p := range tasks {
		// One that has ended since is not counted.
		if comm, err := os.ReadFile(p); err == nil && !strings.HasPrefix(string(comm), "iou-") {
			n++
		}
	}
	return n
}

// Sixteen devices in one file, beside another file's, all at work.
func TestManyDevices(t *testing.T) {
	anyKernel(t)
	a, b, c := nullBlk(t, 64), nullBlk(t, 64), nullBlk(t, 64)
	many := pathDisks(a, b)
	for i := range 16 {
		many += tableDevice(fmt.Sprintf("m%d", i), fmt.Sprintf("0 4096 linear a %d\n4096 2064 striped 2 24 a %d b %d", i*4096, 65536+i*2048, i*2048))
	}
	var wg sync.WaitGroup
	var one, two *server
	var err1, err2 error
	wg.Go(func() { one, err1 = tryUp(t, writeConfig(t, many)) })
	wg.Go(func() { two, err2 = tryUp(t, writeConfig(t, pathDisks(c)+tableDevice("other", "0 65536 linear a 0"))) })
	wg.Wait()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	nodes := []string{two.dev["other"]}
	for _, n := range one.dev {
		nodes = append(nodes, n)
	}
	var bad atomic.Int64
	for i, n := range nodes {
		seen[n] = true
		wg.Go(func() {
			want := []byte(strings.Repeat(fmt.Sprintf("%-16d", i), 32<<6))
			f, err := os.OpenFile(n, os.O_RDWR, 0)
			if err == nil {
				_, err = f.WriteAt(want, 4080*512)
				err = errors.Join(err, f.Sync(), f.Close())
			}
			if err != nil {
				bad.Add(1)
				t.Errorf("%s: %v", n, err)
			}
		})
	}
	wg.Wait()
	for i, n := range nodes {
		got := make([]byte, 16)
		f, err := os.Open(n)
		if err == nil {
			_, err = f.ReadAt(got, 4080*512+32<<9)
			_ = f.Close()
		}
		if want := fmt.Sprintf("%-16d", i); err != nil || string(got) != want {
			t.Errorf("%s holds %q instead of %q (%v)", n, got, want, err)
		}
	}
	if len(seen) != 17 {
		t.Errorf("%d different devices", len(seen))
	}
	if out := sh(t, "ublk-linear", "ls"); strings.Count(out, "/dev/ublkb") != 17 {
		t.Errorf("ls:\n%s", out)
	}
	start := time.Now()
	one.down()
	two.down()
	t.Logf("down after %v", time.Since(start).Round(time.Millisecond))
	nothingLeft(t, a, b, c)
}

// SIGINT while devices are being started takes back what there is.
func TestInterruptedStart(t *testing.T) {
	needGuest(t)
	a := nullBlk(t, 64)
	many := pathDisks(a)
	for i := range 12 {
		many += tableDevice(fmt.Sprintf("m%d", i), fmt.Sprintf("0 4096 linear a %d", i*4096))
	}
	file := writeConfig(t, many)
	codes := map[int]int{}
	for i := range scaled(4, 10) {
		cmd := exec.Command("ublk-linear", "up", "-c", file)
		errs := &lockedBuffer{}
		cmd.Stderr = errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		// The first device there is says that the signal is caught by now.
		within(t, "a device", func() bool {
			n, _ := filepath.Glob("/sys/class/ublk-char/ublkc*")
			return len(n) > i%8
		})
		start := time.Now()
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case err := <-done:
			if codes[exitStatus(err)]++; exitStatus(err) < 0 {
				t.Errorf("round %d: %v", i, err)
			}
			if exitStatus(err) > 1 {
				t.Errorf("round %d: exit %d: %s", i, exitStatus(err), errs)
			}
			t.Logf("ended %v after SIGINT", time.Since(start).Round(time.Millisecond))
		case <-time.After(hang):
			t.Errorf("round %d: still there %v after SIGINT\n%s", i, hang, errs)
			_ = cmd.Process.Kill()
			<-done
		}
		nothingLeft(t, a)
		if t.Failed() {
			return
		}
	}
	t.Logf("exit codes %v", codes)
}
