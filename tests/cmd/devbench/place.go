package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// aligned is memory that a disk can read to and write from, past the page cache.
func aligned(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}

// read is so many MiB of the device, past the page cache. The memory is the collector's.
func (p place) read(mib int) ([]byte, error) {
	return p.each(mib, nil, func(f *os.File, part []byte, at int64) error {
		_, err := f.ReadAt(part, at)
		return err
	})
}

// write puts data there, past the page cache.
func (p place) write(data []byte) error {
	_, err := p.each(len(data)>>20, data, func(f *os.File, part []byte, at int64) error {
		_, err := f.WriteAt(part, at)
		return err
	})
	return err
}

func (p place) each(mib int, data []byte, do func(*os.File, []byte, int64) error) (out []byte, err error) {
	f, err := os.OpenFile(p.node, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const size = 4 << 20
	part, err := aligned(size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unix.Munmap(part)) }()
	if data == nil {
		out = make([]byte, 0, mib<<20)
	}
	for at := 0; at < mib<<20; at += size {
		now := part[:min(size, mib<<20-at)]
		if data != nil {
			copy(now, data[at:])
		}
		if err := do(f, now, p.at+int64(at)); err != nil {
			return nil, fmt.Errorf("%s at %d: %w", p.node, p.at+int64(at), err)
		}
		if data == nil {
			out = append(out, now...)
		}
	}
	return out, nil
}
