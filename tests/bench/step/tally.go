package step

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"strings"
)

// place is what an address is.
type place struct {
	count *int // of its function, where that is wanted
	first bool // it begins a function
	grows bool // it is in runtime.morestack
}

// tally counts addresses by function.
//
// The runtime asks a goroutine to yield by having the check at the begin of a function fail: the function saves its
// arguments, calls runtime.morestack, and begins again. When that happens is a matter of time, so what a function does
// before and behind that call is not counted: nothing is, before the next of the functions that are asked about begins.
type tally struct {
	funcs   []function
	keep    func(string) bool
	at      map[uint64]place // what was looked up
	counts  map[string]*int
	pending []*int // since the last begin of a function
	again   bool   // until the next
}

func (t *tally) add(pc uint64) {
	p, known := t.at[pc]
	if !known {
		p = t.look(pc)
		t.at[pc] = p
	}
	switch {
	case p.grows:
		t.pending, t.again = t.pending[:0], true
	case p.first:
		t.flush()
		t.again = t.again && p.count == nil // the runtime's own functions begin in between
	}
	if p.count != nil && !t.again {
		t.pending = append(t.pending, p.count)
	}
}

func (t *tally) flush() {
	for _, n := range t.pending {
		*n++
	}
	t.pending = t.pending[:0]
}

func (t *tally) look(pc uint64) place {
	f := find(t.funcs, pc)
	p := place{first: pc == f.at && f.name != "", grows: strings.HasPrefix(f.name, "runtime.morestack")}
	if f.name != "" && t.keep(f.name) {
		if t.counts[f.name] == nil {
			t.counts[f.name] = new(int)
		}
		p.count = t.counts[f.name]
	}
	return p
}

func (t *tally) result() map[string]int {
	t.flush()
	out := map[string]int{}
	for name, n := range t.counts {
		out[name] = *n
	}
	return out
}

// function is a symbol of the program's text.
type function struct {
	at, end uint64
	name    string
}

func functions(program string) ([]function, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	var out []function
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Size > 0 {
			out = append(out, function{s.Value, s.Value + s.Size, s.Name})
		}
	}
	slices.SortFunc(out, func(a, b function) int { return cmp.Compare(a.at, b.at) })
	return out, nil
}

// find is the function at an address; one without a name when there is none.
func find(funcs []function, pc uint64) function {
	i, found := slices.BinarySearchFunc(funcs, pc, func(f function, pc uint64) int { return cmp.Compare(f.at, pc) })
	if !found {
		i--
	}
	if i < 0 || pc >= funcs[i].end {
		return function{}
	}
	return funcs[i]
}
