package series

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// The split vectors S1 to S10: a request of one device, and the pieces that it is cut into.
var splitVectors = []struct {
	name, device     string
	src, dst, n, cap uint64
	pieces           string
}{
	{"S1", "L", 990, 1500, 30, 0, "A:3038→B:500+10, B:0→B:510+20"},
	{"S2", "L", 100, 980, 40, 0, "A:2148→A:3028+20, A:2168→B:0+20"},
	{"S3", "L", 980, 990, 40, 0, "A:3028→A:3038+10, A:3038→B:0+10, B:0→B:10+20"},
	{"S3b", "L", 950, 900, 50, 0, "A:2998→A:2948+50"},
	{"S5", "L", 990, 1500, 40, 16, "A:3038→B:500+10, B:0→B:510+16, B:16→B:526+14"},
	{"S6", "S", 0, 192, 192, 0, "A:0→A:64+64, B:128→B:192+64, C:0→C:64+64"},
	{"S6b", "S", 0, 768, 384, 0, "A:0→A:256+64, B:128→B:384+64, C:0→C:256+64, A:64→A:320+64, B:192→B:448+64, C:64→C:320+64"},
	{"S7", "S", 0, 64, 192, 0, "A:0→B:128+64, B:128→C:0+64, C:0→A:64+64"},
	{"S8", "S", 10, 400, 100, 0, "A:10→A:144+48, A:58→B:256+6, B:128→B:262+46"},
	{"S9", "M", 50, 300, 40, 0, "A:2098→B:104+8, A:2106→C:104+16, A:2122→B:112+16"},
	{"S10", "M", 90, 200, 30, 0, "A:2138→B:52+10, B:0→B:62+2, B:2→C:56+14, C:8→C:70+2, C:10→B:64+2"},
}

var splitTables = map[string]string{
	"L": "0 1000 linear A 2048 | 1000 1000 linear B 0",
	"S": "0 1536 striped 3 64 A 0 B 128 C 0",
	"M": "0 100 linear A 2048 | 100 512 striped 2 16 B 0 C 8",
}

func TestCutVectors(t *testing.T) {
	for _, v := range splitVectors {
		r := within(dmDevice(t, v.device, 512, splitTables[v.device]), segs(v.src, v.n), segs(v.dst, v.n))
		var got []string
		for _, p := range r.pieces(r.runs()[0]) {
			for done := uint64(0); done < p.Sectors; {
				n := p.Sectors - done
				if v.cap != 0 {
					n = min(n, v.cap)
				}
				got = append(got, fmt.Sprintf("%c:%d→%c:%d+%d", 'A'+p.Src.Disk, p.Src.Sector+done, 'A'+p.Dst.Disk, p.Dst.Sector+done, n))
				done += n
			}
		}
		if s := strings.Join(got, ", "); s != v.pieces {
			t.Errorf("%s: %s, want %s", v.name, s, v.pieces)
		}
	}
}

// TestDesignsOnVectors: every vector through every model, with each leg a namespace and with all in one.
func TestDesignsOnVectors(t *testing.T) {
	for _, m := range []*Model{simpleCopy2021, token2023, pair2024, ours} {
		var b strings.Builder
		for _, legs := range []string{"each disk a namespace", "one namespace"} {
			for _, v := range splitVectors {
				w := able(3, 128, 128, 127)
				if v.cap != 0 {
					w = able(3, uint32(v.cap), uint32(v.cap), 0)
				}
				if legs == "one namespace" {
					w.oneNamespace()
				}
				r := within(dmDevice(t, v.device, 512, splitTables[v.device]), segs(v.src, v.n), segs(v.dst, v.n))
				o := m.Run(w, r, nil)
				fmt.Fprintf(&b, "# %s, %s: %s %d -> %d +%d\n%s\n", v.name, legs, v.device, v.src, v.dst, v.n, w.outcome(o))
				judge(t, m.Name+" "+v.name, w, r, o)
			}
		}
		golden(t, "split-"+m.Name, b.String())
	}
}

// The bottoms of the limits' vectors, as NVMe would report them.
func limitWorld() *World {
	w := able(10, 128, 128, 127)
	name := func(letter byte, name string) *Disk {
		w.Disks[letter-'A'].Name = name
		return &w.Disks[letter-'A']
	}
	b := name('B', "B")
	b.LogicalBlock, b.Copy.MSSRL, b.Copy.MCL, b.Copy.MSRC = 4096, 512, 512, 255
	*name('C', "C") = Disk{Name: "C", Driver: "sd", LogicalBlock: 512, Sectors: 1 << 16}
	d := name('D', "D")
	d.Copy.MSSRL, d.Copy.MCL, d.Copy.MSRC = 65535, 65535, 0
	z := name('E', "Z")
	z.LogicalBlock, z.Zoned, z.ZoneSectors = 4096, true, 524288
	name('F', "Ecap").UserMax = 8192
	name('G', "Amud")
	*name('H', "E8") = Disk{Name: "E8", Driver: "sd", LogicalBlock: 512, Sectors: 1 << 16}
	*name('I', "AW") = Disk{Name: "AW", Driver: "sd", LogicalBlock: 512, Sectors: 1 << 16}
	return w
}

// The limits' vectors V1 to V16 that have a device: sectors by the minimum and by v20 as posted, and source segments.
var limitVectors = []struct {
	name, table  string
	block        uint32
	min, v20     uint64
	src          uint64
	v20described uint64 // where a leg's cap is inherited
}{
	{"V1", "0 1048576 linear A 0", 512, 128, 128, 128, 128},
	{"V2", "0 1048576 linear A 0 | 1048576 1048576 linear B 0", 4096, 128, 128, 128, 128},
	{"V4", "0 2048 striped 2 128 A 0 A 4096", 512, 128, 0, 128, 0},
	{"V5", "0 1920 striped 3 128 A 0 A 4096 A 8192", 512, 128, 0, 128, 0},
	{"V5b", "0 1728 striped 3 192 A 0 B 0 A 8192", 4096, 128, 0, 128, 0},
	{"V6", "0 2048 linear A 0 | 2048 2048 linear C 0", 512, 0, 0, 0, 0},
	{"V7", "0 2048 linear C 63", 512, 0, 0, 0, 0},
	{"V7d", "0 2048 linear C 1 | 2048 2048 linear C 4098", 512, 0, 0, 0, 0},
	{"V8", "0 3072 linear D 0 | 3072 1920 striped 2 96 A 0 A 4096", 512, 128, 0, 1, 0},
	{"V9", "0 1048576 linear E 0", 4096, 1024, 1024, 128, 1024},
	{"V10", "0 2048 linear A 0 | 2048 2048 linear F 0", 512, 128, 128, 128, 16},
	{"V11", "0 2048 linear A 0 | 2048 2048 linear G 0", 512, 128, 128, 128, 128},
	{"V12", "0 2048 linear A 0 | 2048 2048 linear D 0", 512, 128, 128, 1, 128},
	{"V13", "0 2048 linear H 0 | 2048 2048 linear D 0", 512, 0, 0, 0, 0},
	{"V14", "0 2048 striped 2 8 A 0 B 0", 4096, 128, 0, 128, 0},
	{"V14b", "0 2048 striped 2 4 A 0 B 0", 4096, 128, 0, 128, 0},
	{"V15", "0 65536 striped 2 16384 A 0 A 65536", 512, 128, 0, 128, 0},
	{"V16", "0 2048 linear I 0", 512, 0, 0, 0, 0},
}

func value(t *testing.T, vs []Value, name string) uint64 {
	t.Helper()
	for _, v := range vs {
		if v.Name == name {
			return v.Value
		}
	}
	t.Fatalf("no %s in %v", name, vs)
	return 0
}

func TestLimitVectors(t *testing.T) {
	posted := &Options{AsPosted: true}
	var b strings.Builder
	for _, v := range limitVectors {
		w := limitWorld()
		d := dmDevice(t, v.name, v.block, v.table)
		got := []uint64{
			value(t, oursLimits(w, d, nil), "max_sectors"), value(t, oursLimits(w, d, nil), "max_src_segments"),
			value(t, pairLimits(w, d, posted), "copy_max_hw_bytes") / 512, value(t, pairLimits(w, d, posted), "copy_max_bytes") / 512,
			value(t, pairLimits(w, d, nil), "copy_max_bytes") / 512, value(t, tokenLimits(w, d, nil), "copy_max_bytes") / 512,
			value(t, simpleLimits(w, d, nil), "max_copy_sectors"),
		}
		want := []uint64{v.min, v.src, v.v20, v.v20, v.v20described, v.v20described, 0}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %d, want %d", v.name, got, want)
		}
		for _, m := range []*Model{simpleCopy2021, token2023, pair2024, ours} {
			fmt.Fprintf(&b, "%s %s:", v.name, m.Name)
			for _, x := range m.Limits(w, d, nil) {
				fmt.Fprintf(&b, " %s %d %s;", x.Name, x.Value, x.Unit)
			}
			b.WriteByte('\n')
		}
	}
	golden(t, "limits", b.String())
}

// TestLimitsOfADisk: Identify to limits, by design.
func TestLimitsOfADisk(t *testing.T) {
	for _, c := range []struct {
		block, mssrl, mcl, msrc uint32
		simple                  [3]uint64 // total, range, ranges
		pair                    uint64
	}{
		{4096, 64, 256, 7, [3]uint64{2048, 512, 8}, 512},
		{512, 128, 128, 127, [3]uint64{128, 128, 128}, 128},
		{4096, 65535, math.MaxUint32, 255, [3]uint64{math.MaxUint32, 524280, 256}, 262144}, // nvmet
	} {
		w := able(1, c.mssrl, c.mcl, c.msrc)
		w.Disks[0].LogicalBlock = c.block
		d := diskDevice(t, w, 'A')
		s := simpleLimits(w, d, nil)
		if got := [3]uint64{value(t, s, "max_copy_sectors"), value(t, s, "max_copy_range_sectors"), value(t, s, "max_copy_nr_ranges")}; got != c.simple {
			t.Errorf("2021: %d, want %d", got, c.simple)
		}
		if got := value(t, pairLimits(w, d, nil), "copy_max_hw_bytes") / 512; got != c.pair {
			t.Errorf("2024: %d, want %d", got, c.pair)
		}
		if got := value(t, tokenLimits(w, d, nil), "copy_max_bytes_hw") / 512; got != c.pair {
			t.Errorf("2023: %d, want %d", got, c.pair)
		}
		w.Disks[0].UserMax = 16384
		if got := value(t, pairLimits(w, d, &Options{AsPosted: true}), "copy_max_bytes"); got != 16384 {
			t.Errorf("the cap of the disk itself: %d", got)
		}
		w.Disks[0].UserMax = 16384 + 100 // no multiple of a block: EINVAL, and nothing changes
		if got := value(t, pairLimits(w, d, nil), "copy_max_bytes"); got != c.pair*512 {
			t.Errorf("a cap that was refused counts: %d", got)
		}
	}
}

// TestOnADisk: where there is no table, every design offloads; what it makes of three sources with MSSRL 8, MCL 20 and
// three ranges, by hand: 2021 closes a payload at the ranges or at the total, and cuts a source wherever that is.
func TestOnADisk(t *testing.T) {
	var b strings.Builder
	for _, m := range []*Model{simpleCopy2021, token2023, pair2024, ours} {
		w := able(1, 8, 20, 2)
		r := within(diskDevice(t, w, 'A'), segs(0, 5, 100, 20, 200, 1, 300, 1, 400, 1), segs(1000, 28))
		o := m.Run(w, r, nil)
		fmt.Fprintf(&b, "# %s\n%s\n", m.Name, w.outcome(o))
		judge(t, m.Name, w, r, o)
		var got []string
		for _, c := range o.Commands {
			var ns []string
			for _, s := range c.Sources {
				ns = append(ns, fmt.Sprint(s.Start, "+", s.Len))
			}
			got = append(got, strings.Join(ns, " ")+" to "+fmt.Sprint(c.Dst.Start))
		}
		want := map[string]string{
			"simple-copy-2021": "0+5 100+8 108+7 to 1000, 115+5 200+1 300+1 to 1020, 400+1 to 1027",
			"token-2023":       "0+5 to 1000, 100+8 to 1005, 108+8 to 1013, 116+4 to 1021, 200+1 to 1025, 300+1 to 1026, 400+1 to 1027",
			"pair-2024":        "0+5 to 1000, 100+8 to 1005, 108+8 to 1013, 116+4 to 1021, 200+1 to 1025, 300+1 to 1026, 400+1 to 1027",
			"ublk-linear":      "0+5 100+8 108+7 to 1000, 115+5 200+1 300+1 to 1020, 400+1 to 1027",
		}[m.Name]
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s: %s, want %s", m.Name, s, want)
		}
	}
	golden(t, "disk", b.String())
}
