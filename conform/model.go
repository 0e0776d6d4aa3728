package conform

import (
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// Model is the reference: a region in memory that does what a device should. Limits and addresses of the whole command are
// looked at before the first block is moved, all sources are read before anything is written, and one command is done after
// the other. It has a volatile cache, its power can be cut, and its
// blocks can be made unreadable.
type Model struct {
	geometry Geometry

	mu      sync.Mutex
	now     []byte // guarded by mu; what is read
	durable []byte // guarded by mu; what a cut leaves
	broken  []run  // guarded by mu; bytes that cannot be read
}

// NewModel is a model of so many bytes, all zero. Block, MSSRL, MCL and Ranges of g are its own; the rest is filled in. The
// whole device is the region.
func NewModel(g Geometry, bytes uint64) *Model {
	g.Method, g.Length, g.Start, g.End = limits.NVMeCopy, bytes, 0, bytes/512
	if g.Name == "" {
		g.Name = "model"
	}
	return &Model{geometry: g, now: make([]byte, bytes), durable: make([]byte, bytes)}
}

// Geometry is a Target's.
func (m *Model) Geometry() Geometry { return m.geometry }

// ReadAt is a Target's.
func (m *Model) ReadAt(p []byte, at uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unreadable(run{at, uint64(len(p))}) {
		return fmt.Errorf("model: read of %d bytes at %d: %w", len(p), at, unix.ENODATA)
	}
	return m.move(p, at, func(there []byte) { copy(p, there) })
}

// WriteAt is a Target's.
func (m *Model) WriteAt(p []byte, at uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mend(run{at, uint64(len(p))})
	return m.move(p, at, func(there []byte) { copy(there, p) })
}

func (m *Model) move(p []byte, at uint64, do func([]byte)) error {
	if n := uint64(len(p)); at > uint64(len(m.now)) || n > uint64(len(m.now))-at {
		return fmt.Errorf("model: %d bytes at %d: past the end", n, at)
	}
	do(m.now[at : at+uint64(len(p))])
	return nil
}

// Flush is a Target's.
func (m *Model) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.durable, m.now)
	return nil
}

// PowerCut loses what is not durable.
func (m *Model) PowerCut() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.now, m.durable)
	return nil
}

// Break is a Breaker's.
func (m *Model) Break(at, n uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = append(m.broken, run{at, n})
	return nil
}

func (m *Model) unreadable(r run) bool {
	return slices.ContainsFunc(m.broken, func(b run) bool { return b.at < r.at+r.n && r.at < b.at+b.n })
}

// mend forgets what of the broken lies in bytes that are written. All that is broken is written as a whole.
func (m *Model) mend(r run) {
	m.broken = slices.DeleteFunc(m.broken, func(b run) bool { return r.at <= b.at && b.at+b.n <= r.at+r.n })
}

// Copy is a Target's.
func (m *Model) Copy(sources []target.Range, dst uint64, fua bool) Answer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.refuse(sources, dst); !a.OK() {
		return a
	}
	var data []byte
	for _, s := range sources {
		data = append(data, m.now[s.Start*512:s.End()*512]...)
	}
	m.mend(run{dst * 512, uint64(len(data))})
	copy(m.now[dst*512:], data)
	if fua {
		copy(m.durable[dst*512:], data)
	}
	return Answer{}
}

// refuse says what of a command is more than the model does, or cannot be read.
func (m *Model) refuse(sources []target.Range, dst uint64) Answer {
	g, block := &m.geometry, m.geometry.sectors(1)
	var total uint64
	for i, s := range sources {
		if s.Len == 0 || (s.Start|s.Len)%block != 0 {
			return Answer{Status: statusInvalid, DW0: uint32(i)}
		}
		total += s.Len
	}
	most := func(limit uint64) uint64 { return orElse(g.sectors(limit), 1<<62) }
	if len(sources) == 0 || dst%block != 0 {
		return Answer{Status: statusInvalid}
	}
	if uint64(len(sources)) > g.most() || total > most(g.MCL) {
		return Answer{Status: StatusSize}
	}
	end := uint64(len(m.now)) / 512
	for _, s := range sources {
		if s.Len > most(g.MSSRL) {
			return Answer{Status: StatusSize}
		}
		if s.Start > end || s.Len > end-s.Start {
			return Answer{Status: StatusLBA}
		}
	}
	if dst > end || total > end-dst {
		return Answer{Status: StatusLBA}
	}
	for _, s := range sources {
		if m.unreadable(run{s.Start * 512, s.Len * 512}) {
			return Answer{Status: statusRead}
		}
	}
	return Answer{}
}
