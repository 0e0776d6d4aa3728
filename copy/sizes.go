package blkcopy

import (
	"slices"

	"github.com/ublk-go/ublk-linear/target"
)

// Bounds and defaults of a Policy, in bytes.
const (
	// DefaultWindow is the window where the policy has none, unless the plan has a reason for another: see Policy.Window.
	DefaultWindow   = 4 << 20
	MinWindow       = 64 << 10
	MaxWindow       = 32 << 20
	DefaultInFlight = 16 << 20
	MaxInFlight     = 256 << 20

	// EmulatedWindow and EmulatedInFlight are those of a plan all of which is read and written by this host: one window
	// may be read while the other is written, and no more, since it takes the CPUs and disks from whoever reads beside it. More
	// was no faster where disks limit (docs/performance.md). A disk that takes less than EmulatedInFlight at once
	// (Disk.QueueBytes) makes others wait for all of it: while they use it, one window is under way.
	EmulatedWindow   = 1 << 20
	EmulatedInFlight = 2 << 20
	// WidestWindow is the largest window that a plan chooses.
	WidestWindow = 16 << 20
)

// firstPieces is how many pieces of a request are looked at to choose its window.
const firstPieces = 128

// together is how much may be read before any of it is written. It does not depend on what the plan chooses.
func (p *Policy) together() uint64 {
	switch {
	case p.Window != 0:
		return p.Window
	case p.InFlight != 0:
		return min(DefaultWindow, p.InFlight)
	}
	return DefaultWindow
}

// choose sets the window and what is in flight: the policy's, where it has them.
func (p *Plan) choose() {
	emulates := false
	window := p.req.Window
	switch {
	case window != 0:
	case p.order.sequence: // one window at a time
		window = p.req.together()
	default:
		if emulates = !p.mayOffload(); emulates {
			window = EmulatedWindow
		} else {
			window = p.widest()
		}
		if p.req.InFlight != 0 {
			window = min(window, p.req.InFlight)
		}
	}
	if block := max(p.req.Src.block(), p.req.Dst.block()); p.req.Window == 0 {
		window = max(window/block*block, block)
	}
	p.window, p.inFlight = window, p.req.InFlight
	switch {
	case p.inFlight != 0:
	case emulates:
		p.inFlight = max(EmulatedInFlight, window)
		p.narrow = p.takeLittle()
	case p.req.Window != 0:
		p.inFlight = max(DefaultInFlight, window)
	default: // two windows at least: while one ends, the disks have the other
		p.inFlight = max(DefaultInFlight, 2*window)
	}
}

// mayOffload says whether a disk of the source copies to one of the destination by itself, as far as method and domain
// tell. Which disks meet, and with which limits, the pieces tell.
func (p *Plan) mayOffload() bool {
	for _, d := range p.req.Dst.Table.Disks() {
		to := &p.pairs.disks[d].Copy
		if !to.Can() || to.Domain == "" {
			continue
		}
		if slices.ContainsFunc(p.req.Src.Table.Disks(), func(s target.Disk) bool {
			from := &p.pairs.disks[s].Copy
			return from.Method == to.Method && from.Domain == to.Domain
		}) {
			return true
		}
	}
	return false
}

// widest is the window of a plan that offloads: so many whole commands for each disk of the destination that no edge
// between windows costs one, as far as the first pieces tell. Where some of those are emulated it is the default; and where
// there is a rate, since a window is the step in which that is kept.
func (p *Plan) widest() uint64 {
	if p.req.Rate != 0 {
		return DefaultWindow
	}
	var disks []target.Disk
	var command uint64 // sectors; the longest
	p.pieces.Seek(0, min(WidestWindow/512, p.dst.Sectors()))
	for range firstPieces {
		x, ok := p.pieces.Next()
		if !ok {
			break
		}
		q := p.pairs.get(x.Src.Disk, x.Dst.Disk)
		if q.method == Emulated {
			return DefaultWindow
		}
		command = max(command, q.longest())
		if !slices.Contains(disks, x.Dst.Disk) {
			disks = append(disks, x.Dst.Disk)
		}
	}
	row := min(command, WidestWindow/512) * 512 * uint64(len(disks))
	if row == 0 {
		return DefaultWindow
	}
	return min((DefaultWindow+row-1)/row*row, WidestWindow)
}

// longest is the most sectors of a command.
func (b *bounds) longest() uint64 {
	if b.ranged > b.total/uint64(b.ranges) {
		return b.total
	}
	return b.ranged * uint64(b.ranges)
}
