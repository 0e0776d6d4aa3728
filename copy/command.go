package blkcopy

import (
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// Emulated is the method of a command that is a read and a write.
const Emulated limits.Method = "emulate"

// Command is what is sent: its sources, in order, go to one contiguous run of one disk. An offload has all its sources on
// one disk; the sources of an emulated command may lie on many.
type Command struct {
	Method  limits.Method
	Sources []target.Extent
	Dst     target.Extent
}

// Window is a part of a request that is planned, locked and done together. It is filled by Plan.Next, again and again.
type Window struct {
	Offset, Sectors uint64         // of the request: where it begins, and how many sectors; Pieces may have gaps
	Src, Dst        []target.Range // of the devices: what is read and what is written
	Pieces          []remap.Piece  // in request order
	Commands        []Command      // by disk and sector of the destination; their destinations do not overlap
	Bounce          bool           // the window overlaps itself: all of it is read before any of it is written
	Sequence        bool           // the window before it must be done before this one begins
	items           []item
	extents         []target.Extent // what the commands' Sources are cut from
}

// Bytes is the window's length.
func (w *Window) Bytes() uint64 { return w.Sectors * 512 }

func (w *Window) reset() {
	w.Src, w.Dst, w.Pieces, w.Commands = w.Src[:0], w.Dst[:0], w.Pieces[:0], w.Commands[:0]
	w.items, w.extents = w.items[:0], w.extents[:0]
	w.Offset, w.Sectors, w.Bounce, w.Sequence = 0, 0, false, false
}
