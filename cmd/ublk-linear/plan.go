package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy/draw"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/daemon"
)

const rangeHelp = `A SRC is DEVICE:START+LEN, a DST is DEVICE:START, both sizes (data:0s+2048s, data:1MiB+64KiB); several are joined by
commas, or several SRC are given. All SRC are on one device, and all DST. One DST takes it all; several need a +LEN each.`

func newPlan(g *globals) *cobra.Command {
	var c copyArgs
	var s seriesArgs
	var summary bool
	cmd := &cobra.Command{
		Use:   "plan SRC[,SRC…] DST[,DST…]",
		Short: "Show how a copy would be cut and sent",
		Long: `Show how a copy would be cut at the edges of both devices, joined per disk and sent: which parts the disks copy by
themselves, which are read and written by this host, and why. Nothing is touched: disks are looked at as by limits, and
declared disks are enough. A copy that would be refused is a plan too, which says why.

--series shows what the designs that were posted for the kernel would do with the same copy, one or all; --series list says
which there are. --svg draws the copy, --html writes a page about it and the designs.

` + rangeHelp,
		Example: `  ublk-linear plan data:0s+64MiB data:128MiB
  ublk-linear plan data:0s+1GiB,data:4GiB+1GiB scratch:0s --json
  ublk-linear plan data:0s+1TiB scratch:0s --summary
  ublk-linear plan data:0s+64MiB data:128MiB --series all --as-posted --html copy.html`,
		Args: func(cmd *cobra.Command, a []string) error {
			if s.name == "list" && len(a) == 0 {
				return nil
			}
			return args(2, 1<<20, "one source or more and a destination")(cmd, a)
		},
		ValidArgsFunction: g.completeRange,
		RunE: func(cmd *cobra.Command, a []string) error {
			if err := s.check(); err != nil {
				return err
			}
			if s.name == "list" {
				return listSeries(cmd, g.json)
			}
			r, err := c.request(a)
			if err != nil {
				return err
			}
			f, err := g.loadFor(cmd, r)
			if err != nil {
				return err
			}
			return planCopy(cmd, f, r, &s, g.json, summary)
		},
	}
	c.planFlags(cmd)
	s.flags(cmd)
	cmd.Flags().BoolVar(&summary, "summary", false, "print the totals only")
	return cmd
}

// planCopy prints a plan, and what the designs make of the copy; with all of them, that alone. What is drawn is written
// first: a verb that fails prints no object.
func planCopy(cmd *cobra.Command, f *config.File, r *daemon.CopyRequest, s *seriesArgs, asJSON, summary bool) error {
	plan, err := daemon.PlanCopy(f, r)
	why := ""
	if daemon.Refused(err) {
		why = err.Error()
	} else if err != nil {
		return err
	}
	var designs []draw.Design
	if s.wanted() {
		var q *series.Request
		if designs, q, err = s.run(f, r); err != nil {
			return err
		}
		if plan == nil && draw.Check(q) != nil {
			if s.svg != "" || s.html != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "ublk-linear: the request is not valid: nothing is drawn")
			}
		} else if err := s.draw(cmd.Context(), f, q, designs, plan, why); err != nil {
			return err
		}
	}
	w := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	p := &planPrinter{w: w, name: daemon.DiskName(f), summary: summary}
	p.totals.methods = map[string]uint64{}
	switch {
	case asJSON && s.name == "all":
		return printJSON(cmd, struct {
			Schema  int          `json:"schema"`
			Bytes   uint64       `json:"bytes"`
			Designs []designJSON `json:"designs"`
		}{schema, requested(r), designsJSON(designs, p.name, summary)})
	case asJSON:
		j := &planJSON{w: w, summary: summary}
		if s.name != "" {
			j.designs = designsJSON(designs, p.name, summary)
		}
		p.form = j
	case s.name == "all":
		fmt.Fprintf(w, "%v in one request\n", config.Size(requested(r)))
	default:
		p.form = &planText{w: w, summary: summary}
	}
	if p.form != nil {
		if plan == nil {
			p.form.end(&p.totals, why)
		} else if err := p.print(cmd.Context(), plan); err != nil {
			return err
		}
	}
	if len(designs) > 0 && !asJSON {
		if p.form != nil {
			fmt.Fprintln(w)
		}
		if err := printDesigns(w, designs, s.code()); err != nil {
			return err
		}
	}
	return w.Flush()
}

// requested is the length of a request in bytes: that of its sources.
func requested(r *daemon.CopyRequest) (n uint64) {
	for _, s := range r.Source.Segments {
		n += s.Len
	}
	return n
}
