package vm

import (
	"bytes"
	"io"
	"sync"
)

// spool passes what is written to it on to a slower writer, and never makes its own writer wait: a
// guest whose output nobody takes spins in the kernel with a lock held.
type spool struct {
	mu   sync.Mutex
	cond sync.Cond
	buf  bytes.Buffer // guarded by mu
	end  bool         // guarded by mu; no more comes
	done chan struct{}
}

// newSpool returns a spool for w; nil drops everything.
func newSpool(w io.Writer) *spool {
	if w == nil {
		w = io.Discard
	}
	s := &spool{done: make(chan struct{})}
	s.cond.L = &s.mu
	go s.runCopy(w)
	return s
}

func (s *spool) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Write(p)
	s.cond.Signal()
	return len(p), nil
}

// Close waits until everything has been passed on.
func (s *spool) Close() {
	s.mu.Lock()
	s.end = true
	s.cond.Signal()
	s.mu.Unlock()
	<-s.done
}

func (s *spool) runCopy(w io.Writer) {
	defer close(s.done)
	for {
		s.mu.Lock()
		for s.buf.Len() == 0 && !s.end {
			s.cond.Wait()
		}
		b := bytes.Clone(s.buf.Bytes())
		s.buf.Reset()
		end := s.end
		s.mu.Unlock()
		if len(b) > 0 {
			_, _ = w.Write(b) // a reader that went away does not end the run
		}
		if end && len(b) == 0 {
			return
		}
	}
}
