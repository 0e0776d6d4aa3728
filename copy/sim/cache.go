package sim

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// smallBlocks is how long a read or write is that the small buffers of some misbehaviours keep.
const smallBlocks = 8

// cacheBlocks is how many blocks the write cache holds; with one more all are written to the store.
const cacheBlocks = 1 << 16

// ReadAt reads whole blocks. Errors: EINVAL for what is not on the device, ENODATA for a block that cannot be read, the
// store's.
func (d *Device) ReadAt(p []byte, at uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.touch()
	b, n, err := d.blocks("read", p, at)
	if err != nil {
		return err
	}
	if d.bad[readCacheStale] && n <= smallBlocks && d.fromSeen(p, b, n) {
		return nil
	}
	if _, ok := d.unreadable(b, n); ok {
		return fmt.Errorf("read of %d bytes at %d: %w", len(p), at, unix.ENODATA)
	}
	if err := d.load(p, b); err != nil {
		return err
	}
	if d.bad[readCacheStale] && n <= smallBlocks {
		d.see(p, b, n)
	}
	return nil
}

// WriteAt writes whole blocks, into the write cache where there is one. A block that could not be read is mended.
func (d *Device) WriteAt(p []byte, at uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.touch()
	b, n, err := d.blocks("write", p, at)
	if err != nil {
		return err
	}
	if d.bad[cachePassed] {
		d.passed = d.passed[:0]
		if n <= smallBlocks {
			data := make([]byte, len(p))
			if err := d.load(data, b); err != nil {
				return err
			}
			d.passed = append(d.passed, old{b, data})
		}
	}
	for i := range n {
		delete(d.seen, b+i)
	}
	if err := d.land(p, b, false, false); err != nil {
		return err
	}
	if again := d.again; again != nil {
		d.again = nil
		if n <= smallBlocks {
			return again()
		}
	}
	return nil
}

// Flush makes durable what was written and copied before.
func (d *Device) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.passed = nil
	return d.destage()
}

// destage writes the cache to the store. d.mu is held, as by all that follow.
func (d *Device) destage() error {
	for b, c := range d.cache {
		if c.copied && d.bad[flushSkips] {
			continue
		}
		if err := d.store.WriteAt(c.data, b*d.block); err != nil {
			return err
		}
		delete(d.cache, b)
	}
	return d.store.Sync()
}

// PowerCut loses all that is not durable: the worst that a cut may do.
func (d *Device) PowerCut() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.cache)
	clear(d.seen)
	d.passed, d.again = nil, nil
	return nil
}

// Break makes the blocks of n bytes at at unreadable until they are written, as Write Uncorrectable (04h) does.
func (d *Device) Break(at, n uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at%d.block != 0 || n%d.block != 0 || at > d.c.Bytes || n > d.c.Bytes-at {
		return fmt.Errorf("%d bytes at %d: %w", n, at, unix.EINVAL)
	}
	for b := at / d.block; b < (at+n)/d.block; b++ {
		d.broken[b] = true
	}
	return nil
}

// blocks is where bytes lie, in blocks.
func (d *Device) blocks(what string, p []byte, at uint64) (b, n uint64, err error) {
	bytes := uint64(len(p))
	if at%d.block != 0 || bytes%d.block != 0 || at > d.c.Bytes || bytes > d.c.Bytes-at {
		return 0, 0, fmt.Errorf("%s of %d bytes at %d, of a device of %d with blocks of %d: %w", what, bytes, at, d.c.Bytes, d.block, unix.EINVAL)
	}
	return at / d.block, bytes / d.block, nil
}

// unreadable is the first of n blocks that cannot be read.
func (d *Device) unreadable(b, n uint64) (uint64, bool) {
	if len(d.broken) > 0 {
		for i := range n {
			if d.broken[b+i] {
				return b + i, true
			}
		}
	}
	return 0, false
}

// load reads blocks from b, from the cache where they are in it.
func (d *Device) load(p []byte, b uint64) error {
	if err := d.store.ReadAt(p, b*d.block); err != nil {
		return err
	}
	if len(d.cache) > 0 {
		for i := uint64(0); i < uint64(len(p))/d.block; i++ {
			if c, ok := d.cache[b+i]; ok {
				copy(p[i*d.block:], c.data)
			}
		}
	}
	return nil
}

// land writes blocks from b: to the store if they are to be durable or there is no cache.
func (d *Device) land(p []byte, b uint64, copied, durable bool) error {
	n := uint64(len(p)) / d.block
	for i := range n {
		delete(d.broken, b+i)
	}
	if !d.c.Cache || durable {
		for i := range n {
			delete(d.cache, b+i)
		}
		if err := d.store.WriteAt(p, b*d.block); err != nil {
			return err
		}
		if durable {
			return d.store.Sync()
		}
		return nil
	}
	for i := range n {
		c := d.cache[b+i]
		if c.data == nil {
			c.data = make([]byte, d.block)
		}
		copy(c.data, p[i*d.block:])
		c.copied = copied
		d.cache[b+i] = c
	}
	if len(d.cache) > cacheBlocks {
		return d.destage()
	}
	return nil
}

// fromSeen answers a read from what was read before, if all of it was.
func (d *Device) fromSeen(p []byte, b, n uint64) bool {
	for i := range n {
		if d.seen[b+i] == nil {
			return false
		}
	}
	for i := range n {
		copy(p[i*d.block:], d.seen[b+i])
	}
	return true
}

func (d *Device) see(p []byte, b, n uint64) {
	if len(d.seen) > cacheBlocks {
		clear(d.seen)
	}
	for i := range n {
		d.seen[b+i] = append([]byte(nil), p[i*d.block:(i+1)*d.block]...)
	}
}
