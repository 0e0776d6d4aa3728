package blkcopy

import (
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// Seg is a range of a device, in bytes (as blk_copy_seg of the 2026 design).
type Seg struct{ Pos, Len uint64 }

// Device is a device as a copy needs to know it.
type Device struct {
	Name         string // for messages
	Table        *remap.Table
	LogicalBlock uint32 // bytes; 0: 512
	ReadOnly     bool
	Zoned        bool
}

// Disk is a disk as a plan needs to know it. Its place in the list is its target.Disk.
type Disk struct {
	Name         string
	LogicalBlock uint32 // bytes; 0: 512
	Copy         limits.Copy
	QueueBytes   uint64 // that it takes at once; 0: unknown, and taken for much
}

// MaxSegs is how many segments each side of a request may have.
const MaxSegs = 1 << 16

// Request is a copy: the bytes of the source segments, in order, go to the destination segments, in order. Both totals
// are equal; how many segments each side has is free, so that every posted kernel design can be said: N to 1 (2021, 2025),
// N pairs (2023), 1 to 1 (2024), N to M (2026).
type Request struct {
	Src, Dst         *Device // may be one
	SrcSegs, DstSegs []Seg
	Policy

	// Used says whether others than copies use a disk at present. It is asked before a window begins beside another, of the
	// disks that take less than EmulatedInFlight at once, where the plan has chosen EmulatedInFlight, and must not wait; true
	// makes that window wait until one has ended. nil: nobody does.
	Used func(target.Disk) bool
}

// Boundary says what happens to a request that crosses an edge between targets or chunks.
type Boundary uint8

const (
	Split          Boundary = iota // it is cut there
	RefuseBoundary                 // ErrBoundary, and nothing is sent: what v20 of 2024 does (-EIO), and Mikulas' -EOPNOTSUPP of 2022
)

// Fallback says what happens to what cannot be offloaded.
type Fallback uint8

const (
	Emulate Fallback = iota // it is read and written
	Fail                    // the request fails
)

// Overlap says what happens when source and destination share blocks, on the device or on a disk.
type Overlap uint8

const (
	Memmove       Overlap = iota // the result is as if all was read before anything was written
	RefuseOverlap                // ErrOverlap
)

// Policy says how a copy is to be done. The zero value splits, emulates, and answers as memmove.
type Policy struct {
	AtBoundary     Boundary
	WithoutOffload Fallback // of a pair of disks that cannot
	AfterFailure   Fallback // of an offload that failed
	Overlap        Overlap

	FUA          bool // every write is durable when its command ends
	Flush        bool // at the end every disk that was written is flushed
	ShareExtents bool // a file system may let both files share blocks (reflink): not a second copy
	Zeroes       bool // what reads as zeroes is zeroed, not written; holes are not read

	// Window is the bytes that are planned, locked and done together. 0: EmulatedWindow, where no disk of the source copies
	// to one of the destination; where they do, DefaultWindow, or as much more, up to WidestWindow, as commands of full
	// length need on every disk of the destination; DefaultWindow where some of it is emulated, where there is a Rate, and where
	// windows go one after the other, because source and destination share blocks. And no more than InFlight, where that is
	// set.
	Window uint64
	// InFlight is the bytes under way at most. 0: EmulatedInFlight where no disk of the source copies to one of the
	// destination and Window is 0 too, but one window while others use a disk that takes less at once (Request.Used); else
	// DefaultInFlight, but no less than Window, or two windows that the plan chose.
	InFlight uint64
	Rate     uint64 // bytes per second; 0: no bound
}
