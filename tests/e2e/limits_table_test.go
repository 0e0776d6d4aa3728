package e2e

import (
	"cmp"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// choose takes of each disk either the whole or its partitions.
func (b *limitBench) choose(r *rand.Rand) []int {
	parts := map[string]bool{}
	for _, d := range b.disks {
		if _, known := parts[d.whole]; d.whole != "" && !known {
			parts[d.whole] = r.IntN(2) == 0
		}
	}
	var use []int
	for i, d := range b.disks {
		if takes, has := parts[d.node]; has && takes || d.whole != "" && !parts[d.whole] {
			continue
		}
		use = append(use, i)
	}
	return use
}

// cap is an administrator who lowers what some disks take. The returned function takes it back.
func (b *limitBench) cap(t *testing.T, r *rand.Rand, use []int) func() {
	var undo []func()
	write := func(d *limitDisk, attr string, v, back uint64) {
		if d.whole != "" {
			d = &limitDisk{what: d.what, node: d.whole}
		}
		file := filepath.Join("/sys/class/block", d.name(), "queue", attr)
		set := func(v uint64) {
			if err := os.WriteFile(file, []byte(strconv.FormatUint(v, 10)), 0); err != nil {
				t.Fatalf("%s (%s): %v", d.what, file, err)
			}
		}
		set(v)
		undo = append(undo, func() { set(back) })
	}
	for range r.IntN(5) {
		d := b.disks[use[r.IntN(len(use))]]
		q := cmp.Or(d.whole, d.node)
		if r.IntN(2) == 0 {
			v := []uint64{4, 8, 20, 31, 60, 124, 127, 128, 256, 1280, 4096}[r.IntN(11)]
			if soft := uint64(b.rules.softCap / 2); v < queue(t, q, "max_sectors_kb") && v != soft && v >= d.lbs/2 {
				write(d, "max_sectors_kb", v, 0)
			}
		} else if hw, g := queue(t, q, "discard_max_hw_bytes"), queue(t, q, "discard_granularity"); g != 0 {
			write(d, "discard_max_bytes", []uint64{g, min(hw/g, 64) * g}[r.IntN(2)], min(hw, math.MaxUint32)/g*g)
		}
	}
	return func() {
		slices.Reverse(undo)
		for _, f := range undo {
			f()
		}
	}
}

// random makes a table of some of the disks. Three in four keep to the logical blocks of all their disks, the others
// hardly; sizes and places are of every kind, with no regard to physical blocks.
func (b *limitBench) random(r *rand.Rand, use []int) randomTable {
	zoned := r.IntN(12) == 0
	var palette []int
	for len(palette) < 1+r.IntN(4) {
		d := use[r.IntN(len(use))]
		if (b.disks[d].zone != 0) == zoned || r.IntN(60) == 0 {
			palette = append(palette, d)
		}
	}
	unit, room := uint64(1), uint64(1)<<40
	for _, d := range palette {
		unit = max(unit, b.disks[d].lbs, b.disks[d].zone)
		room = min(room, b.disks[d].sectors)
	}
	if zoned && r.IntN(8) != 0 {
		unit = max(unit, 8192)
	} else if r.IntN(4) == 0 {
		unit = max(1, unit>>r.IntN(4))
	}
	room = room / unit * unit
	grid := r.IntN(4) == 0 // every leg begins with a physical block of its whole disk
	var out randomTable
	for range 1 + r.IntN(6) {
		p := part{legs: make([]leg, 1)}
		if r.IntN(5) < 2 || zoned && r.IntN(8) != 0 {
			p.length = upTo(r, room/unit) * unit
		} else {
			p.legs = make([]leg, 1+r.IntN(5))
			if p.chunk = chunk(r) * unit; r.IntN(6) == 0 {
				p.chunk = []uint64{384, 1000, 1008, 2048, 2160, 6144, 10000, 16384, 32768}[r.IntN(9)]
			}
			p.chunk = min(p.chunk, room)
			p.length = p.chunk * uint64(len(p.legs)) * upTo(r, room/p.chunk)
		}
		for i := range p.legs {
			d := palette[r.IntN(len(palette))]
			at := b.place(r, b.disks[d], p.width(), unit)
			if pbs := b.disks[d].pbs; grid {
				if off := (at + b.bottoms[d].Start) % pbs; off != 0 {
					at += pbs - off
				}
			}
			p.legs[i] = leg{d, at}
		}
		if d := b.disks[p.legs[0].disk]; d.zone != 0 && p.chunk == 0 && r.IntN(4) == 0 { // to the end, which may be a smaller zone
			p.legs[0].start = d.sectors/d.zone*d.zone - d.zone*r.Uint64N(3)
			if p.length = d.sectors - p.legs[0].start; p.length == 0 {
				p.length = d.zone
			}
		}
		out = append(out, p)
	}
	return out
}

// place is where a leg begins on a disk.
func (b *limitBench) place(r *rand.Rand, d *limitDisk, width, unit uint64) uint64 {
	last := d.sectors - min(d.sectors, width)
	at := r.Uint64N(last + 1)
	switch r.IntN(8) {
	case 0:
		return 0
	case 1:
		at = at / max(d.pbs, unit) * max(d.pbs, unit)
	case 2:
		at = min(r.Uint64N(64)*unit, last/unit*unit)
	default:
		at = at / unit * unit
	}
	if r.IntN(100) == 0 {
		at = last + unit // past the end
	}
	return at
}
