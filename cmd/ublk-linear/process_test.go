package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// TestServesDevices: the process is made fit for the verbs that serve, wherever they stand, and for no other.
func TestServesDevices(t *testing.T) {
	for line, want := range map[string]bool{
		"up": true, "up -v -c x.toml": true, "-c up up": true, "--json -c x.toml up": true,
		"": false, "down": false, "-c up down": false, "ls": false, "help up": false, "completion bash": false, "upp": false, "--bad up": false, "check -c up": false,
		"__complete up": false,
	} {
		if got := servesDevices(strings.Fields(line)); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestSpareFromOOM(t *testing.T) {
	for was, want := range map[string]string{"0\n": "-1000", "200\n": "-1000", "-1000\n": "-1000\n", "-500\n": "-500\n"} {
		file := tempFile(t, "oom_score_adj", was)
		err := spareFromOOM(file)
		if b, _ := os.ReadFile(file); err != nil || string(b) != want {
			t.Errorf("%q became %q, want %q: %v", was, b, want, err)
		}
	}
	if err := spareFromOOM(tempFile(t, "x", "what\n")); err == nil {
		t.Error("not a number")
	}
	if err := spareFromOOM(filepath.Join(t.TempDir(), "nosuch")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestMayLock: where a limit holds, what is mapped later would fail to be mapped.
func TestMayLock(t *testing.T) {
	for _, c := range []struct {
		capable bool
		limit   uint64
		want    bool
	}{{true, 0, true}, {true, 8 << 20, true}, {false, unix.RLIM_INFINITY, true}, {false, 8 << 20, false}, {false, math.MaxInt64, false}} {
		if got := mayLock(c.capable, c.limit); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestMappingsOf(t *testing.T) {
	const maps = `00400000-00832000 r-xp 00000000 fe:01 394 /opt/ul bin
00832000-00e6d000 r--p 00432000 fe:01 394 /opt/ul bin
00e6d000-00ec4000 ---p 00a6d000 fe:01 394 /opt/ul bin
00ec4000-00f0c000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r--s 00000000 00:05 7 /opt/ul
7ffd0000-7ffe0000 r-xp 00000000 00:00 0 [vdso]
`
	want := [][2]uintptr{{0x400000, 0x832000}, {0x832000, 0xe6d000}}
	if d := cmp.Diff(want, mappingsOf(maps, "/opt/ul bin")); d != "" {
		t.Error(d)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if len(mappingsOf(string(own), exe)) == 0 {
		t.Errorf("%s is not in\n%s", exe, own)
	}
}

// TestSayProcess: what could not be had is a warning that says what may happen for it; -v says what is.
func TestSayProcess(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	sayProcess(context.Background(), log)
	if strings.Contains(out.String(), "WARN") || !strings.Contains(out.String(), "threads") {
		t.Error(out.String())
	}
	sayProcess(withProcess(context.Background(), []loss{{"memory lock", unix.EPERM, "memory may be swapped out"}}), log)
	for _, want := range []string{"level=WARN", "memory lock", "operation not permitted", "memory may be swapped out"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestProcessText(t *testing.T) {
	for want, p := range map[string]daemon.ProcessInfo{
		"11 threads, I/O flusher, memory locked (64MiB mapped, 20MiB used), OOM score -1000, heap limit 1GiB": {IOFlusher: true, Threads: 11, LockedBytes: 64 << 20, ResidentBytes: 20 << 20, OOMScoreAdj: -1000, MemoryLimit: 1 << 30},
		"2 threads, no I/O flusher, memory not locked, OOM score 0, heap limit none":                          {Threads: 2, ResidentBytes: 1, MemoryLimit: math.MaxInt64},
	} {
		if got := processText(p); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// stuck is a writer that takes nothing until it is let go.
type stuck struct {
	began chan struct{}
	free  chan struct{}
	once  sync.Once
	mu    sync.Mutex
	b     bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.began) })
	<-s.free
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// TestLogWriter: no line is waited for; those that find no room are counted; the end waits for what is left.
func TestLogWriter(t *testing.T) {
	out := &stuck{began: make(chan struct{}), free: make(chan struct{})}
	l := newLogWriter(out)
	line := []byte("first\n")
	_, _ = l.Write(line)
	copy(line, "other") // slog uses its buffer again
	<-out.began
	for range logLines + 5 {
		if n, err := l.Write([]byte("more\n")); n != 5 || err != nil {
			t.Fatal(n, err)
		}
	}
	close(out.free)
	l.close()
	l.close()
	_, _ = l.Write([]byte("late\n"))
	got := out.b.String()
	if !strings.HasPrefix(got, "first\n") || strings.Count(got, "more\n") != logLines || !strings.Contains(got, "5 lines of the log are lost") || strings.Contains(got, "late") {
		t.Errorf("%.200s… %d lines", got, strings.Count(got, "\n"))
	}
}

// TestLogWriterStuck: a reader that never comes holds up the end only for a while.
func TestLogWriterStuck(t *testing.T) {
	out := &stuck{began: make(chan struct{}), free: make(chan struct{})}
	defer close(out.free)
	l := newLogWriter(out)
	_, _ = l.Write([]byte("first\n"))
	<-out.began
	for range logLines + 5 {
		_, _ = l.Write([]byte("more\n"))
	}
	done := make(chan struct{})
	go func() {
		l.close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("it waits for ever")
	}
}

// TestHeartbeat is what systemd's watchdog is told, by a socket of the test's.
func TestHeartbeat(t *testing.T) {
	path := filepath.Join(shortDir(t), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "")
	if h := newHeartbeat(); h != nil {
		t.Error("nobody watches")
	} else {
		h.beat()
	}
	t.Setenv("WATCHDOG_USEC", "60000000")
	t.Setenv("WATCHDOG_PID", "1")
	if h := newHeartbeat(); h != nil {
		t.Error("another process is watched")
	}
	t.Setenv("WATCHDOG_PID", "")
	h := newHeartbeat()
	for range 3 {
		h.beat()
		buf := make([]byte, 100)
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != "WATCHDOG=1" {
			t.Fatalf("%q %v", buf[:n], err)
		}
	}
	for range 100000 { // nobody reads: it never waits
		h.beat()
	}
}

// A server of many queues gets processors for them, within bounds, and never fewer; and none where the environment says how many.
func TestProcessorsFor(t *testing.T) {
	was := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(was)
	t.Setenv("GOMAXPROCS", "")
	for _, c := range []struct{ queues, want int }{{1, 4}, {3, 6}, {2, 6}, {32, maxProcessors}, {1000, maxProcessors}, {1, maxProcessors}} {
		processorsFor(c.queues)
		if got := runtime.GOMAXPROCS(0); got != c.want {
			t.Errorf("%d queues: %d processors, want %d", c.queues, got, c.want)
		}
	}
	runtime.GOMAXPROCS(4)
	t.Setenv("GOMAXPROCS", "4")
	if processorsFor(16); runtime.GOMAXPROCS(0) != 4 {
		t.Error("the environment says otherwise")
	}
}
