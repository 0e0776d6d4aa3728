package daemon

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/target"
)

// drawFile is a file with disks and devices of any shape that dm takes.
func drawFile(t *rapid.T) *config.File {
	f := &config.File{Path: "v.toml", Version: 1}
	disks := rapid.IntRange(1, 5).Draw(t, "disks")
	for i := range disks {
		f.Disks = append(f.Disks, &config.Disk{Name: fmt.Sprintf("d%d", i), Kind: config.KindDeclared, Declared: 1 << 60})
	}
	leg := rapid.Custom(func(t *rapid.T) config.Leg {
		return config.Leg{Disk: f.Disks[rapid.IntRange(0, disks-1).Draw(t, "disk")].Name, Offset: rapid.Uint64Range(0, 1<<40).Draw(t, "offset")}
	})
	for i := range rapid.IntRange(1, 3).Draw(t, "devices") {
		d := &config.Device{Name: fmt.Sprintf("v%d", i), ID: -1}
		var at uint64
		for range rapid.IntRange(1, 6).Draw(t, "segments") {
			s := config.Segment{Start: at}
			if rapid.Bool().Draw(t, "linear") {
				s.Type, s.Sectors, s.Legs = "linear", rapid.Uint64Range(1, 1<<30).Draw(t, "sectors"), []config.Leg{leg.Draw(t, "leg")}
			} else {
				s.Type, s.Chunk = "striped", rapid.Uint32Range(1, 1<<16).Draw(t, "chunk")
				s.Legs = rapid.SliceOfN(leg, 1, 7).Draw(t, "legs")
				s.Sectors = uint64(s.Chunk) * uint64(len(s.Legs)) * rapid.Uint64Range(1, 1000).Draw(t, "rows")
			}
			at += s.Sectors
			d.Segments = append(d.Segments, s)
		}
		f.Devices = append(f.Devices, d)
	}
	return f
}

// TestTablesRoundTrip: a file becomes tables, tables become dmsetup's lines, and the lines are read as the same segments.
func TestTablesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFile(t)
		tables, err := Tables(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(tables) != len(f.Devices) {
			t.Fatalf("%d tables of %d devices", len(tables), len(f.Devices))
		}
		for i, tab := range tables {
			dev := f.Devices[i]
			text := tab.Lines(DiskName(f))
			got, problems := config.ParseTable(text)
			if len(problems) > 0 {
				t.Fatalf("%v in\n%s", problems, text)
			}
			if d := cmp.Diff(dev.Segments, got, cmpopts.IgnoreTypes(config.Pos{})); d != "" {
				t.Fatalf("segments of\n%s%s", text, d)
			}
			if tab.Sectors() != dev.Sectors() {
				t.Fatalf("%d sectors, want %d", tab.Sectors(), dev.Sectors())
			}
			used := map[target.Disk]bool{}
			for _, s := range dev.Segments {
				for _, l := range s.Legs {
					for j, k := range f.Disks {
						if k.Name == l.Disk {
							used[target.Disk(j)] = true
						}
					}
				}
			}
			if len(tab.Disks()) != len(used) {
				t.Fatalf("disks %v, want %v", tab.Disks(), used)
			}
		}
	})
}

// TestTablesRefused: what a file that was not checked could ask for is an error with its place, not a panic.
func TestTablesRefused(t *testing.T) {
	leg := []config.Leg{{Disk: "a"}}
	for _, c := range []struct {
		name string
		segs []config.Segment
		want string
	}{
		{"no segments", nil, "no targets"},
		{"no length", []config.Segment{{Type: "linear", Legs: leg}}, "zero-length"},
		{"too long", []config.Segment{{Type: "linear", Sectors: 1 << 60, Legs: leg}}, "ends past"},
		{"no chunk", []config.Segment{{Type: "striped", Sectors: 8, Legs: leg}}, "chunk_size"},
		{"no legs", []config.Segment{{Type: "striped", Sectors: 8, Chunk: 8}}, "destinations"},
		{"not rows", []config.Segment{{Type: "striped", Sectors: 12, Chunk: 8, Legs: leg}}, "not divisible"},
	} {
		f := &config.File{Path: "v.toml", Disks: []*config.Disk{{Name: "a"}}, Devices: []*config.Device{{Name: "x", Pos: config.Pos{Line: 3}, Segments: c.segs}}}
		_, err := Tables(f)
		if err == nil || !strings.HasPrefix(err.Error(), "v.toml:3: device x: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
