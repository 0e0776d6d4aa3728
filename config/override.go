package config

import (
	"fmt"
	"math"
)

// limitKeys are the keys of [disk.X.limits].
func limitKeys() []string {
	return []string{
		"logical_block", "physical_block", "io_min", "io_opt", "max_io", "chunk", "alignment_offset", "dma_alignment",
		"max_segments", "max_segment_size", "discard_max", "discard_granularity", "write_zeroes_max",
		"volatile_cache", "fua", "rotational",
	}
}

// Bounds of limits, which are those of the block layer.
const (
	minLogical     = 512
	maxLogical     = 64 << 10
	maxPhysical    = 2 << 30
	pageBytes      = 4096
	maxLimitSector = math.MaxUint32 * SectorBytes // limits in sectors are 32 bits wide
)

// readLimits reads [disk.X.limits].
func readLimits(r *report, v value) *LimitsOverride {
	t, ok := r.table(v, "limits are a table [disk.NAME.limits]")
	if !ok {
		return nil
	}
	t.known(limitKeys(), map[string]string{
		"logical_block_size":  "did you mean \"logical_block\"?",
		"physical_block_size": "did you mean \"physical_block\"?",
		"max_sectors":         "did you mean \"max_io\"? it is in bytes",
		"chunk_sectors":       "did you mean \"chunk\"? it is in bytes",
	})
	l := &LimitsOverride{}
	logical, physical := uint64(minLogical), uint64(0)
	if n, ok := t.power("logical_block", minLogical, maxLogical); ok {
		l.LogicalBlock, logical = &n, n
	}
	physical = logical
	if n, ok := t.power("physical_block", minLogical, maxPhysical); ok {
		if n < logical {
			t.limit("physical_block", fmt.Sprintf("use %s or more", Size(logical)), "physical_block %s is smaller than logical_block %s", Size(n), Size(logical))
		} else {
			l.PhysicalBlock, physical = &n, n
		}
	}
	l.IOMin = t.multiple("io_min", logical, logical, math.MaxUint32)
	l.IOOpt = t.multiple("io_opt", logical, 0, math.MaxUint32)
	l.MaxIO = t.multiple("max_io", SectorBytes, max(pageBytes, logical), maxLimitSector)
	l.Chunk = t.multiple("chunk", logical, 0, maxLimitSector)
	l.AlignmentOffset = t.multiple("alignment_offset", logical, 0, physical-1)
	l.MaxSegmentSize = t.multiple("max_segment_size", 1, pageBytes, math.MaxUint32)
	l.DiscardMax = t.multiple("discard_max", SectorBytes, 0, maxLimitSector)
	l.DiscardGranularity = t.multiple("discard_granularity", logical, 0, math.MaxUint32)
	l.WriteZeroesMax = t.multiple("write_zeroes_max", SectorBytes, 0, maxLimitSector)
	if n, ok := t.integer("dma_alignment", 0, pageBytes-1); ok {
		if n&(n+1) != 0 {
			t.limit("dma_alignment", "it is a mask: one less than a power of two, as 3 or 511", "dma_alignment %d is not a mask", n)
		} else {
			l.DMAAlignment = pointer(uint64(n))
		}
	}
	if n, ok := t.integer("max_segments", 1, math.MaxUint16); ok {
		l.MaxSegments = pointer(uint64(n))
	}
	l.VolatileCache = t.flag("volatile_cache")
	l.FUA = t.flag("fua")
	l.Rotational = t.flag("rotational")
	return l
}

func pointer[T any](v T) *T { return &v }

// limit reports a problem at the value of a key that is there.
func (t *table) limit(name, hint, format string, args ...any) {
	v, _ := t.get(name)
	t.r.error(v.at, v.path, hint, format, args...)
}

// flag reads an optional boolean; nil if it is not said.
func (t *table) flag(name string) *bool {
	if b, ok := t.boolean(name); ok {
		return &b
	}
	return nil
}

// power reads an optional size that must be a power of two from low to high.
func (t *table) power(name string, low, high uint64) (uint64, bool) {
	size, ok := t.size(name)
	if !ok {
		return 0, false
	}
	n := uint64(size)
	if n < low || n > high || n&(n-1) != 0 {
		t.limit(name, fmt.Sprintf("use a power of two from %s to %s", Size(low), Size(high)), "%s %s is %s", name, size, powerFault(n, low, high))
		return 0, false
	}
	return n, true
}

func powerFault(n, low, high uint64) string {
	switch {
	case n < low:
		return "too small"
	case n > high:
		return "too large"
	}
	return "not a power of two"
}

// multiple reads an optional size that must be a multiple of step from low to high, in bytes; nil
// if it is not said or not right.
func (t *table) multiple(name string, step, low, high uint64) *uint64 {
	size, ok := t.size(name)
	if !ok {
		return nil
	}
	n := uint64(size)
	switch {
	case n < low:
		t.limit(name, fmt.Sprintf("use %s or more", Size(low)), "%s %s is too small", name, size)
	case n > high && high < step:
		t.limit(name, "leave it out", "%s %s is too large", name, size)
	case n > high:
		t.limit(name, fmt.Sprintf("use %s or less", exact(high/step*step)), "%s %s is too large", name, size)
	case n%step != 0:
		t.limit(name, multiples(n/step*step, step), "%s %s is not a multiple of %s", name, size, stepName(step))
	default:
		return &n
	}
	return nil
}

func stepName(step uint64) string {
	if step == SectorBytes {
		return "512 bytes"
	}
	return "the logical block, " + Size(step).String()
}

// readCopy reads [disk.X.copy] of a disk whose source is read.
func readCopy(r *report, v value, d *Disk) *CopyOverride {
	t, ok := r.table(v, "the copy ability is a table [disk.NAME.copy]")
	if !ok {
		return nil
	}
	t.known(append([]string{"method", "mssrl", "mcl", "msrc", "domain"}, simulateKeys()...), nil)
	c := &CopyOverride{}
	methods := []string{"nvme", "xcopy", "file", "none"}
	if s, ok := t.str("method"); ok {
		for _, m := range methods {
			if s == m {
				c.Method = s
			}
		}
		if c.Method == "" {
			t.limit("method", suggest(s, methods), "unknown copy method %s", clip(s))
		}
	}
	ranges, count := int64(math.MaxUint16), int64(255) // what NVMe's fields hold
	if c.Method != "nvme" && c.Method != "" {
		ranges, count = math.MaxUint32, math.MaxUint16-1
	}
	if n, ok := t.integer("mssrl", 1, ranges); ok {
		c.MSSRL = pointer(uint64(n))
	}
	if n, ok := t.integer("mcl", 1, math.MaxUint32); ok {
		c.MCL = pointer(uint64(n))
	}
	if n, ok := t.integer("msrc", 0, count); ok {
		c.MSRC = pointer(uint64(n))
	}
	c.Domain, _ = t.str("domain")
	readSimulate(t, d, c)
	return c
}
