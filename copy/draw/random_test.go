package draw

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// names that somebody could give to a disk or device so that a picture says or does something else.
var hostile = []string{`a`, `<script>alert(1)</script>`, `"/><circle r="9`, `&amp;&#0;`, "a\x00b\x1b[31m\nc", "\xff\xfe", `]]>`, `</title></svg>`, `{{.}}`, strings.Repeat("long", 40), "ディスク", "\u202eabc", ""}

// drawn is a random device on disks of which no two places are shared.
func drawnDevice(t *rapid.T, name string, disks int, free []uint64) *series.Device {
	var parts []remap.Part
	for range rapid.IntRange(1, 4).Draw(t, "targets") {
		if rapid.Bool().Draw(t, "striped") {
			chunk, legs := rapid.SampledFrom([]uint64{8, 16, 24, 128}).Draw(t, "chunk"), rapid.IntRange(1, disks).Draw(t, "legs")
			rows := rapid.Uint64Range(1, 12).Draw(t, "rows")
			var ls []stripe.Leg
			for i := range legs {
				ls = append(ls, stripe.Leg{Disk: target.Disk(i), Start: free[i]})
				free[i] += rows*chunk + rapid.SampledFrom([]uint64{0, 8, 1 << 30}).Draw(t, "skip")
			}
			parts = append(parts, str(t, rows*chunk*uint64(legs), uint32(chunk), ls...))
			continue
		}
		d, n := rapid.IntRange(0, disks-1).Draw(t, "disk"), rapid.Uint64Range(1, 2000).Draw(t, "sectors")
		parts = append(parts, lin(t, target.Disk(d), free[d], n))
		free[d] += n + rapid.SampledFrom([]uint64{0, 1, 1 << 40}).Draw(t, "skip")
	}
	return dev(t, name, parts...)
}

// TestRandom: whatever the request and the commands, the picture is well formed, everything in it lies inside, no words
// touch, every piece is there, and names are only ever names.
func TestRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "disks")
		free := make([]uint64, n)
		names := make([]string, n)
		disks := make([]blkcopy.Disk, n)
		for i := range names {
			names[i] = rapid.SampledFrom(hostile).Draw(t, "name")
			disks[i] = nvme(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "domain"))
		}
		src := drawnDevice(t, rapid.SampledFrom(hostile).Draw(t, "source"), n, free)
		dst := drawnDevice(t, rapid.SampledFrom(hostile).Draw(t, "destination"), n, free)
		r := &series.Request{Src: src, Dst: dst}
		left, at := rapid.Uint64Range(1, min(src.Table.Sectors(), dst.Table.Sectors())).Draw(t, "sectors"), uint64(0)
		r.DstSegs = segs(dst.Table.Sectors()-left, left)
		for left > 0 {
			k := rapid.Uint64Range(1, left).Draw(t, "segment")
			if len(r.SrcSegs) == 5 {
				k = left
			}
			at = rapid.Uint64Range(0, src.Table.Sectors()-k).Draw(t, "at")
			r.SrcSegs = append(r.SrcSegs, segs(at, k)...)
			left -= k
		}
		p := &Picture{Request: r, Disk: func(d target.Disk) string { return names[d] }, Title: rapid.SampledFrom(hostile).Draw(t, "title"), Note: rapid.SampledFrom(hostile).Draw(t, "note"),
			Width: rapid.SampledFrom([]int{0, 1, 320, 380, 700, 2000}).Draw(t, "width"), Commands: plan(t, r, disks...)}
		lost := 0
		if len(p.Commands) > 0 && rapid.Bool().Draw(t, "lose one") {
			lost = 1
			p.Commands = p.Commands[1:]
		}
		text, err := p.svg()
		if err != nil {
			t.Fatal(err)
		}
		e := parse(t, text)
		if again, _ := p.svg(); !bytes.Equal(text, again) {
			t.Fatal("not the same twice")
		}
		from, _ := side(r.Src, r.SrcSegs)
		to, _ := side(r.Dst, r.DstSegs)
		all := bands(from, to, p.Commands)
		whole(t, remap.NewPieces(from, to), all, lost)
		got := tips(e)
		if len(all) <= MaxBands && len(got) != len(all) || len(got) > MaxBands {
			t.Fatalf("%d bands drawn of %d", len(got), len(all))
		}
		for _, name := range []string{"script", "circle"} {
			e.all(name, func(*element) { t.Fatal("a name became a " + name) })
		}
	})
}

// whole says whether bands are the pieces, cut: in order, without a gap, at the same places.
func whole(t failing, ps *remap.Pieces, all []band, lost int) {
	t.Helper()
	unsentOnes := 0
	i := 0
	for {
		p, ok := ps.Next()
		if !ok {
			break
		}
		for done := uint64(0); done < p.Sectors; i++ {
			if i == len(all) {
				t.Fatal("a piece is missing at ", p.Offset+done)
			}
			b := all[i]
			if b.offset != p.Offset+done || b.src.Disk != p.Src.Disk || b.src.Start != p.Src.Sector+done || b.dst.Disk != p.Dst.Disk || b.dst.Start != p.Dst.Sector+done || b.sectors == 0 {
				t.Fatal(fmt.Sprintf("%+v is not at %d of %+v", b, done, p))
			}
			if b.kind == unsent {
				unsentOnes++
			}
			done += b.sectors
		}
	}
	if i != len(all) {
		t.Errorf("%d bands too many", len(all)-i)
	}
	if (unsentOnes > 0) != (lost > 0) {
		t.Errorf("%d bands without a command, %d commands lost", unsentOnes, lost)
	}
}

// TestSum: adding up loses no sector, and leaves no more bands than there may be.
func TestSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in []band
		var at, total uint64
		pairs := rapid.SampledFrom([]int{2, 20, 500}).Draw(t, "pairs")
		for range rapid.IntRange(0, 1500).Draw(t, "bands") {
			n := rapid.Uint64Range(1, 9).Draw(t, "sectors")
			in = append(in, band{src: target.Extent{Disk: target.Disk(rapid.IntRange(0, pairs).Draw(t, "disk")), Range: target.Range{Start: at, Len: n}},
				dst: target.Extent{Range: target.Range{Start: 2 * at, Len: n}}, from: target.Range{Start: at, Len: n}, offset: at, sectors: n, pieces: 1})
			at, total = at+n, total+n
		}
		out, window, left := sum(in, total)
		if len(out) > MaxBands || (window == 0) != (len(in) <= MaxBands) {
			t.Fatalf("%d bands of %d, window %d", len(out), len(in), window)
		}
		var sectors uint64
		pieces := 0
		for _, b := range out {
			sectors, pieces = sectors+b.sectors, pieces+b.pieces
			for _, x := range in {
				if window > 0 && x.offset/window == b.offset/window && x.src.Disk == b.src.Disk && (x.src.Start < b.src.Start || x.src.End() > b.src.End() || x.from.End() > b.from.End()) {
					t.Fatalf("%+v is not in %+v", x, b)
				}
			}
		}
		if left == 0 && (sectors != total || pieces != len(in)) || left > 0 && sectors >= total {
			t.Fatalf("%d of %d sectors, %d of %d bands, %d left", sectors, total, pieces, len(in), left)
		}
	})
}
