package daemon

import (
	"math"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/limits"
)

// override replaces what a disk reports by what its [disk.X.limits] says.
func override(l limits.Limits, o *config.LimitsOverride) limits.Limits {
	if o == nil {
		return l
	}
	bytes := func(dst *uint32, v *uint64) {
		if v != nil {
			*dst = uint32(min(*v, math.MaxUint32))
		}
	}
	sectors := func(dst *uint32, v *uint64) {
		if v != nil {
			*dst = uint32(min(*v/512, math.MaxUint32))
		}
	}
	flag := func(dst *bool, v *bool) {
		if v != nil {
			*dst = *v
		}
	}
	bytes(&l.LogicalBlock, o.LogicalBlock)
	l.PhysicalBlock = max(l.PhysicalBlock, l.LogicalBlock)
	bytes(&l.PhysicalBlock, o.PhysicalBlock)
	bytes(&l.IOMin, o.IOMin)
	l.IOMin = max(l.IOMin, l.PhysicalBlock)
	bytes(&l.IOOpt, o.IOOpt)
	sectors(&l.MaxHWSectors, o.MaxIO)
	l.MaxSectors = min(l.MaxSectors, l.MaxHWSectors)
	sectors(&l.ChunkSectors, o.Chunk)
	bytes(&l.AlignmentOffset, o.AlignmentOffset)
	bytes(&l.DMAAlignment, o.DMAAlignment)
	if o.MaxSegments != nil {
		l.MaxSegments = uint16(*o.MaxSegments)
	}
	bytes(&l.MaxSegmentSize, o.MaxSegmentSize)
	sectors(&l.MaxHWDiscardSectors, o.DiscardMax)
	sectors(&l.MaxDiscardSectors, o.DiscardMax)
	bytes(&l.DiscardGranularity, o.DiscardGranularity)
	if l.MaxDiscardSectors != 0 && l.DiscardGranularity == 0 {
		l.DiscardGranularity = l.LogicalBlock
	}
	sectors(&l.MaxWriteZeroesSectors, o.WriteZeroesMax)
	flag(&l.WriteCache, o.VolatileCache)
	flag(&l.FUA, o.FUA)
	flag(&l.Rotational, o.Rotational)
	return l
}
