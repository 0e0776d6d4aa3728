package blkcopy

import (
	"slices"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

func size(bufs [][]byte) (n uint64) {
	for _, b := range bufs {
		n += uint64(len(b))
	}
	return n
}

// Readv implements IO.
func (d *memDisk) Readv(bufs [][]byte, at uint64) (uint64, error) {
	n := size(bufs) / 512
	e := target.Extent{Disk: d.id, Range: target.Range{Start: at / 512, Len: n}}
	a, f := d.w.begin("read", d.id, []target.Extent{e}, nil)
	defer d.w.end(a)
	if e.End()*512 > uint64(len(d.data)) {
		return 0, errBounds
	}
	d.w.reads++
	if len(bufs) > 1024 {
		d.w.errorf("read into %d buffers", len(bufs))
	}
	moved, said, err := d.w.outcome(f, e.Start, n)
	from := d.data[at : at+moved*512]
	for _, b := range bufs {
		from = from[copy(b, from):]
	}
	d.w.bytes.read += said * 512
	return said * 512, err
}

// Writev implements IO.
func (d *memDisk) Writev(bufs [][]byte, at uint64, fua bool) (uint64, error) {
	n := size(bufs) / 512
	e := target.Extent{Disk: d.id, Range: target.Range{Start: at / 512, Len: n}}
	a, f := d.w.begin("write", d.id, nil, []target.Extent{e})
	defer d.w.end(a)
	if e.End()*512 > uint64(len(d.data)) {
		return 0, errBounds
	}
	d.w.sent[Emulated]++
	moved, said, err := d.w.outcome(f, e.Start, n)
	d.put(e.Start, slices.Concat(bufs...)[:moved*512], fua)
	if err != nil { // what lies behind may be anything
		d.garble(target.Range{Start: e.Start + moved, Len: n - moved})
	}
	d.w.bytes.written += said * 512
	return said * 512, err
}

func (d *memDisk) put(sector uint64, b []byte, fua bool) {
	copy(d.data[sector*512:], b)
	if fua {
		copy(d.durable[sector*512:], b)
	}
	for i := range uint64(len(b) / 512) {
		d.dirty[sector+i] = !fua
	}
}

// garble makes some of a range new and some of it rubbish.
func (d *memDisk) garble(r target.Range) {
	for s := r.Start; s < r.End(); s++ {
		if d.w.rnd.IntN(2) == 0 {
			for i := range uint64(512) {
				d.data[s*512+i] = byte(d.w.rnd.Uint32()) | 1
			}
			d.dirty[s] = true
		}
	}
}

// Sync implements IO: it makes durable what was written before it began.
func (d *memDisk) Sync() error {
	d.w.mu.Lock()
	dirty := slices.Clone(d.dirty)
	d.w.synced = append(d.w.synced, d.id)
	d.w.mu.Unlock()
	a, f := d.w.begin("sync", d.id, nil, nil)
	defer d.w.end(a)
	if f != nil {
		return &faultError{f, ""}
	}
	for s, is := range dirty {
		if is {
			copy(d.durable[s*512:s*512+512], d.data[s*512:])
			d.dirty[s] = false
		}
	}
	return nil
}

// crash is a power cut: of what is not flushed, any part is lost.
func (w *world) crash() {
	for _, d := range w.disks {
		for s := range d.dirty {
			if d.dirty[s] && w.rnd.IntN(2) == 0 {
				copy(d.data[s*512:s*512+512], d.durable[s*512:])
			}
			d.dirty[s] = false
		}
	}
}

// Zero implements Zeroer.
func (d zeroDisk) Zero(at, n uint64) error {
	e := target.Extent{Disk: d.id, Range: target.Range{Start: at / 512, Len: n / 512}}
	a, f := d.w.begin("zero", d.id, nil, []target.Extent{e})
	defer d.w.end(a)
	if f != nil {
		d.garble(e.Range)
		return &faultError{f, ""}
	}
	d.put(e.Start, make([]byte, n), false)
	d.w.bytes.zeroed += n
	return nil
}

// NextData implements Holes.
func (d zeroDisk) NextData(at, limit uint64) (start, end uint64, err error) {
	for start = at; start < limit; {
		i := slices.IndexFunc(d.holes, func(h target.Range) bool { return h.Start <= start && start < h.End() })
		if i < 0 {
			break
		}
		start = d.holes[i].End()
	}
	if start = min(start, limit); start == limit {
		return limit, limit, nil
	}
	end = limit
	for _, h := range d.holes {
		if h.Start > start {
			end = min(end, h.Start)
		}
	}
	return start, end, nil
}

// memMethod is an offload that does its ranges one by one, in any order, as a device may.
type memMethod struct {
	w    *world
	name limits.Method
}

// Copy implements Method.
func (m *memMethod) Copy(c *Command, p *Policy) (uint64, error) {
	w := m.w
	a, f := w.begin(string(m.name), c.Dst.Disk, c.Sources, []target.Extent{c.Dst})
	defer w.end(a)
	w.sent[m.name]++
	var total uint64
	for _, s := range c.Sources {
		total += s.Len
		if s.Disk != c.Sources[0].Disk || w.copy.MSSRL > 0 && s.Len*512 > uint64(w.copy.MSSRL)*w.block {
			w.errorf("source %v of %v", s, c)
		}
	}
	if c.Method != m.name || total != c.Dst.Len || w.copy.MCL > 0 && total*512 > uint64(w.copy.MCL)*w.block || len(c.Sources) > int(w.copy.MSRC)+1 {
		w.errorf("command %v of %d", c, total)
	}
	moved, said, err := w.outcome(f, c.Dst.Start, c.Dst.Len)
	if f != nil && f.side == SourceSide && f.area.Len > 0 {
		moved, said = 0, 0
	}
	d := w.disks[c.Dst.Disk]
	if err != nil || moved < c.Dst.Len {
		d.garble(target.Range{Start: c.Dst.Start + moved, Len: c.Dst.Len - moved})
	}
	order := w.rnd.Perm(len(c.Sources))
	for _, i := range order {
		at := c.Dst.Start
		for _, s := range c.Sources[:i] {
			at += s.Len
		}
		s := c.Sources[i]
		if end := c.Dst.Start + moved; at+s.Len > end {
			s.Len = max(at, end) - at
		}
		if s.Len > 0 {
			d.put(at, slices.Clone(w.disks[s.Disk].data[s.Start*512:s.End()*512]), p.FUA)
		}
	}
	if err == nil && moved == c.Dst.Len || said < c.Dst.Len {
		w.bytes.offloaded += said / (w.block / 512) * w.block
	}
	return said, err
}
