package draw

import (
	"maps"
	"slices"

	"github.com/ublk-go/ublk-linear/target"
)

// Heights, in the picture's units, and sizes of fonts.
const (
	margin    = 16
	barHeight = 24
	diskBar   = 36
	stripBar  = 17
	rulerRoom = 18
	fan       = 56  // between a device and its disks
	middle    = 190 // between the disks
	titleFont = 16
	font      = 12
	small     = 10.5
	wideFrom  = 600 // from this width on there is room for words beside the bars, and for disks above themselves
)

// column is a disk in its row.
type column struct {
	disk target.Disk
	name string
	*axis
}

// pairOf is two disks.
type pairOf struct{ src, dst target.Disk }

// share is what a pair of disks has of a picture.
type share struct {
	pairOf
	bands   int
	sectors uint64
}

// layout is where everything of a picture lies, top to bottom.
type layout struct {
	w, h, left, inner float64 // left is where bars begin, inner how wide they are
	bands             []band
	window            uint64 // by which bands were added up; 0: they were not
	hidden            int    // bands that are not drawn

	src, dst         *axis
	read, written    []column
	pairs            []share // in order of their first band
	colours          map[pairOf]int
	top              [4]float64 // of the source's bar, the disks', the disks', the destination's bar
	head, note       []string   // lines under the title
	legend           float64    // where it begins
	columns          int        // of the legend
	keys             []kind     // kinds that are there and need a word
	subject, summary string
}

func (p *Picture) layout() (*layout, error) {
	if err := Check(p.Request); err != nil {
		return nil, err
	}
	src, _ := side(p.Request.Src, p.Request.SrcSegs)
	dst, _ := side(p.Request.Dst, p.Request.DstSegs)
	l := &layout{w: 1200, left: margin}
	if p.Width > 0 {
		l.w = max(float64(p.Width), 320)
	}
	if l.w >= wideFrom {
		l.left += 92
	}
	l.inner = l.w - l.left - margin
	all := bands(src, dst, p.Commands)
	l.count(all)
	l.bands, l.window, l.hidden = sum(all, src.Sectors())
	var from, to []target.Range
	read, written := map[target.Disk][]target.Range{}, map[target.Disk][]target.Range{}
	both := false
	for _, b := range l.bands {
		from, to = append(from, b.from), append(to, b.to)
		read[b.src.Disk] = append(read[b.src.Disk], b.src.Range)
		written[b.dst.Disk] = append(written[b.dst.Disk], b.dst.Range)
	}
	for d := range read {
		both = both || written[d] != nil
	}
	if both && l.w >= wideFrom { // a place is above itself then, so that an overlap on a disk is seen
		for d, rs := range written {
			read[d] = append(read[d], rs...)
		}
		written = read
	}
	l.src, l.dst = newAxis(from, src.Table.Sectors(), l.left, l.inner), newAxis(to, dst.Table.Sectors(), l.left, l.inner)
	l.read, l.written = l.row(read, p.Disk), l.row(written, p.Disk)
	l.words(p, all)
	y := float64(margin) + 16 + 16*float64(len(l.head)+len(l.note)) + 14
	l.top[0] = y + rulerRoom + stripBar
	l.top[1] = l.top[0] + barHeight + fan
	l.top[2] = l.top[1] + diskBar + middle
	l.top[3] = l.top[2] + diskBar + fan
	l.legend = l.top[3] + barHeight + stripBar + rulerRoom + 26
	l.columns = max(int((l.w-2*margin)/330), 1)
	entries := min(len(l.pairs), maxLegend) + len(l.keys)
	if len(l.pairs) > maxLegend {
		entries++
	}
	l.h = l.legend + 18*float64((entries+l.columns-1)/l.columns) + margin
	return l, nil
}

// count finds out what pairs and kinds there are.
func (l *layout) count(all []band) {
	l.colours = map[pairOf]int{}
	kinds := map[kind]bool{}
	for _, b := range all {
		kinds[b.kind] = true
		k := pairOf{b.src.Disk, b.dst.Disk}
		i, ok := l.colours[k]
		if !ok {
			i = len(l.pairs)
			l.colours[k] = i
			l.pairs = append(l.pairs, share{pairOf: k})
		}
		l.pairs[i].bands++
		l.pairs[i].sectors += b.sectors
	}
	delete(kinds, offloaded)
	l.keys = slices.Sorted(maps.Keys(kinds))
}

// row lays disks side by side: half of the room is for all alike, so that a name fits, half goes by what is shown of each.
func (l *layout) row(used map[target.Disk][]target.Range, name func(target.Disk) string) []column {
	disks := slices.Sorted(maps.Keys(used))
	n := float64(len(disks))
	between := min(24, l.inner/(6*n))
	room := l.inner - (n-1)*between
	lens := make([]float64, len(disks))
	var total float64
	for i, d := range disks {
		for _, r := range used[d] {
			lens[i] += float64(r.Len)
		}
		total += lens[i]
	}
	var out []column
	x := l.left
	for i, d := range disks {
		w := room/n/2 + room/2*lens[i]/total
		out = append(out, column{d, name(d), newAxis(used[d], target.MaxSectors, x, w)})
		x += w + between
	}
	return out
}

// of finds a disk's column.
func of(row []column, d target.Disk) *column {
	i, _ := slices.BinarySearchFunc(row, d, func(c column, d target.Disk) int { return int(c.disk) - int(d) })
	return &row[i]
}
