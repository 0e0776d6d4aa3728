package e2e

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// cell is what one sector holds: who wrote it (a device and its sector) and the generation, which no two writes share.
// The zero cell is a sector of zeroes.
type cell struct{ tag, gen uint64 }

// ownTag is the tag of a sector of a device of the test.
func ownTag(device, sector uint64) uint64 { return (device+1)<<32 | sector }

// stampSector fills a sector with its cell, over and over: a torn or misplaced sector is none.
func stampSector(b []byte, c cell) { fillBlock(b, c.tag, c.gen) }

// parseSector is the cell of a sector; false for what nobody wrote.
func parseSector(b []byte) (cell, bool) {
	c := cell{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
	for i := 16; i < 512; i += 16 {
		if binary.LittleEndian.Uint64(b[i:]) != c.tag || binary.LittleEndian.Uint64(b[i+8:]) != c.gen {
			return c, false
		}
	}
	return c, (c.tag == 0) == (c.gen == 0)
}

// legEntry is a log entry with the data as cells; none for a discard.
type legEntry struct {
	sector, sectors uint64
	flags           uint64
	cells           []cell
}

// legLog is the log of one leg, and where its marks are: mark k is entry marks[k].
type legLog struct {
	entries []legEntry
	marks   []int
	flushes int // between the first mark and the last
}

// legLogOf reads a leg's log up to and with the last of n marks.
func legLogOf(t testing.TB, d *logDisk, n int) (l legLog) {
	t.Helper()
	for _, e := range d.entries(t, strconv.Itoa(n-1)) {
		le := legEntry{sector: e.sector, sectors: e.sectors, flags: e.flags}
		switch {
		case e.flags&logMark != 0:
			if string(e.data) != strconv.Itoa(len(l.marks)) {
				t.Fatalf("%s: mark %q, want %d", d.name, e.data, len(l.marks))
			}
			l.marks = append(l.marks, len(l.entries))
		case e.write():
			for i := range e.sectors {
				c, ok := parseSector(e.data[i*512:][:512])
				if !ok {
					t.Fatalf("%s: a write of sector %d that nobody made: % x", d.name, e.sector+i, e.data[i*512:][:32])
				}
				le.cells = append(le.cells, c)
			}
		}
		if e.flags&logFlush != 0 && len(l.marks) > 0 {
			l.flushes++
		}
		l.entries = append(l.entries, le)
	}
	l.marks = append(l.marks, len(l.entries))
	if len(l.marks) != n {
		t.Fatalf("%s: %d marks of %d", d.name, len(l.marks), n)
	}
	return l
}

// legImage is a leg as a power cut leaves it.
type legImage []cell

// put lays one sector of a write.
//
// The log has a plain write where the next FLUSH ended, but a FUA write where it itself did: a plain write may come behind a FUA
// write of the same sector that was made after it was answered. The generation tells: nobody here writes a sector before
// the last write of it was answered, so what is older was there before. A FUA write is where it belongs.
func (m legImage) put(sector uint64, c cell, fua bool) (stale, wrong bool) {
	if c.tag != 0 && c.gen < m[sector].gen {
		return !fua, fua
	}
	m[sector] = c
	return false, false
}

// replayed counts what a replay met.
type replayed struct {
	stale int // plain sectors that the log has behind a newer FUA write
	wrong int // FUA sectors older than what is there: must not be
}

// apply lays an entry, or those of its sectors that keep chooses.
func (m legImage) apply(e legEntry, n *replayed, keep func() bool) {
	if e.flags&logMark != 0 {
		return
	}
	for i := range e.sectors {
		if keep != nil && !keep() {
			continue
		}
		c := cell{}
		if len(e.cells) > 0 {
			c = e.cells[i]
		}
		stale, wrong := m.put(e.sector+i, c, e.flags&logFUA != 0)
		if stale {
			n.stale++
		}
		if wrong {
			n.wrong++
		}
	}
}

// cutBetween makes of the image at a mark one of a power cut between that mark and the next, entries[from:to] being what
// lies between: all up to a random entry, and of what comes behind it (not flushed by then, or under way) a random half, of which
// every fourth write is torn.
func (m legImage) cutBetween(entries []legEntry, r *rand.Rand, n *replayed) legImage {
	m = slices.Clone(m)
	at := r.IntN(len(entries) + 1)
	for _, e := range entries[:at] {
		m.apply(e, n, nil)
	}
	for _, e := range entries[at:] {
		switch r.IntN(8) {
		case 0, 1, 2:
			m.apply(e, n, nil)
		case 3:
			m.apply(e, n, func() bool { return r.IntN(2) == 0 })
		}
	}
	return m
}
