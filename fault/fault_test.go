package fault

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
)

func at(start, n uint64) target.Range { return target.Range{Start: start, Len: n} }

// fired is at which of n reads of sector 0 a rule fires, from 1 on.
func fired(r Rule, n int) (out []int) {
	s := New([]Rule{r})
	for i := range n {
		if _, ok := s.Command(0, Read, at(0, 8)); ok {
			out = append(out, i+1)
		}
	}
	return out
}

func TestWhen(t *testing.T) {
	for _, c := range []struct {
		name string
		rule Rule
		want []int
	}{
		{"always", Rule{}, []int{1, 2, 3, 4, 5, 6, 7}},
		{"at most twice", Rule{Count: 2}, []int{1, 2}},
		{"third", Rule{Nth: 3, Count: 1}, []int{3}},
		{"first", Rule{Nth: 1, Count: 1}, []int{1}},
		{"third and the next", Rule{Nth: 3, Count: 2}, []int{3, 4}},
		{"every third", Rule{Every: 3}, []int{3, 6}},
		{"every third, once", Rule{Every: 3, Count: 1}, []int{3}},
		{"surely", Rule{Probability: 1}, []int{1, 2, 3, 4, 5, 6, 7}},
	} {
		if got := fired(c.rule, 7); !slices.Equal(got, c.want) {
			t.Errorf("%s: at %v, want %v", c.name, got, c.want)
		}
	}
}

// A probability is about that often, the same with the same seed, and other with another.
func TestProbability(t *testing.T) {
	const n = 20000
	for _, p := range []float64{0.01, 0.25, 0.9} {
		a, b := fired(Rule{Probability: p, Seed: 7}, n), fired(Rule{Probability: p, Seed: 7}, n)
		if !slices.Equal(a, b) {
			t.Errorf("%v: two sets of one seed differ", p)
		}
		if slices.Equal(a, fired(Rule{Probability: p, Seed: 8}, n)) {
			t.Errorf("%v: another seed makes no difference", p)
		}
		if share := float64(len(a)) / n; share < p*0.8 || share > p*1.2 {
			t.Errorf("%v: fired with %v", p, share)
		}
	}
}

func TestWhere(t *testing.T) {
	r := Rule{Disk: 1, Op: Write, Range: at(100, 10)}
	for _, c := range []struct {
		disk target.Disk
		op   Op
		r    target.Range
		want bool
	}{
		{1, Write, at(100, 10), true}, {1, Write, at(0, 200), true}, {1, Write, at(109, 1), true}, {1, Write, at(99, 2), true},
		{1, Write, at(99, 1), false}, {1, Write, at(110, 1), false}, {1, Read, at(100, 10), false}, {0, Write, at(100, 10), false},
		{1, Flush, target.Range{}, false},
	} {
		if _, ok := New([]Rule{r}).Command(c.disk, c.op, c.r); ok != c.want {
			t.Errorf("%v of disk %d, %v: %v", c.op, c.disk, c.r, ok)
		}
	}
	for op := Read; op <= Copy; op++ {
		if _, ok := New([]Rule{{}}).Command(0, op, target.Range{}); !ok {
			t.Errorf("any does not hit %v", op)
		}
	}
	if _, ok := New([]Rule{{Range: at(0, 10)}}).Command(0, Flush, target.Range{}); ok {
		t.Error("a flush has no range, and was hit by one")
	}
}

// Rules count on their own; the first that fires is done, and only that one has fired.
func TestSeveral(t *testing.T) {
	s := New([]Rule{{Nth: 2, Count: 1, Action: Action{Errno: unix.EIO}}, {Op: Read, Every: 2, Action: Action{Errno: unix.ENOSPC}}, {Disk: 3}})
	var got []unix.Errno
	for range 4 {
		a, _ := s.Command(0, Read, at(0, 1))
		got = append(got, a.Errno)
	}
	if want := []unix.Errno{0, unix.EIO, 0, unix.ENOSPC}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if c := s.Counts(); !slices.Equal(c, []Count{{4, 1}, {4, 1}, {0, 0}}) {
		t.Errorf("counts %v", c)
	}
}

// A copy is hit by its sources and by its destination, and once, whatever of it is hit.
func TestCopy(t *testing.T) {
	e := func(d target.Disk, start, n uint64) target.Extent { return target.Extent{Disk: d, Range: at(start, n)} }
	src, dst := []target.Extent{e(0, 0, 8), e(0, 100, 8), e(0, 200, 8)}, e(1, 1000, 24)
	for _, c := range []struct {
		rule Rule
		want int // -1: not hit
	}{
		{Rule{Disk: 0}, 0}, {Rule{Disk: 1, Op: Copy}, 0}, {Rule{Disk: 2}, -1}, {Rule{Disk: 0, Op: Read}, -1},
		{Rule{Disk: 0, Range: at(207, 1)}, 2}, {Rule{Disk: 0, Range: at(208, 1)}, -1}, {Rule{Disk: 0, Range: at(50, 60)}, 1},
		{Rule{Disk: 1, Range: at(1007, 1)}, 0}, {Rule{Disk: 1, Range: at(1008, 1)}, 1}, {Rule{Disk: 1, Range: at(1023, 9)}, 2}, {Rule{Disk: 1, Range: at(1024, 9)}, -1},
	} {
		s := New([]Rule{c.rule})
		_, i, ok := s.Copy(src, dst)
		if ok != (c.want >= 0) || ok && i != c.want {
			t.Errorf("%+v: source %d, %v", c.rule, i, ok)
		}
		if n := s.Counts()[0].Matched; ok && n != 1 {
			t.Errorf("%+v: %d matches", c.rule, n)
		}
	}
}

func TestWords(t *testing.T) {
	for op := Any; op <= Copy; op++ {
		if got, ok := ParseOp(op.String()); !ok || got != op {
			t.Errorf("%v is %v", op, got)
		}
	}
	if _, ok := ParseOp("seek"); ok {
		t.Error("seek")
	}
}

func TestRelease(t *testing.T) {
	s := New(nil)
	began := time.Now()
	s.Wait(5 * time.Millisecond)
	if time.Since(began) < 5*time.Millisecond {
		t.Error("too early")
	}
	s.Release()
	s.Wait(time.Hour)
}
