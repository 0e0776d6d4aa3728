package blkcopy

import (
	"fmt"
	"math/bits"
	"sync"

	"golang.org/x/sys/unix"
)

// pool keeps buffers of windows: mapped, so that they are page-aligned, outside the Go heap, and do not move. What is in
// use is bounded by whoever takes; what is kept for the next copy, by keep.
type pool struct {
	mapped func(n uint64) ([]byte, error) // nil: mapMemory

	mu   sync.Mutex
	free [][]byte // guarded by mu; the oldest first
	held uint64   // guarded by mu; bytes of free
}

const (
	// keep is how many bytes stay mapped between copies.
	keep = 16 << 20
	// smallest is the size of a buffer of few bytes: only what is used of it is ever touched.
	smallest = 64 << 10
	// huge is the size of a huge page, which is pinned for an I/O in one step where 512 small ones take 512.
	huge = 2 << 20
)

// roomFor is the size of a new buffer for n bytes, in few sizes, so that it is of use to others: a power of two below 1 MiB,
// and whole huge pages from there on. It is at most 2 n, or smallest.
func roomFor(n uint64) uint64 {
	switch {
	case n <= smallest:
		return smallest
	case n < huge/2:
		return 1 << bits.Len64(n-1)
	}
	return (n + huge - 1) &^ (huge - 1)
}

// get is a buffer of at least n bytes, and of no more than four times what a new one would have: the smallest of those
// that are free, the youngest of like ones, whose memory is warm.
func (p *pool) get(n uint64) ([]byte, error) {
	room := roomFor(n)
	best := -1
	p.mu.Lock()
	for i, b := range p.free {
		if size := uint64(len(b)); size >= n && size <= 4*room && (best < 0 || size <= uint64(len(p.free[best]))) {
			best = i
		}
	}
	if best >= 0 {
		b := p.free[best]
		p.free = append(p.free[:best], p.free[best+1:]...)
		p.held -= uint64(len(b))
		p.mu.Unlock()
		return b, nil
	}
	p.mu.Unlock()
	if p.mapped != nil {
		return p.mapped(room)
	}
	return mapMemory(room)
}

// mapMemory maps n bytes, a multiple of the page size. The kernel itself lays mappings of whole huge pages where huge pages
// can be, since 6.7.
func mapMemory(n uint64) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("copy buffer of %d bytes: %w", n, err)
	}
	_ = unix.Madvise(b, unix.MADV_DONTFORK) // a fork must not make the kernel copy what a disk is writing to
	if n%huge == 0 {
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // a hint
	}
	return b, nil
}

// put takes a buffer back. The oldest ones make room for it: what is taken now is of the sizes that are wanted now.
func (p *pool) put(b []byte) {
	var gone [][]byte
	p.mu.Lock()
	if uint64(len(b)) > keep {
		gone = append(gone, b)
		b = nil
	}
	for p.held+uint64(len(b)) > keep {
		gone = append(gone, p.free[0])
		p.held -= uint64(len(p.free[0]))
		p.free = p.free[1:]
	}
	if b != nil {
		p.free = append(p.free, b)
		p.held += uint64(len(b))
	}
	p.mu.Unlock()
	for _, b := range gone {
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
