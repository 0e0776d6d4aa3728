package ublk

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// user_data of what is neither a tag's nor a command's: the read of the bell, and its cancellation.
const (
	bellData = 1 << 62
	hushData = 1<<62 | 1
)

// listen arms the read of the bell.
func (q *queue) listen() {
	e := q.sqe()
	e.Opcode, e.FD, e.Addr, e.Len, e.UserData = uapi.IORING_OP_READ, int32(q.gate.fd), addrOf(q.gate.mem), bellSize, bellData
	q.gate.armed = true
}

// rung is the bell: what is held has changed. Every request that was taken before is looked at: one that is parked goes on
// if nothing stops it now, and one that is in flight may conflict with what is new, which settle finds out.
func (q *queue) rung(res int32) {
	q.gate.armed = false
	if errno := unix.Errno(-res); res < 0 && errno != unix.EAGAIN && errno != unix.EINTR {
		q.broken = fmt.Errorf("queue %d: read of its eventfd: %w", q.id, errno) // deaf, it would keep holds waiting for ever
		return
	}
	q.listen()
	q.obey()
	q.owed = q.held.Load() // nil: nobody waits
	q.unpark(q.owed)
}

// unpark lets go on what the snapshot does not stop. A request that the device has shrunk under while it waited has no
// place any more.
func (q *queue) unpark(s *held) {
	q.halted = q.late || q.leaving || s != nil && s.all
	n := 0
	for _, t := range q.parked {
		tg := &q.tags[t]
		if q.halted || s != nil && s.stops(tg.q.op, tg.q.r) {
			q.parked[n] = t
			n++
			continue
		}
		if tg.q.op != target.Flush && tg.q.r.End() > q.bounds.sectors {
			tg.errno = unix.EIO
			q.commit(t)
			continue
		}
		q.begin(t)
	}
	q.parked = q.parked[:n]
}

// acknowledge says how far the queue is settled, to the holds that wait for it. It is called at each turn as long as
// something of the snapshot that the bell was rung for is in flight.
func (q *queue) acknowledge() {
	s := q.owed
	was, v := q.gate.settled.Load(), s.settled(q.tags)
	if v == s.version {
		q.owed = nil
	}
	if v <= was {
		return
	}
	q.gate.settled.Store(v)
	for _, h := range s.holds {
		if h.born > was && h.born <= v {
			h.tell()
		}
	}
}

// hush takes the read of the bell back when the queue ends, and waits for it: behind it the kernel writes no more to the
// bell's memory.
func (q *queue) hush() error {
	e := q.sqe()
	e.Opcode, e.Addr, e.UserData = uapi.IORING_OP_ASYNC_CANCEL, bellData, hushData
	for q.gate.armed && q.broken == nil {
		if err := q.ring.Enter(1); err != nil {
			return err
		}
		for c, ok := q.ring.Next(); ok; c, ok = q.ring.Next() {
			if c.UserData == bellData {
				q.gate.armed = false // cancelled, or rung meanwhile
			}
		}
	}
	return q.broken
}
