package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// upBy is tryUp of a server that another program starts, or whose stderr is a file; it is taken down at the test's end.
func upBy(t *testing.T, file string, stderr *os.File, words ...string) *server {
	t.Helper()
	s := &server{t: t, file: file, err: &lockedBuffer{}, dev: map[string]string{}, done: make(chan error, 1)}
	s.cmd = exec.Command(words[0], append(words[1:], "-c", file)...)
	s.cmd.Stderr = s.err
	if stderr != nil {
		s.cmd.Stderr = stderr
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all := make(chan bool)
	want := deviceCount(t, file)
	go func() {
		sc := bufio.NewScanner(out)
		for len(s.dev) < want && sc.Scan() {
			name, node, _ := strings.Cut(sc.Text(), " ")
			s.dev[name] = node
		}
		all <- len(s.dev) == want
		s.done <- s.cmd.Wait()
	}()
	t.Cleanup(s.down)
	select {
	case ok := <-all:
		if !ok {
			t.Fatalf("up ended: %v\n%s", s.wait(), s.err)
		}
	case <-time.After(hang):
		_ = s.cmd.Process.Kill()
		t.Fatalf("not up within %v\n%s", hang, s.err)
	}
	return s
}

// ofProcess is a line of /proc/PID/status, in its own unit.
func ofProcess(t *testing.T, s *server, key string) uint64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) > 1 && f[0] == key+":" {
			n, err := strconv.ParseUint(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in\n%s", key, b)
	return 0
}

// noIO are PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE.
const noIO = 0x00080000 | 0x00100000

// notFlushers is the threads of a process that are no I/O flushers, and all threads' names with how many have each.
func notFlushers(t *testing.T, pid int) (bad []string, names map[string]int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no threads of %d: %v", pid, err)
	}
	names = map[string]int{}
	for _, p := range tasks {
		b, err := os.ReadFile(p)
		if err != nil {
			continue // it ended
		}
		text := string(b)
		lo, hi := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
		name := text[lo+1 : hi]
		flags, err := strconv.ParseUint(strings.Fields(text[hi+1:])[6], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		names[name]++
		if flags&noIO != noIO {
			bad = append(bad, fmt.Sprintf("%s %#x", name, flags))
		}
	}
	return bad, names
}

// Every thread of the server is an I/O flusher, io_uring's workers too, from the start and under load; and the process is
// what it says it is.
func TestProcessFlusher(t *testing.T) {
	needGuest(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	if bad, _ := notFlushers(t, os.Getpid()); len(bad) == 0 {
		t.Fatal("this process is an I/O flusher itself: nothing would be seen")
	}
	s := up(t, lifeConfig(a, b))
	pid := s.cmd.Process.Pid
	check := func(when string) map[string]int {
		bad, names := notFlushers(t, pid)
		if len(bad) > 0 {
			t.Errorf("%s: no I/O flusher: %v", when, bad)
		}
		return names
	}
	t.Log(check("idle"))
	// Discards run in io_uring's workers.
	workers := 0
	load := exec.Command("fio", "--name=load", "--filename="+s.dev["life"], "--ioengine=io_uring", "--direct=1", "--rw=randtrim", "--bs=64k", "--iodepth=32", "--time_based", "--runtime=3600", "--thread=1", "--minimal")
	load.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, "io_uring workers", func() bool {
		names := check("loaded")
		for n, k := range names {
			if strings.HasPrefix(n, "iou-wrk") {
				workers = k
			}
		}
		return workers > 0
	})
	_ = load.Process.Kill()
	_ = load.Wait()
	t.Logf("%d io_uring workers", workers)

	if c, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(c) != "ublk-linear\n" {
		t.Errorf("the process is called %q", c)
	}
	if n, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid)); string(n) != "-1000\n" {
		t.Errorf("oom_score_adj %q", n)
	}
	if fd, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", pid)); fd != "/dev/null" {
		t.Errorf("stdin is %s", fd)
	}
	if u := ofProcess(t, s, "Umask"); u != 22 { // octal digits
		t.Errorf("umask %04d", u)
	}
	st, err := client(t, s.file).Status(t.Context(), "life")
	if p := st.Process; err != nil || !p.IOFlusher || p.Threads < 5 || p.LockedBytes == 0 || p.ResidentBytes == 0 || p.OOMScoreAdj != -1000 || p.MemoryLimit != 1<<30 {
		t.Errorf("status says %+v, %v", p, err)
	}
	if s.err.String() != "" {
		t.Errorf("up says\n%s", s.err)
	}
}

// What is open in a server that serves: its disks, its devices, its lock and its socket. Nothing of the file, of its folder
// or of anybody's home: a path that may lie on a device of its own would make it wait for itself.
func TestProcessFiles(t *testing.T) {
	needGuest(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	s := up(t, lifeConfig(a, b))
	may := regexp.MustCompile(`^(/dev/null|/dev/ublk-control|/dev/ublkc\d+|` + a + `|` + b + `|pipe:\[\d+\]|socket:\[\d+\]|anon_inode:\[?(io_uring|eventpoll|eventfd|pidfd)\]?|/run/ublk-linear/[^/]+\.lock)$`)
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.cmd.Process.Pid))
	if err != nil || len(fds) < 8 {
		t.Fatal(fds, err)
	}
	seen := map[string]bool{}
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		seen[to] = true
		if err == nil && !may.MatchString(to) {
			t.Errorf("%s is %s", filepath.Base(fd), to)
		}
	}
	if !seen[a] || !seen[b] {
		t.Errorf("the disks are not among %v", seen)
	}
}

// The program's own pages are in memory and stay there; what that costs is printed.
func TestProcessMemory(t *testing.T) {
	anyKernel(t)
	for _, c := range []struct {
		n    int
		path string
	}{{1, "buffer"}, {scaled(4, 4), "buffer"}, {scaled(4, 4), "auto"}} {
		n := c.n
		a := nullBlk(t, 256)
		var toml strings.Builder
		toml.WriteString("version = 1\n[disk.a]\npath = \"" + a + "\"\nunstable_path = true\n")
		for i := range n {
			fmt.Fprintf(&toml, "[device.m%d]\ndata_path = %q\ntable = \"0 16384 linear a %d\"\n", i, c.path, i*16384)
		}
		s := up(t, toml.String())
		say := func(when string) {
			t.Logf("%2d devices, %s, %-12s VmLck %7d kB, VmRSS %6d kB, threads %d", n, c.path, when+":", ofProcess(t, s, "VmLck"), ofProcess(t, s, "VmRSS"), ofProcess(t, s, "Threads"))
		}
		say("idle")
		if ofProcess(t, s, "VmLck") < 1<<10 {
			t.Error("nothing is locked")
		}
		text, rss := programMemory(t, s.cmd.Process.Pid)
		if text == 0 || rss != text {
			t.Errorf("%d kB of the program, %d kB in memory", text, rss)
		}
		for i := range n {
			sh(t, "fio", "--name=x", "--filename="+s.dev[fmt.Sprintf("m%d", i)], "--ioengine=io_uring", "--direct=1", "--rw=write", "--bs=512k", "--iodepth=128", "--size=8m", "--loops=1", "--numjobs=2", "--thread=1", "--minimal")
		}
		say("after writes")
		s.down()
	}
}

// programMemory is how much of the program's read-only mappings there is, and how much in memory, in KiB, all of it locked.
func programMemory(t *testing.T, pid int) (size, rss uint64) {
	t.Helper()
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		switch {
		case strings.Contains(f[0], "-") && len(f) >= 5:
			ours = len(f) > 5 && f[5] == exe && f[1][:2] == "r-"
		case ours && (f[0] == "Size:" || f[0] == "Rss:"):
			n, err := strconv.ParseUint(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if f[0] == "Size:" {
				size += n
			} else {
				rss += n
			}
		case ours && f[0] == "VmFlags:" && !strings.Contains(l, " lo"):
			t.Errorf("not locked: %s", l)
		}
	}
	return size, rss
}

// Neither a terminal that closes, nor ^Z, nor a reader of its output that has gone ends or stops the server.
func TestProcessSignals(t *testing.T) {
	needGuest(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	s := up(t, lifeConfig(a, b))
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU} {
		s.signal(sig)
		within(t, "taken "+sig.String(), func() bool { // it has come, one way or the other
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
			return err == nil && strings.Contains(string(b), "ShdPnd:\t0000000000000000")
		})
		sh(t, "dd", "if="+s.dev["life"], "of=/dev/null", "bs=4k", "count=8", "iflag=direct", "status=none")
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid)); !regexp.MustCompile(`State:\t[RSD] `).Match(b) {
			t.Fatalf("after %v:\n%s", sig, b)
		}
	}
}

// A log that nobody reads, and one whose reader is gone, keep nothing from being served, nor the server from ending well.
func TestProcessLog(t *testing.T) {
	anyKernel(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	file := writeConfig(t, lifeConfig(a, b))
	for _, gone := range []bool{false, true} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if gone {
			r.Close()
		} else { // full from the start
			if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
				t.Fatal(err)
			}
			if n, err := w.Write(make([]byte, 4096)); n != 4096 {
				t.Fatal(n, err)
			}
		}
		s := upBy(t, file, w, "ublk-linear", "up", "-v")
		w.Close()
		sh(t, "dd", "if="+s.dev["life"], "of=/dev/null", "bs=4k", "count=8", "iflag=direct", "status=none")
		s.down() // and its exit code is 0
		nothingLeft(t, a, b)
	}
}

// unitCapabilities is the bounding set of the unit, in setpriv's words. TestUnitCapabilities holds it against the unit.
const unitCapabilities = "-all,+sys_admin,+sys_resource,+ipc_lock,+sys_ptrace,+dac_override,+dac_read_search,+sys_rawio,+chown,+fowner"

func TestUnitCapabilities(t *testing.T) {
	b, err := os.ReadFile("../../packaging/ublk-linear@.service")
	if inGuest && err != nil {
		t.Skip("the unit is not in the guest")
	}
	m := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindSubmatch(b)
	if err != nil || m == nil {
		t.Fatalf("no bounding set: %v", err)
	}
	if got := "-all,+" + strings.Join(strings.Fields(strings.ReplaceAll(strings.ToLower(string(m[1])), "cap_", "")), ",+"); got != unitCapabilities {
		t.Errorf("the unit has\n%s\nand the test\n%s", got, unitCapabilities)
	}
}

// With the capabilities of the unit, and no more, nothing is missing. Without those for the process, devices are served
// all the same, and it is said what is not as it should be.
func TestProcessCapabilities(t *testing.T) {
	needGuest(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	file := writeConfig(t, lifeConfig(a, b))
	const all = unitCapabilities
	s := upBy(t, file, nil, "setpriv", "--no-new-privs", "--bounding-set", all, "ublk-linear", "up", "--group", "disk")
	st, err := client(t, file).Status(t.Context(), "life")
	if p := st.Process; err != nil || !p.IOFlusher || p.LockedBytes == 0 || p.OOMScoreAdj != -1000 || s.err.String() != "" {
		t.Errorf("with %s: %+v %v\n%s", all, p, err, s.err)
	}
	hold := exec.Command("sleep", "1000") // somebody with more capabilities than the server has it open
	f, err := os.Open(s.dev["life"])
	if err != nil {
		t.Fatal(err)
	}
	hold.ExtraFiles = []*os.File{f}
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	out, err := exec.Command("ublk-linear", "down", "-c", file).CombinedOutput()
	if exitStatus(err) != 4 || !strings.Contains(string(out), fmt.Sprintf("process %d (sleep)", hold.Process.Pid)) {
		t.Errorf("down of what is open: %v\n%s", err, out)
	}
	_ = hold.Process.Kill()
	_ = hold.Wait()
	s.down()
	nothingLeft(t, a, b)

	few := strings.NewReplacer(",+sys_resource", "", ",+ipc_lock", "").Replace(all)
	s = upBy(t, file, nil, "setpriv", "--bounding-set", few, "ublk-linear", "up")
	sh(t, "dd", "if="+s.dev["life"], "of=/dev/null", "bs=4k", "count=8", "iflag=direct", "status=none")
	within(t, "what is missing is said", func() bool {
		for _, want := range []string{"I/O flusher", "oom_score_adj", "memory lock", "CAP_IPC_LOCK"} {
			if !strings.Contains(s.err.String(), want) {
				return false
			}
		}
		return true
	})
	st, err = client(t, file).Status(t.Context(), "life")
	if p := st.Process; err != nil || p.IOFlusher || p.LockedBytes != 0 || p.OOMScoreAdj == -1000 {
		t.Errorf("with %s: %+v %v", few, p, err)
	}
	if t.Failed() {
		t.Log(s.err)
	}
}
