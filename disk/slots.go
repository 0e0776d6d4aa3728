package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// slot is the memory of one command to a device, outside the Go heap, as all memory that the kernel reads and writes.
type slot struct {
	mem []byte
	id  byte // 1 and up; no two slots of a pool have the same
}

func (s *slot) memory() *slot { return s }

// slotPool has a fixed number of slots. Each is mapped when it is first used, and stays. More commands than it has slots wait.
type slotPool[S interface {
	memory() *slot
	bytes() int // of its memory
}] chan S

func (p slotPool[S]) get() (S, error) {
	s := <-p
	m := s.memory()
	if m.mem != nil {
		return s, nil
	}
	mem, err := unix.Mmap(-1, 0, s.bytes(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		p <- s
		var none S
		return none, fmt.Errorf("memory: %w", err)
	}
	m.mem = mem
	return s, nil
}

func (p slotPool[S]) put(s S) { p <- s }
