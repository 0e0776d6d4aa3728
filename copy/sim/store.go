package sim

import (
	"fmt"
	"io"
	"sync"
)

// Store is where a device's data lies, when it is durable. Bytes count from its start, and are whole logical blocks. The
// device calls it from one goroutine at a time; two devices may share one that says it is safe.
type Store interface {
	ReadAt(p []byte, at uint64) error
	WriteAt(p []byte, at uint64) error
	Sync() error
}

// Memory is a Store in memory, all zero at first.
type Memory struct {
	mu sync.Mutex
	b  []byte // guarded by mu
}

// NewMemory makes one of so many bytes.
func NewMemory(bytes uint64) *Memory { return &Memory{b: make([]byte, bytes)} }

// ReadAt is a Store's.
func (m *Memory) ReadAt(p []byte, at uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.move(p, at, func(there []byte) { copy(p, there) })
}

// WriteAt is a Store's.
func (m *Memory) WriteAt(p []byte, at uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.move(p, at, func(there []byte) { copy(there, p) })
}

func (m *Memory) move(p []byte, at uint64, do func([]byte)) error {
	if n := uint64(len(p)); at > uint64(len(m.b)) || n > uint64(len(m.b))-at {
		return fmt.Errorf("%d bytes at %d: past the end: %w", n, at, io.ErrUnexpectedEOF)
	}
	do(m.b[at : at+uint64(len(p))])
	return nil
}

// Sync is a Store's.
func (m *Memory) Sync() error { return nil }
