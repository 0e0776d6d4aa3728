package limits

import "math"

// Stacking is where stacking begins: nothing is limited yet (blk_set_stacking_limits, dm_set_stacking_limits).
func Stacking() Limits {
	return Limits{LogicalBlock: 512, PhysicalBlock: 512, IOMin: 512, MaxHWSectors: math.MaxUint32, MaxSectors: math.MaxUint32,
		MaxSegments: math.MaxUint16, MaxSegmentSize: math.MaxUint32, SegBoundaryMask: math.MaxUint32, DMAAlignment: 511,
		MaxDiscardSegments: math.MaxUint16, DiscardGranularity: 512, MaxDiscardSectors: 0, MaxWriteZeroesSectors: math.MaxUint32,
		MaxHWUnmapZeroesSectors: math.MaxUint32, MaxUnmapZeroesSectors: math.MaxUint32, MaxHWZoneAppendSectors: math.MaxUint32,
		Atomic: Atomic{Max: math.MaxUint32}, NoWait: true, Poll: true}
}

// Default is what the block layer assumes of a device that says nothing: 512-byte blocks, no discard, no write zeroes
// (blk_set_default_limits).
func Default() Limits {
	l := Stacking()
	l.MaxHWSectors, l.MaxSectors = 255, 255
	l.MaxSegments, l.MaxSegmentSize = 128, 65536
	l.MaxDiscardSegments, l.DiscardGranularity, l.MaxWriteZeroesSectors = 1, 0, 0
	l.MaxHWUnmapZeroesSectors, l.MaxUnmapZeroesSectors, l.MaxHWZoneAppendSectors = 0, 0, 0
	l.Atomic, l.NoWait, l.Poll = Atomic{}, false, false
	return l
}

// Stack narrows t by what b, used from sector start of its whole disk on, can honour (blk_stack_limits). It sets
// Misaligned, where the kernel only warns, and never fails.
func (t *Limits) Stack(b Limits, start uint64) {
	t.MaxHWSectors = minNotZero(t.MaxHWSectors, b.MaxHWSectors)
	t.MaxUserSectors = minNotZero(t.MaxUserSectors, b.MaxUserSectors)
	t.MaxSectors = minNotZero(t.MaxSectors, b.MaxSectors)
	t.MaxSegments = minNotZero(t.MaxSegments, b.MaxSegments)
	t.MaxSegmentSize = minNotZero(t.MaxSegmentSize, b.MaxSegmentSize)
	t.SegBoundaryMask = minNotZero(t.SegBoundaryMask, b.SegBoundaryMask)
	t.VirtBoundary = minNotZero(t.VirtBoundary, b.VirtBoundary)
	t.DMAAlignment = max(t.DMAAlignment, b.DMAAlignment)
	t.MaxWriteZeroesSectors = min(t.MaxWriteZeroesSectors, b.MaxWriteZeroesSectors)
	t.MaxHWUnmapZeroesSectors = min(t.MaxHWUnmapZeroesSectors, b.MaxHWUnmapZeroesSectors)
	t.MaxUnmapZeroesSectors = min(t.MaxUnmapZeroesSectors, b.MaxUnmapZeroesSectors)
	t.MaxHWZoneAppendSectors = min(t.MaxHWZoneAppendSectors, b.MaxHWZoneAppendSectors)
	t.MaxDiscardSegments = minNotZero(t.MaxDiscardSegments, b.MaxDiscardSegments)
	t.MaxIntegritySegments = minNotZero(t.MaxIntegritySegments, b.MaxIntegritySegments)
	t.Zoned = t.Zoned || b.Zoned
	t.StableWrites = t.StableWrites || b.StableWrites
	t.NoWait = t.NoWait && b.NoWait
	t.Poll = t.Poll && b.Poll
	t.WriteCache = t.WriteCache || b.WriteCache
	t.FUA = t.FUA || b.FUA
	t.Rotational = t.Rotational || b.Rotational
	t.Misaligned = t.Misaligned || b.Misaligned

	align := b.alignmentAt(start)
	if t.AlignmentOffset != align {
		top := max(t.PhysicalBlock, t.IOMin) + t.AlignmentOffset
		bottom := max(b.PhysicalBlock, b.IOMin) + align
		if hi, lo := max(top, bottom), min(top, bottom); lo == 0 || hi%lo != 0 {
			t.Misaligned = true
		}
	}
	t.LogicalBlock = max(t.LogicalBlock, b.LogicalBlock)
	t.PhysicalBlock = max(t.PhysicalBlock, b.PhysicalBlock)
	t.IOMin = max(t.IOMin, b.IOMin)
	t.IOOpt = uint32(lcmNotZero(uint64(t.IOOpt), uint64(b.IOOpt))) // what it overflows by is lost in the kernel too
	if b.ChunkSectors != 0 {
		t.ChunkSectors = gcd(t.ChunkSectors, b.ChunkSectors)
	}
	if t.PhysicalBlock%t.LogicalBlock != 0 {
		t.PhysicalBlock, t.Misaligned = t.LogicalBlock, true
	}
	if t.IOMin%t.PhysicalBlock != 0 {
		t.IOMin, t.Misaligned = t.PhysicalBlock, true
	}
	if t.IOOpt%t.PhysicalBlock != 0 {
		t.IOOpt, t.Misaligned = 0, true
	}
	if uint64(t.ChunkSectors)*512%uint64(t.PhysicalBlock) != 0 {
		t.ChunkSectors, t.Misaligned = 0, true
	}
	t.AlignmentOffset = uint32(lcmNotZero(uint64(t.AlignmentOffset), uint64(align)) % uint64(max(t.PhysicalBlock, t.IOMin)))
	if t.AlignmentOffset%t.LogicalBlock != 0 {
		t.Misaligned = true
	}
	t.MaxHWSectors = roundSectors(t.MaxHWSectors, t.LogicalBlock)
	t.MaxSectors = roundSectors(t.MaxSectors, t.LogicalBlock)

	if b.DiscardGranularity != 0 {
		t.MaxDiscardSectors = minNotZero(t.MaxDiscardSectors, b.MaxDiscardSectors)
		t.MaxHWDiscardSectors = minNotZero(t.MaxHWDiscardSectors, b.MaxHWDiscardSectors)
		t.DiscardGranularity = max(t.DiscardGranularity, b.DiscardGranularity)
		t.DiscardAlignment = uint32(lcmNotZero(uint64(t.DiscardAlignment), uint64(b.discardAlignmentAt(start))) % uint64(t.DiscardGranularity))
	}
	t.ZoneWriteGranularity = max(t.ZoneWriteGranularity, b.ZoneWriteGranularity)
	if !t.Zoned {
		t.ZoneWriteGranularity = 0
	}
	t.stackAtomic(b, start)
}

// NoDiscard takes discard away: dm has it only when every device of a table has (dm_table_supports_discards).
func (t *Limits) NoDiscard() {
	t.MaxDiscardSectors, t.MaxHWDiscardSectors, t.DiscardGranularity = 0, 0, 0
}

// NoUnmapZeroes takes away write zeroes that unmap; dm has them only where it has write zeroes.
func (t *Limits) NoUnmapZeroes() { t.MaxHWUnmapZeroesSectors, t.MaxUnmapZeroesSectors = 0, 0 }

// Finish derives what depends on the rest, as blk_validate_limits does.
func (t *Limits) Finish() {
	if t.MaxHWSectors == 0 {
		t.MaxHWSectors = 255
	}
	t.PhysicalBlock = max(t.PhysicalBlock, t.LogicalBlock)
	t.IOMin = max(t.IOMin, t.PhysicalBlock)
	t.IOOpt = t.IOOpt / t.PhysicalBlock * t.PhysicalBlock
	const defaultCap = 8192 // sectors: BLK_DEF_MAX_SECTORS_CAP, 4 MiB
	m := min(t.MaxHWSectors, defaultCap)
	switch {
	case t.MaxUserSectors != 0:
		m = min(t.MaxHWSectors, t.MaxUserSectors)
	case t.IOOpt > defaultCap*512:
		m = min(t.MaxHWSectors, t.IOOpt/512)
	case t.IOMin > defaultCap*512:
		m = min(t.MaxHWSectors, t.IOMin/512)
	}
	t.MaxSectors = roundSectors(m, t.LogicalBlock)
	if t.AlignmentOffset != 0 { // also one that is whole physical blocks, and is gone then
		t.AlignmentOffset, t.Misaligned = t.AlignmentOffset&(t.PhysicalBlock-1), false
	}
	if t.MaxDiscardSectors == 0 {
		t.NoDiscard()
	} else {
		t.MaxDiscardSectors = t.MaxHWDiscardSectors // a leg's own cap is not inherited, unless it is 0
		t.DiscardGranularity = max(t.DiscardGranularity, t.PhysicalBlock)
	}
	if t.MaxDiscardSegments == 0 {
		t.MaxDiscardSegments = 1
	}
	t.MaxUnmapZeroesSectors = min(t.MaxHWUnmapZeroesSectors, t.MaxUnmapZeroesSectors)
	t.FUA = t.FUA && t.WriteCache
	t.finishAtomic()
	if !t.Zoned {
		t.MaxHWZoneAppendSectors = 0
	} else {
		t.ZoneWriteGranularity = max(t.ZoneWriteGranularity, t.LogicalBlock)
	}
}

// discardAlignmentAt is how far sector start of the disk is off the grid of discards (queue_limit_discard_alignment), in
// bytes.
func (t *Limits) discardAlignmentAt(start uint64) uint32 {
	g := uint64(t.DiscardGranularity / 512)
	if t.MaxDiscardSectors == 0 || g == 0 {
		return 0
	}
	return uint32((g+uint64(t.DiscardAlignment/512)-start%g)%g) * 512
}

// alignmentAt is how far sector start of the disk is off the grid of its preferred unit
// (queue_limit_alignment_offset), in bytes.
func (t *Limits) alignmentAt(start uint64) uint32 {
	g := max(t.PhysicalBlock, t.IOMin)
	return (g + t.AlignmentOffset - uint32(start%uint64(g/512))*512) % g
}

func roundSectors(sectors, lbs uint32) uint32 {
	n := lbs / 512
	return max(sectors/n*n, 8)
}

func minNotZero[T uint16 | uint32 | uint64](a, b T) T {
	if a == 0 {
		return b
	}
	if b == 0 {
		return a
	}
	return min(a, b)
}

func gcd[T uint32 | uint64](a, b T) T {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// lcmNotZero is the least common multiple of two 32-bit values, or the other value when one is 0 (lcm_not_zero).
func lcmNotZero(a, b uint64) uint64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return a / gcd(a, b) * b
}
