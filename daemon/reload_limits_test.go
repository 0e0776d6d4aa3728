package daemon

import (
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/ublk"
)

func plainSpec() ublk.Spec {
	l := limits.Stacking()
	l.LogicalBlock, l.PhysicalBlock, l.IOMin = 4096, 4096, 4096
	l.MaxSectors, l.MaxHWSectors, l.MaxSegments, l.MaxSegmentSize, l.SegBoundaryMask = 1024, 1024, 64, 65536, 1<<32-1
	l.DMAAlignment, l.VirtBoundary = 511, 0xfff
	l.MaxDiscardSectors, l.MaxHWDiscardSectors, l.DiscardGranularity, l.MaxWriteZeroesSectors = 8192, 8192, 8192, 8192
	l.WriteCache, l.FUA = false, false
	return ublk.Spec{ID: 3, Queues: 2, Depth: 64, MaxIO: 512 << 10, Sectors: 8192, Limits: l}
}

// TestStricter: what a device has told its users holds. Each limit a step worse is refused by its name, alone; a step
// better is nothing.
func TestStricter(t *testing.T) {
	for _, c := range []struct {
		limit         string
		worse, better func(*ublk.Spec)
	}{
		{"logical_block_size", func(s *ublk.Spec) { s.Limits.LogicalBlock = 8192 }, func(s *ublk.Spec) { s.Limits.LogicalBlock = 512 }},
		{"physical_block_size", func(s *ublk.Spec) { s.Limits.PhysicalBlock = 8192 }, func(s *ublk.Spec) { s.Limits.PhysicalBlock = 512 }},
		{"max_sectors", func(s *ublk.Spec) { s.Limits.MaxSectors = 512 }, func(s *ublk.Spec) { s.Limits.MaxSectors = 2048 }},
		{"dma_alignment", func(s *ublk.Spec) { s.Limits.DMAAlignment = 1023 }, func(s *ublk.Spec) { s.Limits.DMAAlignment = 3 }},
		{"max_segments", func(s *ublk.Spec) { s.Limits.MaxSegments = 32 }, func(s *ublk.Spec) { s.Limits.MaxSegments = 128 }},
		{"max_segment_size", func(s *ublk.Spec) { s.Limits.MaxSegmentSize = 4096 }, func(s *ublk.Spec) { s.Limits.MaxSegmentSize = 1 << 20 }},
		{"seg_boundary_mask", func(s *ublk.Spec) { s.Limits.SegBoundaryMask = 0xffff }, func(s *ublk.Spec) { s.Limits.SegBoundaryMask = 1<<40 - 1 }},
		{"virt_boundary_mask", func(s *ublk.Spec) { s.Limits.VirtBoundary = 0x1fff }, func(s *ublk.Spec) { s.Limits.VirtBoundary = 0 }},
		{"discard_max_sectors", func(s *ublk.Spec) { s.Limits.MaxDiscardSectors = 0 }, func(s *ublk.Spec) { s.Limits.MaxDiscardSectors = 8184 }},
		{"discard_granularity", func(s *ublk.Spec) { s.Limits.DiscardGranularity = 16384 }, func(s *ublk.Spec) { s.Limits.DiscardGranularity = 4096 }},
		{"write_zeroes_max_sectors", func(s *ublk.Spec) { s.Limits.MaxWriteZeroesSectors = 0 }, func(s *ublk.Spec) { s.Limits.MaxWriteZeroesSectors = 8184 }},
		{"write_cache", func(s *ublk.Spec) { s.Limits.WriteCache = true }, nil},
	} {
		live, want := plainSpec(), plainSpec()
		if errs := stricter(&live, &want); len(errs) > 0 {
			t.Fatalf("the same: %v", errs)
		}
		c.worse(&want)
		if errs := stricter(&live, &want); len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), c.limit+": ") {
			t.Errorf("%s worse: %v", c.limit, errs)
		}
		if c.better != nil {
			want = plainSpec()
			c.better(&want)
			if errs := stricter(&live, &want); len(errs) > 0 {
				t.Errorf("%s better: %v", c.limit, errs)
			}
		}
	}
	live, want := plainSpec(), plainSpec()
	live.Limits.WriteCache, live.Limits.FUA = true, true
	if errs := stricter(&live, &want); len(errs) > 0 {
		t.Errorf("no cache any more: %v", errs)
	}
	live, want = plainSpec(), plainSpec()
	live.Limits.MaxDiscardSectors, live.Limits.DiscardGranularity = 0, 0
	if errs := stricter(&live, &want); len(errs) > 0 {
		t.Errorf("discards that nobody was told of: %v", errs)
	}
	live, want = plainSpec(), plainSpec()
	live.Limits.PhysicalBlock, want.Limits.PhysicalBlock = 16384, 16384
	live.Limits.Misaligned = true // ublk shows 4096 then
	if errs := stricter(&live, &want); len(errs) != 1 {
		t.Errorf("a physical block that was not shown: %v", errs)
	}
}

// TestFixed: what only another start changes.
func TestFixed(t *testing.T) {
	base := config.Device{Name: "data", ID: -1, Queues: 2}
	for _, c := range []struct {
		name   string
		change func(*config.Device, *ublk.Spec)
		want   string // "": fine
	}{
		{"nothing", func(*config.Device, *ublk.Spec) {}, ""},
		{"id", func(d *config.Device, _ *ublk.Spec) { d.ID = 9 }, "id is 3, and cannot become 9"},
		{"its id", func(d *config.Device, _ *ublk.Spec) { d.ID = 3 }, ""},
		{"queues", func(d *config.Device, _ *ublk.Spec) { d.Queues = 4 }, "queues is 1, and cannot become 4"},
		{"queues as granted", func(d *config.Device, _ *ublk.Spec) { d.Queues = 1 }, ""},
		{"queues not said", func(d *config.Device, _ *ublk.Spec) { d.Queues = 0 }, ""},
		{"depth", func(d *config.Device, _ *ublk.Spec) { d.Depth = 128 }, "depth is 64, and cannot become 128"},
		{"max_io", func(d *config.Device, _ *ublk.Spec) { d.MaxIO = 4096 }, "max_io is 524288, and cannot become 4096"},
		{"read_only", func(_ *config.Device, s *ublk.Spec) { s.ReadOnly = true }, "read_only is false, and cannot become true"},
		{"on_crash", func(d *config.Device, _ *ublk.Spec) { d.OnCrash = config.CrashQueue }, "on_crash is reissue, and cannot become queue"},
		{"data_path", func(d *config.Device, _ *ublk.Spec) { d.DataPath = config.PathZeroCopy }, "data_path is buffer, and cannot become zero-copy"},
		{"data_path as it is", func(d *config.Device, _ *ublk.Spec) { d.DataPath = config.PathBuffer }, ""},
		{"any data_path", func(d *config.Device, _ *ublk.Spec) { d.DataPath = config.PathAuto }, ""},
		{"on_crash said", func(d *config.Device, _ *ublk.Spec) { d.OnCrash = config.CrashReissue }, ""},
	} {
		live, want := plainSpec(), plainSpec()
		live.DataPath = ublk.BufferPath
		live.Queues = 1 // the driver had fewer CPUs
		conf := base
		c.change(&conf, &want)
		f := &config.File{}
		errs := fixed(f, f, &base, &conf, &live, &want)
		switch {
		case c.want == "" && len(errs) > 0:
			t.Errorf("%s: %v", c.name, errs)
		case c.want != "" && (len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), c.want)):
			t.Errorf("%s: %v, want %s", c.name, errs, c.want)
		}
	}
}

// TestAnnounced: a device that was reloaded onto disks that can more is taken over with what it was announced with, since the
// driver has that; onto disks that can less, it is not.
func TestAnnounced(t *testing.T) {
	live, want := plainSpec(), plainSpec()
	want.Limits.LogicalBlock, want.Limits.MaxSectors, want.Limits.IOOpt, want.Limits.Rotational = 512, 4096, 1<<20, true
	var r deviceRecord
	r.granted(&live)
	if got := r.announced(&want); got != live.Limits {
		t.Errorf("%+v", got)
	}
	want.Limits.WriteCache = true
	if got := r.announced(&want); got != want.Limits {
		t.Errorf("stricter: %+v", got)
	}
	if got := (&deviceRecord{}).announced(&want); got != want.Limits {
		t.Errorf("of an older state: %+v", got)
	}
}
