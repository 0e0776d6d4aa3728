package remap

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// sysLimits is a queue folder of sysfs as the vectors have it: bytes, but chunk in sectors and maxkb, hwkb in KiB.
type sysLimits struct {
	LBS, PBS           uint32
	IOMin              uint32 `json:"io_min"`
	IOOpt              uint32 `json:"io_opt"`
	MaxKB, HWKB, Chunk uint32
	Segs               uint16
	SegSz, DMA         uint32
	DGran              uint32
	DMax, DHW, WZ      uint64
	AOff               int64
	WC                 string
	FUA                int
	AW                 string // atomic writes: max/unit_min/unit_max
	Size               uint64
}

func (s sysLimits) limits() limits.Limits {
	var aw limits.Atomic
	_, _ = fmt.Sscanf(s.AW, "%d/%d/%d", &aw.Max, &aw.UnitMin, &aw.UnitMax)
	return limits.Limits{LogicalBlock: s.LBS, PhysicalBlock: s.PBS, IOMin: s.IOMin, IOOpt: s.IOOpt, AlignmentOffset: uint32(s.AOff),
		MaxHWSectors: kib(s.HWKB), MaxSectors: kib(s.MaxKB), ChunkSectors: s.Chunk, MaxSegments: s.Segs, MaxSegmentSize: s.SegSz,
		SegBoundaryMask: 1<<32 - 1, DMAAlignment: s.DMA, MaxHWDiscardSectors: uint32(s.DHW / 512), MaxDiscardSectors: uint32(s.DMax / 512),
		DiscardGranularity: s.DGran, MaxWriteZeroesSectors: uint32(s.WZ / 512), WriteCache: s.WC == "write back", FUA: s.FUA == 1, Atomic: aw}
}

func kib(n uint32) uint32 { return uint32(min(uint64(n)*2, 1<<32-1)) }

// 21 tables and the limits that a live kernel gave them. Every field that the vectors have is compared.
func TestLimitsAsDM(t *testing.T) {
	b, err := os.ReadFile("testdata/limits-dm.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Bottom map[string]sysLimits
		Tables []struct {
			Name   string
			Table  []string
			Error  string
			Limits sysLimits
		}
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	letters := map[string]string{"nvme0n1": "A", "nvme0n2": "B", "nba": "C", "nbb": "D", "nbc": "E", "sda": "F"}
	ran := 0
	for _, c := range v.Tables {
		byLetter := map[target.Disk]sysLimits{}
		text := strings.Join(c.Table, "|")
		for name, letter := range letters {
			text = strings.ReplaceAll(text, "/dev/"+name, letter)
			byLetter[target.Disk(letter[0]-'A')] = v.Bottom[name]
		}
		tb, err := parseTable(text)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		got, err := tb.Limits(func(d target.Disk) limits.Bottom {
			s := byLetter[d]
			l := s.limits()
			if d == 2 { // what was written to nba's caps before these three
				switch c.Name {
				case "d13":
					l.MaxDiscardSectors = 0
					fallthrough
				case "d12":
					l.MaxDiscardSectors = min(l.MaxDiscardSectors, 8)
					fallthrough
				case "d11":
					l.MaxUserSectors, l.MaxSectors = 64, 64
				}
			}
			return limits.Bottom{Limits: l, Sectors: s.Size}
		})
		ran++
		if c.Error != "" {
			if err == nil {
				t.Errorf("%s: accepted, dm says %s", c.Name, c.Error)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		want := c.Limits.limits()
		if c.Limits.AOff == -1 {
			want.AlignmentOffset, want.Misaligned = 0, true
		}
		want.SegBoundaryMask = got.SegBoundaryMask
		if got.MaxHWSectors/2 == want.MaxHWSectors/2 { // sysfs shows whole KiB
			want.MaxHWSectors = got.MaxHWSectors
		}
		if got.MaxSectors/2 == want.MaxSectors/2 {
			want.MaxSectors = got.MaxSectors
		}
		want.MaxUserSectors = got.MaxUserSectors // neither these is in sysfs, nor in the vectors the next
		want.DiscardAlignment, want.MaxDiscardSegments = got.DiscardAlignment, got.MaxDiscardSegments
		if got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.Name, got, want)
		}
	}
	if ran != 21 {
		t.Errorf("%d tables ran", ran)
	}
}
