package e2e

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"

	"golang.org/x/sys/unix"
)

// span is [start, end) in sectors.
type span struct{ start, end uint64 }

// leg is where a stripe, or a linear segment, lies on a disk.
type leg struct {
	disk  int
	start uint64
}

// part is a segment of a random table: linear if it has no chunk.
type part struct {
	length uint64
	chunk  uint64
	legs   []leg
}

// width is what each leg takes.
func (p *part) width() uint64 { return p.length / uint64(len(p.legs)) }

type randomTable []part

// newTable makes a table that dm and ours accept, on [from, from+window) of every disk. lbs are the disks' logical
// blocks in sectors.
func newTable(r *rand.Rand, lbs [nDisks]uint64, from uint64) randomTable {
	unit := uint64(1) // of lengths, so that every edge inside the device suits every disk
	for _, n := range lbs {
		unit = max(unit, n)
	}
	for {
		t, free := randomTable{}, [nDisks]uint64{}
		for i := range free {
			free[i] = window / unit
		}
		for range 1 + r.IntN(6) {
			p := part{legs: []leg{{disk: r.IntN(nDisks)}}}
			if r.IntN(5) < 2 {
				n := window / 2 / unit
				p.length = max(upTo(r, n), upTo(r, n)) * unit
			} else {
				n := 1 + r.IntN(5)
				for len(p.legs) < n {
					p.legs = append(p.legs, leg{disk: r.IntN(nDisks)})
				}
				p.chunk = chunk(r) * unit
				rows := max(1, window/3/p.chunk)
				p.length = max(upTo(r, rows), upTo(r, rows)) * p.chunk * uint64(n)
			}
			t = append(t, p)
			for _, l := range p.legs {
				free[l.disk] -= min(free[l.disk], p.width()/unit+1) // 1: a place may be shifted by less than unit
			}
		}
		full := false
		for _, n := range free {
			full = full || n == 0
		}
		if !full {
			t.place(r, lbs, from, unit, free)
			return t
		}
	}
}

// place lays the legs of each disk in random order with random gaps.
func (t randomTable) place(r *rand.Rand, lbs [nDisks]uint64, from, unit uint64, free [nDisks]uint64) {
	type extent struct {
		l     *leg
		width uint64
		lbs   uint64
	}
	var on [nDisks][]extent
	for i := range t {
		own := uint64(1) // the logical block that dm stacks for this line
		for _, l := range t[i].legs {
			own = max(own, lbs[l.disk])
		}
		for j := range t[i].legs {
			l := &t[i].legs[j]
			on[l.disk] = append(on[l.disk], extent{l, t[i].width(), own})
		}
	}
	for d := range on {
		r.Shuffle(len(on[d]), func(i, j int) { on[d][i], on[d][j] = on[d][j], on[d][i] })
		at := from
		for _, e := range on[d] {
			gap := r.Uint64N(free[d]/uint64(len(on[d])) + 1)
			if r.IntN(3) == 0 {
				gap = 0 // touching ones are of interest
			}
			e.l.start = at + gap*unit + r.Uint64N(unit/e.lbs)*e.lbs
			at = e.l.start + e.width
			at += (unit - (at-from)%unit) % unit
		}
	}
}

// upTo is a number from 1 to n, small ones as likely as large ones.
func upTo(r *rand.Rand, n uint64) uint64 {
	top := min(uint64(1)<<r.IntN(bits.Len64(n)+1), n)
	return 1 + r.Uint64N(top)
}

// chunk is a size of chunks in units, of every kind.
func chunk(r *rand.Rand) uint64 {
	switch r.IntN(4) {
	case 0:
		return 1 << r.IntN(6)
	case 1:
		return 1 + r.Uint64N(9)
	case 2:
		return []uint64{3, 5, 7, 11, 12, 15, 17, 24, 31, 33, 47, 48, 63}[r.IntN(13)]
	}
	return upTo(r, 60)
}

func (t randomTable) sectors() uint64 {
	var n uint64
	for _, p := range t {
		n += p.length
	}
	return n
}

// lines is the table in dmsetup's words.
func (t randomTable) lines(disk func(int) string) string {
	var b strings.Builder
	at := uint64(0)
	for _, p := range t {
		if p.chunk == 0 {
			fmt.Fprintf(&b, "%d %d linear %s %d\n", at, p.length, disk(p.legs[0].disk), p.legs[0].start)
		} else {
			fmt.Fprintf(&b, "%d %d striped %d %d", at, p.length, len(p.legs), p.chunk)
			for _, l := range p.legs {
				fmt.Fprintf(&b, " %s %d", disk(l.disk), l.start)
			}
			b.WriteByte('\n')
		}
		at += p.length
	}
	return b.String()
}

// name is a disk's name in the file.
func (randomTable) name(disk int) string { return fmt.Sprintf("d%d", disk) }

// asTable is the device in the file, as dmsetup says it.
func (t randomTable) asTable(device string) string {
	return fmt.Sprintf("[device.%s]\ntable = \"\"\"\n%s\"\"\"\n", device, t.lines(t.name))
}

// asSegments is the device in the file's own words.
func (t randomTable) asSegments(device string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[device.%s]\n", device)
	for _, p := range t {
		fmt.Fprintf(&b, "[[device.%s.segment]]\nlength = \"%ds\"\n", device, p.length)
		if p.chunk == 0 {
			fmt.Fprintf(&b, "type = \"linear\"\ndisk = %q\noffset = \"%ds\"\n", t.name(p.legs[0].disk), p.legs[0].start)
			continue
		}
		fmt.Fprintf(&b, "type = \"striped\"\nchunk = \"%ds\"\nlegs = [", p.chunk)
		for _, l := range p.legs {
			fmt.Fprintf(&b, " { disk = %q, offset = %d },", t.name(l.disk), l.start*512)
		}
		b.WriteString(" ]\n")
	}
	return b.String()
}

// edge is a sector where something of the table begins or ends: a segment, a chunk, a row.
func (t randomTable) edge(r *rand.Rand) uint64 {
	at := uint64(0)
	i := r.IntN(len(t))
	for _, p := range t[:i] {
		at += p.length
	}
	p := t[i]
	if p.chunk == 0 {
		return at + p.length*uint64(r.IntN(2))
	}
	step := p.chunk
	if r.IntN(2) == 0 {
		step *= uint64(len(p.legs))
	}
	return at + step*r.Uint64N(p.length/step+1)
}

// op is what is asked of a device.
type op int

const (
	opRead op = iota
	opWrite
	opWriteSync
	opDiscard
	opZeroOut
	opFlush
)

func (o op) String() string {
	return [...]string{"read", "write", "write (dsync)", "discard", "zeroout", "flush"}[o]
}

// request is one, in sectors; pattern is what is written.
type request struct {
	op            op
	start, length uint64
	pattern       uint64
}

func (q request) String() string {
	return fmt.Sprintf("%v %d+%d", q.op, q.start, q.length)
}

// bytes is the memory it needs.
func (q request) bytes() uint64 {
	if q.op > opWriteSync {
		return 0
	}
	return q.length * 512
}

// do sends it.
func (q request) do(d *raw, b []byte) error {
	var n int
	var err error
	switch q.op {
	case opRead:
		n, err = d.ReadAt(b, int64(q.start*512))
	case opWrite:
		n, err = d.WriteAt(b, int64(q.start*512))
	case opWriteSync:
		n, err = unix.Pwritev2(int(d.Fd()), [][]byte{b}, int64(q.start*512), unix.RWF_DSYNC)
	case opDiscard:
		return rangeIoctl(d.Fd(), blkDiscard, q.start*512, q.length*512)
	case opZeroOut:
		return rangeIoctl(d.Fd(), blkZeroOut, q.start*512, q.length*512)
	case opFlush:
		return d.Sync()
	}
	if err == nil && n != len(b) {
		err = fmt.Errorf("%d of %d bytes", n, len(b))
	}
	return err
}

// request makes a random one inside a part of the device, in logical blocks of lbs sectors. Most begin or end at or
// beside an edge of the table.
func (t randomTable) request(r *rand.Rand, in span, lbs uint64) request {
	q := request{pattern: r.Uint64()}
	switch n := r.IntN(100); {
	case n < 44:
		q.op = opWrite
	case n < 52:
		q.op = opWriteSync
	case n < 70:
		q.op = opRead
	case n < 84:
		q.op = opDiscard
	case n < 95:
		q.op = opZeroOut
	default:
		q.op = opFlush
		return q
	}
	block := func() uint64 {
		at := t.edge(r)/lbs + r.Uint64N(3)
		if r.IntN(3) == 0 {
			at = r.Uint64N(in.end / lbs)
		}
		return max(at, 1) - 1
	}
	first, last := in.start/lbs, in.end/lbs // exclusive
	start := min(max(block(), first), last-1)
	length := upTo(r, last-start)
	if end := block(); end > start && r.IntN(2) == 0 {
		length = min(end, last) - start
	}
	switch {
	case q.op == opDiscard && r.IntN(10) == 0:
		start, length = first, last-first
	case r.IntN(16) == 0:
		length = last - start
	}
	if q.op < opDiscard {
		length = min(length, maxIO/lbs)
	}
	q.start, q.length = start*lbs, length*lbs
	return q
}

// cut divides [0, n) into up to k parts that are not empty.
func cut(r *rand.Rand, n uint64, k int) []span {
	var out []span
	at := uint64(0)
	for i := k; i > 0 && at < n; i-- {
		end := n
		if i > 1 {
			end = min(n, at+1+r.Uint64N((n-at)/uint64(i)*2+1))
		}
		out = append(out, span{at, end})
		at = end
	}
	return out
}
