package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/copy/workload"
	"github.com/ublk-go/ublk-linear/daemon"
)

// benchArgs is what bench-designs is told.
type benchArgs struct {
	opt              workload.Options
	workload, layout string
	extents, by      string
	align, max       string
	cdfe             bool
	models           func() []*series.Model // a seam for tests
}

func newBenchDesigns(g *globals, models func() []*series.Model) *cobra.Command {
	b := &benchArgs{models: models}
	cmd := &cobra.Command{
		Use:   "bench-designs [SRCDEV DSTDEV]",
		Short: "Compare the kernel's copy designs by numbers",
		Long: `Run every design's model over the same copy requests, and count: how many are refused or fail, with which errno; how many
commands the disks get; what is offloaded, what is read and written instead, what goes through the host; and how many
requests go wrong, by what the model knows (WRONG), and by what is on the disks after doing its commands (CORRUPT).

Without devices the requests are made on built-in layouts; with two (or one twice) of the file, on those. Disks are looked
at as by plan, declared ones are enough, and nothing is touched. The same seed gives the same requests everywhere.`,
		Example: `  ublk-linear bench-designs --by design
  ublk-linear bench-designs --workload defrag --layout concat --as-posted
  ublk-linear bench-designs data data --workload all --requests 100 --seed 7 --json
  filefrag -s -v FILE > extents; ublk-linear bench-designs --extents extents --workload extents`,
		Args: func(cmd *cobra.Command, a []string) error {
			if len(a) != 0 && len(a) != 2 {
				return usagef("%s takes a source device and a destination device, or none", cmd.Name())
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, a []string, to string) ([]string, cobra.ShellCompDirective) {
			if len(a) == 1 {
				a = nil // the second is a device too
			}
			return g.names(cmd, a, to)
		},
		RunE: func(cmd *cobra.Command, a []string) error { return b.run(g, cmd, a) },
	}
	f := cmd.Flags()
	f.StringVar(&b.workload, "workload", "all", "the kind of requests: `NAME` or all; help lists them below")
	f.StringVar(&b.layout, "layout", "all", "a built-in layout: `NAME` or all")
	f.IntVar(&b.opt.Requests, "requests", 20, "`N` requests of each workload on each layout, 1 to 1000000")
	f.Uint64Var(&b.opt.Seed, "seed", 1, "`S`: another one makes other requests")
	f.BoolVar(&b.opt.AsPosted, "as-posted", false, "with the known defects of the posted code, instead of what it is described to do")
	f.BoolVar(&b.cdfe, "cdfe", false, "NVMe disks have descriptor formats 2 and 3 enabled (Host Behavior Support); no kernel does that so far")
	f.StringVar(&b.by, "by", "both", "one line per design and `both|layout|workload|design`: what is joined is counted together")
	f.StringVar(&b.extents, "extents", "", "adds the workload extents: a real file's, from a `FILE` with what filefrag -v prints, a JSON array of start and length, or such lines, in bytes")
	f.StringVar(&b.align, "align", "", "all positions and lengths are multiples of `SIZE` (default 4KiB)")
	f.StringVar(&b.max, "max-bytes", "", "no request is longer than `SIZE` (default: the workload's)")
	var names []string
	text := "\n\nWorkloads:\n"
	for _, w := range workload.All() {
		names = append(names, w.Name)
		text += fmt.Sprintf("  %-12s %s\n", w.Name, w.What)
	}
	_ = cmd.RegisterFlagCompletionFunc("workload", cobra.FixedCompletions(append(names, "extents", "all"), cobra.ShellCompDirectiveNoFileComp))
	names, text = nil, text+"\nLayouts:\n"
	for _, l := range workload.Layouts() {
		names = append(names, l.Name)
		text += fmt.Sprintf("  %-12s %s\n", l.Name, l.What)
	}
	_ = cmd.RegisterFlagCompletionFunc("layout", cobra.FixedCompletions(append(names, "all"), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions([]string{"both", "layout", "workload", "design"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Long += strings.TrimRight(text, "\n")
	return cmd
}

func (b *benchArgs) run(g *globals, cmd *cobra.Command, a []string) error {
	if b.opt.Requests < 1 || b.opt.Requests > 1000000 {
		return usagef("--requests %d: from 1 to 1000000", b.opt.Requests)
	}
	for _, x := range []struct {
		flag, text string
		to         *uint64
	}{{"align", b.align, &b.opt.Align}, {"max-bytes", b.max, &b.opt.MaxBytes}} {
		if x.text == "" {
			continue
		}
		n, err := config.ParseSize(x.text)
		if err != nil {
			return usagef("--%s: %w", x.flag, err)
		}
		if n == 0 {
			return usagef("--%s: 0 is nothing: leave it out", x.flag)
		}
		*x.to = uint64(n)
	}
	key, ok := benchKeys[b.by]
	if !ok {
		return usagef("--by %q: both, layout, workload or design", b.by)
	}
	workloads, err := b.workloads()
	if err != nil {
		return err
	}
	layouts, err := b.layouts(g, cmd, a)
	if err != nil {
		return err
	}
	for _, l := range layouts {
		l.EnableFormats(b.cdfe)
	}
	rows, err := workload.Compare(cmd.Context(), b.models(), layouts, workloads, &b.opt)
	switch {
	case errors.Is(err, workload.ErrParams):
		return usageError{err}
	case err != nil:
		return err
	}
	d := &benchDoc{Schema: schema, Seed: b.opt.Seed, Requests: b.opt.Requests, AsPosted: b.opt.AsPosted, CDFE: b.cdfe, Rows: workload.Sum(rows, key)}
	for _, w := range workloads {
		d.Workloads = append(d.Workloads, nameJSON{w.Name, w.What})
	}
	for _, l := range layouts {
		d.Layouts = append(d.Layouts, nameJSON{l.Name, l.What})
	}
	if g.json {
		return printJSON(cmd, d)
	}
	w := bufio.NewWriter(cmd.OutOrStdout())
	d.text(w)
	return w.Flush()
}

// benchKeys are what rows are joined by.
var benchKeys = map[string]func(*workload.Row) workload.Row{
	"both": func(r *workload.Row) workload.Row {
		return workload.Row{Workload: r.Workload, Layout: r.Layout, Design: r.Design}
	},
	"layout":   func(r *workload.Row) workload.Row { return workload.Row{Layout: r.Layout, Design: r.Design} },
	"workload": func(r *workload.Row) workload.Row { return workload.Row{Workload: r.Workload, Design: r.Design} },
	"design":   func(r *workload.Row) workload.Row { return workload.Row{Design: r.Design} },
}

func (b *benchArgs) workloads() ([]*workload.Workload, error) {
	var given *workload.Workload
	if b.extents != "" {
		text, err := os.ReadFile(b.extents)
		if err != nil {
			return nil, err
		}
		list, err := workload.ParseExtents(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.extents, err)
		}
		given = workload.FileOf(list)
	}
	switch {
	case b.workload == "all" && given == nil:
		return workload.All(), nil
	case b.workload == "all":
		return append(workload.All(), given), nil
	case b.workload == "extents" && given == nil:
		return nil, usagef("--workload extents needs --extents FILE")
	case b.workload == "extents":
		return []*workload.Workload{given}, nil
	}
	w, err := workload.Find(b.workload)
	if err != nil {
		return nil, usagef("%w, extents (with --extents FILE) or all", err)
	}
	return []*workload.Workload{w}, nil
}

func (b *benchArgs) layouts(g *globals, cmd *cobra.Command, a []string) ([]*workload.Layout, error) {
	switch {
	case len(a) == 0 && b.layout == "all":
		return workload.Layouts(), nil
	case len(a) == 0:
		l, err := workload.FindLayout(b.layout)
		if err != nil {
			return nil, usagef("%w or all", err)
		}
		return []*workload.Layout{l}, nil
	case cmd.Flags().Changed("layout"):
		return nil, usagef("--layout is for built-in layouts: leave it out, or the devices")
	}
	f, err := g.load(cmd)
	if err != nil {
		return nil, err
	}
	for _, name := range a {
		if _, err := device(f, name); err != nil {
			return nil, err
		}
	}
	world, q, err := daemon.SeriesCopy(f, &daemon.CopyRequest{Source: daemon.CopySide{Device: a[0]}, Destination: daemon.CopySide{Device: a[1]}})
	if err != nil {
		return nil, err
	}
	l := &workload.Layout{Name: a[0] + " to " + a[1], What: "of " + f.Path, World: *world, Src: q.Src, Dst: q.Dst}
	if a[0] == a[1] {
		l.Name = a[0]
	}
	return []*workload.Layout{l}, nil
}
