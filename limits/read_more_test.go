package limits

import (
	"testing"
	"testing/fstest"
)

func TestReadMore(t *testing.T) {
	tree := fstest.MapFS{}
	for name, value := range map[string]string{
		"logical_block_size": "4096", "write_zeroes_max_bytes": "1048576", "write_zeroes_unmap_max_hw_bytes": "1048576", "write_zeroes_unmap_max_bytes": "524288",
		"atomic_write_max_bytes": "65536", "atomic_write_unit_min_bytes": "4096", "atomic_write_unit_max_bytes": "65536", "atomic_write_boundary_bytes": "131072",
		"zoned": "host-managed", "zone_write_granularity": "4096", "zone_append_max_bytes": "131072", "max_integrity_segments": "3", "max_discard_segments": "256",
		"stable_writes": "1", "io_poll": "1",
	} {
		tree["block/x/queue/"+name] = &fstest.MapFile{Data: []byte(value + "\n")}
	}
	l, err := Read(tree, "x")
	if err != nil {
		t.Fatal(err)
	}
	if l.MaxHWUnmapZeroesSectors != 2048 || l.MaxUnmapZeroesSectors != 1024 || l.Atomic != (Atomic{65536, 4096, 65536, 131072}) || !l.Zoned ||
		l.ZoneWriteGranularity != 4096 || l.MaxHWZoneAppendSectors != 256 || l.MaxIntegritySegments != 3 || l.MaxDiscardSegments != 256 || !l.StableWrites || !l.Poll {
		t.Errorf("%+v", l)
	}
}

// What blk_stack_atomic_writes_limits does with a chunk that is not a power of two, and with a start off the grid (the
// vectors AW of V16).
func TestStackAtomic(t *testing.T) {
	aw := Limits{LogicalBlock: 512, PhysicalBlock: 4096, IOMin: 4096, MaxHWSectors: 2048, MaxSegments: 128, Atomic: Atomic{Max: 65536, UnitMin: 4096, UnitMax: 65536}}
	for _, c := range []struct {
		chunk uint32
		start uint64
		want  Atomic
	}{
		{0, 0, Atomic{65536, 4096, 65536, 0}},
		{48, 0, Atomic{48 * 512, 4096, 8192, 0}},
		{0, 4, Atomic{}},
	} {
		ti, top := Stacking(), Stacking()
		ti.Stack(aw, c.start)
		if c.chunk != 0 { // io_hints come between the disk and the table
			ti.Stack(aw, c.start+48)
			ti.ChunkSectors = c.chunk
		}
		top.Stack(ti, 0)
		top.Finish()
		if top.Atomic != c.want {
			t.Errorf("chunk %d start %d: %+v, want %+v", c.chunk, c.start, top.Atomic, c.want)
		}
	}
}
