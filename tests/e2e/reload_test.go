package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// rewrite puts other words into the file of a server.
func (s *server) rewrite(toml string) {
	s.t.Helper()
	if err := os.WriteFile(s.file, []byte(toml), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// tableOf is what the server maps a device by.
func tableOf(t testing.TB, s *server, name string) string {
	t.Helper()
	st, err := client(t, s.file).Status(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(st.Table)
}

// writer writes and reads one block of a device again and again, and remembers the longest time that took.
type writer struct {
	stop    context.CancelFunc
	done    sync.WaitGroup
	longest time.Duration
	count   int
	err     error
}

func startWriter(t testing.TB, node string, sector uint64) *writer {
	t.Helper()
	fd, b := openDirect(t, node), pages(t, 4096)
	ctx, stop := context.WithCancel(context.Background())
	w := &writer{stop: stop}
	t.Cleanup(func() { // before the memory goes, however the test ends
		stop()
		w.done.Wait()
	})
	w.done.Go(func() {
		for v := uint64(1); ctx.Err() == nil && w.err == nil; v++ {
			began := time.Now()
			stampBlock(b, v)
			_, err := transfer(fd, true, b, sector)
			stampBlock(b, 0)
			_, err2 := transfer(fd, false, b, sector)
			if err != 0 || err2 != 0 {
				w.err = fmt.Errorf("round %d: %w, %w", v, err, err2)
			} else if got, whole := blockValue(b); got != v || !whole {
				w.err = fmt.Errorf("round %d: %d is there", v, got)
			}
			w.longest = max(w.longest, time.Since(began))
			w.count++
		}
	})
	return w
}

// end stops it; nothing must have failed.
func (w *writer) end(t testing.TB) {
	t.Helper()
	w.stop()
	w.done.Wait()
	if w.err != nil || w.count == 0 {
		t.Errorf("%d rounds: %v", w.count, w.err)
	}
	t.Logf("%d rounds, the longest %v", w.count, w.longest.Round(time.Millisecond))
}

// What is written under a load of reloads is what is read: the tables of each say the same places in other words.
func TestReloadUnderLoad(t *testing.T) {
	needGuest(t)
	disks := pathDisks(nullBlk(t, 64, withCache), nullBlk(t, 64, withCache))
	words := []string{
		"0 65536 linear a 8\n65536 65536 linear b 1024",
		"0 30000 linear a 8\n30000 35536 linear a 30008\n65536 65536 striped 1 8 b 1024",
		"0 65536 striped 1 16 a 8\n65536 8 linear b 1024\n65544 65528 linear b 1032",
		"0 4096 linear a 8\n4096 61440 striped 1 64 a 4104\n65536 65536 linear b 1024",
	}
	file := func(i int) string {
		d := disks
		if i%2 == 1 { // the disks in another order in the file, and one more that nobody uses
			d = strings.Replace(disks, "[disk.a]", "[disk.q]\nmemory = \"1MiB\"\n[disk.a]", 1)
		}
		return d + tableDevice("data", words[i%len(words)]) + tableDevice("still", "0 8192 linear a 66000")
	}
	s := up(t, file(0))
	still := startWriter(t, s.dev["still"], 0)
	c := client(t, s.file)
	ctx, stop := context.WithCancel(context.Background())
	n, least := 0, scaled(100, 10)
	var longest float64
	var wg sync.WaitGroup
	loaded := make(chan struct{})
	wg.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-loaded:
				if n >= least {
					return
				}
			default:
			}
			if ctx.Err() != nil {
				return
			}
			if err := os.WriteFile(s.file, []byte(file(i)), 0o600); err != nil {
				t.Error(err)
				return
			}
			r, err := c.Reload(ctx, daemon.ReloadRequest{})
			if err != nil || r.Changes != 1 || r.Devices[0].Moved != 0 || len(r.Devices[0].Come) == 0 {
				t.Errorf("reload %d: %v: %+v", i, err, r)
				return
			}
			n++
			longest = max(longest, r.Stall)
		}
	})
	t.Cleanup(stop)
	for _, set := range []string{"sizes", "sync"} {
		fio(t, s.dev["data"], fioJobs(512)[set])
	}
	close(loaded)
	wg.Wait()
	still.end(t)
	t.Logf("%d reloads, the longest stall %.1f ms", n, longest*1000)
	if n < least {
		t.Errorf("%d reloads", n)
	}
	if st := status(t, s, "data"); st.Errors != 0 {
		t.Errorf("%d errors", st.Errors)
	}
	if !within(t, "table", func() bool { return tableOf(t, s, "data") == words[n%len(words)] }) {
		t.Error(tableOf(t, s, "data"))
	}
}

// A device is moved to another disk while it is suspended, and its users see nothing but that it took a while; the old disk
// is free then.
func TestReloadMoves(t *testing.T) {
	anyKernel(t)
	a, b := nullBlk(t, 16), nullBlk(t, 16)
	s := up(t, pathDisks(a)+tableDevice("data", "0 16384 linear a 8"))
	scribble(t, s.dev["data"], 7)
	want := whole(t, s.dev["data"])
	w := startWriter(t, s.dev["data"], 4096)
	exits(t, 0, "suspend", "data", "--for", "9m", "-c", s.file)
	moved := whole(t, a)[8*512:][:16384*512]
	to := openRaw(t, b)
	buf := aligned(t, len(moved))
	copy(buf, moved)
	if _, err := to.WriteAt(buf, 1024*512); err != nil {
		t.Fatal(err)
	}
	to.Close()
	s.rewrite(strings.Replace(pathDisks(b), "disk.a", "disk.b", 1) + tableDevice("data", "0 16384 linear b 1024"))
	if out := exits(t, 6, "reload", "--check", "-c", s.file); !strings.Contains(out, "- 0 16384 linear a 8") || !strings.Contains(out, "+ 0 16384 linear b 1024") || !strings.Contains(out, "16384 lie elsewhere") || !strings.Contains(out, "- disk a") || !strings.Contains(out, "+ disk b") {
		t.Error(out)
	}
	if got := tableOf(t, s, "data"); got != "0 16384 linear a 8" {
		t.Errorf("--check made %s", got)
	}
	exits(t, 0, "reload", "-c", s.file)
	isFree(t, a)
	var st daemon.Status
	if tool(t, &st, "status", "data", "--json", "-c", s.file); st.State != "suspended" || st.Suspended < 60 {
		t.Errorf("%s, %v s left: a reload took the suspension away", st.State, st.Suspended)
	}
	exits(t, 0, "resume", "data", "-c", s.file)
	w.end(t)
	got := whole(t, s.dev["data"])
	copy(got[4096*512:][:4096], want[4096*512:])
	if first, n := differ(got, want); n != 0 {
		t.Errorf("%d bytes differ, from %d on", n, first)
	}
	scribble(t, a, 9)
	got = whole(t, s.dev["data"])
	copy(got[4096*512:][:4096], want[4096*512:])
	if !bytes.Equal(got, want) {
		t.Error("it is still on the old disk")
	}
	exits(t, 0, "reload", "--check", "-c", s.file)
}

// A file system grows under its writers, by legs that were not used and by one that is new; and a kernel that cannot resize
// says so, and nothing else happens.
func TestReloadGrow(t *testing.T) {
	needGuest(t)
	can := has616(t) // before there is a server: it ends a thread, and the server that this thread started would end with it
	for _, c := range []struct{ name, mkfs, grow, check string }{
		{"ext4", "mkfs.ext4 -q -F", "resize2fs", "e2fsck -fn"},
		{"xfs", "mkfs.xfs -q -f", "xfs_growfs", "xfs_repair -n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := nullBlk(t, 400, withCache), nullBlk(t, 200, withCache)
			const small, large = 320 << 11, 500 << 11
			old := pathDisks(a) + tableDevice("data", fmt.Sprintf("0 %d linear a 8", small))
			s := up(t, old)
			node, dir := s.dev["data"], filepath.Join(t.TempDir(), "m")
			words(t, c.mkfs, node)
			unmount := mount(t, node, dir, c.name)
			written := make(chan struct{})
			go func() {
				defer close(written)
				writeTree(t, dir, 1, 40)
			}()
			s.rewrite(pathDisks(a, b) + tableDevice("data", fmt.Sprintf("0 %d linear a 8\n%d %d striped 1 24 b 0\n%d %d linear a %d",
				small, small, 120<<11, small+120<<11, large-small-120<<11, small+8)))
			if !can {
				if out := exits(t, 3, "reload", "-c", s.file); !strings.Contains(out, "6.16") {
					t.Error(out)
				}
				<-written
				if n := capacity(t, node); n != small || tableOf(t, s, "data") != fmt.Sprintf("0 %d linear a 8", small) {
					t.Errorf("%d sectors, %s", n, tableOf(t, s, "data"))
				}
				isFree(t, b)
				unmount()
				return
			}
			exits(t, 0, "reload", "-c", s.file)
			if n := capacity(t, node); n != large {
				t.Fatalf("%d sectors\n%s", n, s.err)
			}
			what := node
			if c.name == "xfs" {
				what = dir
			}
			words(t, c.grow, what)
			<-written
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil || int64(st.Blocks)*st.Bsize < small*512 {
				t.Errorf("%d blocks, %v", st.Blocks, err)
			}
			writeTree(t, filepath.Join(dir, "more"), 2, 300) // also where there was nothing before
			checkTree(t, dir, 1)
			checkTree(t, filepath.Join(dir, "more"), 2)

			s.rewrite(old)
			if out := exits(t, 3, "reload", "-c", s.file); !strings.Contains(out, "--shrink") {
				t.Error(out)
			}
			if out := exits(t, 4, "reload", "--shrink", "-c", s.file); !strings.Contains(out, dir) {
				t.Error(out)
			}
			if n := capacity(t, node); n != large {
				t.Errorf("%d sectors", n)
			}
			unmount()
			words(t, c.check, node)
			exits(t, 0, "reload", "--shrink", "-c", s.file)
			if n := capacity(t, node); n != small {
				t.Errorf("%d sectors after it shrank", n)
			}
			isFree(t, b)
		})
	}
}

// A reload that cannot be made changes nothing: not the tables, not the disks, and not the I/O that goes on.
func TestReloadRefused(t *testing.T) {
	anyKernel(t)
	a, b, c, big := nullBlk(t, 64), nullBlk(t, 64), nullBlk(t, 64), nullBlk(t, 64, "blocksize=4096", "discard=0")
	old := pathDisks(a, b) + tableDevice("data", "0 65536 linear a 8\n65536 8192 linear b 0") + tableDevice("other", "0 8192 linear b 8192")
	s := up(t, old)
	w := startWriter(t, s.dev["data"], 8)
	other := openRaw(t, s.dev["other"])
	hold, err := unix.Open(c, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	more := tableDevice("other", "0 8192 linear b 8192")
	for _, x := range []struct {
		name, toml string
		code       int
		say        []string
	}{
		{"not TOML", "version = ", 3, []string{"volumes.toml:1:"}},
		{"two problems", pathDisks(a, b) + tableDevice("data", "0 65536 linear a 8\n65536 8192 linear nosuch 0\n") + "[device.x]\nidd = 1\n" + more, 3, []string{"nosuch", "idd"}},
		{"busy disk", pathDisks(a, b, c) + tableDevice("data", "0 65536 linear a 8\n65536 8192 linear c 0") + more, 4, []string{c}},
		{"no disk", pathDisks(a, b, "/dev/nosuch") + tableDevice("data", "0 65536 linear a 8\n65536 8192 linear c 0") + more, 3, []string{"/dev/nosuch"}},
		{"stricter", pathDisks(a, b, big) + tableDevice("data", "0 65536 linear a 8\n65536 8192 linear c 0") + more, 3, []string{"logical_block_size", "discard_max_sectors"}},
		{"queues", pathDisks(a, b) + strings.Replace(tableDevice("data", "0 65536 linear a 16\n65536 8192 linear b 0"), "table", "depth = 7\ntable", 1) + more, 3, []string{"depth is 128"}},
		{"gone, open", pathDisks(a, b) + tableDevice("data", "0 65536 linear a 16\n65536 8192 linear b 0"), 4, []string{"device other", "process"}},
	} {
		s.rewrite(x.toml)
		for _, flags := range [][]string{{"--check"}, {}} {
			if x.code == 4 && x.name == "busy disk" && len(flags) > 0 {
				continue // it is found when the disk is opened, which a check does not
			}
			out := exits(t, x.code, append([]string{"reload", "-c", s.file}, flags...)...)
			for _, say := range x.say {
				if !strings.Contains(out, say) {
					t.Errorf("%s %v: %s\nhas no %q", x.name, flags, out, say)
				}
			}
		}
		if got := tableOf(t, s, "data"); got != "0 65536 linear a 8\n65536 8192 linear b 0" {
			t.Errorf("%s: %s", x.name, got)
		}
		if l, err := client(t, s.file).List(t.Context()); err != nil || len(l.Devices) != 2 {
			t.Errorf("%s: %v %v", x.name, l, err)
		}
	}
	_ = unix.Close(hold)
	for _, d := range []string{c, big} {
		isFree(t, d)
	}
	w.end(t)
	other.Close()
	s.rewrite(old)
	exits(t, 0, "reload", "--check", "-c", s.file)
}

// Devices come and go by SIGHUP and by the verb, and with them their disks.
func TestReloadAddRemove(t *testing.T) {
	anyKernel(t)
	a, b, c := nullBlk(t, 32), nullBlk(t, 32), nullBlk(t, 32)
	s := up(t, pathDisks(a, b)+tableDevice("data", "0 8192 linear a 8")+tableDevice("old", "0 8192 linear b 0"))
	w := startWriter(t, s.dev["data"], 0)
	threads := threadCount(t, s)
	both := pathDisks(a, b, c) + tableDevice("new", "0 8192 linear c 8") + tableDevice("data", "0 8192 linear a 8") + tableDevice("old", "0 8192 linear b 0")
	s.rewrite(both)
	s.signal(unix.SIGHUP)
	within(t, "the device that comes", func() bool { _, err := os.Stat("/dev/ublk-linear/new"); return err == nil })
	scribble(t, "/dev/ublk-linear/new", 3)
	if l, err := client(t, s.file).List(t.Context()); err != nil || len(l.Devices) != 3 || l.Devices[0].Name != "new" {
		t.Errorf("%+v, %v", l, err)
	}
	for range scaled(10, 10) {
		s.rewrite(pathDisks(a, c) + tableDevice("new", "0 8192 linear b 8") + tableDevice("data", "0 8192 linear a 8"))
		// c is another disk of the file now, by the name of the one that goes: a name is a disk's as long as it is served.
		if out := exits(t, 3, "reload", "-c", s.file); !strings.Contains(out, "cannot get another name") {
			t.Fatal(out)
		}
		s.rewrite(strings.Replace(pathDisks(a, b, c), fmt.Sprintf("[disk.b]\npath = %q\nunstable_path = true\n", b), "", 1) +
			tableDevice("new", "0 8192 linear c 8") + tableDevice("data", "0 8192 linear a 8"))
		exits(t, 0, "reload", "-c", s.file)
		isFree(t, b)
		if _, err := os.Stat("/dev/ublk-linear/old"); !errors.Is(err, os.ErrNotExist) {
			t.Error("the device that goes is there", err)
		}
		s.rewrite(both)
		exits(t, 0, "reload", "-c", s.file)
	}
	s.rewrite(pathDisks(a) + tableDevice("data", "0 8192 linear a 8"))
	exits(t, 0, "reload", "-c", s.file)
	isFree(t, b)
	isFree(t, c)
	w.end(t)
	if n := threadCount(t, s); n > threads+4 {
		t.Errorf("%d threads, were %d with one device more", n, threads)
	}
}

// A reload waits for copies on the devices that it changes, lets others go on, and keeps new ones out; it gives up, or ends
// them, when it is told to.
func TestReloadCopies(t *testing.T) {
	anyKernel(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	words := []string{"0 65536 linear a 0", "0 32768 linear a 0\n32768 32768 linear a 32768"}
	file := func(i int) string {
		return pathDisks(a, b) + tableDevice("src", words[i%2]) + tableDevice("dst", "0 65536 linear b 0") + tableDevice("apart", "0 32768 linear b 65536\n32768 16384 linear a 65536")
	}
	s := up(t, file(0))
	c := client(t, s.file)
	scribble(t, s.dev["src"], 5)
	want := whole(t, s.dev["src"])
	seg := []daemon.CopySegment{{Pos: 0, Len: 32 << 20}}
	ask := &daemon.CopyRequest{Source: daemon.CopySide{Device: "src", Segments: seg}, Destination: daemon.CopySide{Device: "dst", Segments: seg}}
	ask.Policy.Window = 1 << 20
	start := func(rate uint64) (begun chan struct{}, done chan *daemon.CopyResult) {
		begun, done = make(chan struct{}), make(chan *daemon.CopyResult, 1)
		r := *ask
		r.Policy.Rate = rate
		var once sync.Once
		go func() {
			out, err := c.Copy(context.Background(), &r, &daemon.CopyOptions{Force: true, Progress: func(p daemon.CopyProgress) {
				if p.Bytes > 0 {
					once.Do(func() { close(begun) })
				}
			}})
			if err != nil {
				t.Errorf("copy: %v", err)
			}
			done <- out
		}()
		return begun, done
	}
	begun, done := start(1 << 20) // half a minute
	<-begun
	s.rewrite(file(1))
	if out := exits(t, 4, "reload", "--wait", "0s", "-c", s.file); !strings.Contains(out, "from src to dst") || !strings.Contains(out, "of 33554432 bytes done") {
		t.Error(out)
	}
	if got := tableOf(t, s, "src"); got != words[0] {
		t.Error(got)
	}
	out := exits(t, 0, "reload", "--cancel-copies", "-c", s.file)
	r := <-done
	if !strings.Contains(out, "was ended after") || r.Complete || r.Emulated == 0 || r.Error != "a reload ended the copy" {
		t.Errorf("%s: %+v", out, r)
	}
	if got := tableOf(t, s, "src"); got != words[1] {
		t.Error(got)
	}

	begun, done = start(8 << 20)
	<-begun
	s.rewrite(file(0))
	reloaded := make(chan error, 1)
	go func() {
		_, err := c.Reload(context.Background(), daemon.ReloadRequest{})
		reloaded <- err
	}()
	refused := false
	for len(done) == 0 && !refused { // who comes while it waits
		one := []daemon.CopySegment{{Len: 4096}} // which is the same on both sides by now
		_, err := c.Copy(t.Context(), &daemon.CopyRequest{Source: daemon.CopySide{Device: "dst", Segments: one}, Destination: daemon.CopySide{Device: "src", Segments: one}}, &daemon.CopyOptions{Force: true})
		refused = errors.Is(err, unix.EBUSY)
	}
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
	if r := <-done; !r.Complete || !refused {
		t.Errorf("%+v, another was refused: %v", r, refused)
	}
	if got := tableOf(t, s, "src"); got != words[0] {
		t.Error(got)
	}
	if !bytes.Equal(whole(t, s.dev["dst"]), want) {
		t.Error("the copy is not what was copied")
	}

	_, done = start(0) // and by the new table
	if r := <-done; !r.Complete {
		t.Errorf("%+v", r)
	}
}

// What is on the JSON of a reload, and the numbers of it.
func TestReloadJSON(t *testing.T) {
	needGuest(t)
	a := nullBlk(t, 32)
	s := up(t, pathDisks(a)+tableDevice("data", "0 8192 linear a 8"))
	s.rewrite(pathDisks(a) + tableDevice("data", "0 4096 linear a 8\n4096 4096 linear a 8192"))
	cmd := exec.Command("ublk-linear", "reload", "--check", "--json", "-c", s.file)
	text, err := cmd.Output()
	var r daemon.ReloadResult
	if exitStatus(err) != 6 || json.Unmarshal(text, &r) != nil || r.Changes != 1 || !r.Check || r.Devices[0].Moved != 4096 || len(r.Devices[0].Come) != 2 || r.Stall != 0 {
		t.Errorf("%v: %s", err, text)
	}
}

// A server that is killed anywhere in a reload leaves a device that is as the old file has it, or as the new one: the next
// server takes it over by one of the two, and nobody sees an error.
func TestReloadKilled(t *testing.T) {
	needGuest(t)
	cleared(t)
	a, b := nullBlk(t, 64, withCache), nullBlk(t, 64)
	grows := has616(t)
	file := func(i int) string {
		more := "" // every other file has one span more, where the kernel can grow a device, and another device
		if i%2 == 1 && grows {
			more = "\n65536 8192 linear b 65536"
		}
		out := pathDisks(a, b) + tableDevice("data", []string{"0 32768 linear a 8\n32768 32768 linear b 8", "0 16384 striped 1 8 a 8\n16384 16384 linear a 16392\n32768 32768 linear b 8"}[i%2]+more)
		if i%2 == 1 {
			out += tableDevice("comes", "0 8192 linear b 90000")
		}
		return out
	}
	path := writeConfig(t, file(0))
	s, err := tryUp(t, path)
	if err != nil {
		t.Fatal(err)
	}
	load := startBlocks(t, s.dev["data"], 65536, false)
	is, old, fresh := 0, 0, 0
	for round, n := 0, scaled(8, 13); round < n || (fresh == 0 || old == 0) && round < 5*n; round++ {
		load.moves(20)
		if err := os.WriteFile(path, []byte(file(is+1)), 0o600); err != nil {
			t.Fatal(err)
		}
		c, ended := client(t, path), make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = c.Reload(context.Background(), daemon.ReloadRequest{})
		}()
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond << (round % 6)) // the moment is what is tested
		spare(t, s.cmd.Process.Pid)
		s.crash()
		<-ended
		if s, err = tryUp(t, path); err == nil {
			fresh++
			is++
		} else {
			if s.rc == nil || exitStatus(s.rc) != 3 {
				t.Fatalf("round %d: %v", round, err)
			}
			if err := os.WriteFile(path, []byte(file(is)), 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err = tryUp(t, path); err != nil {
				t.Fatalf("round %d: neither file is that of the device: %v", round, err)
			}
			old++
		}
		if grows && is%2 == 1 { // it cannot shrink, as it is in use: back to where it began, without the load
			load.end()
			if err := os.WriteFile(path, []byte(file(is+1)), 0o600); err != nil {
				t.Fatal(err)
			}
			exits(t, 0, "reload", "--shrink", "-c", path)
			is++
			load = startBlocks(t, s.dev["data"], 65536, false)
		}
	}
	load.moves(20)
	load.end()
	t.Logf("%d reloads were made when the server was killed, or as good as, %d were not", fresh, old)
	if fresh == 0 || old == 0 {
		t.Error("all of one kind mean little")
	}
	if load.failed.Load() > 0 {
		t.Errorf("%d errors", load.failed.Load())
	}
	s.down()
	nothingLeft(t, a, b)
}
