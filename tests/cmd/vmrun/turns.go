package main

import (
	"bytes"
	"io"
	"sync"
)

// turns lets several write to one writer one after the other: what a later one writes is kept until those before it are done.
type turns struct {
	w    io.Writer
	mu   sync.Mutex
	now  int // whose turn it is; guarded by mu, as all below
	kept []bytes.Buffer
	done []bool
}

func newTurns(w io.Writer, n int) *turns {
	return &turns{w: w, kept: make([]bytes.Buffer, n), done: make([]bool, n)}
}

// turn is the writer of one of them.
type turn struct {
	*turns
	i int
}

func (t turn) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.i != t.now {
		return t.kept[t.i].Write(p)
	}
	return t.w.Write(p)
}

// end is for when nothing more comes.
func (t turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done[t.i] = true
	for t.now < len(t.done) && t.done[t.now] {
		if t.now++; t.now < len(t.done) {
			_, _ = t.kept[t.now].WriteTo(t.w)
		}
	}
}
