package limits

import (
	"math"
	"math/bits"
)

// stackAtomic narrows what can be written without tearing (blk_stack_atomic_writes_limits): the first device is taken as
// it is, the others must have the same boundary and units that meet its; anything else leaves nothing, for good.
func (t *Limits) stackAtomic(b Limits, start uint64) {
	a := b.Atomic
	switch {
	case a.UnitMin == 0, start*512%uint64(max(a.UnitMin, a.Boundary)) != 0:
		t.Atomic = Atomic{}
	case t.Atomic.Max == math.MaxUint32: // no device yet
		if !boundaryFits(t.ChunkSectors, a.Boundary/512) {
			t.Atomic = Atomic{}
			break
		}
		t.Atomic = a
		t.atomicChunk()
	case t.Atomic.Boundary != a.Boundary || t.Atomic.UnitMin > a.UnitMax || t.Atomic.UnitMax < a.UnitMin:
		t.Atomic = Atomic{}
	default:
		t.Atomic.Max = min(t.Atomic.Max, a.Max)
		t.Atomic.UnitMin = max(t.Atomic.UnitMin, a.UnitMin)
		t.Atomic.UnitMax = min(t.Atomic.UnitMax, a.UnitMax)
		t.atomicChunk()
	}
}

// atomicChunk keeps an atomic write inside a chunk (blk_stack_atomic_writes_chunk_sectors).
func (t *Limits) atomicChunk() {
	if t.ChunkSectors == 0 {
		return
	}
	chunk := t.ChunkSectors
	if chunk <= math.MaxUint32>>9 {
		chunk <<= 9
	}
	t.Atomic.UnitMax = min(t.Atomic.UnitMax, 1<<bits.TrailingZeros32(chunk))
	t.Atomic.UnitMin = min(t.Atomic.UnitMin, t.Atomic.UnitMax)
	t.Atomic.Max = min(t.Atomic.Max, chunk)
}

// boundaryFits says whether one of a chunk and a boundary is a multiple of the other (blk_valid_atomic_writes_boundary).
func boundaryFits(chunk, boundary uint32) bool {
	if chunk == 0 || boundary == 0 {
		return true
	}
	return max(chunk, boundary)%min(chunk, boundary) == 0
}

// finishAtomic derives what is shown (blk_validate_atomic_write_limits, blk_atomic_writes_update_limits): an atomic write
// must fit one bio whatever its buffers look like.
func (t *Limits) finishAtomic() {
	a := &t.Atomic
	if a.Max == math.MaxUint32 || a.Max == 0 || a.UnitMin == 0 || t.ChunkSectors != 0 && a.Max/512 > t.ChunkSectors {
		*a = Atomic{}
		return
	}
	const page, maxVecs = 4096, 256 // PAGE_SIZE, BIO_MAX_VECS
	segs := min(uint32(t.MaxSegments), maxVecs)
	bio := min(segs, 2) * t.LogicalBlock
	if segs > 2 {
		bio += (segs - 2) * page
	}
	hw := uint32(min(uint64(t.MaxHWSectors)*512, math.MaxUint32))
	unit := min(hw, bio)
	unit = 1 << (bits.Len32(unit) - 1)
	a.Max = min(a.Max, hw/512*512)
	a.UnitMin, a.UnitMax = min(a.UnitMin, unit), min(a.UnitMax, unit)
}
