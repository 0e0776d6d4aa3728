package target

import "github.com/ublk-go/ublk-linear/limits"

// Op is what a request asks for. The names are the block layer's (REQ_OP_*).
type Op uint8

const (
	Read Op = iota
	Write
	Flush
	Discard
	WriteZeroes
)

var opNames = [...]string{"read", "write", "flush", "discard", "write-zeroes"}

// String is the name that the command line and JSON use.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "unknown"
}

// ParseOp is the inverse of Op.String; ok is false for any other word.
func ParseOp(s string) (op Op, ok bool) {
	for i, n := range opNames {
		if n == s {
			return Op(i), true
		}
	}
	return 0, false
}

// Ranged reports whether the op is mapped by range, one segment per leg, instead of being cut at chunk
// edges: the ops for which dm sends num_discard_bios or num_write_zeroes_bios duplicates.
func (o Op) Ranged() bool { return o == Discard || o == WriteZeroes }

// Range is a run of 512-byte sectors.
type Range struct{ Start, Len uint64 }

// End is the first sector after the range.
func (r Range) End() uint64 { return r.Start + r.Len }

// Disk is the index of a disk in the list that a table was made with.
type Disk uint16

// Segment is the part of a request that one disk serves.
type Segment struct {
	Sector  uint64 // on the disk
	Sectors uint64
	Offset  uint64 // of the segment's first sector from the request's first
	Disk    Disk
}

// Extent is a part of a disk that a target uses.
type Extent struct {
	Disk Disk
	Range
}

// Target is the arithmetic of one segment of a table: dm's target type. It holds no state that a request
// changes and does no I/O.
type Target interface {
	// Map appends the segments of r, which is relative to the target's start and inside it, in the order
	// dm would issue them. It never grows dst: it stops when len(dst) == cap(dst) and returns how many
	// sectors of r are mapped. A ranged op needs room for one segment per leg and maps nothing without it.
	// Segment.Offset is relative to r.Start.
	Map(dst []Segment, op Op, r Range) (segs []Segment, mapped uint64)
	// Extents yields what the target uses of each disk, in leg order (dm's iterate_devices).
	Extents(yield func(Extent) bool)
	// Hints overwrites what the target knows better than stacking does (dm's io_hints).
	Hints(*limits.Limits)
	// Type is the dm target name.
	Type() string
	// Params prints the dm table parameters, with disks by the given names.
	Params(name func(Disk) string) string
}
