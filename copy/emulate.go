package blkcopy

import (
	"cmp"
	"slices"

	"github.com/ublk-go/ublk-linear/target"
)

// Emulation of the commands of one window, in order:
//
//  1. every command has its place in one buffer, in the order of the destination, so that what is written together lies
//     together;
//  2. the sources of all commands, in order of disk and sector, are joined: one scatter read per stretch of a disk,
//     however its chunks are spread over the commands;
//  3. when all is read, every command is one write.
//
// A read that fails is tried again piece by piece, so that only what cannot be read is missing; of a command is written
// what lies before that.

// maxVector is UIO_MAXIOV.
const maxVector = 1024

// task is a command that is emulated, and what became of it.
type task struct {
	Command
	at   uint64 // of its first byte in the buffer
	good uint64 // sectors from its first that are read; guarded by the execution's mu
	bad  broken // why no more; guarded by the execution's mu
}

// scatter is a source on its way into the buffer.
type scatter struct {
	src  target.Extent
	at   uint64 // byte of the buffer
	task int
}

// emulator is the memory of one emulation, used again by the next.
type emulator struct {
	tasks   []task
	reads   []scatter
	ends    []int    // of the stretches, in reads
	vectors [][]byte // of reads, in buf
	writes  [][1][]byte
	buf     []byte
}

func (x *execution) emulate(tasks []task) {
	m := &x.emulator
	m.tasks, m.reads, m.ends = tasks, m.reads[:0], m.ends[:0]
	var size uint64
	for i := range tasks {
		t := &tasks[i]
		t.at, t.good = size, t.Dst.Len
		for _, s := range t.Sources {
			m.reads = append(m.reads, scatter{s, size, i})
			size += s.Len * 512
		}
	}
	var err error
	if m.buf, err = x.j.e.pool.get(size); err != nil {
		for i := range tasks {
			x.lost(&tasks[i], 0, broken{side: UnknownSide, at: tasks[i].Dst, err: err})
		}
		return
	}
	defer func() { x.j.e.pool.put(m.buf) }()
	if x.j.pol.Zeroes {
		m.reads = x.skipHoles(m.reads, m.buf)
	}
	slices.SortFunc(m.reads, func(a, b scatter) int {
		return cmp.Or(cmp.Compare(a.src.Disk, b.src.Disk), cmp.Compare(a.src.Start, b.src.Start), cmp.Compare(a.at, b.at))
	})
	m.cut()
	m.writes = slices.Grow(m.writes[:0], len(tasks))[:len(tasks)]
	x.j.e.spread(len(m.ends), func(i int) target.Disk { return m.reads[m.ends[i]-1].src.Disk }, ioWay, func(i int) uint64 { x.read(i); return 0 })
	x.j.e.spread(len(tasks), func(i int) target.Disk { return tasks[i].Dst.Disk }, ioWay, func(i int) uint64 { x.write(i); return 0 })
}

// cut finds the stretches: what one read takes.
func (m *emulator) cut() {
	m.vectors = m.vectors[:0]
	first := 0
	for i, s := range m.reads {
		m.vectors = append(m.vectors, m.buf[s.at:s.at+s.src.Len*512])
		if i == 0 {
			continue
		}
		if l := m.reads[i-1].src; s.src.Disk != l.Disk || s.src.Start != l.End() || i-first == maxVector {
			m.ends = append(m.ends, i)
			first = i
		}
	}
	if len(m.reads) > 0 {
		m.ends = append(m.ends, len(m.reads))
	}
}

// read fills the buffer from one stretch of a disk.
func (x *execution) read(stretch int) {
	m := &x.emulator
	first, end := 0, m.ends[stretch]
	if stretch > 0 {
		first = m.ends[stretch-1]
	}
	part, bufs := m.reads[first:end], m.vectors[first:end]
	moved, err := x.readv(part[0].src.Disk, bufs, part[0].src.Start*512)
	if err == nil {
		return
	}
	for i, s := range part { // what failed, alone
		n := uint64(len(bufs[i]))
		have := min(moved, n)
		moved -= have
		if have < n && (len(part) > 1 || err == errShort) {
			var more uint64
			more, err = x.readv(s.src.Disk, [][]byte{bufs[i][have:]}, s.src.Start*512+have)
			have += more
		}
		if have < n {
			have, err = x.search(s.src.Disk, bufs[i], s.src.Start*512, have, err)
		}
		if have < n {
			x.unread(s, have, err)
		}
	}
}

// search finds how far a place can be read that failed somewhere behind have: by halves, so that what is said to be
// unreadable begins with a block that is. An error that does not stay makes it try on, for a while.
func (x *execution) search(d target.Disk, buf []byte, at, have uint64, err error) (uint64, error) {
	n, block := uint64(len(buf)), x.j.block
	bad := n // [have, bad) has failed
	for range 128 {
		half := max((bad-have)/2/block*block, block)
		more, e := x.readv(d, [][]byte{buf[have : have+half]}, at+have)
		have += more
		switch {
		case e == nil && have == n:
			return n, nil
		case e == nil && have == bad:
			bad = n
		case e == nil:
		case half <= block:
			return have, e
		default:
			bad, err = have-more+half, e
		}
	}
	return have, err
}

// readv is one read, and how much of it is believed.
func (x *execution) readv(d target.Disk, bufs [][]byte, at uint64) (uint64, error) {
	var n uint64
	for _, b := range bufs {
		n += uint64(len(b))
	}
	moved, err := x.j.e.disks[d].Readv(bufs, at)
	x.mu.Lock()
	x.count.reads++
	x.count.read += min(moved, n)
	x.mu.Unlock()
	return x.j.believe(moved, n, err)
}

// unread notes that of a source only the first bytes are in the buffer.
func (x *execution) unread(s scatter, have uint64, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := &x.emulator.tasks[s.task]
	if good := (s.at - t.at + have) / 512; good < t.good {
		t.good = good
		t.bad = broken{side: SourceSide, at: target.Extent{Disk: s.src.Disk, Range: target.Range{Start: s.src.Start + have/512, Len: 1}}, err: err}
	}
}

// write writes what was read of a command.
func (x *execution) write(i int) {
	m := &x.emulator
	t := &m.tasks[i]
	data := m.buf[t.at : t.at+t.good*512]
	var done, zeroed uint64
	var err error
	z, ok := x.j.e.disks[t.Dst.Disk].(Zeroer)
	switch {
	case len(data) == 0:
	case ok && x.j.pol.Zeroes && !x.j.pol.FUA: // zeroing has no FUA
		done, zeroed, err = x.writeSparse(z, t, data, m.writes[i][:])
	default:
		done, err = x.put(t, data, 0, m.writes[i][:])
	}
	x.mu.Lock()
	x.count.zeroed += zeroed
	x.count.emulated += done - zeroed
	x.mu.Unlock()
	if done /= 512; err != nil {
		at := t.Dst
		at.Start += done
		x.lost(t, done, broken{side: DestinationSide, at: at, err: err})
	} else if done < t.Dst.Len {
		x.lost(t, done, t.bad)
	}
}

// put writes data at a byte of the command's destination, and says how much of it is believed.
func (x *execution) put(t *task, data []byte, at uint64, vector [][]byte) (uint64, error) {
	n := uint64(len(data))
	vector[0] = data
	moved, err := x.j.e.disks[t.Dst.Disk].Writev(vector, t.Dst.Start*512+at, x.j.pol.FUA)
	x.mu.Lock()
	x.count.commands[Emulated]++
	x.count.written += min(moved, n)
	x.mu.Unlock()
	return x.j.believe(moved, n, err)
}

// lost notes that a command is done only up to a sector.
func (x *execution) lost(t *task, done uint64, b broken) {
	b.method = Emulated
	b.part = target.Extent{Disk: t.Dst.Disk, Range: target.Range{Start: t.Dst.Start + done, Len: t.Dst.Len - done}}
	x.mu.Lock()
	x.broken = append(x.broken, b)
	x.mu.Unlock()
}
