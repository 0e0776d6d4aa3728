package main

import (
	"debug/elf"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// symbols is functions by address: what is not below an end is of none.
type symbols []function

type function struct {
	start, end uint64
	name       string
}

// farthest is how long a function of the kernel can be: /proc/kallsyms has no sizes, and behind the last one of a module
// there is nothing.
const farthest = 256 << 10

// kallsyms reads /proc/kallsyms. A function ends where the next begins. Where several are at one address, the first counts.
func kallsyms(text string) (symbols, error) {
	var s symbols
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		if len(f) < 3 || !strings.Contains("tTwW", f[1]) {
			continue
		}
		at, err := strconv.ParseUint(f[0], 16, 64)
		if err != nil {
			return nil, fmt.Errorf("kallsyms: %q: %w", l, err)
		}
		name := f[2]
		if len(f) > 3 {
			name += " " + f[3] // [module]
		}
		s = append(s, function{start: at, name: name})
	}
	s.sort()
	for i := range s {
		s[i].end = s[i].start + farthest
		for _, n := range s[i+1:] {
			if n.start > s[i].start {
				s[i].end = min(s[i].end, n.start)
				break
			}
		}
	}
	if len(s) == 0 || s[len(s)-1].start == 0 {
		return nil, fmt.Errorf("kallsyms has no addresses: %w", io.ErrUnexpectedEOF)
	}
	return s, nil
}

// loadedAt is where the kernel puts a position-independent program when it does not choose at random (norandmaps).
const loadedAt = 0x555555554000

// program reads the functions of a program. Assembly functions of C may have no size: they end where the next begins.
func program(path string) (symbols, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var base uint64
	if f.Type == elf.ET_DYN {
		base = loadedAt
	}
	var s symbols
	for _, y := range all {
		if elf.ST_TYPE(y.Info) == elf.STT_FUNC && y.Section != elf.SHN_UNDEF {
			s = append(s, function{base + y.Value, base + y.Value + y.Size, y.Name})
		}
	}
	s.sort()
	for i := range s[:max(len(s)-1, 0)] {
		if s[i].end == s[i].start {
			s[i].end = s[i+1].start
		}
	}
	return s, nil
}

func (s symbols) sort() {
	slices.SortStableFunc(s, func(a, b function) int {
		switch {
		case a.start < b.start:
			return -1
		case a.start > b.start:
			return 1
		}
		return 0
	})
}

// at is the function of an address; false where there is none.
func (s symbols) at(va uint64) (string, bool) {
	i, found := slices.BinarySearchFunc(s, va, func(f function, va uint64) int {
		switch {
		case f.start < va:
			return -1
		case f.start > va:
			return 1
		}
		return 0
	})
	if !found {
		if i--; i < 0 {
			return "", false
		}
		for i > 0 && s[i-1].start == s[i].start { // the first of one address
			i--
		}
	}
	if va >= s[i].end {
		return "", false
	}
	return s[i].name, true
}

// address is where a program has a function.
func address(path, name string) (uint64, error) {
	s, err := program(path)
	if err != nil {
		return 0, err
	}
	for _, f := range s {
		if f.name == name {
			return f.start, nil
		}
	}
	return 0, fmt.Errorf("%s has no function %s", path, name)
}
