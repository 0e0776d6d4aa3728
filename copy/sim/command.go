package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
)

// Statuses of completions, 11 bits: of the Copy command in the NVM Command Set.
const (
	StatusInvalid = 0x002 // Invalid Field in Command
	StatusLBA     = 0x080 // LBA Out of Range
	StatusSize    = 0x183 // Command Size Limit Exceeded
	StatusOverlap = 0x187 // Overlapping I/O Range
	StatusWrite   = 0x280 // Write Fault
	StatusRead    = 0x281 // Unrecovered Read Error
)

// What a command can say.
const (
	mostRanges = 256     // NR has 8 bits and counts from 0
	mostBlocks = 1 << 16 // NLB has 16 bits and counts from 0
)

// Completion is what a device answers.
type Completion struct {
	Status uint16
	DW0    uint32 // of a failed copy the lowest source range that is not copied
}

// run is logical blocks of a namespace.
type run struct{ at, n uint64 }

// command is a Copy as it is on the wire: in logical blocks.
type command struct {
	src  *Device
	from []run
	to   uint64
	n    uint64 // all of from
	fua  bool
}

// Copy does one command inside the namespace. Ranges are 512-byte sectors of it, and may be anything that the fields of a
// command hold. An error is disk.ErrCopyRequest, of what they do not: nothing was sent.
func (d *Device) Copy(sources []target.Range, dst uint64, fua bool) (Completion, error) {
	return d.CopyFrom(d, sources, dst, fua)
}

// CopyFrom is Copy with sources of another namespace of the same logical block, as format 2 has it: MSSRL is the source's,
// MCL and MSRC are the destination's.
func (d *Device) CopyFrom(src *Device, sources []target.Range, dst uint64, fua bool) (Completion, error) {
	c, err := d.encode(src, sources, dst, fua)
	if err != nil {
		return Completion{}, err
	}
	defer d.leave()
	c = d.arrive(c)
	a := d.refuse(c)
	if a.Status == 0 {
		a = d.execute(c)
	}
	return d.complete(a), nil
}

// encode says a copy in blocks.
func (d *Device) encode(src *Device, sources []target.Range, dst uint64, fua bool) (*command, error) {
	unit := d.block / 512
	no := func(format string, a ...any) (*command, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{disk.ErrCopyRequest}, a...)...)
	}
	switch {
	case src.block != d.block:
		return no("logical blocks of %d and %d bytes", src.block, d.block)
	case len(sources) == 0:
		return no("no source")
	case len(sources) > mostRanges:
		return no("%d sources, %d are the most", len(sources), mostRanges)
	case dst%unit != 0:
		return no("destination %d is not a multiple of the block of %d sectors", dst, unit)
	}
	c := &command{src: src, from: make([]run, len(sources)), to: dst / unit, fua: fua}
	for i, s := range sources {
		switch {
		case s.Len == 0:
			return no("source %d is empty", i)
		case s.Start%unit != 0 || s.Len%unit != 0:
			return no("source %d, %d sectors at %d, is not of blocks of %d", i, s.Len, s.Start, unit)
		case s.Len/unit > mostBlocks:
			return no("source %d has %d blocks, %d are the most", i, s.Len/unit, mostBlocks)
		}
		c.from[i] = run{s.Start / unit, s.Len / unit}
		c.n += c.from[i].n
	}
	return c, nil
}

// mixing is how long a command waits for another to take its list.
const mixing = 200 * time.Microsecond

// arrive is the command's way to the front: its time, and the list that it is done by.
func (d *Device) arrive(c *command) *command {
	d.mu.Lock()
	d.touch()
	d.flying++
	d.list = c
	d.mu.Unlock()
	d.pass(c.n * d.block)
	if !d.bad[listsMixed] {
		return c
	}
	d.waits(mixing)
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.list; d.flying > 1 && l.src == c.src && slices.EqualFunc(l.from, c.from, func(a, b run) bool { return a.n == b.n }) {
		return &command{src: l.src, from: l.from, to: c.to, n: c.n, fua: c.fua}
	}
	return c
}

func (d *Device) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flying--
}

// complete is an answer as the caller gets it.
func (d *Device) complete(a Completion) Completion {
	if a.Status == 0 {
		return a
	}
	switch {
	case d.bad[successOnError] && (a.Status == StatusRead || a.Status == StatusWrite):
		return Completion{}
	case d.bad[dw0High]:
		a.DW0++
	case d.bad[dw0Low] && a.DW0 > 0:
		a.DW0--
	case d.bad[dw0Missing]:
		a.DW0 = 0
	}
	if d.bad[sizeStatus] && a.Status == StatusSize || d.bad[lbaStatus] && a.Status == StatusLBA {
		a.Status = StatusInvalid
	}
	return a
}
