package linear

import (
	"errors"
	"testing"

	"github.com/ublk-go/ublk-linear/target"
)

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		area target.Range
		want error
	}{
		{target.Range{Start: 5, Len: 0}, target.ErrZeroLength},
		{target.Range{Start: target.MaxSectors, Len: 1}, target.ErrTooLong},
		{target.Range{Start: 0, Len: 1 << 63}, target.ErrTooLong},
	} {
		if _, err := New(0, c.area); !errors.Is(err, c.want) {
			t.Errorf("%+v: got %v", c.area, err)
		}
	}
}

func TestMap(t *testing.T) {
	l, err := New(3, target.Range{Start: 384, Len: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for op := target.Read; op <= target.WriteZeroes; op++ {
		segs, n := l.Map(make([]target.Segment, 0, 1), op, target.Range{Start: 996, Len: 4})
		if n != 4 || len(segs) != 1 || segs[0] != (target.Segment{Sector: 1380, Sectors: 4, Disk: 3}) {
			t.Errorf("%v: %+v %d", op, segs, n)
		}
	}
	if segs, n := l.Map(nil, target.Read, target.Range{Start: 0, Len: 1}); n != 0 || segs != nil {
		t.Errorf("without room: %v %d", segs, n)
	}
	if got := l.Params(func(target.Disk) string { return "8:0" }); got != "8:0 384" {
		t.Errorf("params %q", got)
	}
}
