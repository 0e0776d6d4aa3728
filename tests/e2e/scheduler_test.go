package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// schedulerOf is the I/O scheduler of a block device: the word in brackets.
func schedulerOf(t testing.TB, node string) string {
	t.Helper()
	b, err := os.ReadFile(schedulerFile(node))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "[")
	name, _, _ := strings.Cut(after, "]")
	return name
}

func schedulerFile(node string) string {
	return "/sys/block/" + filepath.Base(node) + "/queue/scheduler"
}

// oneQueue is a device of one queue, to which the kernel gives mq-deadline.
func oneQueue(name, table string) string {
	return strings.Replace(tableDevice(name, table), "]\n", "]\nqueues = 1\n", 1)
}

// A new device has no I/O scheduler by the time that it is announced, or that the reload which brings it ends; what an
// administrator writes stays, whatever becomes of the server.
func TestScheduler(t *testing.T) {
	needGuest(t)
	cleared(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	one, two := oneQueue("one", "0 8192 linear a 0"), oneQueue("two", "0 8192 linear b 0")
	several := strings.Replace(two, "queues = 1", "queues = 2", 1)
	several = strings.Replace(strings.Replace(several, "device.two", "device.several", 1), "b 0", "b 16384", 1)
	file := writeConfig(t, pathDisks(a, b)+one+two+several)
	s, err := tryUp(t, file)
	if err != nil {
		t.Fatal(err)
	}
	for name, node := range s.dev {
		if got := schedulerOf(t, node); got != "none" {
			t.Errorf("%s begins with %s", name, got)
		}
	}
	if s.err.String() != "" {
		t.Errorf("up says\n%s", s.err)
	}
	const theirs = "mq-deadline"
	if err := os.WriteFile(schedulerFile(s.dev["one"]), []byte(theirs), 0); err != nil {
		t.Fatal(err)
	}
	stays := func(after string) {
		t.Helper()
		if one, two := schedulerOf(t, s.dev["one"]), schedulerOf(t, s.dev["two"]); one != theirs || two != "none" {
			t.Errorf("after %s: %s and %s", after, one, two)
		}
	}
	s.crash()
	if s, err = tryUp(t, file); err != nil {
		t.Fatal(err)
	}
	stays("recovery")
	exits(t, 0, "upgrade", "-c", file)
	stays("an upgrade")
	s.rewrite(pathDisks(a, b) + strings.Replace(one, "a 0", "a 8192", 1) + two + several + oneQueue("new", "0 8192 linear b 65536"))
	exits(t, 0, "reload", "-c", file)
	stays("a reload")
	to, err := filepath.EvalSymlinks("/dev/ublk-linear/new")
	if err != nil {
		t.Fatal(err)
	}
	if got := schedulerOf(t, to); got != "none" {
		t.Errorf("the device that came begins with %s", got)
	}
	s.down()
	nothingLeft(t, a, b)
	noProgram(t)
}

// noProgram fails the test when one of our processes does not end.
func noProgram(t testing.TB) {
	t.Helper()
	var left []string
	if !within(t, "no process", func() bool {
		left = nil
		procs, _ := filepath.Glob("/proc/[0-9]*/comm")
		for _, p := range procs {
			if b, _ := os.ReadFile(p); strings.TrimSpace(string(b)) == "ublk-linear" {
				left = append(left, filepath.Dir(p))
			}
		}
		return len(left) == 0
	}) {
		for _, p := range left {
			stack, _ := os.ReadFile(p + "/stack")
			t.Logf("%s\n%s", p, stack)
		}
	}
}

// heldRead is a read that a disk does not answer.
const heldRead = `[[fault]]
disk = "a"
op = "read"
range = "4096s+8s"
action = "hang"
`

// hold reads there.
func hold(t testing.TB, node string) (answer chan unix.Errno) {
	t.Helper()
	fd, err := unix.Open(node, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := pages(t, 4096)
	answer = make(chan unix.Errno, 1)
	go func() {
		_, e := transfer(fd, false, b, 4096)
		_ = unix.Close(fd)
		answer <- e
	}()
	return answer
}

// asked runs what a server has for the schedulers of its devices, by hand.
func asked(t testing.TB, node string) (out *lockedBuffer, done chan error) {
	t.Helper()
	cmd := exec.Command("ublk-linear", "no-scheduler")
	out, done = &lockedBuffer{}, make(chan error, 1)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(filepath.Base(node)+"\n"), out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { done <- cmd.Wait() }()
	return out, done
}

// A device with a request that its disk does not answer keeps its scheduler: frozen, it would answer no other either.
func TestSchedulerBusy(t *testing.T) {
	anyKernel(t)
	a := nullBlk(t, 64)
	s := inject(t, pathDisks(a)+oneQueue("data", "0 100000 linear a 0"), strings.TrimSpace(strings.TrimPrefix(heldRead, "[[fault]]\n")))
	node := s.dev["data"]
	if err := os.WriteFile(schedulerFile(node), []byte("mq-deadline"), 0); err != nil {
		t.Fatal(err)
	}
	answer := hold(t, node)
	within(t, "the read hangs", func() bool { return hits(t, s, "data")[0] == 1 })
	out, done := asked(t, node)
	fd, p := openDirect(t, node), pages(t, 4096)
	for i, ended := 0, false; !ended; i++ {
		select {
		case err := <-done:
			ended = true
			if err != nil || i == 0 || !strings.Contains(out.String(), "it was never without requests in flight") || schedulerOf(t, node) != "mq-deadline" {
				t.Errorf("%v, %d requests beside it: %s", err, i, out)
			}
		default:
		}
		beside := make(chan unix.Errno, 1)
		go func() {
			_, e := transfer(fd, i%2 == 0, p, 1000)
			beside <- e
		}()
		select {
		case e := <-beside:
			if e != 0 {
				t.Fatalf("I/O beside it: %v", e)
			}
		case <-time.After(hang / 4):
			t.Errorf("request %d beside it hangs", i)
			ended = true
		}
	}
	exits(t, 0, "down", "--force", "-c", s.file)
	if err := s.wait(); err != nil {
		t.Errorf("up: %v\n%s", err, s.err)
	}
	if e := <-answer; e != unix.EIO {
		t.Error(e)
	}
}

// frozenDevice is a device of one queue that is being frozen, with a read in flight that only a successor of its server can
// answer.
type frozenDevice struct {
	t      testing.TB
	s      *server
	disk   string
	toml   string // without faults
	answer chan unix.Errno
	out    *lockedBuffer // of the process that freezes it
	done   chan error
}

func freeze(t testing.TB) *frozenDevice {
	t.Helper()
	cleared(t)
	f := &frozenDevice{t: t, disk: nullBlk(t, 64)}
	f.toml = pathDisks(f.disk) + oneQueue("data", "0 100000 linear a 0")
	var err error
	if f.s, err = tryUp(t, writeConfig(t, f.toml+heldRead), "--allow-faults"); err != nil {
		t.Fatal(err)
	}
	node := f.s.dev["data"]
	for file, word := range map[string]string{"scheduler": "mq-deadline", "iostats": "0"} { // what is not counted is not seen in flight
		if err := os.WriteFile(filepath.Join(filepath.Dir(schedulerFile(node)), file), []byte(word), 0); err != nil {
			t.Fatal(err)
		}
	}
	f.answer = hold(t, node)
	within(t, "the read hangs", func() bool { st, _ := client(t, f.s.file).Status(t.Context(), "data"); return st.Faults[0].Hits == 1 })
	f.out, f.done = asked(t, node)
	within(t, "the device is frozen", func() bool { return inFreeze() })
	return f
}

// inFreeze says whether a process of ours waits in the freeze of a device.
func inFreeze() bool {
	stacks, _ := filepath.Glob("/proc/[0-9]*/task/*/stack")
	for _, p := range stacks {
		of, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "..", "..", "comm"))
		if b, _ := os.ReadFile(p); strings.TrimSpace(string(of)) == "ublk-linear" && bytes.Contains(b, []byte("blk_mq_freeze_queue")) {
			return true
		}
	}
	return false
}

// recovered serves the device without faults, which answers the read.
func recovered(t testing.TB, file, toml string, answer chan unix.Errno) *server {
	t.Helper()
	if err := os.WriteFile(file, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := tryUp(t, file)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-answer:
		if e != 0 {
			t.Errorf("the read that waited: %v", e)
		}
	case <-time.After(hang):
		t.Fatal("the read hangs")
	}
	return s
}

// ends waits for the process that freezes the device.
func (f *frozenDevice) ends() {
	f.t.Helper()
	select {
	case err := <-f.done:
		if err != nil {
			f.t.Errorf("%v: %s", err, f.out)
		}
	case <-time.After(hang):
		f.t.Fatal("the process hangs in the freeze")
	}
}

// A server that is killed while the scheduler of its device is being taken out, with a request in flight that only its
// successor can answer, ends, and its device is recovered: what waits in the kernel is another process, and ends then.
func TestSchedulerKilled(t *testing.T) {
	needGuest(t)
	t.Run("recovered", func(t *testing.T) {
		f := freeze(t)
		f.s.crash()
		s := recovered(t, f.s.file, f.toml, f.answer)
		f.ends()
		node := s.dev["data"]
		if got := schedulerOf(t, node); got != "none" || strings.TrimSpace(f.out.String()) != filepath.Base(node) {
			t.Errorf("the scheduler is %s, and was said to be %q", got, f.out)
		}
		s.down()
		nothingLeft(t, f.disk)
		noProgram(t)
	})
	t.Run("removed", func(t *testing.T) {
		f := freeze(t)
		f.s.crash()
		exits(t, 0, "remove", "--orphan", "data", "--force")
		if e := <-f.answer; e == 0 {
			t.Error("a read that nobody carried out is answered")
		}
		f.ends()
		nothingLeft(t, f.disk)
		noProgram(t)
	})
	t.Run("down", func(t *testing.T) {
		f := freeze(t)
		exits(t, 0, "down", "--force", "-c", f.s.file)
		if err := f.s.wait(); err != nil {
			t.Errorf("up: %v\n%s", err, f.s.err)
		}
		if e := <-f.answer; e != unix.EIO {
			t.Error(e)
		}
		f.ends()
		nothingLeft(t, f.disk)
		noProgram(t)
	})
	// The read is there about as soon as the device is: the scheduler is being taken out, or is not because of it.
	t.Run("start", func(t *testing.T) {
		cleared(t)
		for range scaled(2, 20) {
			a := nullBlk(t, 64)
			toml := pathDisks(a) + strings.Replace(oneQueue("data", "0 100000 linear a 0"), "queues = 1", "queues = 1\nid = 30", 1)
			s := startUp(t, writeConfig(t, toml+heldRead), "--allow-faults")
			s.dev["data"] = "/dev/ublkb30"
			within(t, "the device is there", func() bool { return unix.Access(s.dev["data"], unix.R_OK) == nil })
			answer := hold(t, s.dev["data"])
			time.Sleep(time.Second) // the server has asked for the scheduler by then
			if inFlight(t, s, "data") != 1 {
				t.Error("nothing is in flight")
			}
			spare(t, s.cmd.Process.Pid)
			s.crash()
			s = recovered(t, s.file, toml, answer)
			s.down()
			nothingLeft(t, a)
			noProgram(t)
		}
	})
}

// startUp is tryUp that does not wait for devices.
func startUp(t testing.TB, file string, flags ...string) *server {
	t.Helper()
	s := &server{t: t, file: file, err: &lockedBuffer{}, dev: map[string]string{}, done: make(chan error, 1)}
	s.cmd = exec.Command("ublk-linear", append([]string{"up", "-c", file}, flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.err, s.err
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	return s
}
