package workload

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/copy"
)

const filefrag512 = `Filesystem type is: ef53
File size of a (1 of 2) is 70000 (144 blocks of 512 bytes)
 ext:     logical_offset:        physical_offset: length:   expected: flags:
   0:        0..       7:    2162688..   2162695:      8:            
   1:        8..      71:    4096000..   4096063:     64:    2162696: shared
   2:       72..     103:    1000000..   1000031:     32:    4096064: unwritten
   3:      104..     143:     800000..    800039:     40:    1000032: last,eof
a (1 of 2): 4 extents found
`

const filefrag4096 = `Filesystem type is: 58465342
File size of /mnt/x: y/3 is 12288 (3 blocks of 4096 bytes)
 ext:     logical_offset:        physical_offset: length:   expected: flags:
   0:        0..       1:         24..        25:      2:            
   1:        2..       2:         12..        12:      1:         26: last,shared,eof
3: 2 extents found
`

func TestParseExtents(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []Extent
		err        string
	}{
		{"filefrag -b512", filefrag512, []Extent{{2162688 * 512, 4096}, {4096000 * 512, 32768}, {800000 * 512, 20480}}, ""},
		{"filefrag", filefrag4096, []Extent{{24 * 4096, 8192}, {12 * 4096, 4096}}, ""},
		{"a table without header", strings.SplitN(filefrag512, "\n", 3)[2], nil, "before the size of the blocks"},
		{"two files", filefrag512 + filefrag4096, nil, "a second file"},
		{"delalloc", strings.Replace(filefrag512, "shared", "unknown_loc,delalloc", 1), nil, "line 5: the extent is unknown_loc"},
		{"compressed", strings.Replace(filefrag512, "shared", "shared,encoded", 1), nil, "encoded"},
		{"inline", strings.Replace(filefrag512, "last,eof", "last,not_aligned,inline,eof", 1), nil, "inline"},
		{"no numbers", strings.Replace(filefrag512, "4096000..", "x..", 1), nil, "line 5: not an extent"},
		{"numbers too large", strings.Replace(filefrag512, "4096000..", "36028797018963969..", 1), nil, "line 5: not an extent"},
		{"nothing written", strings.NewReplacer("2:            ", "2:             unwritten", "last,shared", "last,unwritten").Replace(filefrag4096), nil, "filefrag -s"},
		{"one extent", strings.Replace(filefrag4096, "0:        0..       1:         24..        25:      2:            ", "", 1), []Extent{{12 * 4096, 4096}}, ""},
		{"no extents", "Filesystem type is: ef53\nFile size of a is 0 (0 blocks of 4096 bytes)\na: 0 extents found\n", nil, "no extents"},
		{"JSON", ` [{"start":4096,"length":512},{"start":0,"length":1024}]`, []Extent{{4096, 512}, {0, 1024}}, ""},
		{"JSON of another kind", `[{"physical":4096,"length":512}]`, nil, "physical"},
		{"JSON twice", `[{"start":4096,"length":512}] []`, nil, "more than one"},
		{"lines", "# of disk a\n4096 512\n\n0 1024 # the head\n", []Extent{{4096, 512}, {0, 1024}}, ""},
		{"lines with a word", "4096 512\n0 x\n", nil, `line 2: "x"`},
		{"lines of one", "4096\n", nil, "line 1"},
		{"empty", " \n", nil, "empty"},
		{"an empty extent", "0 0\n", nil, "extent 0 is empty"},
		{"wraps", "18446744073709551104 1024\n", nil, "past 2^63"},
		{"too much together", "0 9223372036854775807\n0 1\n", nil, "together"},
	} {
		got, err := ParseExtents([]byte(c.text))
		if c.err != "" {
			if !errors.Is(err, ErrExtents) || !strings.Contains(err.Error(), c.err) || got != nil {
				t.Errorf("%s: %v %v, not %q", c.name, got, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v %v", c.name, got, err)
		}
	}
}

// TestFilefragHere: what the program of this machine prints, if it is there and the file system answers.
func TestFilefragHere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{0, 1 << 20} { // a hole between
		if _, err := f.WriteAt(make([]byte, 64<<10), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	for _, block := range []string{"-b512", "-b4096"} {
		cmd := exec.Command("filefrag", "-v", block, path)
		if cmd.Err != nil {
			cmd.Path = "/usr/sbin/filefrag"
			cmd.Err = nil
		}
		out, err := cmd.Output()
		if err != nil {
			t.Skip("filefrag:", err)
		}
		list, err := ParseExtents(out)
		if errors.Is(err, ErrExtents) && strings.Contains(err.Error(), "no place of its own") {
			t.Skip(err)
		}
		var total uint64
		for _, e := range list {
			total += e.Len
		}
		if err != nil || len(list) < 2 || total != 128<<10 {
			t.Errorf("%v %v of\n%s", list, err, out)
		}
	}
}

func FuzzParseExtents(f *testing.F) {
	f.Add([]byte(filefrag512))
	f.Add([]byte(filefrag4096))
	f.Add([]byte(`[{"start":4096,"length":512}]`))
	f.Add([]byte("4096 512\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := ParseExtents(text)
		if (err == nil) != (checkExtents(list) == nil) {
			t.Errorf("%v %v", list, err)
		}
	})
}

// TestFit: places keep their order, their neighbours and their lengths, and lie in the room; where there is room for all
// they do not move.
func TestFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const unit = 4096
		var list []Extent
		var at uint64
		var need uint64
		for i := range rapid.IntRange(1, 20).Draw(t, "n") {
			if i > 0 && rapid.Bool().Draw(t, "gap") || i == 0 {
				at += rapid.Uint64Range(0, 1<<rapid.IntRange(1, 30).Draw(t, "magnitude")).Draw(t, "gap") * unit
			}
			n := rapid.Uint64Range(1, 100).Draw(t, "length")
			list = append(list, Extent{at, n * unit})
			at, need = at+n*unit, need+n
		}
		list = rapid.Permutation(list).Draw(t, "order")
		room := rapid.Uint64Range(need/2, need*4).Draw(t, "room")
		if rapid.Bool().Draw(t, "ample") {
			room = at/unit + 5
		}
		got, ok := fit(list, unit, room)
		if ok != (need <= room) {
			t.Fatalf("%v with %d units in %d", ok, need, room)
		}
		for i := range got {
			a, e := got[i], list[i]
			if a.Len != e.Len || a.Pos%unit != 0 || a.Pos+a.Len > room*unit || room >= at/unit && a.Pos != e.Start {
				t.Fatalf("extent %+v at %+v in a room of %d", e, a, room*unit)
			}
			for k := range got {
				b, f := got[k], list[k]
				if e.Start+e.Len <= f.Start && a.Pos+a.Len > b.Pos || e.Start+e.Len == f.Start && a.Pos+a.Len != b.Pos {
					t.Fatalf("%+v %+v are at %+v %+v", e, f, a, b)
				}
			}
		}
	})
}

// TestFitOutwards: what is not on whole units has those that it touches.
func TestFitOutwards(t *testing.T) {
	got, ok := fit([]Extent{{512, 1024}, {3*4096 + 4000, 200}, {9 * 4096, 4096}}, 4096, 100)
	if want := []blkcopy.Seg{{Pos: 0, Len: 4096}, {Pos: 3 * 4096, Len: 8192}, {Pos: 9 * 4096, Len: 4096}}; !ok || !slices.Equal(got, want) {
		t.Errorf("%v %v", got, ok)
	}
}

// TestManyExtents: a request has no more segments than any copy may have, and both sides stay equal.
func TestManyExtents(t *testing.T) {
	var list []Extent
	for i := range uint64(2 * blkcopy.MaxSegs) {
		list = append(list, Extent{i * 1024, 512})
	}
	q, err := FileOf(list).Request(Shape{SrcBytes: 1 << 30, DstBytes: 1 << 30}, Params{Align: 512, MaxBytes: 64 << 20}, 1, 1)
	if err != nil || len(q.Src) != blkcopy.MaxSegs || q.Dst[0].Len != q.Bytes() {
		t.Errorf("%d sources, %v, %v", len(q.Src), q.Dst, err)
	}
}
