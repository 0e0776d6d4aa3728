package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
	"github.com/ublk-go/ublk-linear/remap"
)

// verifier writes to one device and knows of every sector what was begun, what has ended and what was promised to outlive a
// power cut. With each promise it puts a mark into the log of every leg.
type verifier struct {
	t     testing.TB
	s     *server
	dev   uint64 // in tags
	node  string
	table *remap.Table
	legs  []*logDisk // by disk of the table
	dm    *dmControl
	fd    int

	// One FLUSH at a time. A FLUSH that overtook another one on a leg would be in the log without what the slower one was to carry,
	// though the disk has written that too: the log would be missing data that is there.
	flushing sync.Mutex

	mu       sync.Mutex
	gen      uint64
	done     []uint64 // by sector: the generation of the last write answered
	issued   series   // begun
	promised series   // the newest that must be there
	zeroed   series   // the last discard or write of zeroes begun
	copies   []copyGen
	marks    []mark

	flushes, fuas, plain, zeroes, discards int
}

// copyGen is a copy onto the device: its generation, its range, and where its source begins.
type copyGen struct{ gen, to, n, tag uint64 }

// mark is a moment: what had been promised before the first leg's mark was put, and what had been begun when the last was.
type mark struct {
	what                     string
	promised, issued, zeroed []change
	copies                   int // begun
	unsafe                   int // a copy that has ended and is not promised; -1
}

// series is a value per sector, and what it was at the last mark.
type series struct{ now, last []uint64 }

func newSeries(n uint64) series { return series{make([]uint64, n), make([]uint64, n)} }

// changes is what is new since it was asked for the last time.
func (s *series) changes() (out []change) {
	for i, gen := range s.now {
		if s.last[i] != gen {
			s.last[i] = gen
			out = append(out, change{uint32(i), gen})
		}
	}
	return out
}

// change is a sector and its new value since the mark before.
type change struct {
	sector uint32
	gen    uint64
}

// powerDevice serves a table over logging legs named a, b, c and so on. The last leg is slow: what is answered before all
// legs have is answered before that one.
func powerDevice(t testing.TB, name, table string, legs int, more string) *verifier {
	t.Helper()
	var disks []*logDisk
	var nodes []string
	for i := range legs {
		attrs := []string{withCache}
		if i == legs-1 {
			attrs = append(attrs, "irqmode=2", "completion_nsec=2000000")
		}
		d := newLogDisk(t, name+"-"+string(rune('a'+i)), 8, 192, attrs...)
		disks, nodes = append(disks, d), append(nodes, d.node)
	}
	s := up(t, pathDisks(nodes...)+tableDevice(name, table)+more)
	f, ps, err := config.Load(s.file)
	if err != nil || len(ps.Errors()) > 0 {
		t.Fatal(err, ps)
	}
	tables, err := daemon.Tables(f)
	if err != nil {
		t.Fatal(err)
	}
	v := &verifier{t: t, s: s, node: s.dev[name], table: tables[0], legs: disks, dm: newDMControl(t), fd: openDirect(t, s.dev[name])}
	n := v.table.Sectors()
	v.done, v.issued, v.promised, v.zeroed = make([]uint64, n), newSeries(n), newSeries(n), newSeries(n)
	v.fill()
	return v
}

// fill writes the whole device, flushes it and puts the first mark.
func (v *verifier) fill() {
	v.t.Helper()
	a, b := newAIO(v.t), pages(v.t, 128<<9)
	for at := uint64(0); at < v.table.Sectors(); at += 128 {
		if err := v.write(a, b, at, min(128, v.table.Sectors()-at), false); err != nil {
			v.t.Fatal(err)
		}
	}
	if err := v.flush("fill"); err != nil {
		v.t.Fatal(err)
	}
	v.flushes, v.plain = 0, 0
}

// begin takes a generation for a write of n sectors.
func (v *verifier) begin(at, n uint64, zero bool) uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gen++
	for i := at; i < at+n; i++ {
		v.issued.now[i] = v.gen
		if zero {
			v.zeroed.now[i] = v.gen
		}
	}
	return v.gen
}

// write writes sectors that nobody else writes meanwhile. With fua they are promised when it returns.
func (v *verifier) write(a *aio, b []byte, at, n uint64, fua bool) error {
	gen := v.begin(at, n, false)
	for i := range n {
		stampSector(b[i*512:][:512], cell{ownTag(v.dev, at+i), gen})
	}
	if got, e := a.write(v.fd, b[:n*512], at, fua); e != 0 || got != int(n*512) {
		return fmt.Errorf("write of %d sectors at %d, fua %v: %d bytes, %w", n, at, fua, got, e)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := at; i < at+n; i++ {
		v.done[i] = gen
		if fua {
			v.promised.now[i] = gen
		}
	}
	if !fua {
		v.plain++
		return nil
	}
	v.fuas++
	return v.mark(fmt.Sprintf("FUA at %d +%d", at, n))
}

// zero discards, or writes zeroes.
func (v *verifier) zero(at, n uint64, discard bool) error {
	gen, req := v.begin(at, n, true), uint(blkZeroOut)
	if discard {
		req = blkDiscard
	}
	if err := rangeIoctl(uintptr(v.fd), req, at*512, n*512); err != nil {
		return fmt.Errorf("ioctl %#x of %d sectors at %d: %w", req, n, at, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := at; i < at+n; i++ {
		v.done[i] = gen
	}
	if v.zeroes++; discard {
		v.discards++
	}
	return nil
}

// flush promises all that had been answered when it began.
func (v *verifier) flush(what string) error {
	v.flushing.Lock()
	defer v.flushing.Unlock()
	v.mu.Lock()
	before := slices.Clone(v.done)
	v.mu.Unlock()
	if err := unix.Fdatasync(v.fd); err != nil {
		return fmt.Errorf("fdatasync: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flushes++
	for i, gen := range before {
		v.promised.now[i] = max(v.promised.now[i], gen)
	}
	return v.mark("FLUSH " + what)
}

// mark puts a mark into every leg's log; mu is held.
func (v *verifier) mark(what string) error {
	m := mark{what: what, promised: v.promised.changes(), unsafe: -1}
	for _, d := range v.legs {
		if err := v.dm.message(d.name, "mark "+strconv.Itoa(len(v.marks))); err != nil {
			return fmt.Errorf("mark on %s: %w", d.name, err)
		}
	}
	m.issued, m.zeroed, m.copies = v.issued.changes(), v.zeroed.changes(), len(v.copies)
	v.marks = append(v.marks, m)
	return nil
}
