package blkcopy

import "testing"

// TestPool: a buffer is large enough, not far too large, and is kept up to a bound.
func TestPool(t *testing.T) {
	var p pool
	maps := 0
	p.mapped = func(n uint64) ([]byte, error) {
		maps++
		return mapMemory(n)
	}
	get := func(n uint64) []byte {
		b, err := p.get(n)
		if err != nil || uint64(len(b)) < n {
			t.Fatalf("%d bytes for %d, %v", len(b), n, err)
		}
		return b
	}
	small, large := get(1), get(4<<20)
	p.put(small)
	p.put(large)
	if b := get(64 << 10); maps != 3 || len(b) != 64<<10 { // one is too small, one much too large
		t.Errorf("%d bytes, of %d mappings", len(b), maps)
	} else {
		p.put(b)
	}
	if p.put(get(3 << 20)); maps != 3 {
		t.Errorf("%d mappings", maps)
	}
	var bs [][]byte
	for range 2 * keep / (4 << 20) {
		bs = append(bs, get(4<<20))
	}
	for _, b := range bs {
		p.put(b)
	}
	if p.held > keep {
		t.Errorf("%d bytes kept", p.held)
	}
	p.close()
}
