package limits

// Field is one limit by its name: what JSON calls it, its value, and the attribute of /sys/block/X/queue that shows it.
type Field struct {
	Name string
	Get  func(*Limits) uint64
	Sys  string // "": sysfs does not show it; an attribute with a slash is of the device's own folder
	Unit uint64 // what the attribute counts in, in the field's units: 512 bytes a sector, KiB two sectors; 0: as it is
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// Fields is every limit, in the order in which people read them.
func Fields() []Field {
	return []Field{
		{"logical_block_size", func(l *Limits) uint64 { return uint64(l.LogicalBlock) }, "logical_block_size", 0},
		{"physical_block_size", func(l *Limits) uint64 { return uint64(l.PhysicalBlock) }, "physical_block_size", 0},
		{"io_min", func(l *Limits) uint64 { return uint64(l.IOMin) }, "minimum_io_size", 0},
		{"io_opt", func(l *Limits) uint64 { return uint64(l.IOOpt) }, "optimal_io_size", 0},
		{"max_hw_sectors", func(l *Limits) uint64 { return uint64(l.MaxHWSectors) }, "max_hw_sectors_kb", 2},
		{"max_sectors", func(l *Limits) uint64 { return uint64(l.MaxSectors) }, "max_sectors_kb", 2},
		{"chunk_sectors", func(l *Limits) uint64 { return uint64(l.ChunkSectors) }, "chunk_sectors", 0},
		{"max_segments", func(l *Limits) uint64 { return uint64(l.MaxSegments) }, "max_segments", 0},
		{"max_segment_size", func(l *Limits) uint64 { return uint64(l.MaxSegmentSize) }, "max_segment_size", 0},
		{"max_integrity_segments", func(l *Limits) uint64 { return uint64(l.MaxIntegritySegments) }, "max_integrity_segments", 0},
		{"virt_boundary_mask", func(l *Limits) uint64 { return l.VirtBoundary }, "virt_boundary_mask", 0},
		{"dma_alignment", func(l *Limits) uint64 { return uint64(l.DMAAlignment) }, "dma_alignment", 0},
		{"discard_granularity", func(l *Limits) uint64 { return uint64(l.DiscardGranularity) }, "discard_granularity", 0},
		{"discard_max_sectors", func(l *Limits) uint64 { return uint64(l.MaxDiscardSectors) }, "discard_max_bytes", 512},
		{"discard_max_hw_sectors", func(l *Limits) uint64 { return uint64(l.MaxHWDiscardSectors) }, "discard_max_hw_bytes", 512},
		{"max_discard_segments", func(l *Limits) uint64 { return uint64(l.MaxDiscardSegments) }, "max_discard_segments", 0},
		{"write_zeroes_max_sectors", func(l *Limits) uint64 { return uint64(l.MaxWriteZeroesSectors) }, "write_zeroes_max_bytes", 512},
		{"write_zeroes_unmap_max_hw_sectors", func(l *Limits) uint64 { return uint64(l.MaxHWUnmapZeroesSectors) }, "write_zeroes_unmap_max_hw_bytes", 512},
		{"write_zeroes_unmap_max_sectors", func(l *Limits) uint64 { return uint64(l.MaxUnmapZeroesSectors) }, "write_zeroes_unmap_max_bytes", 512},
		{"alignment_offset", func(l *Limits) uint64 { return uint64(l.AlignmentOffset) }, "../alignment_offset", 0},
		{"misaligned", func(l *Limits) uint64 { return flag(l.Misaligned) }, "", 0},
		{"atomic_write_max", func(l *Limits) uint64 { return uint64(l.Atomic.Max) }, "atomic_write_max_bytes", 0},
		{"atomic_write_unit_min", func(l *Limits) uint64 { return uint64(l.Atomic.UnitMin) }, "atomic_write_unit_min_bytes", 0},
		{"atomic_write_unit_max", func(l *Limits) uint64 { return uint64(l.Atomic.UnitMax) }, "atomic_write_unit_max_bytes", 0},
		{"atomic_write_boundary", func(l *Limits) uint64 { return uint64(l.Atomic.Boundary) }, "atomic_write_boundary_bytes", 0},
		{"zone_write_granularity", func(l *Limits) uint64 { return uint64(l.ZoneWriteGranularity) }, "zone_write_granularity", 0},
		{"write_cache", func(l *Limits) uint64 { return flag(l.WriteCache) }, "write_cache", 0},
		{"fua", func(l *Limits) uint64 { return flag(l.FUA) }, "fua", 0},
		{"rotational", func(l *Limits) uint64 { return flag(l.Rotational) }, "rotational", 0},
		{"stable_writes", func(l *Limits) uint64 { return flag(l.StableWrites) }, "stable_writes", 0},
		{"zoned", func(l *Limits) uint64 { return flag(l.Zoned) }, "zoned", 0},
		{"read_only", func(l *Limits) uint64 { return flag(l.ReadOnly) }, "../ro", 0},
	}
}

// Features is the flags that are set, by the names of Fields.
func (l *Limits) Features() []string {
	out := []string{}
	for _, f := range Fields() {
		switch f.Name {
		case "write_cache", "fua", "rotational", "stable_writes", "zoned", "read_only":
			if f.Get(l) != 0 {
				out = append(out, f.Name)
			}
		}
	}
	return out
}

// Trace remembers who imposed the value of each field.
type Trace map[string]string

// Note records who changed before into after. Where whose knows a field's author, that is the author.
func (t Trace) Note(before, after *Limits, who string, whose Trace) {
	for _, f := range Fields() {
		if f.Get(before) == f.Get(after) {
			continue
		}
		t[f.Name] = who
		if w, ok := whose[f.Name]; ok {
			t[f.Name] = w
		}
	}
}
