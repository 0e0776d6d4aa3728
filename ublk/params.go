package ublk

import (
	"fmt"
	"math/bits"
	"os"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Inexpressible is a limit that ublk's parameters cannot carry, and what is presented instead.
type Inexpressible struct {
	Limit     string
	Value     uint64
	Presented uint64
	Why       string
}

func (i Inexpressible) String() string {
	return fmt.Sprintf("%s %d is presented as %d: %s", i.Limit, i.Value, i.Presented, i.Why)
}

// maxShift bounds physical block, io_min and io_opt: 256 MiB (ublk_validate_params).
const maxShift = 28

// params says a Spec in the driver's words, with the safe value where they fall short.
func (s *Spec) params() (uapi.Params, []Inexpressible) {
	l := s.Limits
	var lost []Inexpressible
	lose := func(limit string, v, p uint64, why string) { lost = append(lost, Inexpressible{limit, v, p, why}) }

	b := uapi.ParamBasic{LogicalBSShift: log2(l.LogicalBlock), DevSectors: s.Sectors}
	pbs := max(l.PhysicalBlock, l.LogicalBlock)
	if (l.AlignmentOffset != 0 || l.Misaligned) && pbs != l.LogicalBlock {
		lose("physical_block_size", uint64(pbs), uint64(l.LogicalBlock), "ublk has no alignment_offset, and a physical block that starts elsewhere would mislead")
		pbs = l.LogicalBlock
	}
	if pbs > 1<<maxShift {
		lose("physical_block_size", uint64(pbs), 1<<maxShift, "ublk has powers of two up to 256 MiB only")
		pbs = 1 << maxShift
	}
	b.PhysicalBSShift = log2(pbs)
	wantMin := max(l.IOMin, pbs)
	if pbs < l.PhysicalBlock && l.IOMin == l.PhysicalBlock {
		wantMin = pbs // it would suggest the grid that pbs no longer does
	}
	ioMin := powerDividing(wantMin, pbs)
	if ioMin != wantMin {
		lose("io_min", uint64(l.IOMin), uint64(ioMin), "ublk has powers of two up to 256 MiB only")
	}
	b.IOMinShift = log2(ioMin)
	var ioOpt uint32
	if l.IOOpt != 0 {
		if ioOpt = powerDividing(l.IOOpt, pbs); ioOpt != l.IOOpt {
			lose("io_opt", uint64(l.IOOpt), uint64(ioOpt), "ublk has powers of two up to 256 MiB only")
		}
		b.IOOptShift = log2(ioOpt)
	}
	if l.ChunkSectors != 0 {
		lose("chunk_sectors", uint64(l.ChunkSectors), 0, "a request is cut at chunk edges by the server, not before it")
	}

	page := uint32(os.Getpagesize())
	lbs := l.LogicalBlock / 512
	b.MaxSectors = s.MaxIO / 512
	if l.MaxSectors != 0 {
		b.MaxSectors = min(b.MaxSectors, l.MaxSectors)
	}
	b.MaxSectors = max(b.MaxSectors/lbs*lbs, page/512)
	if s.ReadOnly || l.ReadOnly {
		b.Attrs |= uapi.UBLK_ATTR_READ_ONLY
	}
	if l.Rotational {
		b.Attrs |= uapi.UBLK_ATTR_ROTATIONAL
	}
	if l.WriteCache {
		b.Attrs |= uapi.UBLK_ATTR_VOLATILE_CACHE
		if l.FUA { // the driver takes it only beside the cache
			b.Attrs |= uapi.UBLK_ATTR_FUA
		}
	}

	b.VirtBoundaryMask = l.VirtBoundary

	p := uapi.Params{Types: uapi.UBLK_PARAM_TYPE_BASIC, Basic: b}
	p.Len = uint32(len(paramBytes(&p)))
	if mask, ok := s.dmaMask(); ok && mask != 0 {
		p.Types |= uapi.UBLK_PARAM_TYPE_DMA_ALIGN
		p.DMA.Alignment = mask
	}
	if l.MaxSegments != 0 && l.MaxSegmentSize != 0 {
		p.Types |= uapi.UBLK_PARAM_TYPE_SEGMENT
		p.Seg = uapi.ParamSegment{SegBoundaryMask: 1<<32 - 1, MaxSegmentSize: max(l.MaxSegmentSize, page), MaxSegments: l.MaxSegments}
		if m := l.SegBoundaryMask; m&(m+1) == 0 && m >= uint64(page-1) {
			p.Seg.SegBoundaryMask = m
		}
	}
	if l.MaxDiscardSectors != 0 || l.MaxWriteZeroesSectors != 0 {
		p.Types |= uapi.UBLK_PARAM_TYPE_DISCARD
		p.Discard = uapi.ParamDiscard{
			DiscardGranularity:    max(l.DiscardGranularity, l.LogicalBlock), // zero is refused even without discard
			MaxDiscardSectors:     l.MaxDiscardSectors / lbs * lbs,
			MaxWriteZeroesSectors: l.MaxWriteZeroesSectors / lbs * lbs,
			MaxDiscardSegments:    1,
		}
	}
	return p, lost
}

// ignored says what a driver left out of the parameters that it was given: it masks the types that it does not know. What it shows then are its own defaults.
func (s *Spec) ignored(given, kept uapi.Params) []Inexpressible {
	const why = "this kernel's ublk has no parameter for it (6.15)"
	var lost []Inexpressible
	gone := given.Types &^ kept.Types
	if gone&uapi.UBLK_PARAM_TYPE_DMA_ALIGN != 0 {
		lost = append(lost, Inexpressible{"dma_alignment", uint64(given.DMA.Alignment), 3, why})
	}
	if gone&uapi.UBLK_PARAM_TYPE_SEGMENT != 0 {
		lost = append(lost, Inexpressible{"max_segments", uint64(given.Seg.MaxSegments), 1<<16 - 1, why},
			Inexpressible{"max_segment_size", uint64(given.Seg.MaxSegmentSize), 1<<32 - 1, why})
	}
	return lost
}

// Presented says which of the Spec's limits the device will show otherwise than given, and why.
func (s *Spec) Presented() []Inexpressible {
	d := *s
	d.setDefaults()
	_, lost := d.params()
	return lost
}

// dmaMask is the disks' alignment of memory, if the driver can be told it: a mask of low bits below the page size
// (ublk_validate_params). 0 is none: the driver's default is stricter.
func (s *Spec) dmaMask() (uint32, bool) {
	m := s.Limits.DMAAlignment
	return m, m < uint32(os.Getpagesize()) && m&(m+1) == 0
}

func log2(v uint32) uint8 { return uint8(bits.Len32(v) - 1) }

// powerDividing is the largest power of two that divides v and is at most 256 MiB, or unit when that is below unit.
func powerDividing(v, unit uint32) uint32 {
	p := uint32(1) << min(bits.TrailingZeros32(v), maxShift)
	return max(p, unit)
}
