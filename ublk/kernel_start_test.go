package ublk

import (
	"slices"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// start takes a disk command: it reads the entry and its vector as the kernel does, checks that it is one that the tag's
// request can have, and puts it in flight. It returns 1 for one that may keep who submits it.
func (k *kernel) start(e *uapi.SQE) (lengthy int) {
	i := uint32(e.UserData)
	if e.UserData != commandBit|uint64(i) || int(i) >= len(k.cmds) {
		k.t.Fatalf("user data %#x", e.UserData)
	}
	c, t := &k.cmds[i], int(k.q.ops[i].tag)
	tg := &k.tags[t]
	disk := int(e.FD) - firstFD
	switch {
	case c.flying:
		k.t.Fatalf("op %d is in flight twice", i)
	case tg.holder != atServer:
		k.t.Fatalf("a command for tag %d, held by %d: %+v", t, tg.holder, e)
	case len(tg.ask.refusals) != 0:
		k.t.Fatalf("a command for a request that is to be refused: %v", tg.ask)
	case disk < 0 || disk >= len(k.disks):
		k.t.Fatalf("fd %d", e.FD)
	}
	before := *c
	*c = command{op: e.Opcode, flags: e.Flags, ask: tg.ask, disk: target.Disk(disk), opFlag: e.OpFlags, iov: c.iov[:0], flying: true, try: 1, seq: k.clock()}
	base := uint64(0)
	if k.fixed {
		base = k.pagesOf(t, e)
		c.op = e.Opcode
	}
	switch e.Opcode {
	case uapi.IORING_OP_READ, uapi.IORING_OP_WRITE:
		c.at, c.n = e.Off, uint64(e.Len)
		c.iov = append(c.iov, uapi.Iovec{Base: base + e.Addr, Len: uint64(e.Len)})
	case uapi.IORING_OP_READV, uapi.IORING_OP_WRITEV:
		c.at = e.Off
		for _, v := range k.vector(t, e.Addr, e.Len) {
			v.Base += base
			c.iov = append(c.iov, v)
			c.n += v.Len
		}
	case uapi.IORING_OP_FSYNC:
		c.at, c.n = e.Off, uint64(e.Len)
	case uapi.IORING_OP_FALLOCATE:
		c.at, c.n, c.mode = e.Off, e.Addr, e.Len
	case uapi.IORING_OP_URING_CMD:
		c.at, c.n = e.Addr, e.Addr3
		if e.Off != uapi.BLOCK_URING_CMD_DISCARD || e.Len != 0 {
			k.t.Fatalf("uring command %+v", e)
		}
	default:
		k.t.Fatalf("opcode %d", e.Opcode)
	}
	if before.retry {
		c.try, c.agains = before.try+1, before.agains
		if before.ask != c.ask || before.disk != c.disk || before.at+before.done != c.at || k.ends(i, before.at+before.n) ||
			before.op != c.op && !(isRW(before.op) && isRW(c.op)) {
			k.t.Fatalf("after %d bytes of %+v comes %+v", before.done, before, c)
		}
	}
	k.inspect(t, c)
	if k.before != nil {
		k.before(c)
	}
	tg.flying++
	k.inflight = append(k.inflight, i)
	if !k.silent {
		s := sent{command: *c}
		s.command.iov = nil
		for _, v := range c.iov {
			s.iov = append(s.iov, uapi.Iovec{Base: v.Base - k.bufAddr - uint64(t)*k.bufLen, Len: v.Len})
		}
		k.log = append(k.log, s)
	}
	if isRW(c.op) && k.disks[disk].NonBlocking {
		return 0
	}
	return 1
}

// pagesOf makes an ordinary entry of one that names a buffer of the table, as the kernel finds it, and says where that buffer is.
func (k *kernel) pagesOf(t int, e *uapi.SQE) uint64 {
	switch e.Opcode {
	case uapi.IORING_OP_READ_FIXED, uapi.IORING_OP_WRITE_FIXED:
		e.Opcode += uapi.IORING_OP_READ - uapi.IORING_OP_READ_FIXED
	case uapi.IORING_OP_READV_FIXED, uapi.IORING_OP_WRITEV_FIXED:
		e.Opcode -= uapi.IORING_OP_READV_FIXED - uapi.IORING_OP_READV
	case uapi.IORING_OP_READ, uapi.IORING_OP_WRITE, uapi.IORING_OP_READV, uapi.IORING_OP_WRITEV:
		k.t.Fatalf("a command with an address where there are no buffers: %+v", e)
	default:
		return 0
	}
	if int(e.BufIndex) != t || k.tags[t].pages == out {
		k.t.Fatalf("tag %d, pages %d: a command on buffer %d", t, k.tags[t].pages, e.BufIndex)
	}
	return k.bufAddr + uint64(t)*k.bufLen
}

// vector is the iovecs at an address, which must be of the tag's own part.
func (k *kernel) vector(t int, addr uint64, n uint32) []uapi.Iovec {
	const size = 16
	off := addr - addrOfIovec(&k.iovs[0])
	at := int(off / size)
	if off%size != 0 || off/size >= uint64(len(k.iovs)) || at < t*k.wave || at+int(n) > (t+1)*k.wave {
		k.t.Fatalf("tag %d: %d iovecs from %d on, its part is %d..%d", t, n, at, t*k.wave, (t+1)*k.wave)
	}
	if n < 2 || n > 1024 {
		k.t.Fatalf("a vector of %d iovecs", n)
	}
	return k.iovs[at:][:n]
}

// inspect checks a command against its request, the tag's buffer and the table.
func (k *kernel) inspect(t int, c *command) {
	a := c.ask
	if want := c.agains > 0; c.flags&^uapi.IOSQE_ASYNC != 0 || want != (c.flags&uapi.IOSQE_ASYNC != 0) {
		k.t.Fatalf("flags %#x at try %d after %d EAGAIN", c.flags, c.try, c.agains)
	}
	if c.op == uapi.IORING_OP_FSYNC {
		if c.at != 0 || c.n != 0 || c.opFlag != uapi.IORING_FSYNC_DATASYNC {
			k.t.Fatalf("fsync %+v", c)
		}
		if a.op != target.Flush && !(a.fua && a.op.Ranged()) {
			k.t.Fatalf("fsync for %v", a)
		}
		return
	}
	if !slices.ContainsFunc(k.used[c.disk], func(r target.Range) bool { return c.n > 0 && c.at >= r.Start*512 && c.at+c.n <= r.End()*512 }) {
		k.t.Fatalf("disk %d: bytes %d+%d are outside the table's extents %v: %v", c.disk, c.at, c.n, k.used[c.disk], a)
	}
	if c.try == 1 && (c.at|c.n)%512 != 0 {
		k.t.Fatalf("disk %d: bytes %d+%d are not sectors", c.disk, c.at, c.n)
	}
	ok, opFlag, block := false, uint32(0), k.disks[c.disk].Block
	switch a.op {
	case target.Read:
		ok = c.op == uapi.IORING_OP_READ || c.op == uapi.IORING_OP_READV
	case target.Write:
		ok = c.op == uapi.IORING_OP_WRITE || c.op == uapi.IORING_OP_WRITEV
		if a.fua {
			opFlag = uapi.RWF_DSYNC
		}
	case target.Discard:
		ok = block && c.op == uapi.IORING_OP_URING_CMD ||
			!block && c.op == uapi.IORING_OP_FALLOCATE && c.mode == uapi.FALLOC_FL_PUNCH_HOLE|uapi.FALLOC_FL_KEEP_SIZE
	case target.WriteZeroes:
		mode := uint32(uapi.FALLOC_FL_PUNCH_HOLE)
		if a.noUnmap && !k.disks[c.disk].NoZeroRange {
			mode = uapi.FALLOC_FL_ZERO_RANGE
		}
		ok = c.op == uapi.IORING_OP_FALLOCATE && c.mode == mode|uapi.FALLOC_FL_KEEP_SIZE
	}
	if !ok || c.opFlag != opFlag {
		k.t.Fatalf("command %+v for %v", c, a)
	}
	base := k.bufAddr + uint64(t)*k.bufLen
	for _, v := range c.iov {
		if v.Len == 0 || v.Base < base || v.Base+v.Len > base+a.r.Len*512 {
			k.t.Fatalf("tag %d: bytes %#x+%d of memory, its request has %#x+%d", t, v.Base, v.Len, base, a.r.Len*512)
		}
	}
}
