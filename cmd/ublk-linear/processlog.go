package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	logLines = 1024            // that wait for a reader
	logFlush = 2 * time.Second // for them to be read when the server ends
)

// logWriter takes lines without ever waiting for whoever reads them: a pager that is not scrolled, a terminal that ^S has
// stopped, a log that is written to one of our own devices. Lines that nobody takes are lost, and counted.
type logWriter struct {
	out   io.Writer
	lines chan []byte
	lost  atomic.Uint64
	done  chan struct{}
	once  sync.Once
}

func newLogWriter(out io.Writer) *logWriter {
	l := &logWriter{out: out, lines: make(chan []byte, logLines), done: make(chan struct{})}
	go l.run()
	return l
}

// Write takes a line. It does not fail; what comes after close is not written.
func (l *logWriter) Write(line []byte) (int, error) {
	select {
	case l.lines <- bytes.Clone(line):
	default:
		l.lost.Add(1)
	}
	return len(line), nil
}

func (l *logWriter) run() {
	defer close(l.done)
	for line := range l.lines {
		if line == nil {
			break
		}
		_, _ = l.out.Write(line)
		l.sayLost()
	}
	l.sayLost()
}

func (l *logWriter) sayLost() {
	if n := l.lost.Swap(0); n > 0 {
		fmt.Fprintf(l.out, "ublk-linear: %d lines of the log are lost: nobody read them in time\n", n)
	}
}

// close waits until all is written, or for a while.
func (l *logWriter) close() {
	l.once.Do(func() {
		t := time.NewTimer(logFlush)
		defer t.Stop()
		select {
		case l.lines <- nil: // the end; the channel stays open for who logs late
		case <-t.C:
			return
		}
		select {
		case <-l.done:
		case <-t.C:
		}
	})
}
