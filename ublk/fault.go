package ublk

// Faults (package fault) in a queue. A queue whose disks have rules asks them for each command that it is about to send.
//
//   - An errno: a NOP takes the command's place in the ring, and the errno the NOP's result.
//   - Late: a timeout takes its place; then the command is sent, or has its errno.
//   - Short and torn: the command is made shorter. Of a short one the rest is put back when it has been answered, so that the
//     queue sees a short transfer; of a torn one it is not, and op.end is the errno of what was done.
//   - Hung: nothing takes its place, until the faults are released: then it has EIO.
//
// A command that is sent again, the rest of a short transfer, is asked for again.

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	faults "github.com/ublk-go/ublk-linear/fault"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// injector is a queue's faults.
type injector struct {
	ops   []injected // beside the queue's
	times []uapi.Timespec
	mem   []byte // that times are in; mapped, since the kernel reads it
	hung  []uint32
	over  atomic.Bool // set by release
}

// injected is what a command stands for that is in the ring.
type injected struct {
	state injection
	errno unix.Errno // of failing
	left  uint64     // of cut: as the op was
	niov  uint32
	tail  uint64 // of cut: what the last iovec is without
}

type injection uint8

const (
	itself  injection = iota
	failing           // a NOP or a timeout: it has the errno
	late              // a timeout: it is to be sent then
	passing           // the timeout is over: it is sent, and nobody is asked
	cut               // its first bytes
)

// newInjector is nil when no disk has rules.
func newInjector(disks []Backing, ops int) (*injector, error) {
	for i := range disks {
		if disks[i].Faults == nil {
			continue
		}
		mem, err := mapAnon(ops * timespecSize)
		if err != nil {
			return nil, err
		}
		return &injector{ops: make([]injected, ops), mem: mem, times: timespecsOf(mem, ops), hung: make([]uint32, 0, ops)}, nil
	}
	return nil, nil
}

// free gives the memory back. No command of the queue is in its ring.
func (x *injector) free() {
	if x != nil && x.mem != nil {
		_ = unix.Munmap(x.mem)
		x.mem, x.times = nil, nil
	}
}

// release ends what hangs, and lets nothing hang or be late any more. The queue sees it when its bell is rung.
func (x *injector) release() {
	if x != nil {
		x.over.Store(true)
	}
}

// faultOps is fault's word for a command.
var faultOps = [...]faults.Op{kindRead: faults.Read, kindWrite: faults.Write, kindSync: faults.Flush, kindDiscard: faults.Discard, kindZero: faults.WriteZeroes}

// inject asks the rules for a command, and says whether something else was done in place of sending it.
// hot path
func (q *queue) inject(i uint32) bool {
	o, x := &q.ops[i], &q.faults.ops[i]
	if x.state == passing {
		x.state = itself
		return false
	}
	rules := q.disks[o.disk].Faults
	if rules == nil || o.end != 0 { // the rest of what is torn is no other command
		return false
	}
	at := target.Range{Start: o.at / 512}
	if o.kind != kindSync {
		at.Len = (o.at+o.left+511)/512 - at.Start
	}
	a := rules.Match(faultOps[o.kind], at)
	over := q.faults.over.Load()
	switch a.Kind {
	case faults.Fail:
		x.state, x.errno = failing, unix.Errno(a.Errno)
		if a.Delay == 0 || over {
			q.nop(i)
		} else {
			q.timer(i, int64(a.Delay))
		}
		return true
	case faults.Delay:
		if over {
			return false
		}
		x.state = late
		q.timer(i, int64(a.Delay))
		return true
	case faults.Hang:
		x.state, x.errno = failing, unix.EIO
		if over {
			q.nop(i)
		} else {
			q.faults.hung = append(q.faults.hung, i)
		}
		return true
	case faults.Torn:
		if o.kind == kindWrite {
			q.cut(i, a.Sectors*512)
			x.state, o.end = itself, unix.Errno(a.Errno)
		}
	case faults.Short:
		if o.kind <= kindWrite {
			q.cut(i, a.Sectors*512)
		}
	}
	return false
}

// answered is asked for the result of what was in the ring for a command; done says that the command is on its way now, and
// there is no result yet.
// hot path
func (q *queue) answered(i uint32, res int32) (_ int32, done bool) {
	x := &q.faults.ops[i]
	switch x.state {
	case failing:
		x.state = itself
		return -int32(x.errno), false
	case late:
		x.state = passing
		q.send(i)
		return 0, true
	case cut:
		o := &q.ops[i]
		q.iovs[o.iov+o.niov-1].Len += x.tail
		o.left, o.niov, x.state = x.left, x.niov, itself
	}
	return res, false
}

// cut makes a read or write shorter than it is: n bytes. A command ends with a sector, wherever it begins, so that one with more
// sectors than those of n is longer than n.
// hot path
func (q *queue) cut(i uint32, n uint64) {
	o, x := &q.ops[i], &q.faults.ops[i]
	x.state, x.left, x.niov = cut, o.left, o.niov
	o.left, o.niov = n, 0
	for {
		v := &q.iovs[o.iov+o.niov]
		o.niov++
		if n <= v.Len {
			x.tail = v.Len - n
			v.Len = n
			return
		}
		n -= v.Len
	}
}

// nop queues an entry that completes at once in a command's place.
// hot path
func (q *queue) nop(i uint32) {
	e := q.sqe()
	e.Opcode, e.FD, e.UserData = uapi.IORING_OP_NOP, -1, commandBit|uint64(i)
	q.flying++
}

// timer queues an entry that completes after ns nanoseconds in a command's place.
// hot path
func (q *queue) timer(i uint32, ns int64) {
	t := &q.faults.times[i]
	t.Sec, t.Nsec = ns/1e9, ns%1e9
	e := q.sqe()
	e.Opcode, e.FD, e.Addr, e.Len, e.UserData = uapi.IORING_OP_TIMEOUT, -1, addrOfTimespec(t), 1, commandBit|uint64(i)
	q.flying++
}

// unhang ends what hangs, once the faults are released.
func (q *queue) unhang() {
	if !q.faults.over.Load() {
		return
	}
	for _, i := range q.faults.hung {
		q.nop(i)
	}
	q.faults.hung = q.faults.hung[:0]
}
