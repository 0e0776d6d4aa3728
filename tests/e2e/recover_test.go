package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
	"github.com/ublk-go/ublk-linear/ublk"
)

// onCrash gives every device of a configuration a policy.
func onCrash(toml, policy string) string {
	var b strings.Builder
	for l := range strings.Lines(toml) {
		b.WriteString(l)
		if strings.HasPrefix(l, "[device.") {
			fmt.Fprintf(&b, "on_crash = %q\n", policy)
		}
	}
	return b.String()
}

// crash kills a server, and waits until its process is gone.
func (s *server) crash() {
	s.t.Helper()
	s.signal(syscall.SIGKILL)
	_ = s.wait()
	if !s.gone {
		s.t.Fatal("the server outlives SIGKILL")
	}
}

// policies are those that this kernel has.
func policies(t testing.TB) []string {
	t.Helper()
	out := []string{"reissue", "queue"}
	f, err := daemon.Features()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range f {
		if x.Name == "USER_RECOVERY_FAIL_IO" && x.Has {
			out = append(out, "fail")
		}
	}
	return out
}

// cleared removes what a failed test has left waiting, so that the others can go on.
func cleared(t testing.TB) {
	t.Cleanup(func() {
		if t.Failed() {
			var l daemon.List
			tool(t, &l, "ls")
			for _, d := range l.Devices {
				if d.PID != 0 {
					_ = exec.Command("ublk-linear", "down", "--force", "-c", d.Config).Run()
				}
			}
			out, err := exec.Command("ublk-linear", "remove", "--all", "--force").CombinedOutput()
			t.Logf("remove --all: %v %s", err, out)
		}
	})
}

// exits runs the program and returns what it says; the exit code must be the one that is wanted.
func exits(t testing.TB, want int, args ...string) string {
	t.Helper()
	start := time.Now()
	out, err := exec.Command("ublk-linear", args...).CombinedOutput()
	if got := exitStatus(err); got != want {
		t.Errorf("%s: exit %d, want %d\n%s", strings.Join(args, " "), got, want, out)
	}
	if d := time.Since(start); d > hang {
		t.Errorf("%s took %v", strings.Join(args, " "), d)
	}
	return string(out)
}

// crashConfig is a device to write to and one to copy to, on two disks of 64 MiB.
func crashConfig(a, b string) string {
	return pathDisks(a, b) + tableDevice("life", "0 32768 linear a 8\n32768 49152 striped 2 24 a 32776 b 0") + tableDevice("copy", "0 65536 linear b 65536")
}

// copying is a copy program at work; nil is none.
type copying struct{ cmd *exec.Cmd }

// startCopy copies slowly, until the server dies or the copy is ended.
func startCopy(t testing.TB, file string) *copying {
	cmd := exec.Command("ublk-linear", "copy", "-c", file, "life:0s+65536s", "copy:0s", "--rate", "4MiB")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &copying{cmd}
}

// kill does not wait: the program may be in the middle of an fsync of a device whose server is dead, which nothing ends but
// the next server.
func (c *copying) kill() {
	if c != nil {
		_ = c.cmd.Process.Kill()
	}
}

// wait is for when there is a server. As long as the program lives, it may hold a device.
func (c *copying) wait() {
	if c != nil {
		_ = c.cmd.Wait()
	}
}

// crashBed serves crashConfig on two disks with a cache, under an on_crash policy; "" writes none.
func crashBed(t testing.TB, policy string) (s *server, file string, disks []string) {
	t.Helper()
	cleared(t)
	disks = []string{nullBlk(t, 64, withCache), nullBlk(t, 64, withCache)}
	toml := crashConfig(disks[0], disks[1])
	if policy != "" {
		toml = onCrash(toml, policy)
	}
	file = writeConfig(t, toml)
	s, err := tryUp(t, file)
	if err != nil {
		t.Fatal(err)
	}
	return s, file, disks
}

// SIGKILL at random moments while blocks are written, some durably, and read back, in half of the rounds with a copy under
// way: nothing that was acknowledged is lost, nothing old comes back, and under reissue nobody sees an error.
func TestCrash(t *testing.T) {
	needGuest(t)
	for _, policy := range policies(t) {
		t.Run(policy, func(t *testing.T) {
			s, file, disks := crashBed(t, policy)
			node := s.dev["life"]
			plain := startBlocks(t, node, 40960, policy != "reissue")
			defer plain.end()
			rng := rand.New(rand.NewPCG(uint64(len(policy)), 11))
			var slowest time.Duration
			for i := range scaled(6, 12) {
				plain.moves(50)
				var c *copying
				if i%2 == 1 {
					c = startCopy(t, file)
				}
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				failed := plain.failed.Load()
				s.crash()
				c.kill()
				if policy == "fail" {
					within(t, "I/O fails while there is no server", func() bool { return plain.failed.Load() > failed+20 })
				}
				start := time.Now()
				var err error
				if s, err = tryUp(t, file); err != nil {
					t.Fatalf("round %d: %v", i, err)
				}
				slowest = max(slowest, time.Since(start))
				c.wait()
				if s.dev["life"] != node {
					t.Fatalf("%s became %s", node, s.dev["life"])
				}
			}
			plain.moves(50)
			plain.end()
			if policy == "reissue" && plain.failed.Load() > 0 {
				t.Errorf("%d errors", plain.failed.Load())
			}
			t.Logf("the slowest recovery took %v, the longest request %v", slowest.Round(time.Millisecond), time.Duration(plain.longest.Load()).Round(time.Millisecond))
			s.down()
			nothingLeft(t, disks...)
		})
	}
}

// The same under fio: 4 jobs at a time, with flushes and then with FUA, every block verified at the end.
func TestCrashFio(t *testing.T) {
	needGuest(t)
	s, file, disks := crashBed(t, "")
	var done atomic.Bool
	var crashes atomic.Int64
	var rounds sync.WaitGroup
	node, least := s.dev["life"], int64(scaled(3, 70))
	rounds.Go(func() {
		defer done.Store(true)
		for ok := true; ok; ok = crashes.Load() < least && !t.Failed() {
			fio(t, node, job("rw=randwrite bsrange=4k-64k iodepth=16 size=2m fsync=16 rate=512k numjobs=4 offset_increment=10m")+
				job("rw=randwrite bs=8k iodepth=4 size=512k sync=1 rate=256k numjobs=4 offset_increment=10m"))
		}
	})
	for i := 0; !done.Load(); i++ {
		time.Sleep(time.Duration(200+rand.IntN(800)) * time.Millisecond)
		var c *copying
		if i%2 == 1 {
			c = startCopy(t, file)
		}
		s.crash()
		c.kill()
		var err error
		if s, err = tryUp(t, file); err != nil {
			t.Error(err)
			break
		}
		c.wait()
		crashes.Add(1)
	}
	if t.Failed() {
		_ = exec.Command("ublk-linear", "remove", "--all", "--force").Run()
	}
	rounds.Wait()
	t.Logf("%d crashes under fio", crashes.Load())
	if crashes.Load() < least {
		t.Errorf("%d crashes are too few", crashes.Load())
	}
	s.down()
	nothingLeft(t, disks...)
}

// delayed is a dm-delay device over a disk, whose writes take ms milliseconds; again sets another delay.
func delayed(t testing.TB, name, disk string, ms int) (node string, again func(ms int)) {
	t.Helper()
	sectors := strings.TrimSpace(sh(t, "blockdev", "--getsz", disk))
	table := func(ms int) string { return fmt.Sprintf("0 %s delay %s 0 0 %s 0 %d", sectors, disk, disk, ms) }
	node = dmCreate(t, name, table(ms))
	return node, func(ms int) {
		t.Helper()
		sh(t, "dmsetup", "suspend", "--noudevsync", name) // what was delayed is let go by that
		cmd := exec.Command("dmsetup", "load", name)
		cmd.Stdin = strings.NewReader(table(ms))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("dmsetup load: %v\n%s", err, out)
		}
		sh(t, "dmsetup", "resume", "--noudevsync", name)
	}
}

// fenceDelay is longer than a server takes to come up without waiting, on a slow machine.
const fenceDelay = 10 * time.Second

// A write that is on its way to a disk when the server dies lands before the next server begins, never over what is written
// then: the disk cannot be had before.
func TestFence(t *testing.T) {
	needGuest(t)
	const at = 64 // sectors
	run := func(t *testing.T, path, toml, under string, slow func(ms int), offset int64) {
		file := writeConfig(t, strings.Replace(onCrash(toml, "queue"), "on_crash", fmt.Sprintf("data_path = %q\non_crash", path), 1))
		s, err := tryUp(t, file)
		if err != nil {
			t.Fatal(err)
		}
		fd := openDirect(t, s.dev["data"])
		old, newer := pages(t, 4096), pages(t, 4096)
		fill(old, 1)
		fill(newer, 2)
		slow(int(fenceDelay.Milliseconds()))
		sent := make(chan unix.Errno, 1)
		begun := time.Now()
		go func() {
			_, e := transfer(fd, true, old, at)
			sent <- e
		}()
		within(t, "the write is on its way", func() bool { return inFlight(t, s, "data") > 0 })
		s.crash()
		if e := <-sent; e == 0 {
			t.Error("a write that nobody carried out is acknowledged")
		}
		t.Logf("killed %v after the write began", time.Since(begun).Round(time.Millisecond))
		// With zero copy the process itself does not end before: its write holds a page of the driver's request.
		if path == "buffer" && has(t, under, offset+at*512, old) {
			t.Fatal("the write had landed before: the test says nothing")
		}
		if s, err = tryUp(t, file); err != nil {
			t.Fatal(err)
		}
		t.Logf("the next server serves %v after the write began", time.Since(begun).Round(time.Millisecond))
		if !has(t, under, offset+at*512, old) {
			t.Error("a server serves while a write of the dead one is on its way")
		}
		slow(0)
		if n, e := transfer(fd, true, newer, at); e != 0 || n != len(newer) {
			t.Errorf("%d %v", n, e)
		}
		for end := begun.Add(fenceDelay + 2*time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		}
		if !has(t, under, offset+at*512, newer) {
			t.Error("the old write landed over the newer one")
		}
		_ = unix.Close(fd)
		s.down()
	}
	for _, path := range []string{"buffer", "zero-copy"} {
		t.Run("block/"+path, func(t *testing.T) {
			if path == "zero-copy" && !has616(t) {
				t.Skip("zero copy is of Linux 6.16")
			}
			cleared(t)
			base := nullBlk(t, 64)
			node, slow := delayed(t, "fence", base, 0)
			run(t, path, pathDisks(node)+tableDevice("data", "0 8192 linear a 0"), base, slow, 0)
		})
	}
	t.Run("file", func(t *testing.T) {
		cleared(t)
		node, slow := delayed(t, "fence", nullBlk(t, 160), 0)
		sh(t, "mkfs.ext4", "-q", "-F", node)
		dir := filepath.Join(t.TempDir(), "m")
		unmount := mount(t, node, dir, "ext4")
		img := filepath.Join(dir, "d.img")
		if err := os.WriteFile(img, bytes.Repeat([]byte{0xee}, 8<<20), 0o600); err != nil { // written: an overwrite needs no journal
			t.Fatal(err)
		}
		unix.Sync()
		run(t, "buffer", fmt.Sprintf("version = 1\n[disk.a]\nfile = %q\n", img)+tableDevice("data", "0 8192 linear a 0"), img, slow, 0)
		slow(0)
		unmount()
	})
}

// has says whether a disk or file has content at a byte position, past the page cache.
func has(t testing.TB, path string, at int64, want []byte) bool {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	b := pages(t, len(want))
	if _, err := unix.Pread(fd, b, at); err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(b, want)
}

// inFlight is how many commands a server has sent to disks for requests that it has not answered.
func inFlight(t testing.TB, s *server, name string) (n uint64) {
	t.Helper()
	b, err := os.ReadFile("/sys/class/block/" + filepath.Base(s.dev[name]) + "/inflight")
	if err != nil {
		t.Fatal(err)
	}
	var r, w uint64
	if _, err := fmt.Sscan(string(b), &r, &w); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // from the driver to the server to the disk
	return r + w
}

// What is not what it was is refused, with all differences, and nothing is touched; what is again is taken over.
func TestAdoptRefused(t *testing.T) {
	anyKernel(t)
	cleared(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	toml := pathDisks(a, b) + tableDevice("data", "0 8192 linear a 0\n8192 8192 linear b 0") + tableDevice("more", "0 8192 linear b 65536")
	file := writeConfig(t, toml)
	rewrite := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := tryUp(t, file)
	if err != nil {
		t.Fatal(err)
	}
	exits(t, 4, "remove", "--orphan", "data") // it has a server
	exits(t, 4, "adopt", "--check", "-c", file)
	node := s.dev["data"]
	id := strings.TrimPrefix(node, "/dev/ublkb")
	fd := openDirect(t, node)
	mem := pages(t, 4096)
	fill(mem, 5)
	if _, e := transfer(fd, true, mem, 16); e != 0 {
		t.Fatal(e)
	}
	s.crash()
	for _, c := range []struct {
		from, to string
		want     []string
	}{
		{"0 8192 linear a 0", "0 8192 linear a 8", []string{`line 1 of the table was "0 8192 linear a 0", is "0 8192 linear a 8"`}},
		{"[device.data]", "[device.date]", []string{`device "data" waits for its server as ` + node + `, and the file has it no more`}},
		{"[device.data]", "[device.data]\ndepth = 16\non_crash = \"queue\"", []string{"depth 128 → 16", "on_crash reissue → queue"}},
		{fmt.Sprintf("%q", b), fmt.Sprintf("%q", nullBlk(t, 64)), []string{"disk b was " + b}},
		{"[device.more]\n", "[device.more]\nread_only = true\n", []string{"read_only false → true"}},
	} {
		rewrite(strings.Replace(toml, c.from, c.to, 1))
		for _, args := range [][]string{{"adopt", "--check"}, {"adopt"}, {"up"}} {
			out := exits(t, 3, append(args, "-c", file)...)
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("%v: no %q in\n%s", args, want, out)
				}
			}
		}
		if l := orphansNow(t); len(l) != 2 || len(l[0].Why)+len(l[1].Why) == 0 || l[0].State != "quiesced" || l[1].State != "quiesced" {
			t.Errorf("ls --orphans: %+v", l)
		}
	}
	rewrite(toml)
	if out := exits(t, 6, "adopt", "--check", "-c", file); !strings.Contains(out, node) {
		t.Error(out)
	}
	if l := orphansNow(t); len(l) != 2 || len(l[0].Why)+len(l[1].Why) != 0 || l[0].OnCrash != "reissue" || !l[0].Waits {
		t.Errorf("ls --orphans: %+v", l)
	}
	// A start that fails when they are taken over already, because a new device's number is another server's, leaves them
	// waiting. adopt does not want that device.
	other := up(t, pathDisks(nullBlk(t, 64))+"[device.other]\nid = 50\ntable = \"0 8192 linear a 0\"\n")
	rewrite(toml + "[device.new]\nid = 50\ntable = \"0 8192 linear b 81920\"\n")
	if out := exits(t, 4, "up", "-c", file); !strings.Contains(out, "id 50 is taken") {
		t.Error(out)
	}
	if l := orphansNow(t); len(l) != 2 || l[0].State != "quiesced" || l[1].State != "quiesced" {
		t.Errorf("ls --orphans: %+v", l)
	}
	s, err = tryServe(t, file, "adopt", 2)
	if err != nil {
		t.Fatal(err)
	}
	if n, e := transfer(fd, false, mem, 16); e != 0 || n != 4096 {
		t.Error(n, e)
	}
	want := pages(t, 4096)
	if fill(want, 5); !bytes.Equal(mem, want) {
		t.Error("another content after recovery")
	}
	exits(t, 0, "status", "data", "-c", file)
	s.crash()
	rewrite(toml)
	other.down()

	// Without a state, nothing says what the table was: only by id, and only when asked for.
	states, _ := filepath.Glob("/run/ublk-linear/*.json")
	for _, p := range states {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
	if out := exits(t, 3, "up", "-c", file); !strings.Contains(out, "its state is lost") {
		t.Error(out)
	}
	if out := exits(t, 3, "adopt", "--trust-file", "-c", file); !strings.Contains(out, "no device of the file has id = "+id) {
		t.Error(out)
	}
	second := strings.TrimPrefix(s.dev["more"], "/dev/ublkb")
	rewrite(strings.Replace(strings.Replace(toml, "[device.data]\n", "[device.data]\nid = "+id+"\n", 1), "[device.more]\n", "[device.more]\nid = "+second+"\n", 1))
	exits(t, 3, "up", "-c", file)
	if s, err = tryServe(t, file, "adopt", 2, "--trust-file"); err != nil {
		t.Fatal(err)
	}
	if n, e := transfer(fd, false, mem, 16); e != 0 || n != 4096 || !bytes.Equal(mem, want) {
		t.Error(n, e)
	}
	_ = unix.Close(fd)
	s.down()
	exits(t, 0, "adopt", "--check", "-c", file)
	exits(t, 5, "adopt", "-c", file)
	nothingLeft(t, a, b)
}

// tryServe is tryUp of another verb.
func tryServe(t testing.TB, file, verb string, devices int, flags ...string) (*server, error) {
	t.Helper()
	s := &server{t: t, file: file, err: &lockedBuffer{}, dev: map[string]string{}, done: make(chan error, 1)}
	s.cmd = exec.Command("ublk-linear", append([]string{verb, "-c", file}, flags...)...)
	out := &lockedBuffer{}
	s.cmd.Stdout, s.cmd.Stderr = out, s.err
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.done <- s.cmd.Wait() }()
	for end := time.Now().Add(hang); ; time.Sleep(20 * time.Millisecond) {
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) == devices && lines[0] != "" {
			for _, l := range lines {
				name, node, _ := strings.Cut(l, " ")
				s.dev[name] = node
			}
			return s, nil
		}
		select {
		case s.rc = <-s.done:
			s.gone = true
			return s, fmt.Errorf("%s ended: %w\n%s%s", verb, errors.Join(s.rc, errors.New("not all devices came")), out, s.err)
		default:
		}
		if time.Now().After(end) {
			_ = s.cmd.Process.Kill()
			return s, fmt.Errorf("%s: after %v\n%s%s", verb, hang, out, s.err)
		}
	}
}

func orphansNow(t testing.TB) []daemon.Orphan {
	t.Helper()
	var l daemon.Orphans
	if err := json.Unmarshal([]byte(sh(t, "ublk-linear", "ls", "--orphans", "--json")), &l); err != nil {
		t.Fatal(err)
	}
	return l.Orphans
}

// An orphan goes when it is told to, in bounded time, with I/O waiting in it, and also when it is mounted: then by force.
func TestRemoveOrphan(t *testing.T) {
	needGuest(t)
	cleared(t)
	a, b := nullBlk(t, 160), nullBlk(t, 64)
	file := writeConfig(t, pathDisks(a, b)+tableDevice("fs", "0 262144 linear a 0")+tableDevice("io", "0 65536 linear b 0")+tableDevice("idle", "0 8192 linear b 65536"))
	s, err := tryUp(t, file)
	if err != nil {
		t.Fatal(err)
	}
	sh(t, "mkfs.ext4", "-q", "-F", s.dev["fs"])
	dir := filepath.Join(t.TempDir(), "m")
	unmount := mount(t, s.dev["fs"], dir, "ext4")
	load := startLoad(t, s.dev["io"], 1)
	writtenAtLeast(t, b, 50)
	s.crash()
	exits(t, 2, "remove")
	exits(t, 2, "remove", "--all", "--orphan", "fs")
	exits(t, 5, "remove", "--orphan", "nosuch")
	if out := exits(t, 4, "remove", "--orphan", "fs"); !strings.Contains(out, "mounted at "+dir) {
		t.Error(out)
	}
	if out := exits(t, 4, "remove", "--all"); !strings.Contains(out, "device io") || !strings.Contains(out, "device fs") {
		t.Error(out)
	}
	if l := orphansNow(t); len(l) != 3 {
		t.Errorf("something went: %+v", l)
	}
	if out := exits(t, 0, "remove", "--orphan", strings.TrimPrefix(s.dev["idle"], "/dev/ublkb"), "--json"); !strings.Contains(out, `"name": "idle"`) {
		t.Error(out)
	}
	start := time.Now()
	exits(t, 0, "remove", "--orphan", "io", "--force")
	load.failed(t)
	t.Logf("with I/O waiting: %v", time.Since(start).Round(time.Millisecond))
	start = time.Now()
	exits(t, 0, "remove", "--orphan", "fs", "--force")
	t.Logf("mounted: %v", time.Since(start).Round(time.Millisecond))
	unmount()
	if states, _ := filepath.Glob("/run/ublk-linear/*.json"); len(states) > 0 {
		t.Errorf("left %v", states)
	}
	nothingLeft(t, a, b)
	exits(t, 0, "remove", "--all")
}

// A server that is killed anywhere in its start, or in taking devices over, leaves what the next one can go on with.
func TestKillWhileStarting(t *testing.T) {
	needGuest(t)
	cleared(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	file := writeConfig(t, crashConfig(a, b))
	rng := rand.New(rand.NewPCG(3, 4))
	start := func(after time.Duration) {
		cmd := exec.Command("ublk-linear", "up", "-c", file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after)
		spare(t, cmd.Process.Pid)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	old := !has616(t)
	for round := range scaled(3, 10) {
		for range 4 { // a start from nothing
			start(time.Duration(rng.IntN(1500)) * time.Millisecond)
		}
		s, err := tryUp(t, file)
		if err != nil && old && strings.Contains(err.Error(), ublk.ErrUnrecoverable.Error()) {
			t.Logf("round %d: %v", round, err)
			exits(t, 0, "remove", "--all", "--force")
			s, err = tryUp(t, file)
		}
		if err != nil {
			t.Fatal(err)
		}
		plain := startBlocks(t, s.dev["life"], 40960, old)
		plain.moves(50)
		s.crash()
		for range 6 { // recoveries, with requests waiting
			start(time.Duration(rng.IntN(1500)) * time.Millisecond)
		}
		s, err = tryUp(t, file)
		if err != nil && old && strings.Contains(err.Error(), ublk.ErrUnrecoverable.Error()) {
			t.Logf("round %d: %v", round, err)
			plain.stop.Store(true) // a read of a device that is gone is one of nothing, without an error
			exits(t, 0, "remove", "--all", "--force")
			plain.wg.Wait()
			_ = unix.Close(plain.fd)
			continue
		}
		if err != nil {
			t.Error(err)
			exits(t, 0, "remove", "--all", "--force")
			plain.end()
			return
		}
		plain.moves(50)
		plain.end()
		s.down()
		nothingLeft(t, a, b)
	}
}

// has616 says whether the driver can be told of a server's end.
func has616(t testing.TB) bool {
	t.Helper()
	has, err := quiesces()
	if err != nil {
		t.Fatal(err)
	}
	return has
}

// features are asked once, before there is a server (needGuest): asking ends a thread, and a server that was started by that
// thread ends with it.
var features = sync.OnceValues(daemon.Features)

func hasFeature(name string) (bool, error) {
	f, err := features()
	for _, x := range f {
		if x.Name == name {
			return x.Has, nil
		}
	}
	return false, err
}

func quiesces() (bool, error) { return hasFeature("QUIESCE") }

// scansLater says whether START_DEV leaves the partition tables to a worker. The feature is newer than that, and came with
// it to 7.0.
func scansLater() (bool, error) { return hasFeature("NO_AUTO_PART_SCAN") }

// scansWithin says whether START_DEV reads them itself. Then it waits for ever for a server that is killed meanwhile, with the
// device's lock held: until the next boot neither the device nor the dead server's disks can be had by anyone.
func scansWithin(t testing.TB) bool {
	t.Helper()
	later, err := scansLater()
	if err != nil {
		t.Fatal(err)
	}
	return !later
}

// A mounted file system does not notice that its server was killed and another one came.
func TestFileSystemOverCrash(t *testing.T) {
	needGuest(t)
	for _, c := range []struct{ name, mkfs, check string }{
		{"ext4", "mkfs.ext4 -q -F", "e2fsck -fn"},
		{"xfs", "mkfs.xfs -q -f", "xfs_repair -n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cleared(t)
			a, b := nullBlk(t, 200, withCache), nullBlk(t, 200, withCache)
			file := writeConfig(t, pathDisks(a, b)+tableDevice("data", "0 400000 linear a 64\n400000 240000 striped 2 24 b 8 b 200192"))
			s, err := tryUp(t, file)
			if err != nil {
				t.Fatal(err)
			}
			node, dir := s.dev["data"], filepath.Join(t.TempDir(), "m")
			words(t, c.mkfs, node)
			unmount := mount(t, node, dir, c.name)
			seed := rand.Uint64()
			written := make(chan int, 1)
			go func() {
				n := writeTree(t, dir, seed, 60)
				unix.Sync()
				written <- n
			}()
			crashes := 0
			for going := true; going || crashes < 3; {
				select {
				case n := <-written:
					going = false
					t.Logf("%d MiB written", n>>20)
				case <-time.After(time.Duration(100+rand.IntN(500)) * time.Millisecond):
				}
				s.crash()
				crashes++
				if s, err = tryUp(t, file); err != nil {
					t.Error(err)
					exits(t, 0, "remove", "--all", "--force")
					return
				}
			}
			unmount()
			unmount = mount(t, node, dir, c.name)
			files, size := checkTree(t, dir, seed)
			unmount()
			words(t, c.check, node)
			t.Logf("%d crashes, %d files and %d MiB the same", crashes, files, size>>20)
			s.down()
			nothingLeft(t, a, b)
		})
	}
}

// An NVMe Copy that is under way when the server dies is waited for as well: it is sent by ioctl, and neither the process nor
// its hold on the disk end before the command does. The disk "cpt" takes seconds for it.
func TestFenceNVMeCopy(t *testing.T) {
	needGuest(t)
	cleared(t)
	if files, _ := filepath.Glob("/sys/block/nvme*/device/serial"); !slices.ContainsFunc(files, func(f string) bool {
		b, _ := os.ReadFile(f)
		return strings.TrimSpace(string(b)) == "cpt"
	}) {
		t.Skip("no NVMe disk with the serial number cpt: -drive nvme:size=64M,mssrl=8192,mcl=8192,msrc=3,bps=1M,serial=cpt")
	}
	const n = 4 << 20 // one command
	disk := "/dev/" + nvmeBySerial(t, "cpt")
	raw := openRaw(t, disk)
	defer raw.Close()
	src, dst := aligned(t, n), aligned(t, n)
	fill(src, 77)
	if _, err := raw.WriteAt(src, 0); err != nil {
		t.Fatal(err)
	}
	s, err := tryUp(t, writeConfig(t, pathDisks(disk)+tableDevice("data", "0 65536 linear a 0")))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ublk-linear", "copy", "-c", s.file, "data:0s+8192s", "data:16384s", "--no-flush")
	said := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, "a copy", func() bool { return strings.Contains(sh(t, "ublk-linear", "status", "data", "-c", s.file), "copies") })
	time.Sleep(300 * time.Millisecond)
	killed := time.Now()
	s.signal(syscall.SIGKILL)
	excl := func() error {
		fd, err := unix.Open(disk, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}
	busy := 0
	if !within(t, "the disk is free", func() bool {
		err := excl()
		if errors.Is(err, unix.EBUSY) {
			busy++
		}
		return err == nil
	}) {
		return
	}
	free := time.Since(killed)
	if busy == 0 {
		t.Error("the disk was free at once: the command was not under way, and the test says nothing")
	}
	if _, err := raw.ReadAt(dst, 16384*512); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(src, dst) {
		t.Error("the disk is free, and the copy is not done: it may land over what a successor writes")
	}
	_ = s.wait()
	_ = cmd.Wait()
	t.Logf("the disk was free %v after SIGKILL; copy said %s", free.Round(time.Millisecond), said)
	if s, err = tryUp(t, s.file); err != nil {
		t.Fatal(err)
	}
	s.down()
	nothingLeft(t, disk)
}
