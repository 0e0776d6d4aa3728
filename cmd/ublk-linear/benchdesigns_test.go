package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// benchModels are three designs that are not anybody's: one that copies piece by piece, read and written where a disk
// cannot; one that refuses what crosses an edge, with two errnos; one whose code loses what it was told of an error.
func benchModels() []*series.Model {
	pieces := func(w *series.World, r *series.Request) *series.Outcome {
		side := func(d *series.Device, segs []blkcopy.Seg) remap.Side {
			s := remap.Side{Table: d.Table}
			for _, g := range segs {
				s.Ranges = append(s.Ranges, target.Range{Start: g.Pos / 512, Len: g.Len / 512})
			}
			return s
		}
		o := &series.Outcome{Accepted: true}
		ps := remap.NewPieces(side(r.Src, r.SrcSegs), side(r.Dst, r.DstSegs))
		for p, ok := ps.Next(); ok; p, ok = ps.Next() {
			o.Commands = append(o.Commands, series.Command{Ranges: 1, Sources: []target.Extent{{Disk: p.Src.Disk, Range: target.Range{Start: p.Src.Sector, Len: p.Sectors}}},
				Dst: target.Extent{Disk: p.Dst.Disk, Range: target.Range{Start: p.Dst.Sector, Len: p.Sectors}}})
			one := p.Src.Disk == p.Dst.Disk || w.Disks[p.Src.Disk].CDFE && w.Disks[p.Dst.Disk].CDFE
			if o.Bytes += p.Sectors * 512; one && w.Disks[p.Src.Disk].Copy.Can() {
				o.Offloaded += p.Sectors * 512
			} else {
				o.Emulated += p.Sectors * 512
			}
		}
		o.Host = 2 * o.Emulated
		return o
	}
	return []*series.Model{
		{Name: "pieces", Run: func(w *series.World, r *series.Request, _ *series.Options) *series.Outcome { return pieces(w, r) }},
		{Name: "edges", Run: func(w *series.World, r *series.Request, _ *series.Options) *series.Outcome {
			switch o := pieces(w, r); {
			case len(o.Commands) == 1:
				return o
			case len(o.Commands) == 2:
				return &series.Outcome{Errno: unix.EOPNOTSUPP}
			}
			return &series.Outcome{Errno: unix.EINVAL}
		}},
		{Name: "loses", Defects: []series.Defect{{Name: "lost-error"}}, Run: func(w *series.World, r *series.Request, opt *series.Options) *series.Outcome {
			o := pieces(w, r)
			if len(o.Commands) > 10 {
				o.Commands, o.Offloaded, o.Emulated, o.Host = nil, 0, 0, 0
				if o.Errno, o.Bytes = unix.EIO, 0; opt.Has("lost-error") {
					o.Errno, o.Bytes, o.Never = 0, 4096, len(r.SrcSegs) > 100
					o.Wrong = []series.Finding{{Defect: "lost-error", Text: "success, and nothing was copied"}}
				}
			}
			return o
		}},
	}
}

// bench is the verb with those.
func bench(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	g := &globals{}
	cmd := newBenchDesigns(g, benchModels)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.Flags().StringVarP(&g.file, "config", "c", "", "")
	cmd.Flags().BoolVar(&g.json, "json", false, "")
	var o, e bytes.Buffer
	cmd.SetOut(&o)
	cmd.SetErr(&e)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(context.Background())
	if e.Len() > 0 {
		t.Errorf("%q: stderr %s", args, &e)
	}
	return o.String(), err
}

func TestBenchDesignsGolden(t *testing.T) {
	for name, args := range map[string][]string{
		"layouts.txt":   {"--requests", "3", "--workload", "defrag"},
		"posted.txt":    {"--requests", "3", "--by", "layout", "--as-posted"},
		"workloads.txt": {"--requests", "5", "--by", "workload", "--layout", "mixed", "--seed", "9"},
		"design.txt":    {"--requests", "3", "--by", "design", "--align", "64KiB", "--max-bytes", "1MiB"},
		"cdfe.txt":      {"--requests", "3", "--by", "layout", "--workload", "random", "--cdfe"},
		"devices.txt":   {"plain", "mixed", "-c", "testdata/benchdesigns/two.toml", "--requests", "4"},
		"one.json":      {"mixed", "mixed", "-c", "testdata/benchdesigns/two.toml", "--requests", "4", "--json", "--as-posted", "--workload", "file"},
		"extents.txt":   {"--extents", "testdata/benchdesigns/filefrag.txt", "--workload", "extents", "--requests", "4"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := bench(t, args...)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := bench(t, args...)
			if got != again {
				t.Error("not the same twice")
			}
			golden(t, filepath.Join("testdata/benchdesigns", name), got)
		})
	}
}

// golden compares with a file, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

type benchDesignsDoc struct {
	Schema    int    `json:"schema"`
	Seed      uint64 `json:"seed"`
	Requests  int    `json:"requests"`
	AsPosted  bool   `json:"as_posted"`
	CDFE      bool   `json:"cdfe"`
	Workloads []struct {
		Name string `json:"name"`
		What string `json:"what"`
	} `json:"workloads"`
	Layouts []struct {
		Name string `json:"name"`
		What string `json:"what"`
	} `json:"layouts"`
	Rows []struct {
		Workload  string         `json:"workload"`
		Layout    string         `json:"layout"`
		Design    string         `json:"design"`
		Requests  int            `json:"requests"`
		Bytes     uint64         `json:"bytes"`
		Refused   map[string]int `json:"refused"`
		Failed    map[string]int `json:"failed"`
		Commands  uint64         `json:"commands"`
		Median    uint64         `json:"commands_median"`
		Offloaded uint64         `json:"offloaded_bytes"`
		Emulated  uint64         `json:"emulated_bytes"`
		Host      uint64         `json:"host_bytes"`
		Wrong     int            `json:"wrong"`
		Findings  map[string]int `json:"findings"`
		Corrupt   int            `json:"corrupt"`
		Judged    int            `json:"judged"`
		Never     int            `json:"never"`
	} `json:"rows"`
}

// TestBenchDesignsSchema is the documented object, and its rows are in the order of the text.
func TestBenchDesignsSchema(t *testing.T) {
	out, err := bench(t, "--json", "--requests", "2", "--seed", "18446744073709551615")
	if err != nil {
		t.Fatal(err)
	}
	var d benchDesignsDoc
	oneObject(t, out, &d)
	if len(d.Rows) != 3*len(d.Workloads)*len(d.Layouts) || len(d.Workloads) != 5 || len(d.Layouts) != 8 {
		t.Errorf("%d rows of %d workloads on %d layouts", len(d.Rows), len(d.Workloads), len(d.Layouts))
	}
	for i, r := range d.Rows {
		if r.Design != benchModels()[i%3].Name || r.Layout != d.Layouts[i/3%8].Name || r.Workload != d.Workloads[i/24].Name || r.Requests != 2 || r.Judged != 2 {
			t.Fatalf("row %d: %+v", i, r)
		}
		if r.Design == "pieces" && r.Offloaded+r.Emulated != r.Bytes {
			t.Errorf("%+v", r)
		}
	}
}

func TestBenchDesignsUsage(t *testing.T) {
	good := write(t, goodTOML)
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{exitUsage, []string{"data"}, "takes a source device and a destination device, or none"},
		{exitUsage, []string{"--workload", "defrga"}, `no workload "defrga": defrag, zone-gc, clone, file, random, extents (with --extents FILE) or all`},
		{exitUsage, []string{"--layout", "raid"}, `no layout "raid": disk, linear, two-linear, concat, stripe-one, stripe-many, mixed, blocks or all`},
		{exitUsage, []string{"--workload", "extents"}, "needs --extents FILE"},
		{exitUsage, []string{"--by", "moon"}, "both, layout, workload or design"},
		{exitUsage, []string{"--requests", "0"}, "from 1 to 1000000"},
		{exitUsage, []string{"--align", "0"}, "0 is nothing"},
		{exitUsage, []string{"--max-bytes", "1M"}, "two readings"},
		{exitUsage, []string{"data", "data", "--layout", "linear", "-c", good}, "leave it out, or the devices"},
		{exitNotFound, []string{"data", "nosuch", "-c", good}, `no device "nosuch"`},
		{exitNotFound, []string{"--extents", filepath.Join(t.TempDir(), "none")}, "no such file"},
		{exitFailure, []string{"--extents", good}, "bad list of extents"},
		{exitUsage, []string{"--align", "1000B"}, "workload defrag on disk: bad parameters"},
		{exitUsage, []string{"--align", "1MiB", "--max-bytes", "64KiB"}, "less than the alignment"},
		{exitFailure, []string{"--align", "512MiB"}, "too small"},
	} {
		out, err := bench(t, c.args...)
		if err == nil || exitCode(err) != c.code || !strings.Contains(err.Error(), c.want) || out != "" {
			t.Errorf("%q: %v (%s)", c.args, err, out)
		}
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		part, of uint64
		want     string
	}{{0, 5, "-"}, {0, 0, "-"}, {1, 1000, "<1%"}, {1, 100, "1%"}, {1, 2, "50%"}, {1, 3, "33%"}, {2, 3, "67%"}, {999, 1000, ">99%"}, {985, 1000, "99%"}, {7, 7, "100%"},
		{1 << 63, 1 << 63, "100%"}, {3, 2, "150%"}} {
		if got := share(c.part, c.of); got != c.want {
			t.Errorf("%d of %d: %s", c.part, c.of, got)
		}
	}
}

// TestBenchDesignsVerb: the program has it, with the kernel's designs, ours last.
func TestBenchDesignsVerb(t *testing.T) {
	code, out, errs := cli(t, "bench-designs", "--json", "--by", "design", "--requests", "1", "--layout", "linear")
	if code != exitOK || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var d benchDesignsDoc
	oneObject(t, out, &d)
	var got, want []string
	for _, r := range d.Rows {
		got = append(got, r.Design)
	}
	for _, m := range series.Models() {
		want = append(want, m.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
}
