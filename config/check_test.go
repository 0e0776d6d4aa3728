package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// check runs Check on a text and returns the errors.
func check(t *testing.T, text string, facts map[string]Facts) Problems {
	t.Helper()
	f, ps := Parse("c.toml", []byte("version = 1\n"+text))
	if errs := ps.Errors(); len(errs) != 0 {
		t.Fatal(errs)
	}
	return f.Check(facts).Errors()
}

func TestCheckFacts(t *testing.T) {
	const text = "[disk.a]\npath = \"/dev/disk/by-id/a\"\n[disk.b]\nfile = \"b\"\ncreate = \"1MiB\"\n" +
		"[device.d]\ntable = \"0 1000 linear a 3\\n1000 1000 linear b 0\"\n"
	for _, tc := range []struct {
		facts map[string]Facts
		want  []string
	}{
		{nil, nil},
		{map[string]Facts{"a": {}}, nil},
		{map[string]Facts{"a": {Bytes: 1003 * 512, LogicalBlock: 512}}, nil},
		{map[string]Facts{"a": {Bytes: 1002 * 512}}, []string{"ends 512B past the end of disk \"a\""}},
		{map[string]Facts{"a": {Bytes: 512}}, []string{"1KiB past the end of disk \"a\""}},
		{map[string]Facts{"a": {Bytes: 1536}}, []string{"at the end of disk \"a\""}},
		{map[string]Facts{"b": {Bytes: 512000 - 1}}, []string{"ends 512B past the end of disk \"b\""}},
		{map[string]Facts{"a": {ReadOnly: true}}, []string{"disk \"a\" is read-only"}},
		{map[string]Facts{"a": {LogicalBlock: 4096}}, []string{"offset 1536B is not a multiple of 4KiB"}},
		{map[string]Facts{"a": {LogicalBlock: 1024}}, []string{"offset 1536B is not a multiple of 1KiB"}},
		{map[string]Facts{"b": {LogicalBlock: 4096}}, nil}, // 1000 sectors are 125 blocks
	} {
		errs := check(t, text, tc.facts)
		if len(errs) != len(tc.want) {
			t.Errorf("%v: %v", tc.facts, errs)
			continue
		}
		for i := range errs {
			if !strings.Contains(errs[i].Message, tc.want[i]) {
				t.Errorf("%v: %v, want %q", tc.facts, errs[i], tc.want[i])
			}
		}
	}
}

// TestBlockEdges has the pair dm was seen to refuse and to take.
func TestBlockEdges(t *testing.T) {
	for sectors, refused := range map[int]bool{100: true, 104: false, 96: false, 97: true} {
		text := "[disk.n]\nmemory = \"1MiB\"\n[disk.k]\nsize = \"1MiB\"\nlimits.logical_block = 4096\n" +
			fmt.Sprintf("[device.d]\ntable = \"0 %d linear n 0\\n%d 96 linear k 0\"\n", sectors, sectors)
		_, ps := Parse("c.toml", []byte("version = 1\n"+text))
		errs := ps.Errors()
		if (len(errs) > 0) != refused {
			t.Errorf("%d sectors: %v", sectors, errs)
		}
		if refused && !strings.Contains(errs[0].Message, "segment 2 of device") {
			t.Errorf("%d sectors: %v", sectors, errs)
		}
	}
}

func TestByHand(t *testing.T) {
	f := &File{
		Path:  "hand",
		Disks: []*Disk{{Name: "a", Kind: KindMemory, Memory: 1 << 20}},
		Devices: []*Device{{Name: "d", ID: -1, Segments: []Segment{
			{Type: "linear", Sectors: 4096, Legs: []Leg{{Disk: "a"}}},
			{Type: "striped", Start: 4096, Sectors: 8, Chunk: 0, Legs: []Leg{{Disk: "zz"}}},
			{Type: "linear", Start: 4104, Sectors: 8},
		}}},
	}
	ps := f.Check(nil)
	if len(ps) != 3 || ps[0].Line != 1 {
		t.Errorf("%v", ps)
	}
	if f.Disk("a") == nil || f.Disk("b") != nil || f.Device("d") == nil || f.Device("e") != nil {
		t.Error("lookups")
	}
}

func TestProblems(t *testing.T) {
	ps := Problems{
		{File: "f", Line: 2, Col: 1, Message: "b", Hint: "h"},
		{File: "f", Line: 1, Col: 9, Message: "a", Warning: true},
		{File: "f", Line: 2, Col: 1, Message: "b", Hint: "h"},
	}.sorted()
	if want := "f:1:9: warning: a\nf:2:1: b\n    hint: h"; ps.Error() != want {
		t.Errorf("%q, want %q", ps.Error(), want)
	}
	if len(ps.Errors()) != 1 || len(ps.Warnings()) != 1 {
		t.Error("split")
	}
	var err error = ps
	var back Problems
	if !errors.As(err, &back) {
		t.Error("not an error")
	}
}

func TestTooMany(t *testing.T) {
	if testing.Short() {
		t.Skip("writes large texts")
	}
	var b strings.Builder
	b.WriteString("version = 1\n[disk]\n")
	for i := range maxDisks + 1 {
		fmt.Fprintf(&b, "d%d.memory = 512\n", i)
	}
	_, ps := Parse("many", []byte(b.String()))
	if errs := ps.Errors(); len(errs) != 1 || !strings.Contains(errs[0].Message, "65536 disks") {
		t.Errorf("%v", errs)
	}
	b.Reset()
	for i := range maxSegments + 1 {
		fmt.Fprintf(&b, "%d 1 linear a %d\n", i, i)
	}
	segs, problems := ParseTable(b.String())
	if len(segs) != maxSegments || len(problems) != 1 || !strings.Contains(problems[0].Message, "too many targets") {
		t.Errorf("%d segments, %v", len(segs), problems)
	}
}

func TestNearest(t *testing.T) {
	valid := []string{"linear", "striped", "a"}
	for word, want := range map[string]string{
		"liner": "linear", "Linear": "linear", "lniear": "linear", "stripe": "striped", "b": "", "A": "a", "mirror": "", "": "",
		strings.Repeat("x", 100): "",
	} {
		if got := nearest(word, valid); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
