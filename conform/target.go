package conform

import (
	"errors"
	"fmt"
	"time"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// Target is what is judged: a region of something that copies. Bytes and sectors count from the region's start. Its methods
// are called from several goroutines.
type Target interface {
	// Geometry is the same at each call.
	Geometry() Geometry
	// ReadAt fills p, which is of whole logical blocks, as is at.
	ReadAt(p []byte, at uint64) error
	// WriteAt writes p; it is durable after Flush.
	WriteAt(p []byte, at uint64) error
	// Flush makes durable what was written and copied before.
	Flush() error
	// Copy sends one command, as it is: the sources, in order, to the sectors from dst. Sources and destination may be
	// anything, also what is refused.
	Copy(sources []target.Range, dst uint64, fua bool) Answer
}

// PowerCutter is a Target whose power can be cut: what was not durable is lost, or is not, block by block.
type PowerCutter interface{ PowerCut() error }

// Breaker is a Target of which the blocks of some bytes can be made unreadable, as NVMe's Write Uncorrectable does, until
// they are written.
type Breaker interface{ Break(at, n uint64) error }

// Timer is a Target that has a time of its own.
type Timer interface{ Now() time.Time }

// Geometry is what a target says of itself. Limits are in logical blocks, as in NVMe Identify Namespace; 0 is no bound.
type Geometry struct {
	Name   string        `json:"name"`   // for people: "model", "disk a", "copy_file_range in /srv"
	Method limits.Method `json:"method"` // nvme, xcopy or file
	Block  uint64        `json:"logical_block_bytes"`
	Length uint64        `json:"region_bytes"`
	Start  uint64        `json:"region_start_bytes"` // of the region on the device
	MSSRL  uint64        `json:"mssrl"`              // blocks per source range
	MCL    uint64        `json:"mcl"`                // blocks per command
	Ranges uint64        `json:"ranges"`             // source ranges per command: MSRC + 1
	// End is the device's end in sectors from the region's start, for the scenarios that go beyond it; 0 where the target
	// never sends what reaches past the end.
	End uint64 `json:"-"`
	// Seam is the byte of the region where one file ends and another begins; 0 where there is none.
	Seam uint64 `json:"-"`
}

// Answer is what became of a command.
type Answer struct {
	Status uint16 // NVMe's, 0 for success
	DW0    uint32 // dword 0 of the completion: of a failed copy the lowest source range that is not copied
	Err    error  // of a target that is no NVMe device, its errno; ErrNotSent; or the command could not be sent
}

// ErrNotSent is joined to the error of a command that the target's own layer refused before the device saw it.
var ErrNotSent = errors.New("refused before it was sent")

// OK says whether the copy succeeded.
func (a Answer) OK() bool { return a.Status == 0 && a.Err == nil }

// String says it for a report.
func (a Answer) String() string {
	switch {
	case a.Err != nil:
		return a.Err.Error()
	case a.Status == 0:
		return "success"
	}
	return fmt.Sprintf("status 0x%x, dw0 %d", a.Status, a.DW0)
}

// NVMe statuses that are expected of refusals (NVM Command Set, Copy command).
const (
	StatusLBA       = 0x080 // LBA Out of Range
	StatusSize      = 0x183 // Command Size Limit Exceeded
	StatusOverlap   = 0x187 // Overlapping I/O Range
	statusInvalid   = 0x002 // Invalid Field in Command
	statusRead      = 0x281 // Unrecovered Read Error
	nvmeRanges      = 256   // NR has 8 bits and counts from 0
	nvmeRangeBlocks = 1 << 16
)

// Check says what of a geometry no suite can run on.
func (g *Geometry) Check() error {
	switch {
	case g.Block < 512 || g.Block&(g.Block-1) != 0 || g.Block > 1<<16:
		return fmt.Errorf("%s: a logical block of %d bytes", g.Name, g.Block)
	case g.Start%g.Block != 0 || g.Length%g.Block != 0:
		return fmt.Errorf("%s: the region, %d bytes at %d, is not of blocks of %d", g.Name, g.Length, g.Start, g.Block)
	case g.Length/g.Block < minBlocks:
		return fmt.Errorf("%s: the region has %d blocks of %d bytes, %d are the least", g.Name, g.Length/g.Block, g.Block, minBlocks)
	}
	return nil
}

// minBlocks is the least region; scenarios that need more say so.
const minBlocks = 128

// sectors is n blocks in sectors.
func (g *Geometry) sectors(n uint64) uint64 { return n * (g.Block / 512) }

// most is how many ranges one command may have here, rangeMost how many blocks a range, totalMost how many a command: what
// the device says, and where that is no bound, what a command can encode or what is enough to be judged.
func (g *Geometry) most() uint64 { return orElse(g.Ranges, nvmeRanges) }

func (g *Geometry) rangeMost() uint64 { return min(orElse(g.MSSRL, unbounded), g.totalMost()) }

func (g *Geometry) totalMost() uint64 { return orElse(g.MCL, 4*unbounded) }

// unbounded is as many blocks as a range has at most that the device does not bound.
const unbounded = 64

func orElse(n, other uint64) uint64 {
	if n == 0 {
		return other
	}
	return n
}
