package workload

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ublk-go/ublk-linear/copy"
)

// ErrExtents is returned for a list of extents that cannot be used. The error says which line, and why.
var ErrExtents = errors.New("bad list of extents")

// Extent is a run of a file on its file system's device, in bytes. A list of them is in the order of the file.
type Extent struct {
	Start uint64 `json:"start"`
	Len   uint64 `json:"length"`
}

// maxExtents bounds a list; a file of a terabyte in pieces of a megabyte has as many.
const maxExtents = 1 << 20

// ParseExtents reads a list in any of three forms: what `filefrag -v FILE` prints (e2fsprogs; it asks the kernel by
// FS_IOC_FIEMAP; any -b), a JSON array of {"start":…,"length":…}, or lines "START LENGTH", with # for comments; the latter
// two in bytes. Extents that a file system did not place (delalloc, inline) or would have to decode (encoded, encrypted)
// are refused; unwritten ones are left out, since they read as zeroes and are not copied: sync the file first.
func ParseExtents(text []byte) ([]Extent, error) {
	var out []Extent
	var err error
	switch trimmed := bytes.TrimSpace(text); {
	case len(trimmed) == 0:
		return nil, fmt.Errorf("%w: it is empty", ErrExtents)
	case trimmed[0] == '[':
		dec := json.NewDecoder(bytes.NewReader(trimmed))
		dec.DisallowUnknownFields()
		if err = dec.Decode(&out); err == nil && dec.More() {
			err = errors.New("more than one array")
		}
	case bytes.HasPrefix(trimmed, []byte("Filesystem type is:")) || bytes.Contains(trimmed, []byte("physical_offset:")):
		out, err = parseFilefrag(trimmed)
	default:
		out, err = parseLines(trimmed)
	}
	if err == nil {
		err = checkExtents(out)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrExtents, err)
	}
	return out, nil
}

func checkExtents(list []Extent) error {
	if len(list) == 0 {
		return errors.New("no extents")
	}
	if len(list) > maxExtents {
		return fmt.Errorf("%d extents, at most %d", len(list), maxExtents)
	}
	var total uint64
	for i, e := range list {
		switch {
		case e.Len == 0:
			return fmt.Errorf("extent %d is empty", i)
		case e.Start > math.MaxInt64 || e.Len > math.MaxInt64-e.Start:
			return fmt.Errorf("extent %d ends past 2^63 bytes", i)
		case e.Len > math.MaxInt64-total:
			return fmt.Errorf("extent %d: together 2^63 bytes and more", i)
		}
		total += e.Len
	}
	return nil
}

func parseLines(text []byte) (out []Extent, err error) {
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 2 {
			return nil, fmt.Errorf("line %d: not START LENGTH, in bytes", n)
		}
		var e Extent
		for i, to := range []*uint64{&e.Start, &e.Len} {
			if *to, err = strconv.ParseUint(f[i], 10, 64); err != nil {
				return nil, fmt.Errorf("line %d: %q is not a number of bytes", n, f[i])
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// parseFilefrag reads the table that filefrag -v prints. Its numbers are blocks of the size that its header names, the
// ends included; the column "expected" is there or not.
func parseFilefrag(text []byte) (out []Extent, err error) {
	var block uint64
	unwritten := false
	sc := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if strings.HasPrefix(line, "File size of ") {
			if block != 0 {
				return nil, fmt.Errorf("line %d: a second file", n)
			}
			// "File size of NAME is BYTES (N blocks of SIZE bytes)"; NAME may be anything, so it is read from the end
			tail := line[strings.LastIndexByte(line, '(')+1:]
			if _, size, ok := strings.Cut(tail, " of "); ok {
				block, _ = strconv.ParseUint(strings.TrimSuffix(size, " bytes)"), 10, 64)
			}
			if block == 0 || block > math.MaxUint32 {
				return nil, fmt.Errorf("line %d: no size of a block", n)
			}
			continue
		}
		parts := strings.SplitN(line, ":", 5) // number, logical, physical, length, the rest
		if _, err := strconv.ParseUint(parts[0], 10, 32); err != nil || len(parts) < 4 {
			continue // headings, and the line of the sum
		}
		if block == 0 {
			return nil, fmt.Errorf("line %d: an extent before the size of the blocks: give all that filefrag -v prints", n)
		}
		flags := strings.Split(line[strings.LastIndexAny(line, ": ")+1:], ",")
		for _, f := range []string{"unknown_loc", "delalloc", "inline", "not_aligned", "encoded", "encrypted"} {
			if slices.Contains(flags, f) {
				return nil, fmt.Errorf("line %d: the extent is %s: it has no place of its own on the device; sync the file, or take another", n, f)
			}
		}
		first, _, _ := strings.Cut(strings.TrimSpace(parts[2]), ".")
		start, err1 := strconv.ParseUint(first, 10, 64)
		length, err2 := strconv.ParseUint(strings.TrimSpace(parts[3]), 10, 64)
		if err1 != nil || err2 != nil || start > math.MaxInt64/block || length > math.MaxInt64/block {
			return nil, fmt.Errorf("line %d: not an extent: %q", n, line)
		}
		if unwritten = slices.Contains(flags, "unwritten"); !unwritten {
			out = append(out, Extent{start * block, length * block})
		}
	}
	if len(out) == 0 && unwritten { // ext4 says so of what is in the page cache only
		return nil, errors.New("no extent is written: sync the file (filefrag -s)")
	}
	return out, sc.Err()
}

// fit brings extents into a room of units: aligned outwards to whole units, what is left of order, adjacency and lengths
// kept, and the gaps between them made smaller where they do not fit otherwise. Extents that share a unit become one
// place. It says false when they do not fit without gaps.
func fit(list []Extent, unit, room uint64) ([]blkcopy.Seg, bool) {
	type run struct{ at, n uint64 }
	runs := make([]run, len(list))
	by := make([]int, len(list))
	for i, e := range list {
		runs[i] = run{e.Start / unit, (e.Start+e.Len+unit-1)/unit - e.Start/unit}
		by[i] = i
	}
	slices.SortStableFunc(by, func(a, b int) int {
		switch {
		case runs[a].at < runs[b].at:
			return -1
		case runs[a].at > runs[b].at:
			return 1
		}
		return 0
	})
	var gaps, used, end uint64 // of what is covered, in the old places
	for _, i := range by {
		if r := runs[i]; r.at > end {
			gaps, end = gaps+r.at-end, r.at
		}
		if e := runs[i].at + runs[i].n; e > end {
			used, end = used+e-end, e
		}
	}
	if used > room {
		return nil, false
	}
	free := room - used
	shrink := func(gap uint64) uint64 { // of all gaps so far; monotonous, so that places keep their order
		if gaps <= free {
			return gap
		}
		return uint64(float64(gap) / float64(gaps) * float64(free))
	}
	out := make([]blkcopy.Seg, len(list))
	var before uint64
	end = 0
	for _, i := range by {
		r := runs[i]
		if r.at > end {
			before, end = before+r.at-end, r.at
		}
		out[i] = blkcopy.Seg{Pos: min(r.at-(before-shrink(before)), room-r.n) * unit, Len: r.n * unit}
		end = max(end, r.at+r.n)
	}
	return out, true
}
