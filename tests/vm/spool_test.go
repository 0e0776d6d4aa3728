package vm

import (
	"bytes"
	"testing"
)

// slowWriter lets one write through for each value of gate.
type slowWriter struct {
	gate chan struct{}
	bytes.Buffer
}

func (w *slowWriter) Write(p []byte) (int, error) {
	<-w.gate
	return w.Buffer.Write(p)
}

func TestSpool(t *testing.T) {
	w := &slowWriter{gate: make(chan struct{})}
	s := newSpool(w)
	for range 1000 { // would hang if the writer were waited for
		if n, err := s.Write([]byte("line\n")); n != 5 || err != nil {
			t.Fatal(n, err)
		}
	}
	close(w.gate)
	s.Close()
	if w.Len() != 5000 {
		t.Errorf("%d bytes passed on, want 5000", w.Len())
	}
}

func TestSpoolEmpty(t *testing.T) {
	newSpool(nil).Close()
}
