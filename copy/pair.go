package blkcopy

import (
	"fmt"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// pair is what one disk can copy to another by itself.
type pair struct {
	bounds
	known   bool
	src, of target.Disk
	reason  string // why nothing
}

// bounds of a command, in sectors.
type bounds struct {
	method limits.Method // Emulated: none
	ranged uint64        // per source range
	total  uint64        // per command
	ranges int           // source ranges per command
}

// pairOf judges two disks: the bound of a source range is the source's, that of a command and of its ranges the
// destination's, as QEMU does it and NVMe's format 2 has it. All are rounded down to the larger logical block, and a bound
// that rounds to nothing is no ability: it must not become a loop of empty commands.
func pairOf(s, d *Disk) pair {
	no := func(format string, a ...any) pair {
		return pair{bounds: bounds{method: Emulated}, reason: fmt.Sprintf(format, a...)}
	}
	switch {
	case !s.Copy.Can():
		return no("disk %s: %s", s.Name, reason(s.Copy))
	case !d.Copy.Can():
		return no("disk %s: %s", d.Name, reason(d.Copy))
	case s.Copy.Method != d.Copy.Method:
		return no("disks %s and %s copy by different methods: %s, %s", s.Name, d.Name, s.Copy.Method, d.Copy.Method)
	case s.Copy.Domain == "" || s.Copy.Domain != d.Copy.Domain:
		return no("disks %s and %s are not in one copy domain", s.Name, d.Name)
	case s.block() != d.block() && s.Copy.Method != limits.FileCopy:
		return no("disks %s and %s have logical blocks of %d and %d bytes", s.Name, d.Name, s.block(), d.block())
	}
	unit := max(s.block(), d.block()) / 512
	bound := func(disk *Disk, blocks uint32) uint64 {
		if blocks == 0 {
			return 1<<63/512/unit*unit - unit
		}
		return uint64(blocks) * (disk.block() / 512) / unit * unit
	}
	p := pair{bounds: bounds{method: s.Copy.Method, total: bound(d, d.Copy.MCL), ranges: int(min(d.Copy.MSRC, 1<<16-1)) + 1}}
	p.ranged = min(bound(s, s.Copy.MSSRL), p.total)
	if p.method == limits.XCopy { // what a segment and a list of ours can say, whatever the file says of the disk
		p.ranged, p.ranges = min(p.ranged, bound(s, limits.XCopyBlocks)), min(p.ranges, limits.XCopySegments)
	}
	if p.ranged == 0 {
		return no("disks %s and %s: a command has no whole block of %d bytes", s.Name, d.Name, unit*512)
	}
	return p
}

func reason(c limits.Copy) string {
	if c.Reason != "" {
		return c.Reason
	}
	return "does not copy by itself"
}

func (d *Disk) block() uint64 { return uint64(max(d.LogicalBlock, 512)) }

// pairs remembers pairs. It is a small direct-mapped cache: judging a pair again costs little.
type pairs struct {
	disks []Disk
	cache [256]pair
}

func (c *pairs) get(s, d target.Disk) *pair {
	p := &c.cache[(uint(s)*31+uint(d))%uint(len(c.cache))]
	if !p.known || p.src != s || p.of != d {
		*p = pairOf(&c.disks[s], &c.disks[d])
		p.known, p.src, p.of = true, s, d
	}
	return p
}
