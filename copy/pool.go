package blkcopy

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// pool keeps buffers of windows: mapped, so that they are page-aligned, outside the Go heap, and do not move. What is in
// use is bounded by whoever takes; what is kept for the next copy, by keep.
type pool struct {
	mapped func(n uint64) ([]byte, error) // nil: mapMemory

	mu   sync.Mutex
	free [][]byte // guarded by mu
	held uint64   // guarded by mu; bytes of free
}

// keep is how many bytes stay mapped between copies.
const keep = 16 << 20

// get is a buffer of at least n bytes.
func (p *pool) get(n uint64) ([]byte, error) {
	p.mu.Lock()
	for i, b := range p.free {
		if uint64(len(b)) >= n && uint64(len(b)) <= 4*n+MinWindow {
			p.free = append(p.free[:i], p.free[i+1:]...)
			p.held -= uint64(len(b))
			p.mu.Unlock()
			return b, nil
		}
	}
	p.mu.Unlock()
	if p.mapped != nil {
		return p.mapped(n)
	}
	return mapMemory(n)
}

func mapMemory(n uint64) ([]byte, error) {
	n = (n + 4095) &^ 4095
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("copy buffer of %d bytes: %w", n, err)
	}
	_ = unix.Madvise(b, unix.MADV_DONTFORK) // a fork must not make the kernel copy what a disk is writing to
	if n >= 2<<20 {
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // fewer pages to pin per I/O; a hint
	}
	return b, nil
}

// put takes a buffer back.
func (p *pool) put(b []byte) {
	p.mu.Lock()
	if p.held+uint64(len(b)) <= keep {
		p.free = append(p.free, b)
		p.held += uint64(len(b))
		b = nil
	}
	p.mu.Unlock()
	if b != nil {
		_ = unix.Munmap(b)
	}
}

// close gives back what is kept.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.free {
		_ = unix.Munmap(b)
	}
	p.free, p.held = nil, 0
}
