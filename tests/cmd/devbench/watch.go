package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

// aside is what went on beside a contender while it was measured.
type aside struct {
	copied      float64 // MiB/s of a copy
	asked       int     // times that the server was asked for its status
	collections int     // of the garbage of the server
}

func (a aside) into(s *bench.Sample) {
	s.BesideMiBs, s.Asked, s.Collections = a.copied, a.asked, a.collections
}

// watch follows the sections of a fio: it reads a server's usage when its section begins and when the next does, and has
// going what a contender has beside it. Where any has, sections wait until that is under way: nothing is measured without.
type watch struct {
	all           []*contender
	before, after []usage
	asides        []aside
	names         [2]string // of the pipes: what sections say, and what they wait for; "": they do not wait
	said, goOn    *os.File
	stop          func() (aside, error) // what is beside the section under way
	at            int                   // of that section; -1: none yet
	begun         func()                // called when a section begins, if it is not nil
	err           error
	done          chan struct{}
}

func (b *bencher) newWatch(all []*contender) (*watch, error) {
	w := &watch{all: all, before: make([]usage, len(all)), after: make([]usage, len(all)), asides: make([]aside, len(all)), at: -1, begun: b.begun, done: make(chan struct{})}
	open := func() (string, *os.File, error) {
		name := filepath.Join(b.dir, b.name("fifo"))
		if err := unix.Mkfifo(name, 0o600); err != nil {
			return "", nil, err
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0) // for both: no end between two writers, and no wait for a reader
		return name, f, err
	}
	var err error
	if w.names[0], w.said, err = open(); err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.beside != nil && w.goOn == nil {
			if w.names[1], w.goOn, err = open(); err != nil {
				w.close()
				return nil, err
			}
		}
	}
	return w, nil
}

func (w *watch) close() {
	_ = w.said.Close()
	if w.goOn != nil {
		_ = w.goOn.Close()
	}
}

// prerun is what section i runs in a shell before it begins. To fio, what is behind a semicolon is a comment.
func (w *watch) prerun(i int) string {
	if w.goOn == nil {
		return fmt.Sprintf("(echo %d > %s)", i, w.names[0])
	}
	return fmt.Sprintf("(echo %d > %s && read x < %s)", i, w.names[0], w.names[1])
}

// run follows until end.
func (w *watch) run() {
	defer close(w.done)
	for sc := bufio.NewScanner(w.said); sc.Scan(); {
		i, err := strconv.Atoi(sc.Text())
		if err != nil { // that was the last
			break
		}
		if i > w.at { // not another job of the same section
			w.leave()
			w.enter(i)
		}
		if w.goOn != nil {
			_, _ = w.goOn.WriteString("go\n")
		}
	}
	w.leave()
}

// end waits for the last section's end.
func (w *watch) end() error {
	_, _ = w.said.WriteString("end\n")
	<-w.done
	return w.err
}

func (w *watch) enter(i int) {
	w.at = i
	if w.all[i].beside != nil {
		w.stop = start(w.all[i].beside)
	}
	w.before[i] = w.all[i].usage()
	if w.begun != nil {
		w.begun()
	}
}

func (w *watch) leave() {
	if w.at < 0 {
		return
	}
	w.after[w.at] = w.all[w.at].usage()
	if w.stop != nil {
		a, err := w.stop()
		w.asides[w.at], w.err, w.stop = a, errors.Join(w.err, err), nil
	}
}

// start has something going, and returns when it is under way, or has failed. stop ends it.
func start(what func(context.Context, func()) (aside, error)) (stop func() (aside, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}, 1), make(chan struct{})
	var a aside
	var err error
	go func() {
		defer close(done)
		a, err = what(ctx, func() {
			select {
			case ready <- struct{}{}:
			default:
			}
		})
		if ctx.Err() == nil && err == nil {
			err = errors.New("what went on beside the measurement ended before it")
		}
	}()
	select {
	case <-ready:
	case <-done:
	}
	return func() (aside, error) {
		cancel()
		<-done
		return a, err
	}
}
