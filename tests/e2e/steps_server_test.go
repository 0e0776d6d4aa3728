package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// prompt is how long anything may take that a killed server has left to others.
const prompt = 30 * time.Second

// tracedServer is a server with a tracer.
type tracedServer struct {
	*server
	*tracer
}

// traceUp is tryUp under a tracer that is armed from the beginning on. With an error the server has ended, by its tracer or
// by itself.
func traceUp(t testing.TB, file, verb string, at int, inside time.Duration) (*tracedServer, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	er, ew, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := trace([]string{"ublk-linear", verb, "-c", file}, w, ew, at, inside)
	w.Close()
	ew.Close()
	if err != nil {
		t.Fatal(err)
	}
	s := &tracedServer{&server{t: t, file: file, cmd: &exec.Cmd{Process: tr.proc}, err: &lockedBuffer{}, dev: map[string]string{}, done: make(chan error, 1)}, tr}
	said := make(chan struct{})
	go func() {
		defer close(said)
		_, _ = io.Copy(s.err, er)
		er.Close()
	}()
	lines := make(chan string, 64)
	go func() {
		defer r.Close()
		for sc := bufio.NewScanner(r); sc.Scan(); {
			lines <- sc.Text()
		}
		rc := <-tr.done
		<-said
		close(lines)
		s.server.done <- rc
	}()
	for want, end := deviceCount(t, file), time.After(prompt); len(s.dev) < want; {
		select {
		case l, ok := <-lines:
			if !ok {
				s.rc, s.gone = <-s.server.done, true
				return s, fmt.Errorf("%s ended: %w\n%s", verb, errors.Join(s.rc, errors.New("not all devices came")), s.err)
			}
			name, node, _ := strings.Cut(l, " ")
			s.dev[name] = node
		case <-end:
			_ = tr.proc.Kill()
			t.Fatalf("%s: %d of %d devices after %v\n%s", verb, len(s.dev), want, prompt, s.err)
		}
	}
	return s, nil
}

// promptly does what a round has left to do, in time.
func promptly(t testing.TB, what string, do func()) {
	t.Helper()
	start := time.Now()
	do()
	if d := time.Since(start); d > prompt {
		t.Errorf("%s took %v", what, d.Round(time.Millisecond))
	}
}

// code is the exit status of a traced program or of another.
func code(err error) int {
	var e exited
	if errors.As(err, &e) {
		return int(e)
	}
	return exitStatus(err)
}
