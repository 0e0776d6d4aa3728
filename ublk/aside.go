package ublk

// Commands whose disk may be gone (loss.go), in a queue.
//
//  1. A command fails. If the device parks and the errno is one that a vanished disk gives, it is put aside: it is neither in
//     flight nor answered, and its request stays under way.
//  2. While a disk is away, new commands for it are put aside without being sent.
//  3. What is said of the disk comes with the bell: what is aside is sent again, or fails.
//
// A disk that comes back may have lost its cache, and with it what a request had written before, of which the queue no longer
// knows what was durable. So each such return begins an era: a request from before that has written is done again as a whole
// before it is answered, and a flush from before fails.
//
// Nothing of this costs a command of a disk that is there more than a look at a field of the queue.

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
)

// sideline is a queue's part in a device's losses.
type sideline struct {
	loss   *losses // the device's; nil: every error is passed on
	heard  *saying // the snapshot that was done
	era    uint32
	fates  []fate // by disk; nil while all are there
	aside  []parkedOp
	doomed []parkedOp // to fail before the queue waits again
	tardy  bool       // a disk is to be replaced as soon as nothing of it is in flight
}

// parkedOp is a command that is aside.
type parkedOp struct {
	op    uint32
	errno unix.Errno // what it failed with; EIO of one that was never sent
	at    int64      // of clock
}

func (q *queue) fate(d target.Disk) fate {
	if int(d) < len(q.fates) {
		return q.fates[d]
	}
	return there
}

// vanished says whether an errno is one that a command has when its disk is gone. A SCSI disk that is offline gives ENODEV or
// EIO, a transport ENOLINK, a timeout ETIMEDOUT; a disk that was removed has no capacity, so that a write is ENOSPC and a
// discard or zeroing EINVAL (blkdev_write_iter, blkdev_fallocate, blk_validate_byte_range), and a read nothing, which
// complete has made EIO.
func vanished(k kind, errno unix.Errno) bool {
	switch errno {
	case unix.EIO, unix.ENODEV, unix.ENXIO, unix.ENOLINK, unix.EREMOTEIO, unix.ETIMEDOUT:
		return true
	case unix.ENOSPC:
		return k <= kindWrite
	case unix.EINVAL:
		return k == kindDiscard || k == kindZero
	}
	return false
}

// suspects puts a command aside that failed, if its disk may be gone.
func (q *queue) suspects(i uint32, errno unix.Errno) bool {
	l, o := q.loss, &q.ops[i]
	if l == nil || !l.park.Load() || l.over.Load() || !q.disks[o.disk].Block || !vanished(o.kind, errno) || q.fate(o.disk) == lost {
		return false
	}
	q.putAside(i, errno)
	if l.suspect != nil {
		l.suspect(o.disk)
	}
	return true
}

func (q *queue) putAside(i uint32, errno unix.Errno) {
	o := &q.ops[i]
	if s := q.disks[o.disk].Stats; s != nil && o.kind == kindWrite && o.left < o.bytes {
		s.torn.Store(true)
	}
	q.flights[i].sent.Store(0) // no stall: nobody has it
	q.aside = append(q.aside, parkedOp{i, errno, clock()})
	q.loss.count(o.disk, 1)
}

// divert keeps a command from a disk that is not there. It is asked only while one is not.
func (q *queue) divert(i uint32) bool {
	switch q.fate(q.ops[i].disk) {
	case away:
		q.putAside(i, unix.EIO)
	case lost:
		q.doomed = append(q.doomed, parkedOp{op: i, errno: unix.EIO})
	default:
		return false
	}
	return true
}

// heed does what was said of the disks since it last did. It is called when the bell was rung, and at each turn while it is
// tardy: a disk is replaced when the last command on the old one is back, and only then is anything sent to it again.
func (q *queue) heed() {
	if q.loss == nil {
		return
	}
	s := q.loss.said.Load()
	q.tardy = false
	if q.loss.over.Load() {
		q.fates = nil
		q.takeOut(func(parkedOp) (resend, fail bool) { return false, true }, unix.EIO)
	}
	if s == nil || s == q.heard {
		return
	}
	for d, w := range s.disks {
		if w.backing != nil && q.disks[d].FD != w.backing.FD && q.inFlight(d) {
			q.tardy = true
			return
		}
	}
	fates, disks := q.fates, q.disks
	// It may be later than the word, since this queue had not heard it, and is of before all the same.
	ofBefore := func(d target.Disk) bool {
		return int(d) < len(fates) && fates[d] == away || disks[d].FD != q.disks[d].FD
	}
	q.fates = nil
	for d, w := range s.disks {
		if w.backing != nil && q.disks[d].FD != w.backing.FD {
			q.disks = slices.Clone(q.disks) // other queues have the old list
			q.disks[d] = *w.backing
		}
		if w.fate != there && !q.loss.over.Load() {
			if q.fates == nil {
				q.fates = make([]fate, len(q.disks))
			}
			q.fates[d] = w.fate
		}
	}
	q.era, q.heard = s.era, s
	q.takeOut(func(p parkedOp) (resend, fail bool) {
		d := q.ops[p.op].disk
		w, ok := s.disks[d]
		switch {
		case w.resend && ofBefore(d):
			return true, false
		case !ok, w.fate == away, w.fate == there && p.at > w.asOf:
			return false, false
		case w.fate == lost:
			return false, true
		}
		return w.resend, !w.resend
	}, 0)
	q.gate.heeded.Store(s)
}

// takeOut sends again, or dooms, what is aside and is judged so. errno, unless it is 0, is what it fails with; a lost disk's
// commands fail with EIO.
func (q *queue) takeOut(judge func(parkedOp) (resend, fail bool), errno unix.Errno) {
	was := q.aside
	q.aside = nil
	for _, p := range was {
		resend, fail := judge(p)
		d := q.ops[p.op].disk
		switch {
		case resend:
			q.loss.count(d, -1)
			q.send(p.op)
		case fail:
			if errno != 0 || q.fate(d) == lost {
				p.errno = unix.EIO
			}
			q.loss.count(d, -1)
			q.doomed = append(q.doomed, p)
		default:
			q.aside = append(q.aside, p)
		}
	}
}

// inFlight says whether a command is in flight on a disk.
func (q *queue) inFlight(d target.Disk) bool {
	for i := range q.flights {
		if q.flights[i].on(d) {
			return true
		}
	}
	return false
}

// condemn fails what is doomed. What goes on because of it may be doomed as well, and what waited for room has it now.
func (q *queue) condemn() {
	for len(q.doomed) > 0 && q.broken == nil {
		was := q.doomed
		q.doomed = nil
		for _, p := range was {
			o := &q.ops[p.op]
			if s := q.disks[o.disk].Stats; s != nil {
				s.Ops[o.kind].Commands.Add(1)
			}
			q.blame(o, p.errno)
			q.end(p.op, p.errno)
		}
		q.feed()
	}
}

// overtaken is asked before a request is answered that began in another era, or that is a flush. A flush may have been told of
// durable data that is gone, and fails, also if this queue has not heard yet; so does the first flush of an era. Of the rest,
// what has written without FUA is done again: it is then under way again.
func (q *queue) overtaken(t uint16) (again bool) {
	tg := &q.tags[t]
	switch {
	case tg.q.op == target.Flush:
		if e := q.loss.now(); tg.era != e || e != 0 && q.loss.owed.CompareAndSwap(e, 0) {
			tg.errno = unix.EIO
		}
		return false
	case tg.q.op == target.Read, tg.q.op == target.Write && tg.q.fua:
		return false
	}
	tg.era, tg.mapped, tg.synced = q.era, 0, false
	q.advance(t)
	return true
}
