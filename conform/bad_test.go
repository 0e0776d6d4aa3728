package conform

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ublk-go/ublk-linear/target"
)

// bad is a model that misbehaves: what is not nil takes the place of the model's own.
type bad struct {
	*Model
	geometry func(g *Geometry)
	copy     func(b *bad, src []target.Range, dst uint64, fua bool) Answer
	write    func(b *bad, p []byte, at uint64) error
	flush    func(b *bad) error

	mu     sync.Mutex
	last   func()         // guarded by mu; what lands later
	list   []target.Range // guarded by mu; of the command that came last
	flying atomic.Int32
}

func (b *bad) Geometry() Geometry {
	g := b.Model.Geometry()
	if b.geometry != nil {
		b.geometry(&g)
	}
	return g
}

func (b *bad) Copy(src []target.Range, dst uint64, fua bool) Answer {
	if b.copy == nil {
		return b.Model.Copy(src, dst, fua)
	}
	return b.copy(b, slices.Clone(src), dst, fua)
}

func (b *bad) WriteAt(p []byte, at uint64) error {
	if b.write == nil {
		return b.Model.WriteAt(p, at)
	}
	return b.write(b, p, at)
}

func (b *bad) Flush() error {
	if b.flush == nil {
		return b.Model.Flush()
	}
	return b.flush(b)
}

// raw moves sectors, read before they are written, without looking at any limit. What is past the end is left out.
func (b *bad) raw(src []target.Range, dst uint64) {
	var data []byte
	m := b.Model
	for _, s := range src {
		if s.End() >= s.Start && s.End()*512 <= uint64(len(m.now)) && s.End() < 1<<50 {
			data = append(data, m.now[s.Start*512:s.End()*512]...)
		} else {
			data = append(data, make([]byte, min(s.Len, 1<<16)*512)...)
		}
	}
	if dst*512 < uint64(len(m.now)) {
		copy(m.now[dst*512:], data)
	}
}

// alone is done with the model's lock.
func (b *bad) alone(do func()) {
	b.Model.mu.Lock()
	defer b.Model.mu.Unlock()
	do()
}

// asked is what the model would answer.
func (b *bad) asked(src []target.Range, dst uint64) (a Answer) {
	b.alone(func() { a = b.refuse(src, dst) })
	return a
}

// ignoring is a model without some of its checks.
func ignoring(which func(g *Geometry)) func(*bad, []target.Range, uint64, bool) Answer {
	return func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
		other := *b.Model.shape()
		which(&other)
		b.Model.mu.Lock()
		defer b.Model.mu.Unlock()
		m := &Model{geometry: other, now: b.now, durable: b.durable, broken: b.broken}
		defer func() { b.broken = m.broken }()
		return m.Copy(src, dst, fua)
	}
}

func (m *Model) shape() *Geometry { return &m.geometry }

// answering is a model whose refusals are changed.
func answering(change func(a *Answer)) func(*bad, []target.Range, uint64, bool) Answer {
	return func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
		a := b.Model.Copy(src, dst, fua)
		if !a.OK() {
			change(&a)
		}
		return a
	}
}

// after is a model that does something else behind a copy that succeeded.
func after(do func(b *bad, src []target.Range, dst, n uint64, fua bool)) func(*bad, []target.Range, uint64, bool) Answer {
	return func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
		a := b.Model.Copy(src, dst, fua)
		if a.OK() {
			var n uint64
			for _, s := range src {
				n += s.Len
			}
			b.alone(func() { do(b, src, dst, n, fua) })
		}
		return a
	}
}

// before is a model whose commands are changed on the way in, once they are found good.
func before(change func(b *bad, src []target.Range, dst uint64, fua bool) []target.Range) func(*bad, []target.Range, uint64, bool) Answer {
	return func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
		a := b.asked(src, dst)
		if a.OK() {
			b.alone(func() {
				list := change(b, src, dst, fua)
				b.raw(list, dst)
				var n uint64
				for _, s := range list {
					n += s.Len
				}
				if fua {
					copy(b.durable[dst*512:(dst+n)*512], b.now[dst*512:])
				}
			})
		}
		return a
	}
}

// oneByOne moves range by range, in some order of them.
func oneByOne(order func(n int) []int) func(*bad, []target.Range, uint64, bool) Answer {
	return func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
		a := b.asked(src, dst)
		if !a.OK() {
			return a
		}
		b.alone(func() {
			for _, i := range order(len(src)) {
				at := dst
				for _, s := range src[:i] {
					at += s.Len
				}
				b.raw(src[i:i+1], at)
				if fua {
					copy(b.durable[at*512:(at+src[i].Len)*512], b.now[at*512:])
				}
			}
		})
		return a
	}
}

// late checks MSSRL while it copies, as QEMU does, and answers as dw0 says.
func late(copied bool, dw0 func(i uint32) uint32) func(*bad, []target.Range, uint64, bool) Answer {
	return func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
		a := b.Model.Copy(src, dst, fua)
		most := b.shape().sectors(b.shape().MSSRL)
		i := slices.IndexFunc(src, func(r target.Range) bool { return r.Len > most })
		if a.Status != StatusSize || i < 1 || uint64(len(src)) > b.shape().Ranges {
			return a
		}
		a.DW0 = dw0(uint32(i))
		if copied {
			b.alone(func() { b.raw(src[:i], dst) })
		}
		return a
	}
}

// confused uses the list of whatever command came last.
func confused(b *bad, src []target.Range, dst uint64, fua bool) Answer {
	b.flying.Add(1)
	defer b.flying.Add(-1)
	b.mu.Lock()
	b.list = src
	b.mu.Unlock()
	time.Sleep(200 * time.Microsecond) // so that another command comes
	b.mu.Lock()
	if len(src) > 0 && len(b.list) == len(src) && b.list[0].Len == src[0].Len {
		src = b.list
	}
	b.mu.Unlock()
	return b.Model.Copy(src, dst, fua)
}

// torn moves half of each block, and later the other half.
func torn(b *bad, src []target.Range, dst uint64, fua bool) Answer {
	a := b.asked(src, dst)
	if !a.OK() {
		return a
	}
	block := b.shape().Block
	var data []byte
	half := func(side uint64) {
		at := uint64(0)
		for _, s := range src {
			for i := s.Start * 512; i < s.End()*512; i += block {
				copy(data[at+side*block/2:at+(side+1)*block/2], b.now[i+side*block/2:])
				at += block
			}
		}
		for i := uint64(0); i < at; i += block {
			from := i + side*block/2
			copy(b.now[dst*512+from:dst*512+from+block/2], data[from:])
			if fua {
				copy(b.durable[dst*512+from:dst*512+from+block/2], data[from:])
			}
		}
	}
	n := uint64(0)
	for _, s := range src {
		n += s.Len * 512
	}
	data = make([]byte, n)
	b.alone(func() { half(0) })
	time.Sleep(time.Millisecond) // so that somebody sees it
	b.alone(func() { half(1) })
	return a
}
