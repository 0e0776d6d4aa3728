package draw

import (
	"testing"

	"github.com/ublk-go/ublk-linear/target"
)

// TestAxis: places are inside, in order, and far ranges share what room there is; what is not shown has a place too.
func TestAxis(t *testing.T) {
	var rs []target.Range
	for i := range uint64(100) {
		rs = append(rs, target.Range{Start: i * i << 20, Len: 8})
	}
	a := newAxis(rs, 1<<40, 50, 200)
	if n := len(a.runs); n < 2 || n > 200/roomRun {
		t.Errorf("%d runs", n)
	}
	last := a.x
	for _, r := range rs {
		lo, hi := a.span(r)
		if lo < last-.001 || hi < lo+1 || hi > a.x+a.w+1 {
			t.Errorf("%+v is from %v to %v", r, lo, hi)
		}
		last = lo
	}
	for _, s := range []uint64{0, 12345, 1 << 20 << 13, 1 << 62} {
		if x := a.at(s, false); !(x >= a.x && x <= a.x+a.w+.001) {
			t.Errorf("sector %d is at %v", s, x)
		}
	}
}

// TestSumFine: there are as many windows as may be.
func TestSumFine(t *testing.T) {
	for pairs, want := range map[int]int{1: 64, 3: 192, 5: 160, 150: 150} {
		var in []band
		for i := range uint64(9600) {
			in = append(in, band{src: target.Extent{Disk: target.Disk(int(i) % pairs), Range: target.Range{Start: i, Len: 1}}, offset: i, sectors: 1, pieces: 1})
		}
		if out, _, left := sum(in, 9600); len(out) != want || left != 0 {
			t.Errorf("%d pairs: %d bands, want %d", pairs, len(out), want)
		}
	}
}
