package ublk

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// driver takes a fetch or a commit.
func (k *kernel) driver(e *uapi.SQE) {
	c, t := getIOCmd(e), int(e.UserData)
	if e.Opcode != uapi.IORING_OP_URING_CMD || e.FD != charFD || t >= len(k.tags) || int(c.Tag) != t || c.QID != queueID ||
		!k.fixed && c.Addr != k.bufAddr+uint64(t)*k.bufLen || k.fixed && (c.Addr != 0 || e.Addr != uint64(t)|1<<16) {
		k.t.Fatalf("no command for the driver: %+v %+v", e, c)
	}
	tg := &k.tags[t]
	switch e.Off {
	case uapi.UBLK_U_IO_FETCH_REQ:
		if tg.holder != unfetched {
			k.t.Fatalf("tag %d is fetched, and is held by %d", t, tg.holder)
		}
	case uapi.UBLK_U_IO_COMMIT_AND_FETCH_REQ:
		if tg.holder != atServer {
			k.t.Fatalf("tag %d is committed, and is held by %d", t, tg.holder)
		}
		if tg.flying != 0 {
			k.t.Fatalf("tag %d is committed with %d commands in flight: %v", t, tg.flying, tg.ask)
		}
		if tg.pages == byServer {
			k.t.Fatalf("tag %d is committed with pages in the table that the driver does not take out: %v", t, tg.ask)
		}
		tg.pages = out
		k.answer(t, c.Result)
	default:
		k.t.Fatalf("command %#x for the driver", e.Off)
	}
	tg.holder = atDriver
	var errno unix.Errno
	if k.refuse != nil {
		errno = k.refuse(t, e.Off)
	}
	if k.aborting {
		errno = unix.ENODEV
	}
	if errno != 0 {
		k.end(t, errno)
	}
}

// pages takes the registration of a request's pages, or its end.
func (k *kernel) pages(e *uapi.SQE) {
	c, t := getIOCmd(e), int(e.UserData&0xffff)
	if e.Opcode != uapi.IORING_OP_URING_CMD || e.FD != charFD || t >= len(k.tags) || int(c.Tag) != t || c.QID != queueID || c.Addr != uint64(t) || !k.fixed {
		k.t.Fatalf("no command for pages: %+v %+v", e, c)
	}
	tg := &k.tags[t]
	if tg.holder != atServer || tg.flying != 0 {
		k.t.Fatalf("pages of tag %d, held by %d, with %d commands in flight", t, tg.holder, tg.flying)
	}
	switch {
	case e.Off == uapi.UBLK_U_IO_REGISTER_IO_BUF && tg.pages == out:
		if k.noPages != 0 {
			tg.ask.errno = k.noPages
			k.post(e.UserData, -int32(k.noPages))
			return
		}
		tg.pages = byServer
	case e.Off == uapi.UBLK_U_IO_UNREGISTER_IO_BUF && tg.pages == byServer:
		tg.pages = out
	default:
		k.t.Fatalf("tag %d: command %#x with pages %d", t, e.Off, tg.pages)
	}
	k.post(e.UserData, 0)
}

func (k *kernel) end(t int, errno unix.Errno) {
	k.tags[t].holder = ended
	k.post(uint64(t), -int32(errno))
}

// abort ends the device: fetched tags at once, the others when they are committed.
func (k *kernel) abort() {
	k.aborting = true
	k.asks = k.asks[:k.next]
	for t := range k.tags {
		if k.tags[t].holder == atDriver {
			k.end(t, unix.ENODEV)
		}
	}
}

// chance is true once in n, and with every n when there is no seed.
func (k *kernel) chance(n int) bool { return k.rng == nil || k.rng.IntN(n) == 0 }

// complete ends some of the commands in flight; one at the least if it must.
func (k *kernel) complete(must bool) {
	if k.rng == nil {
		for _, i := range k.inflight {
			k.finish(i)
		}
		k.inflight = k.inflight[:0]
		return
	}
	for i := 0; i < len(k.inflight); {
		if !k.chance(3) && !(must && i == len(k.inflight)-1 && k.head == len(k.cq)) {
			i++
			continue
		}
		k.finish(k.inflight[i])
		k.inflight = slices.Delete(k.inflight, i, i+1)
	}
}

// finish does what a command says, as far as its fault lets it.
func (k *kernel) finish(i uint32) {
	c := &k.cmds[i]
	if c.stand != 0 {
		k.over(i)
		return
	}
	var f fault
	if k.fault != nil {
		f = k.fault(c)
	}
	c.flying = false
	if k.after != nil {
		k.after(c)
	}
	n := c.n
	switch rw := isRW(c.op); {
	case f.errno != 0:
		k.post(commandBit|uint64(i), -int32(f.errno))
		return
	case rw && f.zero:
		n = 0
	case rw && f.short != 0:
		n = min(n, f.short)
	}
	if k.model != nil {
		k.model.do(c, n)
	}
	if !isRW(c.op) {
		n = 0
	}
	c.done = n
	k.post(commandBit|uint64(i), int32(n))
}

// reaped notes what the queue now knows of a command, and so what it owes the client.
func (k *kernel) reaped(i uint32, res int32) {
	c := &k.cmds[i]
	k.tags[k.q.ops[i].tag].flying--
	if c.stand != 0 {
		k.stoodIn(i)
		return
	}
	c.retry = false
	errno := k.shortened(i, res)
	switch {
	case res == -int32(unix.EAGAIN), res == -int32(unix.EINTR):
		c.agains++
		if c.retry = c.agains <= maxRetries; !c.retry {
			errno = unix.EIO
		}
	case res == -int32(unix.EOPNOTSUPP) && c.op == uapi.IORING_OP_URING_CMD && c.agains == 0: // must not block, and cannot tell
		c.agains++
		c.retry = true
	case res < 0:
		errno = unix.Errno(-res)
	case !isRW(c.op):
	case res == 0:
		errno = unix.EIO
	case uint64(res) < c.n:
		c.retry, c.agains = true, 0
	}
	if errno != 0 && c.ask.errno == 0 {
		c.ask.errno = errno
	}
}

func isRW(op uint8) bool {
	switch op {
	case uapi.IORING_OP_READ, uapi.IORING_OP_READV, uapi.IORING_OP_WRITE, uapi.IORING_OP_WRITEV:
		return true
	}
	return false
}
