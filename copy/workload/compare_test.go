package workload

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// pieceByPiece is a model that does a request right, with a command for every piece, last piece first: sound as long as
// source and destination do not overlap.
func pieceByPiece(r *series.Request) *series.Outcome {
	o := &series.Outcome{Accepted: true}
	ps := remap.NewPieces(side(r.Src, r.SrcSegs), side(r.Dst, r.DstSegs))
	for p, ok := ps.Next(); ok; p, ok = ps.Next() {
		o.Commands = append([]series.Command{{Ranges: 1, Sources: []target.Extent{{Disk: p.Src.Disk, Range: target.Range{Start: p.Src.Sector, Len: p.Sectors}}},
			Dst: target.Extent{Disk: p.Dst.Disk, Range: target.Range{Start: p.Dst.Sector, Len: p.Sectors}}}}, o.Commands...)
		o.Bytes += p.Sectors * 512
	}
	o.Offloaded = o.Bytes
	return o
}

func fake(name string, run func(n int, r *series.Request, o *series.Options) *series.Outcome) *series.Model {
	n := -1
	return &series.Model{Name: name, Run: func(_ *series.World, r *series.Request, o *series.Options) *series.Outcome {
		n++
		return run(n, r, o)
	}}
}

func TestLayouts(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range Layouts() {
		if got, err := FindLayout(l.Name); err != nil || got.Name != l.Name || seen[l.Name] || l.What == "" {
			t.Error(l.Name, err)
		}
		seen[l.Name] = true
		s := l.Shape()
		if s.SrcBytes != 256<<20 || s.DstBytes != 256<<20 || s.Same != (l.Name != "two-linear") || (s.Block == 4096) != (l.Name == "blocks") {
			t.Errorf("%s: %+v", l.Name, s)
		}
		if l.Src.Bare != (l.Name == "disk") || l.Src.Bare && l.World.Disks[0].Sectors != l.Src.Table.Sectors() {
			t.Errorf("%s: bare %v", l.Name, l.Src.Bare)
		}
		used := map[target.Disk][]target.Range{} // what a layout uses of a disk, lies on it and does not overlap
		for _, d := range []*series.Device{l.Src, l.Dst} {
			if d == l.Dst && s.Same {
				continue
			}
			for _, span := range d.Table.Spans() {
				for e := range span.Extents {
					if int(e.Disk) >= len(l.World.Disks) || e.End() > l.World.Disks[e.Disk].Sectors {
						t.Errorf("%s: %+v is not on its disk", l.Name, e)
					}
					for _, o := range used[e.Disk] {
						if e.Start < o.End() && o.Start < e.End() {
							t.Errorf("%s: %+v overlaps %+v", l.Name, e, o)
						}
					}
					used[e.Disk] = append(used[e.Disk], e.Range)
				}
			}
		}
		if newJudge(l) == nil {
			t.Errorf("%s: not judged", l.Name)
		}
	}
	if _, err := FindLayout("raid"); err == nil || !strings.Contains(err.Error(), `no layout "raid": disk, linear, two-linear, concat`) {
		t.Error(err)
	}
}

// TestCompare counts what is told, and finds by itself what is not told.
func TestCompare(t *testing.T) {
	l, _ := FindLayout("concat")
	w, _ := Find("clone")
	models := []*series.Model{
		fake("right", func(_ int, r *series.Request, _ *series.Options) *series.Outcome { return pieceByPiece(r) }),
		fake("refuses", func(n int, r *series.Request, _ *series.Options) *series.Outcome {
			if n%2 == 0 {
				return &series.Outcome{Errno: unix.EINVAL}
			}
			o := pieceByPiece(r)
			o.Errno, o.Commands, o.Bytes, o.Offloaded, o.Host = unix.EIO, nil, 0, 0, 7
			return o
		}),
		fake("lies", func(n int, r *series.Request, _ *series.Options) *series.Outcome {
			o := pieceByPiece(r)
			switch n {
			case 0:
				o.Commands = o.Commands[1:] // the last piece is not copied, and said to be
			case 1:
				o.Commands = append(o.Commands, series.Command{Ranges: 1, Dst: target.Extent{Range: target.Range{Start: 5, Len: 1}}, // and a sector of nobody
					Sources: []target.Extent{{Range: target.Range{Start: 6, Len: 1}}}})
			case 2:
				o.Commands[0].Dst.Start = l.World.Disks[0].Sectors - 1 // outside
			case 3:
				o.Commands, o.Bytes, o.Offloaded, o.Errno = nil, 0, 0, unix.EIO // true: nothing was copied
				o.Wrong = []series.Finding{{Defect: "x"}, {Defect: "x"}, {Text: "y"}}
			}
			return o
		}),
		fake("never", func(_ int, r *series.Request, _ *series.Options) *series.Outcome {
			o := pieceByPiece(r)
			o.Never, o.Commands = true, nil
			return o
		}),
		fake("told", func(_ int, r *series.Request, o *series.Options) *series.Outcome {
			return &series.Outcome{Accepted: true, Never: !o.AsPosted}
		}),
		fake("greedy", func(_ int, r *series.Request, _ *series.Options) *series.Outcome {
			r.SrcSegs[0].Pos = 0 // its own request, not the others'
			return &series.Outcome{Accepted: true}
		}),
		fake("right again", func(_ int, r *series.Request, _ *series.Options) *series.Outcome { return pieceByPiece(r) }),
	}
	rows, err := Compare(context.Background(), models, []*Layout{l}, []*Workload{w}, &Options{Requests: 4, Seed: 3, AsPosted: true})
	if err != nil {
		t.Fatal(err)
	}
	var bytes, commands uint64
	for i := range uint64(4) {
		q, _ := w.Request(l.Shape(), Params{}, 3, i)
		bytes += q.Bytes()
		commands += uint64(len(pieceByPiece(l.request(q)).Commands))
	}
	right := rows[0].Tally
	if right.Bytes != bytes || right.Offloaded != bytes || right.Commands != commands || right.Corrupt != 0 || right.Judged != 4 || right.Median == 0 {
		t.Errorf("%+v", right)
	}
	if d := cmp.Diff(right, rows[6].Tally, cmpopts.IgnoreUnexported(Tally{})); d != "" {
		t.Errorf("the same model after the others: %s", d)
	}
	r := rows[1].Tally
	if r.Refused["EINVAL"] != 2 || r.Failed["EIO"] != 2 || r.Host != 14 || r.Median != 0 || r.Corrupt != 0 {
		t.Errorf("%+v", r)
	}
	r = rows[2].Tally
	if r.Corrupt != 3 || r.Wrong != 1 || r.Findings["x"] != 1 || r.Findings[""] != 1 || len(r.Refused) != 0 {
		t.Errorf("%+v", r)
	}
	if r = rows[3].Tally; r.Never != 4 || r.Corrupt != 0 {
		t.Errorf("%+v", r)
	}
	if r = rows[4].Tally; r.Never != 0 || r.Corrupt != 0 {
		t.Errorf("%+v", r)
	}
}

// TestMedian is the lower middle of accepted requests, also of rows put together.
func TestMedian(t *testing.T) {
	l, _ := FindLayout("linear")
	sizes := []int{9, 1, 5, 7, 3, 0}
	m := fake("m", func(n int, r *series.Request, _ *series.Options) *series.Outcome {
		o := &series.Outcome{Accepted: n%6 != 5}
		c := pieceByPiece(r).Commands[0]
		for range sizes[n%6] {
			o.Commands = append(o.Commands, c)
		}
		return o
	})
	w, _ := Find("clone")
	w2 := *w
	w2.Name = "clone again"
	rows, err := Compare(context.Background(), []*series.Model{m}, []*Layout{l}, []*Workload{w, &w2}, &Options{Requests: 6})
	if err != nil || rows[0].Median != 5 || rows[0].Commands != 25 || rows[1].Workload != "clone again" {
		t.Fatalf("%+v %v", rows, err)
	}
	got := Sum(rows, func(r *Row) Row { return Row{Layout: r.Layout, Design: r.Design} })
	if len(got) != 1 || got[0].Median != 5 || got[0].Commands != 50 || got[0].Requests != 12 || got[0].Refused[""] != 2 || got[0].Workload != "" || got[0].Bytes != rows[0].Bytes+rows[1].Bytes {
		t.Errorf("%+v", got)
	}
}

func TestCompareFails(t *testing.T) {
	l, _ := FindLayout("linear")
	m := []*series.Model{fake("m", func(_ int, r *series.Request, _ *series.Options) *series.Outcome { return &series.Outcome{} })}
	if _, err := Compare(context.Background(), m, []*Layout{l}, All(), &Options{}); !errors.Is(err, ErrParams) {
		t.Error(err)
	}
	_, err := Compare(context.Background(), m, []*Layout{l}, All(), &Options{Requests: 1, Params: Params{Align: 7}})
	if !errors.Is(err, ErrParams) || !strings.Contains(err.Error(), "workload defrag on linear") {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := Compare(ctx, m, []*Layout{l}, All(), &Options{Requests: 1}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestJudgeOverlap: where source and destination overlap, memmove's result is right and what a wrong order makes is not.
func TestJudgeOverlap(t *testing.T) {
	l, _ := FindLayout("linear")
	j := newJudge(l)
	q := &Request{Src: []blkcopy.Seg{{Pos: 0, Len: 8192}}, Dst: []blkcopy.Seg{{Pos: 4096, Len: 8192}}}
	whole := pieceByPiece(l.request(q))
	if len(whole.Commands) != 1 || j.wrong(q, whole) {
		t.Errorf("%+v", whole)
	}
	half := func(at uint64) series.Command {
		return series.Command{Ranges: 1, Sources: []target.Extent{{Range: target.Range{Start: diskStart + at, Len: 8}}}, Dst: target.Extent{Range: target.Range{Start: diskStart + at + 8, Len: 8}}}
	}
	for _, c := range []struct {
		first, second uint64
		wrong         bool
	}{{8, 0, false}, {0, 8, true}, {8, 0, false}} {
		o := &series.Outcome{Accepted: true, Bytes: 8192, Commands: []series.Command{half(c.first), half(c.second)}}
		if j.wrong(q, o) != c.wrong {
			t.Errorf("%+v", c)
		}
		if o.Bytes = 4096; j.wrong(q, o) { // the first half is right in either order
			t.Errorf("%+v, a prefix", c)
		}
	}
}
