package conform

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// buffers are mapped, so that they are aligned for direct I/O and outside the Go heap. There is a fixed number of them, each
// of chunk bytes and mapped when it is first used.
type buffers chan []byte

func newBuffers() buffers {
	b := make(buffers, 4)
	for range cap(b) {
		b <- nil
	}
	return b
}

// use calls do with a buffer of n bytes, at most chunk.
func (p buffers) use(n int, do func(b []byte) error) error {
	b := <-p
	defer func() { p <- b }()
	if b == nil {
		mem, err := unix.Mmap(-1, 0, chunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return fmt.Errorf("memory: %w", err)
		}
		b = mem
	}
	return do(b[:n])
}

// close gives them back, when nobody uses them any more.
func (p buffers) close() {
	for range cap(p) {
		if b := <-p; b != nil {
			_ = unix.Munmap(b)
		}
	}
}

// pieces calls do for p in pieces of a chunk, with where each lies.
func pieces(p []byte, at uint64, do func(p []byte, at uint64) error) error {
	for len(p) > 0 {
		n := min(len(p), chunk)
		if err := do(p[:n], at); err != nil {
			return err
		}
		p, at = p[n:], at+uint64(n)
	}
	return nil
}
