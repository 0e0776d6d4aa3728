package blkcopy

import (
	"errors"
	"fmt"
	"time"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// Sides of a failure.
const (
	SourceSide      = "source"
	DestinationSide = "destination"
	UnknownSide     = "" // an offload that does not say
)

// maxFailures bounds Result.Failed and Result.Fallbacks; what is more is counted.
const maxFailures = 256

// Result is what a copy did: never more than that.
type Result struct {
	// Bytes is the longest prefix of the request of which everything is copied; with Policy.Flush, and durable.
	Bytes uint64
	Total uint64 // of the request

	// What was done, in bytes of the request, wherever in it: Bytes is only the part without a gap before it. What is not
	// flushed in the end is still counted here.
	Offloaded uint64 // by the disks themselves
	Emulated  uint64 // read and written
	Zeroed    uint64 // zeroed instead (Policy.Zeroes)
	Onto      uint64 // source and destination were one place: nothing was sent

	// HostRead and HostWritten are the bytes that went through the host's memory, counted where the disks were read and
	// written, failures and repetitions included.
	HostRead, HostWritten uint64

	Commands  map[limits.Method]uint64 // sent, by method; an emulated one is one write
	Reads     uint64                   // sent for emulated commands
	Fallbacks []Failure                // offloads that failed, and in whose place emulation was tried
	Failed    []Failure                // what is not copied, in the order in which it failed
	More      uint64                   // failures and fallbacks beyond the first that were kept
	Duration  time.Duration
}

// note keeps a failure, joined to the last if it goes on there, or counts it.
func (r *Result) note(to *[]Failure, f Failure) {
	if n := len(*to); n > 0 {
		l := &(*to)[n-1]
		if l.Offset+l.Bytes == f.Offset && l.Method == f.Method && l.Side == f.Side && l.Disk == f.Disk && errors.Is(l.Err, f.Err) {
			l.Bytes += f.Bytes
			return
		}
	}
	if len(*to) == maxFailures {
		r.More++
		return
	}
	*to = append(*to, f)
}

// Failure is a stretch of the request that was not copied as it should have been.
type Failure struct {
	Offset uint64 // bytes, in the request
	Bytes  uint64
	Method limits.Method // Flushing: it was copied, and is not durable
	Side   string        // SourceSide, DestinationSide or UnknownSide
	Disk   target.Disk
	Sector uint64 // of the disk
	Err    error
}

// Error says which side of which command failed, and how.
func (f *Failure) Error() string {
	side := f.Side
	if side != UnknownSide {
		side += " "
	}
	return fmt.Sprintf("%s of bytes %d+%d of the request: %sdisk %d at sector %d: %v", f.Method, f.Offset, f.Bytes, side, f.Disk, f.Sector, f.Err)
}

// Unwrap is the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Progress is what a copy has done so far.
type Progress struct {
	Done      uint64 // bytes of the request, in no order
	Total     uint64
	Offloaded uint64
	Emulated  uint64
	Elapsed   time.Duration
}
