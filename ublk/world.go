package ublk

import (
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// world is what a queue maps requests by and sends them to. It is replaced as a whole: whoever swaps puts the next one into
// the queue's gate, and the queue adopts it at a moment when nothing of it is in flight, before it lets go on anything that
// was kept out. So no request is mapped by two.
type world struct {
	mapper Mapper
	disks  []Backing
	pool   *pool  // nil: what the queue has is enough
	mem    []byte // of the pool's iovecs
	faults *injector
}

// pool is the room that a queue maps requests in: it is sized by a mapper's fan, and serves every smaller one too.
type pool struct {
	iovs    []uapi.Iovec // wave of them per tag
	wave    int
	ops     []op
	free    []uint32 // of ops
	flights []flight // one per op
	segs    []target.Segment
	segOp   []uint32
}

// opsFor and waveFor size a queue so that a request which needs all disks or all legs at once finds room.
func opsFor(depth, fan int) int { return max(minOps, 4*depth, 2*fan) }
func waveFor(fan int) int       { return max(minWave, fan) }

// newPool makes a pool over mapped memory for the iovecs.
func newPool(depth, fan int, iovs []uapi.Iovec) pool {
	n := opsFor(depth, fan)
	p := pool{iovs: iovs, wave: len(iovs) / depth, ops: make([]op, n), free: make([]uint32, n), flights: make([]flight, n)}
	for i := range p.free {
		p.free[i] = uint32(n - 1 - i)
	}
	p.segs = make([]target.Segment, 0, p.wave)
	p.segOp = make([]uint32, p.wave)
	return p
}

// obey does what is asked of the queue through its gate. It is called when the bell was rung, before anything that was kept
// out goes on.
func (q *queue) obey() {
	g := q.gate
	if n := g.sectors.Load(); n != 0 && n != q.bounds.sectors {
		q.bounds.sectors = n
	}
	if g.bound.Swap(q.bounds.sectors) != q.bounds.sectors {
		g.tell()
	}
	q.leaving = q.leaving || g.leave.Load()
	q.heed()
	q.adopt()
}

// adopt takes the next world, if there is one and nothing is in flight. Otherwise the queue is late: nothing begins, and it
// tries again at each turn.
func (q *queue) adopt() {
	q.late = q.gate.next.Load() != nil
	if !q.late || q.busy > 0 {
		return
	}
	q.late = false
	w := q.gate.next.Swap(nil)
	q.mapper, q.disks, q.faults = w.mapper, w.disks, w.faults
	q.fates = nil // a disk that is still gone will fail a command
	if w.pool != nil {
		q.pool = *w.pool
		q.watched.Store(&w.pool.flights)
	}
	q.gate.now.Store(w)
	q.gate.tell()
}

// catchUp is adopt for a queue that was busy when it was asked.
func (q *queue) catchUp() {
	if q.adopt(); !q.late {
		q.unpark(q.held.Load())
	}
}
