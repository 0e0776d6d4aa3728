package ublk

// One request, in order. The functions of this file stand roughly in that order; those of step 4 are in wave.go.
//
//  1. fetch: every tag is given to the driver once, with the address of its buffer.
//  2. run: Enter returns; a completed fetch is a request in the tag's descriptor.
//  3. accept: the descriptor is read once, checked, and put into the tag. A request that runs into a hold waits in
//     parked until the bell is rung for its release (park.go, holds.go).
//     The bell also brings a new mapper with its disks, which is adopted while nothing is in flight (world.go).
//  4. advance: the mapper turns as much of the request as there is room for into segments ("a wave"); segments that a
//     disk can take together become one command, a vector if they lie apart in the buffer. No system call yet.
//  5. run: one Enter per turn submits all that was queued and waits.
//  6. reap: a command's result is taken; a short transfer or EAGAIN is sent again; the first errno wins.
//  7. settle: when the last command of a tag is back, the next wave starts, or the tag is committed. The commit rides
//     on the next Enter and fetches the tag's next request.
//
// A queue is one goroutine, locked to a thread of its own, and nothing else touches its state while it runs.

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Mapper says where a request lands. *remap.Table is one.
type Mapper interface {
	// Map appends the segments of a request to dst without growing it and returns the sectors they cover. A Flush maps to one
	// empty segment per disk.
	Map(dst []target.Segment, op target.Op, r target.Range) ([]target.Segment, uint64)
	// Fan is the room with which Map gets on.
	Fan() int
	// Sectors is the length of what is mapped.
	Sectors() uint64
}

// ring is what a queue needs of an io_uring; tests put a driver of their own behind it.
type ring interface {
	SQE() *uapi.SQE
	Enter(wait uint32) error
	Next() (uapi.CQE, bool)
}

// user_data: what a completion belongs to, in the top bit, and its index below.
const commandBit = 1 << 63

const (
	minOps  = 1024 // commands in flight per queue
	minWave = 512  // segments of one tag in flight
)

// tag is one request slot.
type tag struct {
	q      request
	mapped uint64 // sectors of the request that became commands
	left   uint32 // commands in flight
	errno  unix.Errno
	synced bool   // the flush behind a FUA discard was sent
	busy   bool   // in flight: taken, neither parked nor committed
	bare   bool   // its pages are not registered yet
	manual bool   // they were registered by us, not by the driver
	era    uint32 // of the queue when it began (aside.go)
}

// queue is one hardware queue of a device.
type queue struct {
	id     int
	ring   ring
	charFD int32
	bounds bounds
	mapper Mapper
	disks  []Backing

	descs   []uapi.IODesc // shared with the driver
	fixed   bool          // the disks are given the requests' own pages: no buffers (zerocopy.go)
	bufAddr uint64        // of tag 0's buffer
	bufLen  uint64        // of each
	pool                  // replaced with the mapper when that needs more room (world.go)

	tags    []tag
	starved []uint16 // tags that wait for free ops, oldest first
	parked  []uint16 // tags that a hold keeps out, oldest first
	held    *atomic.Pointer[held]
	gate    *gate
	owed    *held    // a snapshot that is not settled yet
	halted  bool     // nothing begins: all is held, or a new mapper is to come before anything
	late    bool     // there is a world to adopt as soon as no tag is in flight
	leaving bool     // run ends as soon as no tag is in flight
	early   []uint16 // tags that had a request before run
	live    int      // tags that the driver has not ended
	busy    int      // tags in flight
	flying  int      // commands in flight
	lengthy int      // commands queued that may keep who gives them to their disk
	now     int64    // of clock, read once in a turn; 0: not yet (stalled.go)
	broken  error    // of Enter: the ring is gone
	spare   uapi.SQE // what is filled in then
	failure error    // the first tag that ended otherwise than by the driver's abort
	failed  func(error)

	stats      *Stats
	watched    atomic.Pointer[[]flight] // the pool's, for who looks from outside
	diskFailed func(disk target.Disk, op target.Op, sector uint64, errno unix.Errno)
	faults     *injector // nil: none (fault.go)
	sideline             // commands whose disk may be gone (aside.go)
}

// queueMemory is the mapped memory of a queue.
type queueMemory struct {
	descs   []uapi.IODesc
	fixed   bool // no buffers: bufAddr means nothing
	bufAddr uint64
	iovs    []uapi.Iovec
}

// newQueue makes the state of a queue. Memory that the kernel sees comes from the caller.
func newQueue(id, depth int, r ring, charFD int, b bounds, m Mapper, disks []Backing, mem queueMemory, hs *holds, g *gate) *queue {
	q := &queue{id: id, ring: r, charFD: int32(charFD), bounds: b, mapper: m, disks: disks,
		descs: mem.descs, fixed: mem.fixed, bufAddr: mem.bufAddr, bufLen: uint64(b.maxIO) * 512, pool: newPool(depth, m.Fan(), mem.iovs),
		tags: make([]tag, depth), live: depth, held: &hs.now, gate: g, stats: &Stats{}}
	q.watched.Store(&q.flights)
	q.starved = make([]uint16, 0, depth)
	q.parked = make([]uint16, 0, depth)
	return q
}

// fetch gives every tag to the driver. It reports an errno that the driver has for one of them.
func (q *queue) fetch() error {
	for t := range q.tags {
		q.command(uapi.UBLK_U_IO_FETCH_REQ, uint16(t), 0)
	}
	if q.broken != nil {
		return q.broken
	}
	return q.ring.Enter(0)
}

// run serves until the driver has ended every tag and no command is in flight. It returns what went wrong, if the end
// was not the driver's.
func (q *queue) run() error {
	q.listen()
	for _, t := range q.early {
		q.accept(t, uapi.UBLK_IO_RES_OK)
	}
	q.early = nil
	for q.live > 0 { // a tag with commands in flight is not ended: its commit is to come
		if err := q.ring.Enter(1); err != nil {
			return err
		}
		q.now = 0
		for {
			c, ok := q.ring.Next()
			if !ok {
				break
			}
			switch {
			case c.UserData&commandBit != 0:
				q.reap(uint32(c.UserData), c.Res)
			case c.UserData == bellData:
				q.rung(c.Res)
				if q.faults != nil {
					q.unhang()
				}
			case c.UserData&pagesBit != 0:
				q.registered(c.UserData, c.Res)
			default:
				q.accept(uint16(c.UserData), c.Res)
			}
		}
		if len(q.starved) > 0 {
			q.feed()
		}
		if q.broken != nil {
			return q.broken
		}
		if q.late {
			q.catchUp()
		}
		if q.tardy {
			q.heed()
		}
		if len(q.doomed) > 0 {
			q.condemn()
		}
		if q.owed != nil {
			q.acknowledge()
		}
		if q.leaving && q.busy == 0 {
			break // hush submits what is still to be committed
		}
	}
	if err := q.hush(); err != nil {
		return err
	}
	return q.failure
}

// accept takes a completed fetch: a request, or the end of the tag.
// hot path
func (q *queue) accept(t uint16, res int32) {
	if res != uapi.UBLK_IO_RES_OK {
		q.lose(t, res)
		return
	}
	desc := q.descs[t] // once: the driver may rewrite it
	tg := &q.tags[t]
	*tg = tag{}
	if tg.errno = q.bounds.decode(&desc, &tg.q); tg.errno != 0 {
		q.commit(t)
		return
	}
	r := &tg.q
	tg.bare = q.fixed && desc.OpFlags&uapi.UBLK_IO_F_NEED_REG_BUF != 0 && r.op <= target.Write
	q.stats.Requests[r.op].Add(1)
	q.stats.Bytes[r.op].Add(r.r.Len * 512)
	if s := q.held.Load(); q.halted || s != nil && s.stops(r.op, r.r) {
		// What comes behind it may overtake it, overlapping or not: the block layer promises no order between requests that
		// are under way together.
		q.parked = append(q.parked, t)
		return
	}
	q.begin(t)
}

// begin puts a tag in flight.
// hot path
func (q *queue) begin(t uint16) {
	q.tags[t].busy, q.tags[t].era = true, q.era
	q.busy++
	q.advance(t)
}

// lose takes a tag that the driver has ended.
func (q *queue) lose(t uint16, res int32) {
	q.live--
	if res == uapi.UBLK_IO_RES_ABORT || q.failure != nil {
		return
	}
	q.failure = fmt.Errorf("queue %d tag %d: %w", q.id, t, unix.Errno(-res))
	if q.failed != nil {
		q.failed(q.failure)
	}
}

// advance starts the next wave of a tag, or puts it among the starved when there is not room for one.
// hot path
func (q *queue) advance(t uint16) {
	if q.tags[t].bare {
		q.register(t)
		return
	}
	if len(q.free) < q.mapper.Fan() || len(q.starved) > 0 {
		q.starved = append(q.starved, t)
		return
	}
	q.start(t)
}

// start maps as much of a tag's request as there is room for and queues the commands.
// hot path
func (q *queue) start(t uint16) {
	tg := &q.tags[t]
	room := min(q.wave, len(q.free))
	mop := tg.q.op
	if tg.synced {
		mop = target.Flush
	}
	rest := target.Range{Start: tg.q.r.Start + tg.mapped, Len: tg.q.r.Len - tg.mapped}
	segs, n := q.mapper.Map(q.segs[:0:room], mop, rest)
	if len(segs) == 0 || mop != target.Flush && n == 0 {
		// The mapper broke its word. Nothing was sent.
		tg.errno = unix.EIO
		q.commit(t)
		return
	}
	if len(segs) == 1 && mop <= target.Write {
		i := q.single(t, &segs[0], mop, tg.mapped)
		tg.mapped += n
		q.send(i)
		return
	}
	first := q.group(t, segs, mop, tg.mapped)
	tg.mapped += n
	for i := first; i < len(q.free); i++ {
		q.send(q.free[i])
	}
	q.free = q.free[:first]
}

// send queues one command.
// hot path
func (q *queue) send(i uint32) {
	if q.fates != nil && q.divert(i) {
		return
	}
	o := &q.ops[i]
	if f := &q.flights[i]; f.sent.Load() == 0 { // else it is sent again, and its time runs on
		o.bytes = o.left
		f.start(o, q.clock())
	}
	if q.faults != nil && q.inject(i) {
		return
	}
	e := q.sqe()
	o.fill(e, &q.disks[o.disk], q.iovs, q.fixed)
	e.UserData = commandBit | uint64(i)
	q.flying++
	if !o.atOnce(&q.disks[o.disk]) {
		q.lengthy++
	}
	q.stats.Commands.Add(1)
}

// sqe is a free entry; a full ring is submitted first.
// hot path
func (q *queue) sqe() *uapi.SQE {
	if e := q.ring.SQE(); e != nil {
		return e
	}
	return q.drain()
}

// drain submits a full ring, for an entry.
// hot path
func (q *queue) drain() *uapi.SQE {
	for q.broken == nil {
		if q.broken, q.now = q.ring.Enter(0), 0; q.broken != nil {
			break
		}
		if e := q.ring.SQE(); e != nil {
			return e
		}
	}
	return &q.spare // run ends before it would matter
}

// reap takes a command's result.
// hot path
func (q *queue) reap(i uint32, res int32) {
	q.flying--
	if q.faults != nil {
		var done bool
		if res, done = q.answered(i, res); done {
			return
		}
	}
	o := &q.ops[i]
	v, errno := o.complete(res, q.iovs)
	if v == again {
		q.stats.Retries.Add(1)
		q.send(i)
		return
	}
	if errno != 0 && q.suspects(i, errno) {
		return
	}
	q.account(i, errno)
	q.end(i, errno)
}

// end takes a command out of its tag's.
// hot path
func (q *queue) end(i uint32, errno unix.Errno) {
	o := &q.ops[i]
	tg := &q.tags[o.tag]
	if errno != 0 && tg.errno == 0 {
		tg.errno = errno
	}
	q.free = append(q.free, i)
	if tg.left--; tg.left == 0 {
		q.settle(o.tag)
	}
}

// settle goes on with a tag whose wave is back.
// hot path
func (q *queue) settle(t uint16) {
	tg := &q.tags[t]
	switch {
	case tg.errno != 0:
		q.commit(t)
	case tg.q.op != target.Flush && tg.mapped < tg.q.r.Len:
		q.advance(t)
	case tg.q.fua && tg.q.op.Ranged() && !tg.synced:
		tg.synced = true // no disk command is both: what was zeroed is flushed
		q.advance(t)
	case q.loss != nil && (tg.era != q.era || tg.q.op == target.Flush) && q.overtaken(t):
	default:
		q.commit(t)
	}
}

// feed starts the tags that waited for room, oldest first.
// hot path
func (q *queue) feed() {
	n := 0
	for n < len(q.starved) && len(q.free) >= q.mapper.Fan() {
		q.start(q.starved[n])
		n++
	}
	if n > 0 {
		q.starved = q.starved[:copy(q.starved, q.starved[n:])]
	}
}

// commit answers a tag's request and asks for its next one. This is the one place where an errno becomes a result.
// hot path
func (q *queue) commit(t uint16) {
	tg := &q.tags[t]
	if tg.busy {
		tg.busy = false
		q.busy--
	}
	var res int32
	switch {
	case tg.errno != 0:
		res = -int32(tg.errno)
		q.stats.Errors.Add(1)
	case tg.q.op == target.Read || tg.q.op == target.Write:
		res = int32(tg.q.r.Len * 512)
	}
	if tg.manual {
		q.unregister(t)
	}
	q.command(uapi.UBLK_U_IO_COMMIT_AND_FETCH_REQ, t, res)
}

// command queues a fetch or commit of a tag.
// hot path
func (q *queue) command(cmd uint32, t uint16, res int32) {
	e := q.sqe()
	e.Opcode, e.FD, e.Off, e.UserData = uapi.IORING_OP_URING_CMD, q.charFD, uint64(cmd), uint64(t)
	c := uapi.IOCmd{QID: uint16(q.id), Tag: t, Result: res}
	if q.fixed {
		e.Addr = autoPages(t)
	} else {
		c.Addr = q.bufAddr + uint64(t)*q.bufLen
	}
	putIOCmd(e, c)
}
