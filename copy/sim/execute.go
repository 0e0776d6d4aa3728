package sim

import "time"

// stepBytes is how much of a range is in memory at once. A multiple of any logical block.
const stepBytes = 1 << 20

// execute moves the ranges of a command that was not refused.
func (d *Device) execute(c *command) Completion {
	if d.bad[fuaDropped] && c.fua {
		return Completion{}
	}
	moves := d.moves(c)
	durable := c.fua && !d.bad[fuaIgnored]
	if d.overlaps(c) && !d.careless() {
		switch {
		case d.bad[overlapRefused]:
			return Completion{Status: StatusOverlap}
		case d.bad[overlapBlocks]:
			return d.blockwise(c, moves, durable)
		}
		return d.whole(c, moves, durable)
	}
	done := make([]bool, len(c.from))
	for _, i := range d.order(len(moves)) {
		m := &moves[i]
		status := d.late(c, m.index)
		if status == 0 {
			status = d.ranged(c, m, durable)
		}
		if status != 0 {
			return Completion{status, lowest(done)}
		}
		done[m.index] = true
	}
	d.landAgain(moves)
	return Completion{}
}

func lowest(done []bool) uint32 {
	for i, d := range done {
		if !d {
			return uint32(i)
		}
	}
	return uint32(len(done))
}

// ranged moves one range, a step at a time.
func (d *Device) ranged(c *command, m *move, durable bool) uint16 {
	if d.bad[tornBlocks] {
		return d.torn(c, m, durable)
	}
	step := stepBytes / d.block
	for at := uint64(0); at < m.from.n; at += step {
		n := min(step, m.from.n-at)
		if status := d.step(c, run{m.from.at + at, n}, m.to+at, durable); status != 0 {
			return status
		}
	}
	return 0
}

// step moves blocks. Inside one namespace nobody comes between its read and its write.
func (d *Device) step(c *command, from run, to uint64, durable bool) uint16 {
	if c.src == d {
		d.mu.Lock()
		defer d.mu.Unlock()
		p, status := d.take(from)
		if status != 0 {
			return status
		}
		return d.put(p, to, durable)
	}
	c.src.mu.Lock()
	p, status := c.src.take(from)
	c.src.mu.Unlock()
	if status != 0 {
		return status
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.put(p, to, durable)
}

// whole reads all before it writes any, and nobody comes between.
func (d *Device) whole(c *command, moves []move, durable bool) Completion {
	d.mu.Lock()
	defer d.mu.Unlock()
	data := make([][]byte, len(moves))
	for i, m := range moves {
		var status uint16
		if data[i], status = c.src.take(m.from); status != 0 {
			return Completion{Status: status}
		}
	}
	done := make([]bool, len(c.from))
	for i, m := range moves {
		if status := d.put(data[i], m.to, durable); status != 0 {
			return Completion{status, lowest(done)}
		}
		done[m.index] = true
	}
	return Completion{}
}

// blockwise moves block by block, up.
func (d *Device) blockwise(c *command, moves []move, durable bool) Completion {
	done := make([]bool, len(c.from))
	for _, m := range moves {
		for i := range m.from.n {
			if status := d.step(c, run{m.from.at + i, 1}, m.to+i, durable); status != 0 {
				return Completion{status, lowest(done)}
			}
		}
		done[m.index] = true
	}
	return Completion{}
}

// tearing is how long a block is half copied, unless somebody comes.
const tearing = time.Millisecond

// torn moves the first half of each block, and then the second.
func (d *Device) torn(c *command, m *move, durable bool) uint16 {
	half := func(side uint64) uint16 {
		d.mu.Lock()
		defer d.mu.Unlock()
		p, status := d.take(m.from)
		if status != 0 {
			return status
		}
		q, status := d.take(run{m.to, m.from.n})
		if status != 0 {
			return status
		}
		for at := side * d.block / 2; at < uint64(len(p)); at += d.block {
			copy(q[at:at+d.block/2], p[at:])
		}
		return d.put(q, m.to, durable)
	}
	if c.src != d {
		return d.step(c, m.from, m.to, durable)
	}
	if status := half(0); status != 0 {
		return status
	}
	if m.index == 0 { // once a command
		d.waits(tearing)
	}
	return half(1)
}

// take reads what is copied. d.mu is held, as by put.
func (d *Device) take(from run) ([]byte, uint16) {
	p := make([]byte, from.n*d.block)
	if inside(from.at, from.n, d.end) {
		if _, ok := d.unreadable(from.at, from.n); ok {
			return nil, StatusRead
		}
		if err := d.load(p, from.at); err != nil {
			return nil, StatusRead
		}
		d.past(p, from)
		return p, 0
	}
	if d.bad[lbaWrapped] {
		for i := range from.n {
			if err := d.load(p[i*d.block:(i+1)*d.block], (from.at+i)%d.end); err != nil {
				return nil, StatusRead
			}
		}
	}
	return p, 0
}

// past puts the medium's data in place of what is in the small write buffer.
func (d *Device) past(p []byte, from run) {
	for _, o := range d.passed {
		for i := range uint64(len(o.data)) / d.block {
			if b := o.at + i; b >= from.at && b < from.at+from.n {
				copy(p[(b-from.at)*d.block:], o.data[i*d.block:(i+1)*d.block])
			}
		}
	}
}

// put writes what was copied.
func (d *Device) put(p []byte, to uint64, durable bool) uint16 {
	if !d.bad[readCacheStale] {
		for i := range uint64(len(p)) / d.block {
			delete(d.seen, to+i)
		}
	}
	if d.land(p, to, true, durable) != nil {
		return StatusWrite
	}
	return 0
}

// landAgain keeps what was copied for the next write.
func (d *Device) landAgain(moves []move) {
	if !d.bad[landsTwice] {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	type landed struct {
		p  []byte
		to uint64
	}
	var all []landed
	for _, m := range moves {
		p := make([]byte, m.from.n*d.block)
		if d.load(p, m.to) == nil {
			all = append(all, landed{p, m.to})
		}
	}
	d.again = func() error {
		for _, l := range all {
			if err := d.land(l.p, l.to, true, false); err != nil {
				return err
			}
		}
		return nil
	}
}
