package daemon

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/limits"
)

// TestOverride: what is said replaces what was reported, what is not said stays, and what depends on it follows.
func TestOverride(t *testing.T) {
	base := limits.Limits{LogicalBlock: 512, PhysicalBlock: 4096, IOMin: 4096, IOOpt: 8192, MaxHWSectors: 2048, MaxSectors: 1024, ChunkSectors: 256,
		DMAAlignment: 511, MaxSegments: 128, MaxSegmentSize: 65536, MaxHWDiscardSectors: 4096, MaxDiscardSectors: 2048, DiscardGranularity: 4096,
		MaxWriteZeroesSectors: 4096, WriteCache: true, FUA: true}
	v := func(n uint64) *uint64 { return &n }
	yes, no := true, false
	for _, c := range []struct {
		name string
		o    config.LimitsOverride
		want func(*limits.Limits)
	}{
		{"nothing", config.LimitsOverride{}, func(*limits.Limits) {}},
		{"smaller block", config.LimitsOverride{PhysicalBlock: v(512)}, func(l *limits.Limits) { l.PhysicalBlock = 512 }},
		{"larger block lifts physical and io_min", config.LimitsOverride{LogicalBlock: v(8192)},
			func(l *limits.Limits) { l.LogicalBlock, l.PhysicalBlock, l.IOMin = 8192, 8192, 8192 }},
		{"physical lifts io_min", config.LimitsOverride{PhysicalBlock: v(16384)}, func(l *limits.Limits) { l.PhysicalBlock, l.IOMin = 16384, 16384 }},
		{"io_min", config.LimitsOverride{IOMin: v(65536)}, func(l *limits.Limits) { l.IOMin = 65536 }},
		{"io_min below physical", config.LimitsOverride{IOMin: v(512)}, func(*limits.Limits) {}},
		{"io_opt none", config.LimitsOverride{IOOpt: v(0)}, func(l *limits.Limits) { l.IOOpt = 0 }},
		{"smaller I/O", config.LimitsOverride{MaxIO: v(65536)}, func(l *limits.Limits) { l.MaxHWSectors, l.MaxSectors = 128, 128 }},
		{"larger I/O", config.LimitsOverride{MaxIO: v(4 << 20)}, func(l *limits.Limits) { l.MaxHWSectors = 8192 }},
		{"more than 32 bits", config.LimitsOverride{MaxIO: v(math.MaxUint64), IOOpt: v(1 << 40)},
			func(l *limits.Limits) { l.MaxHWSectors, l.IOOpt = math.MaxUint32, math.MaxUint32 }},
		{"chunk", config.LimitsOverride{Chunk: v(65536)}, func(l *limits.Limits) { l.ChunkSectors = 128 }},
		{"alignment", config.LimitsOverride{AlignmentOffset: v(512), DMAAlignment: v(3)}, func(l *limits.Limits) { l.AlignmentOffset, l.DMAAlignment = 512, 3 }},
		{"segments", config.LimitsOverride{MaxSegments: v(65535), MaxSegmentSize: v(1<<32 - 1)},
			func(l *limits.Limits) { l.MaxSegments, l.MaxSegmentSize = 65535, math.MaxUint32 }},
		{"discard", config.LimitsOverride{DiscardMax: v(1 << 20), DiscardGranularity: v(65536)},
			func(l *limits.Limits) {
				l.MaxHWDiscardSectors, l.MaxDiscardSectors, l.DiscardGranularity = 2048, 2048, 65536
			}},
		{"no discard", config.LimitsOverride{DiscardMax: v(0)}, func(l *limits.Limits) { l.MaxHWDiscardSectors, l.MaxDiscardSectors = 0, 0 }},
		{"discard without granularity", config.LimitsOverride{DiscardGranularity: v(0)}, func(l *limits.Limits) { l.DiscardGranularity = 512 }},
		{"write-zeroes", config.LimitsOverride{WriteZeroesMax: v(0)}, func(l *limits.Limits) { l.MaxWriteZeroesSectors = 0 }},
		{"flags", config.LimitsOverride{VolatileCache: &no, FUA: &no, Rotational: &yes}, func(l *limits.Limits) { l.WriteCache, l.FUA, l.Rotational = false, false, true }},
	} {
		want := base
		c.want(&want)
		if d := cmp.Diff(want, override(base, &c.o)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
	if d := cmp.Diff(base, override(base, nil)); d != "" {
		t.Errorf("nil:\n%s", d)
	}
}
