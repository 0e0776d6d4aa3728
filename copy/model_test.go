package blkcopy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// world is disks in memory that fail as they are told, and notice what must not be.
type world struct {
	disks []*memDisk
	block uint64 // bytes
	copy  limits.Copy

	mu       sync.Mutex
	rnd      *rand.Rand
	faults   []*fault
	active   map[*access]bool
	wrong    []string  // what must not be
	lock     *testLock // nil: none
	sent     map[limits.Method]uint64
	reads    uint64
	bytes    struct{ read, written, offloaded, zeroed uint64 }
	most     int // writes and commands to one disk at a time
	reading  int // reads of one disk at a time
	routines int // the most there were
	synced   []target.Disk
}

// access is what is under way.
type access struct {
	what        string
	reads, puts []target.Extent
}

// fault is what goes wrong with an operation. One without times goes wrong always.
type fault struct {
	op    string // read, write, sync, zero or a method
	disk  int    // -1: any; of a command the destination's
	area  target.Range
	skip  int // this many go well first
	times int
	done  uint64 // sectors, of what is moved anyway; at most up to the area
	all   bool   // it claims to have moved all
	quiet bool   // there is no error, only too little moved
	side  string
	ok    bool // nothing is wrong but the time
	delay time.Duration
	hang  chan struct{}
	hits  int
}

// faultError is what a fault is known by.
type faultError struct {
	f    *fault
	side string
}

func (e *faultError) Error() string { return fmt.Sprintf("fault of %s on disk %d", e.f.op, e.f.disk) }
func (e *faultError) Side() string  { return e.side }

// memDisk is one disk: what it has, and what of that outlives a power cut.
type memDisk struct {
	w       *world
	id      target.Disk
	data    []byte
	durable []byte
	dirty   []bool // by sector
	sparse  bool   // it is given as a zeroDisk
	holes   []target.Range
}

// zeroDisk is one that zeroes, and knows holes: what is in its list, in bytes.
type zeroDisk struct{ *memDisk }

func newWorld(seed uint64, disks int, sectors, block uint64) *world {
	w := &world{block: block, rnd: rand.New(rand.NewPCG(seed, 1)), active: map[*access]bool{}, sent: map[limits.Method]uint64{}}
	for i := range disks {
		d := &memDisk{w: w, id: target.Disk(i), data: make([]byte, sectors*512), dirty: make([]bool, sectors)}
		for j := 0; j < len(d.data); j += 8 {
			binary.LittleEndian.PutUint64(d.data[j:], w.rnd.Uint64()|1) // never zero
		}
		d.durable = append([]byte(nil), d.data...)
		w.disks = append(w.disks, d)
	}
	return w
}

func (w *world) ios() (out []IO) {
	for _, d := range w.disks {
		if d.sparse {
			out = append(out, zeroDisk{d})
		} else {
			out = append(out, d)
		}
	}
	return out
}

func (w *world) methods() map[limits.Method]Method {
	return map[limits.Method]Method{limits.NVMeCopy: &memMethod{w, limits.NVMeCopy}, limits.FileCopy: &memMethod{w, limits.FileCopy}}
}

func (w *world) errorf(format string, a ...any) { w.wrong = append(w.wrong, fmt.Sprintf(format, a...)) }

func (a *access) clash(b *access) bool {
	over := func(x, y []target.Extent) bool {
		for _, e := range x {
			for _, f := range y {
				if e.Disk == f.Disk && e.Start < f.End() && f.Start < e.End() {
					return true
				}
			}
		}
		return false
	}
	return over(a.puts, b.puts) || over(a.puts, b.reads) || over(a.reads, b.puts)
}

// begin checks an access against bounds, blocks and all that is under way, and finds its fault. The fault's delay and
// hang are here, between begin and the effect.
func (w *world) begin(op string, d target.Disk, reads, puts []target.Extent) (*access, *fault) {
	a := &access{op, reads, puts}
	w.mu.Lock()
	for _, e := range append(append([]target.Extent(nil), reads...), puts...) {
		if e.End()*512 > uint64(len(w.disks[e.Disk].data)) {
			w.errorf("%s: %v is past the end", op, e)
		}
		if e.Len == 0 || (e.Start|e.Len)*512%w.block != 0 {
			w.errorf("%s: %v is not of blocks", op, e)
		}
	}
	if w.lock != nil && op != "sync" {
		w.lock.inside(a)
	}
	n, reading := 1, 1
	for b := range w.active {
		if a.clash(b) {
			w.errorf("%s %v %v meets %s %v %v", op, reads, puts, b.what, b.reads, b.puts)
		}
		if len(b.puts) > 0 && len(puts) > 0 && b.puts[0].Disk == d {
			n++
		}
		if op == "read" && b.what == op && b.reads[0].Disk == d {
			reading++
		}
	}
	w.most, w.reading = max(w.most, n), max(w.reading, reading)
	w.routines = max(w.routines, runtime.NumGoroutine())
	w.active[a] = true
	f := w.fault(op, d, append(append([]target.Extent(nil), reads...), puts...))
	w.mu.Unlock()
	if f != nil && f.hang != nil {
		<-f.hang
	}
	if f != nil && f.delay > 0 {
		time.Sleep(f.delay) // the disk is slow
	}
	w.mu.Lock()
	if f != nil && f.ok {
		f = nil
	}
	return a, f
}

func (w *world) end(a *access) {
	delete(w.active, a)
	w.mu.Unlock()
}

func (w *world) fault(op string, d target.Disk, es []target.Extent) *fault {
	for _, f := range w.faults {
		if f.op != op || f.disk >= 0 && f.disk != int(d) {
			continue
		}
		hit := f.area.Len == 0
		for _, e := range es {
			hit = hit || e.Disk == d && e.Start < f.area.End() && f.area.Start < e.End()
		}
		if !hit {
			continue
		}
		if f.hits++; f.hits > f.skip && (f.times == 0 || f.hits <= f.skip+f.times) {
			return f
		}
	}
	return nil
}

// outcome is how many of n sectors at start are moved under a fault, what is said of it, and the error.
func (w *world) outcome(f *fault, start, n uint64) (moved, said uint64, err error) {
	if f == nil {
		return n, n, nil
	}
	moved = min(f.done, n)
	if f.area.Len > 0 && start <= f.area.Start {
		moved = f.area.Start - start
	} else if f.area.Len > 0 {
		moved = 0
	}
	if !f.quiet {
		err = &faultError{f, f.side}
	}
	moved = min(moved, n)
	if moved == n && !f.all {
		moved = n - 1
	}
	if said = moved; f.all {
		said = n
	}
	return moved, said, err
}

var errBounds = errors.New("past the end")
