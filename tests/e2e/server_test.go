package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/daemon"
)

// server is one `ublk-linear up` of a test.
type server struct {
	t    testing.TB
	file string
	cmd  *exec.Cmd
	err  *lockedBuffer
	dev  map[string]string // name to /dev/ublkbN
	done chan error        // the exit, once
	rc   error
	gone bool
}

// lockedBuffer is what a child writes while a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// needGuest skips a test outside the guest.
func needGuest(t testing.TB) {
	t.Helper()
	if !inGuest {
		t.Skip("needs the guest that tests/cmd/vmrun boots (make test)")
	}
	_, _ = quiesces() // before there is a server
	notStuck(t)
}

// writeConfig puts a configuration into a folder of its own; relative file disks lie beside it.
func writeConfig(t testing.TB, toml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volumes.toml")
	if err := os.WriteFile(path, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// up serves a configuration and returns when every device can be opened. At the end of the test it is taken down, which
// must succeed, and the server must exit with 0.
func up(t testing.TB, toml string) *server {
	t.Helper()
	s, err := tryUp(t, writeConfig(t, toml))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.down)
	return s
}

// tryUp is up that reports a server which does not come up, with what it said, and leaves stopping it to the caller.
func tryUp(t testing.TB, file string, flags ...string) (*server, error) {
	t.Helper()
	s := &server{t: t, file: file, err: &lockedBuffer{}, dev: map[string]string{}, done: make(chan error, 1)}
	s.cmd = exec.Command("ublk-linear", append([]string{"up", "-c", file}, flags...)...)
	s.cmd.Stderr = s.err
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	want := deviceCount(t, file)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	lines := make(chan string, 1024)
	go func() {
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			lines <- sc.Text()
		}
		close(lines)
		_, _ = io.Copy(io.Discard, out)
		s.done <- s.cmd.Wait()
	}()
	deadline := time.After(hang)
	for len(s.dev) < want {
		select {
		case l, ok := <-lines:
			if !ok {
				s.rc, s.gone = <-s.done, true
				return s, fmt.Errorf("up ended: %w\n%s", errors.Join(s.rc, errors.New("not all devices came")), s.err)
			}
			name, node, _ := strings.Cut(l, " ")
			s.dev[name] = node
		case <-deadline:
			_ = s.cmd.Process.Kill()
			return s, fmt.Errorf("up: %d of %d devices after %v\n%s", len(s.dev), want, hang, s.err)
		}
	}
	return s, nil
}

func deviceCount(t testing.TB, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for l := range strings.Lines(string(b)) {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, "[device.") && !strings.Contains(strings.Trim(l, "[]")[len("device."):], ".") {
			n++
		}
	}
	return n
}

// down stops the server and waits; it fails the test when that does not go smoothly.
func (s *server) down() {
	s.t.Helper()
	if s.gone {
		return
	}
	if out, err := exec.Command("ublk-linear", "down", "-c", s.file).CombinedOutput(); err != nil {
		s.t.Errorf("down: %v\n%s%s", err, out, s.err)
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
	}
	if err := s.wait(); err != nil {
		s.t.Errorf("up: %v\n%s", err, s.err)
	}
}

// signal sends a signal; wait then takes the exit.
func (s *server) signal(sig os.Signal) { _ = s.cmd.Process.Signal(sig) }

// wait waits for the server's exit and returns it.
func (s *server) wait() error {
	if s.gone {
		return s.rc
	}
	select {
	case s.rc = <-s.done:
		s.gone = true
		return s.rc
	case <-time.After(hang):
		return fmt.Errorf("still there after %v", hang)
	}
}

// client talks to the server of a file without a process of its own.
func client(t testing.TB, file string) *daemon.Client {
	t.Helper()
	inst, err := daemon.NewInstance(file, "")
	if err != nil {
		t.Fatal(err)
	}
	return daemon.NewClient(inst)
}
