package ublk

import (
	"math/rand/v2"
	"slices"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// setup is what a test chooses; the zero value of a field is a usable choice.
type setup struct {
	shape    shape
	files    bool   // the disks are files
	noZero   bool   // ... without ZERO_RANGE
	depth    int    // 8
	entries  int    // of the ring; as many as are needed
	wave     int    // of the table's fan
	pool     int    // free ops; as many as newQueue makes
	maxIO    uint32 // sectors; 1024
	lbs      uint64 // 1
	readOnly bool
	fixed    bool   // zero copy
	bare     int    // of so many requests, one comes without its pages
	seed     uint64 // 0: in order
	blank    bool   // disks and buffers without contents
	mapper   Mapper // the shape's table
	holds    *holds // of the device that the queue is one of; its bell can be rung then
}

func boot(t tester, s setup) *kernel {
	t.Helper()
	if s.depth == 0 {
		s.depth = 8
	}
	if s.maxIO == 0 {
		s.maxIO = 1024
	}
	if s.lbs == 0 {
		s.lbs = 1
	}
	if s.mapper == nil {
		s.mapper = s.shape.table(t)
	}
	if s.wave == 0 {
		s.wave = waveFor(s.mapper.Fan())
	}
	if s.entries == 0 {
		s.entries = 2*s.depth + opsFor(s.depth, s.mapper.Fan())
	}
	k := &kernel{fixed: s.fixed, bare: s.bare, t: t, shape: s.shape, used: s.shape.used(), wave: s.wave, given: -1,
		bounds: bounds{sectors: s.mapper.Sectors(), maxIO: s.maxIO, lbs: s.lbs, readOnly: s.readOnly},
		descs:  make([]uapi.IODesc, s.depth), iovs: make([]uapi.Iovec, s.depth*s.wave),
		bufLen: uint64(s.maxIO) * 512, bufAddr: 1 << 40,
		sq: make([]uapi.SQE, s.entries), tags: make([]fakeTag, s.depth)}
	if s.seed != 0 {
		k.rng = rand.New(rand.NewPCG(s.seed, 0))
	}
	if !s.blank {
		k.bufs = make([]byte, s.depth*int(k.bufLen))
		k.bufAddr = addrOf(k.bufs)
		k.model = newModel(k)
	}
	disks := make([]Backing, s.shape.disks())
	for i := range disks {
		disks[i] = Backing{FD: firstFD + i, Block: !s.files, NoZeroRange: s.noZero, NonBlocking: i%2 == 0}
	}
	k.disks = slices.Clone(disks)
	hs, g := s.holds, &gate{bell: bell{fd: -1, mem: make([]byte, bellSize)}}
	if hs == nil {
		hs = newHolds()
	} else if g = enter(t, hs); g == nil {
		return nil
	}
	mem := queueMemory{descs: k.descs, fixed: s.fixed, bufAddr: k.bufAddr, iovs: k.iovs}
	if s.fixed {
		mem.bufAddr = 1 << 50 // what comes of it is nobody's memory
	}
	k.q = newQueue(queueID, s.depth, k, charFD, k.bounds, &meddler{s.mapper, k}, disks, mem, hs, g)
	k.cmds = make([]command, len(k.q.ops))
	if s.pool != 0 {
		k.q.free = k.q.free[:s.pool]
	}
	k.pool = len(k.q.free)
	return k
}

// meddler is a Mapper that turns the descriptor into another one before it maps.
type meddler struct {
	Mapper
	k *kernel
}

func (m *meddler) Map(dst []target.Segment, op target.Op, r target.Range) ([]target.Segment, uint64) {
	m.k.scramble()
	return m.Mapper.Map(dst, op, r)
}

// at is where a sector of the device lies now.
func (k *kernel) at(sector uint64) (target.Disk, uint64) {
	d, at := k.shape.at(sector)
	return k.base + d, at
}

// serve runs the queue until every request was answered, and ends it as the driver does. Whatever is left over then is
// the test's failure.
func (k *kernel) serve(asks ...*ask) {
	k.t.Helper()
	if err := k.run(asks...); err != nil {
		k.t.Fatalf("run: %v", err)
	}
	k.settled(asks)
}

func (k *kernel) run(asks ...*ask) error {
	k.asks, k.next, k.aborting = append(k.asks[:0], asks...), 0, false
	for i := range k.tags {
		k.tags[i] = fakeTag{}
	}
	k.q.live, k.q.failure = len(k.tags), nil
	if err := k.q.fetch(); err != nil {
		return err
	}
	return k.q.run()
}

// settled checks the end: every request has one answer, and everything is back where it was.
func (k *kernel) settled(asks []*ask) {
	k.t.Helper()
	for i, a := range asks {
		if a.answers != 1 {
			k.t.Errorf("request %d (%v) has %d answers", i, a, a.answers)
		}
	}
	q := k.q
	if len(k.inflight) != 0 || q.flying != 0 || q.live != 0 || len(q.free) != k.pool || len(q.starved) != 0 || len(q.parked) != 0 || k.queued != 0 || k.head != len(k.cq) {
		k.t.Errorf("at the end %d in flight, flying %d, live %d, free %d of %d, starved %d, parked %d, queued %d", len(k.inflight), q.flying, q.live, len(q.free), k.pool, len(q.starved), len(q.parked), k.queued)
	}
	if k.armed || q.gate.armed {
		k.t.Errorf("at the end the bell's read is armed (%v), and the queue says %v", k.armed, q.gate.armed)
	}
	for t := range k.tags {
		if k.tags[t].pages != out {
			k.t.Errorf("at the end the table has the pages of tag %d", t)
		}
	}
	seen := map[uint32]bool{}
	for _, i := range q.free {
		seen[i] = true
	}
	if len(seen) != len(q.free) {
		k.t.Errorf("an op is free twice: %v", q.free)
	}
	if k.model != nil {
		k.model.audit()
	}
}
