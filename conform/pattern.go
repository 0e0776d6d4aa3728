package conform

import (
	"encoding/binary"
	"fmt"
)

// id is the content of a block: which write of the suite it is of, and which block of that. 0 is what was there before.
type id uint64

// fill makes a block of its id. Every eight bytes hold the id mixed with where they are: a block of two halves, or one that
// is shifted, is none.
func (i id) fill(b []byte, seed uint64) {
	binary.LittleEndian.PutUint64(b, uint64(i))
	for n := 8; n < len(b); n += 8 {
		binary.LittleEndian.PutUint64(b[n:], mix(uint64(i), uint64(n), seed))
	}
}

// holds says whose content a block is. ok is false if it is nobody's whole.
func holds(b []byte, seed uint64) (i id, ok bool) {
	i = id(binary.LittleEndian.Uint64(b))
	for n := 8; n < len(b); n += 8 {
		if binary.LittleEndian.Uint64(b[n:]) != mix(uint64(i), uint64(n), seed) {
			return i, false
		}
	}
	return i, true
}

// mix is the finalizer of splitmix64 over the three.
func mix(a, b, c uint64) uint64 {
	z := a*0x9e3779b97f4a7c15 + b*0xbf58476d1ce4e5b9 + c
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// newID is block n of write w.
func newID(w, n uint64) id { return id(w<<32 | n&0xffffffff) }

// String is "block 12 of write 3".
func (i id) String() string { return fmt.Sprintf("block %d of write %d", uint32(i), uint64(i)>>32) }
