package limits

import "fmt"

// Method is how a disk copies by itself.
type Method string

// The methods of a copy ability.
const (
	NoCopy   Method = "none"
	NVMeCopy Method = "nvme"  // NVMe Copy (opcode 0x19)
	XCopy    Method = "xcopy" // SCSI EXTENDED COPY
	FileCopy Method = "file"  // copy_file_range or reflink
)

// Copy is a disk's ability to copy, in the words of NVMe Identify Namespace: logical blocks, of the disk's own size.
// What is 0 is not bounded, except by Method: NoCopy has nothing.
type Copy struct {
	Method Method
	MSSRL  uint32 // blocks per source range
	MCL    uint32 // blocks per command
	MSRC   uint32 // source ranges per command minus 1, as NVMe counts
	Domain string // two disks offload to each other only inside one
	Reason string // why there is no ability, when Method is NoCopy
}

// Can says whether there is an ability at all.
func (c Copy) Can() bool { return c.Method != "" && c.Method != NoCopy }

// CopyLimits is what a stacked device advertises of copying, in 512-byte sectors. All zero: nothing.
type CopyLimits struct {
	MaxSectors      uint32 `json:"max_sectors"`       // per command
	MaxRangeSectors uint32 `json:"max_range_sectors"` // per source range
	MaxRanges       uint32 `json:"max_ranges"`        // source ranges per command
	MaxSrcSegments  uint32 `json:"max_src_segments"`
	MaxDstSegments  uint32 `json:"max_dst_segments"`
}

// CopyRule is a way of stacking copy limits.
type CopyRule string

const (
	// CopyMin is ours: the plain minimum over all legs, whatever the targets; nothing as soon as one leg has nothing.
	CopyMin CopyRule = "min"
	// Copy2024 is Shetty's v20 (2024-05-20): one range, the limit is MSSRL, and nothing unless every target is linear.
	Copy2024 CopyRule = "2024"
	// Copy2026 is Van Assche's v1 (2026-04-24): many source segments, the limit is MSSRL, and nothing unless every target
	// opts in, which only dm-linear does.
	Copy2026 CopyRule = "2026"
)

// CopyRules is every rule, ours first.
func CopyRules() []CopyRule { return []CopyRule{CopyMin, Copy2024, Copy2026} }

// ParseCopyRule finds a rule by its name.
func ParseCopyRule(s string) (CopyRule, error) {
	for _, r := range CopyRules() {
		if string(r) == s {
			return r, nil
		}
	}
	return "", fmt.Errorf("unknown copy rule %q: min, 2024 or 2026", s)
}

// maxCopy2024 is BLK_COPY_MAX_BYTES of v20, 128 MiB, in sectors.
const maxCopy2024 = 1 << 27 / 512

// Limits is what one disk of the given logical block advertises under a rule.
func (c Copy) Limits(rule CopyRule, logicalBlock uint32) CopyLimits {
	if !c.Can() {
		return CopyLimits{}
	}
	bps := uint64(max(logicalBlock, 512) / 512)
	sectors := func(blocks uint32) uint32 { // 0 blocks is no bound
		if blocks == 0 {
			return 1<<32 - 1
		}
		return uint32(min(uint64(blocks)*bps, 1<<32-1))
	}
	ranged, total, ranges := sectors(c.MSSRL), sectors(c.MCL), min(c.MSRC, 1<<16-1)+1
	switch rule {
	case Copy2024:
		return CopyLimits{MaxSectors: min(ranged, maxCopy2024), MaxRangeSectors: min(ranged, maxCopy2024), MaxRanges: 1, MaxSrcSegments: 1, MaxDstSegments: 1}
	case Copy2026: // MCL and MSRC are not consulted; a command has up to 256 sources
		return CopyLimits{MaxSectors: ranged, MaxRangeSectors: ranged, MaxRanges: 256, MaxSrcSegments: 256, MaxDstSegments: 1}
	}
	return CopyLimits{MaxSectors: total, MaxRangeSectors: min(ranged, total), MaxRanges: ranges, MaxSrcSegments: ranges, MaxDstSegments: 1}
}

// CopyStack stacks copy limits under one rule. The zero value with a Rule is where stacking begins.
type CopyStack struct {
	Rule  CopyRule
	begun bool
	none  bool
	top   CopyLimits
}

// Leg stacks one leg: its disk's limits, and whether its target is linear.
func (s *CopyStack) Leg(l CopyLimits, linear bool) {
	if l.MaxSectors == 0 || s.Rule != CopyMin && !linear {
		s.none = true
	}
	if !s.begun {
		s.begun, s.top = true, l
		return
	}
	s.top.MaxSectors = min(s.top.MaxSectors, l.MaxSectors)
	s.top.MaxRangeSectors = min(s.top.MaxRangeSectors, l.MaxRangeSectors)
	s.top.MaxRanges = min(s.top.MaxRanges, l.MaxRanges)
	s.top.MaxSrcSegments = min(s.top.MaxSrcSegments, l.MaxSrcSegments)
	s.top.MaxDstSegments = min(s.top.MaxDstSegments, l.MaxDstSegments)
}

// Result is what the device advertises; ours is rounded down to its logical block.
func (s *CopyStack) Result(logicalBlock uint32) CopyLimits {
	if s.none || !s.begun {
		return CopyLimits{}
	}
	t := s.top
	if s.Rule == CopyMin {
		n := max(logicalBlock, 512) / 512
		t.MaxSectors, t.MaxRangeSectors = t.MaxSectors/n*n, t.MaxRangeSectors/n*n
		if t.MaxSectors == 0 || t.MaxRangeSectors == 0 {
			return CopyLimits{}
		}
	}
	return t
}
