package ublk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// ask is one request of the client.
type ask struct {
	desc     uapi.IODesc
	op       target.Op
	fua      bool
	noUnmap  bool
	r        target.Range
	data     []byte // to write, or what was read
	refusals []unix.Errno

	answers int
	res     int32
	errno   unix.Errno // of the first command that failed
	seq     uint64     // of the log of writes, when it was given
}

func (a *ask) String() string {
	return fmt.Sprintf("%v %d+%d fua=%v (%#x) res %d, first error %v", a.op, a.r.Start, a.r.Len, a.fua, a.desc.OpFlags, a.res, a.errno)
}

var opOf = map[uint32]target.Op{uapi.UBLK_IO_OP_READ: target.Read, uapi.UBLK_IO_OP_WRITE: target.Write, uapi.UBLK_IO_OP_FLUSH: target.Flush,
	uapi.UBLK_IO_OP_DISCARD: target.Discard, uapi.UBLK_IO_OP_WRITE_ZEROES: target.WriteZeroes}

// ask makes a request from the driver's words.
func (k *kernel) ask(opFlags uint32, start, n uint64) *ask {
	op, known := opOf[opFlags&0xff]
	a := &ask{desc: uapi.IODesc{OpFlags: opFlags, NrSectors: uint32(n), StartSector: start}, op: op,
		fua: opFlags&uapi.UBLK_IO_F_FUA != 0, noUnmap: opFlags&uapi.UBLK_IO_F_NOUNMAP != 0, r: target.Range{Start: start, Len: n}}
	refuse := func(is bool, errno unix.Errno) {
		if is {
			a.refusals = append(a.refusals, errno)
		}
	}
	refuse(!known, unix.EOPNOTSUPP)
	if op == target.Flush {
		a.fua, a.noUnmap, a.r = false, false, target.Range{}
	} else {
		end := k.bounds.sectors
		refuse(n == 0 || start > end || n > end-start, unix.EIO)
		refuse(start%k.bounds.lbs != 0 || n%k.bounds.lbs != 0, unix.EINVAL)
		refuse(!op.Ranged() && n > uint64(k.bounds.maxIO), unix.EINVAL)
		refuse(op != target.Read && k.bounds.readOnly, unix.EPERM)
	}
	if len(a.refusals) == 0 && k.bufs != nil && (op == target.Read || op == target.Write) {
		a.data = make([]byte, n*512)
		if op == target.Write {
			k.model.fill(a.data)
		}
	}
	return a
}

// deliver gives some of the client's requests to fetched tags; all that it can without a seed, one if it must.
func (k *kernel) deliver(must bool) {
	for t := range k.tags {
		if k.next == len(k.asks) || k.aborting {
			return
		}
		if k.tags[t].holder != atDriver || !must && !k.chance(2) {
			continue
		}
		j := k.pick()
		if j < 0 {
			return
		}
		k.asks[k.next], k.asks[j] = k.asks[j], k.asks[k.next]
		k.give(t, k.asks[k.next])
		k.next++
		must = false
	}
}

// pick is the index of a request that may be given now. The client never has two requests under way of which one writes
// where the other reads or writes.
func (k *kernel) pick() int {
	from, to := k.next, min(k.next+6, len(k.asks))
	if k.rng != nil {
		from += k.rng.IntN(to - from)
	}
	for i := range to - k.next {
		j := k.next + (from-k.next+i)%(to-k.next)
		if k.bufs == nil || !k.conflicts(k.asks[j]) {
			return j
		}
	}
	return -1
}

func (k *kernel) conflicts(a *ask) bool {
	for t := range k.tags {
		b := k.tags[t].ask
		if b != nil && (a.op != target.Read || b.op != target.Read) && a.r.Start < b.r.End() && b.r.Start < a.r.End() {
			return true
		}
	}
	return false
}

// give is the driver's half of a request in copy mode: descriptor, data of a write, completion of the fetch.
func (k *kernel) give(t int, a *ask) {
	tg := &k.tags[t]
	tg.holder, tg.ask, a.seq = atServer, a, k.tick()
	k.serving++
	k.descs[t] = a.desc
	if k.fixed {
		if k.descs[t].Addr = 0; a.data != nil || a.op <= target.Write {
			if tg.pages = byDriver; k.bare > 0 && k.chance(k.bare) {
				tg.pages = out
				k.descs[t].OpFlags |= uapi.UBLK_IO_F_NEED_REG_BUF
			}
		}
	} else {
		k.descs[t].Addr = k.bufAddr + uint64(t)*k.bufLen
	}
	if k.bufs != nil && len(a.refusals) == 0 && len(a.data) > 0 {
		b := k.bufs[uint64(t)*k.bufLen:][:len(a.data)]
		if a.op == target.Write {
			copy(b, a.data)
		} else {
			copy(b, k.model.poison)
		}
	}
	k.post(uint64(t), uapi.UBLK_IO_RES_OK)
}

// answer takes a tag's result. What it must be is known from what the commands were answered.
func (k *kernel) answer(t int, res int32) {
	tg := &k.tags[t]
	a := tg.ask
	tg.ask = nil
	k.serving--
	a.answers++
	a.res = res
	want := int32(0)
	switch {
	case len(a.refusals) != 0:
		if !slices.Contains(a.refusals, unix.Errno(-res)) {
			k.t.Fatalf("%v: want one of %v", a, a.refusals)
		}
		return
	case a.errno != 0:
		want = -int32(a.errno)
	case a.op == target.Read || a.op == target.Write:
		want = int32(a.r.Len * 512)
	}
	if res != want {
		k.t.Fatalf("%v: want %d", a, want)
	}
	if k.model != nil {
		k.model.answered(a, k.bufs[uint64(t)*k.bufLen:])
	}
}

// clock is the time of the model.
func (k *kernel) clock() uint64 {
	if k.model == nil {
		return 0
	}
	return k.model.seq
}

func (k *kernel) tick() uint64 {
	if k.model != nil {
		k.model.seq++
	}
	return k.clock()
}

// model is the disks, and what the device must hold and keep according to the answers that the client got.
type model struct {
	k      *kernel
	disks  [][]byte
	before [][]byte   // as the disks were
	dirty  [][]uint64 // per sector of a disk: when it was written into the disk's cache, 0 if it is durable
	acked  [][]uint64 // and when the client was told
	seq    uint64     // moves with all that has a before and an after
	shadow []byte     // the device
	vague  []bool     // per sector: a write of it failed
	rng    *rand.Rand
	poison []byte
}

// newModel makes disks that end behind the table's last sector on them, with a margin, filled at random.
func newModel(k *kernel) *model {
	m := &model{k: k, shadow: make([]byte, k.bounds.sectors*512), vague: make([]bool, k.bounds.sectors),
		rng: rand.New(rand.NewPCG(1, 2)), poison: bytes.Repeat([]byte{0xEE}, int(k.bufLen))}
	for _, rs := range k.used {
		n := uint64(3)
		if len(rs) > 0 {
			n += rs[len(rs)-1].End()
		}
		d := make([]byte, n*512)
		m.fill(d)
		m.disks = append(m.disks, d)
		m.before = append(m.before, slices.Clone(d))
		m.dirty = append(m.dirty, make([]uint64, n))
		m.acked = append(m.acked, make([]uint64, n))
	}
	for s := range k.bounds.sectors {
		d, at := k.at(s)
		copy(m.shadow[s*512:][:512], m.disks[d][at*512:])
	}
	return m
}

func (m *model) fill(b []byte) {
	for len(b) >= 8 {
		binary.NativeEndian.PutUint64(b, m.rng.Uint64())
		b = b[8:]
	}
}

// do is the disk's half of a command: n bytes of it.
func (m *model) do(c *command, n uint64) {
	m.seq++
	d := m.disks[c.disk]
	switch c.op {
	case uapi.IORING_OP_FSYNC:
		for s, at := range m.dirty[c.disk] {
			if at <= c.seq { // what was complete when the disk got the command
				m.dirty[c.disk][s] = 0
			}
		}
		return
	case uapi.IORING_OP_READ, uapi.IORING_OP_READV, uapi.IORING_OP_WRITE, uapi.IORING_OP_WRITEV:
		at, left := c.at, n
		for _, v := range c.iov {
			l := min(v.Len, left)
			b := m.k.bufs[v.Base-m.k.bufAddr:][:l]
			if c.ask.op == target.Read {
				copy(b, d[at:])
			} else {
				copy(d[at:], b)
			}
			at, left = at+l, left-l
		}
	default:
		clear(d[c.at:][:n])
	}
	at := m.seq
	if c.opFlag&uapi.RWF_DSYNC != 0 {
		at = 0
	}
	for s := c.at / 512; s < (c.at+n+511)/512 && c.ask.op != target.Read; s++ {
		m.dirty[c.disk][s] = at
	}
}

// answered holds an answer against the shadow: a read's data, and what a flush or FUA promises.
func (m *model) answered(a *ask, buf []byte) {
	if a.op == target.Flush {
		for d := range m.dirty {
			for s, at := range m.dirty[d] {
				if ack := m.acked[d][s]; a.res == 0 && at != 0 && ack >= at && ack <= a.seq {
					m.k.t.Fatalf("disk %d sector %d, written at %d, is not durable after %v at %d", d, s, at, a, a.seq)
				}
			}
		}
		return
	}
	sh := m.shadow[a.r.Start*512 : a.r.End()*512]
	vague := m.vague[a.r.Start:a.r.End()]
	switch {
	case a.op == target.Read && a.res > 0:
		copy(a.data, buf[:a.res])
		for s := range vague {
			if got := a.data[s*512:][:512]; !vague[s] && !bytes.Equal(got, sh[s*512:][:512]) {
				m.k.t.Fatalf("%v: sector %d of it is %x.., want %x..", a, s, got[:8], sh[s*512:][:8])
			}
		}
	case a.op == target.Read:
	case a.res < 0:
		for s := range vague {
			vague[s] = true
		}
	default:
		if a.op == target.Write {
			copy(sh, a.data)
		} else {
			clear(sh)
		}
		clear(vague)
		ack := m.k.tick()
		for s := a.r.Start; s < a.r.End(); s++ {
			d, at := m.k.at(s)
			m.acked[d][at] = ack
			if a.fua && m.dirty[d][at] != 0 {
				m.k.t.Fatalf("disk %d sector %d is not durable after %v", d, at, a)
			}
		}
	}
}

// audit compares the disks with the shadow and, outside the table, with what they were.
func (m *model) audit() {
	m.k.t.Helper()
	mapped := make([][]bool, len(m.disks))
	for d := range mapped {
		mapped[d] = make([]bool, len(m.disks[d])/512)
	}
	for s := range m.k.bounds.sectors {
		d, at := m.k.at(s)
		mapped[d][at] = true
		if !m.vague[s] && !bytes.Equal(m.disks[d][at*512:][:512], m.shadow[s*512:][:512]) {
			m.k.t.Fatalf("sector %d (disk %d sector %d) differs from the model", s, d, at)
		}
	}
	for d := range m.disks {
		for s, in := range mapped[d] {
			if !in && !bytes.Equal(m.disks[d][s*512:][:512], m.before[d][s*512:][:512]) {
				m.k.t.Fatalf("disk %d sector %d is outside the table and was changed", d, s)
			}
		}
	}
}
