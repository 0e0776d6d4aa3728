package remap

import (
	"testing"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// vdisk is a disk of the vectors V1–V16, which were computed with the kernel's stacking and the three copy rules.
type vdisk struct {
	limits.Bottom
	copy limits.CopyLimits
}

func vdisks() map[byte]vdisk {
	base := func(lbs, pbs, hw uint32) limits.Limits {
		return limits.Limits{LogicalBlock: lbs, PhysicalBlock: pbs, IOMin: pbs, MaxHWSectors: hw, MaxSectors: hw, MaxSegments: 128, MaxSegmentSize: 65536,
			SegBoundaryMask: 1<<32 - 1, DMAAlignment: 511}
	}
	discard := func(l limits.Limits, most, gran, wz uint32) limits.Limits {
		l.MaxHWDiscardSectors, l.MaxDiscardSectors, l.DiscardGranularity, l.MaxWriteZeroesSectors = most, most, gran, wz
		return l
	}
	copies := func(hw, src, dst uint32) limits.CopyLimits {
		return limits.CopyLimits{MaxSectors: hw, MaxRangeSectors: hw, MaxRanges: src, MaxSrcSegments: src, MaxDstSegments: dst}
	}
	a := discard(base(512, 512, 1024), 8388607, 512, 8388607)
	a.DMAAlignment, a.WriteCache, a.FUA = 3, true, true
	b := discard(base(4096, 4096, 256), 2048, 4096, 2048)
	b.MaxSegments = 64
	c := base(512, 4096, 2560)
	c.MaxSegments, c.Rotational, c.WriteCache = 168, true, true
	d := discard(base(512, 512, 2048), 65536, 65536, 0)
	d.IOMin, d.IOOpt, d.ChunkSectors = 65536, 196608, 128
	z := base(4096, 4096, 1024)
	z.Zoned, z.ChunkSectors, z.MaxHWZoneAppendSectors = true, 524288, 256
	e8 := discard(base(512, 8192, 2048), 1024, 8192, 64)
	e8.IOOpt = 393216
	mud := a
	mud.MaxUserSectors, mud.MaxSectors = 64, 64
	aw := base(512, 4096, 2048)
	aw.Atomic = limits.Atomic{Max: 65536, UnitMin: 4096, UnitMax: 65536}
	whole := func(l limits.Limits) limits.Bottom { return limits.Bottom{Limits: l} }
	return map[byte]vdisk{
		'A': {whole(a), copies(128, 128, 1)},
		'B': {whole(b), copies(4096, 256, 1)},
		'C': {whole(c), limits.CopyLimits{}},
		'P': {limits.Bottom{Limits: c, Start: 63}, limits.CopyLimits{}}, // C's partition
		'D': {whole(d), copies(65535, 1, 1)},
		'Z': {whole(z), copies(1024, 128, 1)},
		'E': {whole(a), copies(128, 128, 1)}, // A with the administrator's cap of 8192 bytes on copies, which nobody inherits
		'M': {whole(mud), copies(128, 128, 1)},
		'G': {whole(e8), limits.CopyLimits{}},
		'W': {whole(aw), limits.CopyLimits{}},
	}
}

func TestVectorsB(t *testing.T) {
	disks := vdisks()
	type want struct {
		lbs, pbs, ioMin, ioOpt, max, chunk, dmax, dgran, wz, align uint32
		misaligned                                                 bool
		copies                                                     [3]uint32 // min, 2024, 2026
		src, dst                                                   uint32    // min
	}
	for _, v := range []struct {
		name, table string
		want        *want // nil: refused
	}{
		{"V1", "0 1048576 linear A 0", &want{512, 512, 512, 0, 1024, 0, 8388607, 512, 8388607, 0, false, [3]uint32{128, 128, 128}, 128, 1}},
		{"V2", "0 1048576 linear A 0 | 1048576 1048576 linear B 0", &want{4096, 4096, 4096, 0, 256, 0, 2048, 4096, 2048, 0, false, [3]uint32{128, 128, 128}, 128, 1}},
		{"V3", "0 1048577 linear A 0 | 1048577 1048576 linear B 0", nil},
		{"V4", "0 2048 striped 2 128 A 0 A 4096", &want{512, 512, 65536, 131072, 1024, 128, 16776960, 512, 8388607, 0, false, [3]uint32{128, 0, 0}, 128, 1}},
		{"V5", "0 1920 striped 3 128 A 0 A 4096 A 8192", &want{512, 512, 65536, 196608, 1024, 128, 25165440, 512, 8388607, 0, false, [3]uint32{128, 0, 0}, 128, 1}},
		{"V5b", "0 1728 striped 3 192 A 0 B 0 A 8192", &want{4096, 4096, 98304, 294912, 256, 192, 5760, 4096, 2048, 0, false, [3]uint32{128, 0, 0}, 128, 1}},
		{"V6", "0 2048 linear A 0 | 2048 2048 linear C 0", &want{512, 4096, 4096, 0, 1024, 0, 0, 0, 0, 0, false, [3]uint32{}, 0, 0}},
		{"V7", "0 2048 linear P 0", &want{512, 4096, 4096, 0, 2560, 0, 0, 0, 0, 512, false, [3]uint32{}, 0, 0}},
		{"V7b", "0 2048 linear P 1", &want{512, 4096, 4096, 0, 2560, 0, 0, 0, 0, 0, false, [3]uint32{}, 0, 0}},
		{"V7d", "0 2048 linear C 1 | 2048 2048 linear C 4098", &want{512, 4096, 4096, 0, 2560, 0, 0, 0, 0, 1024, false, [3]uint32{}, 0, 0}},
		{"V8", "0 3072 linear D 0 | 3072 1920 striped 2 96 A 0 A 4096", &want{512, 512, 65536, 196608, 1024, 32, 65536, 65536, 0, 0, false, [3]uint32{128, 0, 0}, 1, 1}},
		{"V9", "0 1048576 linear Z 0", &want{4096, 4096, 4096, 0, 1024, 524288, 0, 0, 0, 0, false, [3]uint32{1024, 1024, 1024}, 128, 1}},
		{"V9b", "0 262144 linear Z 0", nil},
		{"V9c", "0 524288 linear Z 0 | 524288 524288 linear B 0", nil},
		{"V9d", "0 1048576 striped 2 524288 Z 0 Z 524288", nil},
		{"V10", "0 2048 linear A 0 | 2048 2048 linear E 0", &want{512, 512, 512, 0, 1024, 0, 8388607, 512, 8388607, 0, false, [3]uint32{128, 128, 128}, 128, 1}},
		{"V11", "0 2048 linear A 0 | 2048 2048 linear M 0", &want{512, 512, 512, 0, 64, 0, 8388607, 512, 8388607, 0, false, [3]uint32{128, 128, 128}, 128, 1}},
		{"V12", "0 2048 linear A 0 | 2048 2048 linear D 0", &want{512, 512, 65536, 196608, 1024, 128, 65536, 65536, 0, 0, false, [3]uint32{128, 128, 128}, 1, 1}},
		{"V13", "0 2048 linear G 0 | 2048 2048 linear D 0", &want{512, 8192, 65536, 393216, 2048, 128, 1024, 65536, 0, 0, false, [3]uint32{}, 0, 0}},
		{"V14", "0 2048 striped 2 8 A 0 B 0", &want{4096, 4096, 4096, 8192, 256, 8, 4096, 4096, 2048, 0, false, [3]uint32{128, 0, 0}, 128, 1}},
		{"V14b", "0 2048 striped 2 4 A 0 B 0", &want{4096, 4096, 4096, 4096, 256, 0, 4096, 4096, 2048, 0, true, [3]uint32{128, 0, 0}, 128, 1}},
		{"V15", "0 65536 striped 2 16384 A 0 A 65536", &want{512, 512, 8388608, 16777216, 1024, 16384, 16744448, 512, 8388607, 0, false, [3]uint32{128, 0, 0}, 128, 1}},
	} {
		tb, err := parseTable(v.table)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		disk := func(d target.Disk) vdisk { return disks['A'+byte(d)] }
		l, err := tb.Limits(func(d target.Disk) limits.Bottom { return disk(d).Bottom })
		if v.want == nil {
			if err == nil {
				t.Errorf("%s: accepted", v.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", v.name, err)
			continue
		}
		got := want{lbs: l.LogicalBlock, pbs: l.PhysicalBlock, ioMin: l.IOMin, ioOpt: l.IOOpt, max: l.MaxSectors, chunk: l.ChunkSectors, dmax: l.MaxDiscardSectors,
			dgran: l.DiscardGranularity, wz: l.MaxWriteZeroesSectors, align: l.AlignmentOffset, misaligned: l.Misaligned}
		for i, rule := range limits.CopyRules() {
			c := tb.CopyLimits(rule, func(d target.Disk) (limits.CopyLimits, uint32) { return disk(d).copy, disk(d).LogicalBlock })
			got.copies[i] = c.MaxSectors
			if rule == limits.CopyMin {
				got.src, got.dst = c.MaxSrcSegments, c.MaxDstSegments
			}
		}
		if got != *v.want {
			t.Errorf("%s:\n got %+v\nwant %+v", v.name, got, *v.want)
		}
		if v.name == "V9" && l.MaxHWZoneAppendSectors != 256 {
			t.Errorf("V9: zone append %d", l.MaxHWZoneAppendSectors)
		}
	}
}

// V16: atomic writes, whole; under a chunk of 48 sectors; from a start off the grid.
func TestVectorsAtomic(t *testing.T) {
	aw := vdisks()['W']
	for table, want := range map[string]limits.Atomic{
		"0 2048 linear W 0":                                    {Max: 65536, UnitMin: 4096, UnitMax: 65536},
		"0 1920 striped 2 48 W 0 W 4096":                       {Max: 48 * 512, UnitMin: 4096, UnitMax: 8192},
		"0 2048 linear W 4":                                    {},
		"0 960 striped 2 48 W 0 W 4096 | 960 64 linear W 8192": {Max: 48 * 512, UnitMin: 4096, UnitMax: 8192},
	} {
		tb, err := parseTable(table)
		if err != nil {
			t.Fatal(err)
		}
		l, err := tb.Limits(func(target.Disk) limits.Bottom { return aw.Bottom })
		if err != nil || l.Atomic != want {
			t.Errorf("%s: %+v (%v), want %+v", table, l.Atomic, err, want)
		}
	}
}
