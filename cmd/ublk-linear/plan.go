package main

import (
	"bufio"
	"errors"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/daemon"
)

const rangeHelp = `A SRC is DEVICE:START+LEN, a DST is DEVICE:START, both sizes (data:0s+2048s, data:1MiB+64KiB); several are joined by
commas, or several SRC are given. All SRC are on one device, and all DST. One DST takes it all; several need a +LEN each.`

func newPlan(g *globals) *cobra.Command {
	var c copyArgs
	var summary bool
	cmd := &cobra.Command{
		Use:   "plan SRC[,SRC…] DST[,DST…]",
		Short: "Show how a copy would be cut and sent",
		Long: `Show how a copy would be cut at the edges of both devices, joined per disk and sent: which parts the disks copy by
themselves, which are read and written by this host, and why. Nothing is touched: disks are looked at as by limits, and
declared disks are enough. A copy that would be refused is a plan too, which says why.

` + rangeHelp,
		Example: `  ublk-linear plan data:0s+64MiB data:128MiB
  ublk-linear plan data:0s+1GiB,data:4GiB+1GiB scratch:0s --json
  ublk-linear plan data:0s+1TiB scratch:0s --summary`,
		Args:              args(2, 1<<20, "one source or more and a destination"),
		ValidArgsFunction: g.completeRange,
		RunE: func(cmd *cobra.Command, a []string) error {
			r, err := c.request(a)
			if err != nil {
				return err
			}
			f, err := g.load(cmd)
			if err != nil {
				return err
			}
			for _, s := range []*daemon.CopySide{&r.Source, &r.Destination} {
				if _, err := device(f, s.Device); err != nil {
					return err
				}
			}
			w := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
			p := &planPrinter{w: w, name: daemon.DiskName(f), summary: summary}
			if p.totals.methods = map[string]uint64{}; g.json {
				p.form = &planJSON{w: w, summary: summary}
			} else {
				p.form = &planText{w: w, summary: summary}
			}
			plan, err := daemon.PlanCopy(f, r)
			switch {
			case refused(err):
				p.form.end(&p.totals, err.Error())
				return w.Flush()
			case err != nil:
				return err
			}
			return p.print(cmd.Context(), plan)
		},
	}
	c.planFlags(cmd)
	cmd.Flags().BoolVar(&summary, "summary", false, "print the totals only")
	return cmd
}

// refused says whether an error is the refusal of a copy for what it asks for.
func refused(err error) bool {
	return errors.Is(err, blkcopy.ErrRequest) || errors.Is(err, blkcopy.ErrBoundary) || errors.Is(err, blkcopy.ErrNoOffload) || errors.Is(err, blkcopy.ErrOverlap)
}
