package bench

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	was := &Counts{Arch: "amd64", Counts: map[string]int{"instructions a": 100, "allocations b": 0, "commands c": 10, "bytes d": 32}}
	for _, c := range []struct {
		name          string
		arch          string
		change        func(map[string]int)
		worse, better string
	}{
		{"the same", "amd64", func(map[string]int) {}, "", ""},
		{"inside the margin", "amd64", func(m map[string]int) { m["instructions a"], m["commands c"] = 110, 11 }, "", ""},
		{"past the margin", "amd64", func(m map[string]int) { m["instructions a"] = 111 }, "instructions a: 111, committed is 100", ""},
		{"zero has no margin", "amd64", func(m map[string]int) { m["allocations b"] = 1 }, "allocations b: 1", ""},
		{"better", "amd64", func(m map[string]int) { m["commands c"] = 9 }, "", "commands c: 9"},
		{"gone", "amd64", func(m map[string]int) { delete(m, "commands c") }, "commands c: not counted", ""},
		{"new", "amd64", func(m map[string]int) { m["commands e"] = 1 }, "commands e: 1, and nothing is committed", ""},
		{"instructions elsewhere", "arm64", func(m map[string]int) { m["instructions a"] = 500 }, "", ""},
		{"allocations elsewhere", "arm64", func(m map[string]int) { m["allocations b"] = 5 }, "allocations b", ""},
	} {
		now := &Counts{Arch: c.arch, Counts: map[string]int{}}
		for k, v := range was.Counts {
			now.Counts[k] = v
		}
		c.change(now.Counts)
		worse, better := was.Check(now)
		for _, x := range []struct {
			got  []string
			want string
		}{{worse, c.worse}, {better, c.better}} {
			if x.want == "" && len(x.got) > 0 || x.want != "" && (len(x.got) != 1 || !strings.HasPrefix(x.got[0], x.want)) {
				t.Errorf("%s: %q, want %q", c.name, x.got, x.want)
			}
		}
	}
}

func TestAddGo(t *testing.T) {
	c := &Counts{Counts: map[string]int{}}
	err := c.AddGo(strings.NewReader(`goos: linux
BenchmarkQueue/striped-read-2         	   20000	      3617 ns/op	      47 B/op	       2 allocs/op
BenchmarkCommands/linear/large-2        	       1	    111185 ns/op	       256.0 commands	      2048 naive	   40640 B/op	      41 allocs/op
PASS
`))
	want := map[string]int{"allocations Queue/striped-read": 2, "bytes Queue/striped-read": 32, "commands Commands/linear/large": 256}
	if err != nil || len(c.Counts) != len(want) {
		t.Fatalf("%v, %v", c.Counts, err)
	}
	for k, v := range want {
		if c.Counts[k] != v {
			t.Errorf("%s: %d, want %d", k, c.Counts[k], v)
		}
	}
	if err := c.AddGo(strings.NewReader("BenchmarkX-2 1 many B/op 0 allocs/op")); err == nil {
		t.Error("a count that is no number was taken")
	}
}

func TestSaved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.json")
	a := &Counts{Go: "go1", Arch: "x", Counts: map[string]int{"b": 2, "a": 1}}
	if err := a.Save(file); err != nil {
		t.Fatal(err)
	}
	b, err := LoadCounts(file)
	if err != nil || b.Go != a.Go || b.Arch != a.Arch || len(b.Counts) != 2 || b.Counts["b"] != 2 {
		t.Errorf("%+v, %v", b, err)
	}
}

// What is committed is there, and has what bench-check counts: of each kind something.
func TestCommitted(t *testing.T) {
	c, err := LoadCounts("counts.json")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for k := range c.Counts {
		if kind, _, _ := strings.Cut(k, " "); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	if slices.Sort(kinds); !slices.Equal(kinds, []string{"allocations", "bytes", "commands", "instructions"}) {
		t.Errorf("%v", kinds)
	}
}
