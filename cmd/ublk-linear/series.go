package main

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy/draw"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/daemon"
)

// seriesArgs is what plan is told of the kernel's designs, and where it draws.
type seriesArgs struct {
	name     string
	asPosted bool
	defects  []string
	svg      string
	html     string

	models []*series.Model
}

func (s *seriesArgs) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.name, "series", "", "show what a design of the kernel would do with the copy: its `NAME`, all, or list")
	f.BoolVar(&s.asPosted, "as-posted", false, "with --series: the code as it was posted, with all its known defects, not as it is described")
	f.StringSliceVar(&s.defects, "defect", nil, "with --series: only these known defects, by `NAME`; repeat it, or join them by commas")
	f.StringVar(&s.svg, "svg", "", "draw the copy into this `FILE`")
	f.StringVar(&s.html, "html", "", "write a page about the copy, with every design asked for, into this `FILE`")
	_ = cmd.MarkFlagFilename("svg", "svg")
	_ = cmd.MarkFlagFilename("html", "html")
	_ = cmd.RegisterFlagCompletionFunc("series", cobra.FixedCompletions(append(seriesNames(), "all", "list"), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("defect", cobra.FixedCompletions(defectNames(series.Models()), cobra.ShellCompDirectiveNoFileComp))
}

func seriesNames() []string {
	var out []string
	for _, m := range series.Models() {
		out = append(out, m.Name)
	}
	return out
}

func defectNames(models []*series.Model) []string {
	all := map[string]bool{}
	for _, m := range models {
		for _, d := range m.Defects {
			all[d.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// check finds the models, and refuses flags that mean nothing.
func (s *seriesArgs) check() error {
	switch s.name {
	case "":
		if s.asPosted || len(s.defects) > 0 {
			return usagef("--as-posted and --defect need --series")
		}
		return nil
	case "list":
		if s.asPosted || len(s.defects) > 0 || s.svg != "" || s.html != "" {
			return usagef("--series list takes no other flags of the series")
		}
		return nil
	case "all":
		s.models = series.Models()
	default:
		m, ok := series.Find(s.name)
		if !ok {
			return usagef("no series %q: %s, all, or list", s.name, strings.Join(seriesNames(), ", "))
		}
		s.models = []*series.Model{m}
	}
	for _, d := range s.defects {
		if known := defectNames(s.models); !slices.Contains(known, d) {
			if len(known) == 0 {
				return usagef("no defect %q: %s has none", d, s.name)
			}
			return usagef("no defect %q of --series %s: %s", d, s.name, strings.Join(known, ", "))
		}
	}
	if s.asPosted && len(s.defects) > 0 {
		return usagef("--as-posted is all defects: give it or --defect")
	}
	return nil
}

// wanted says whether anything is asked for beyond a plan.
func (s *seriesArgs) wanted() bool { return s.name != "" || s.svg != "" || s.html != "" }

func (s *seriesArgs) options() *series.Options {
	o := &series.Options{AsPosted: s.asPosted, Defects: map[string]bool{}}
	for _, d := range s.defects {
		o.Defects[d] = true
	}
	return o
}

// code says as which code the designs are run.
func (s *seriesArgs) code() string {
	switch {
	case s.asPosted:
		return "the code as it was posted"
	case len(s.defects) > 0:
		return "as described, but " + strings.Join(s.defects, ", ")
	}
	return "as described"
}

// designs runs every model that is asked for. A request that is too large to be held in memory, as models and pictures do,
// is usage.
func (s *seriesArgs) run(f *config.File, r *daemon.CopyRequest) ([]draw.Design, *series.Request, error) {
	w, q, err := daemon.SeriesCopy(f, r)
	if err != nil {
		return nil, nil, err
	}
	if err := draw.Bounded(q); err != nil {
		return nil, nil, usageError{err}
	}
	var out []draw.Design
	for _, m := range s.models {
		out = append(out, draw.Design{Model: m, Outcome: m.Run(w, q, s.options())})
	}
	return out, q, nil
}

// errUnwritable is of a file that cannot be written: it is a failure, whatever the file system's word for it.
var errUnwritable = errors.New("cannot write")
