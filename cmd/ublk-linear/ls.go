package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
)

func newList(g *globals) *cobra.Command {
	var orphans bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the devices of every ublk-linear server on this host",
		Long: `List the devices of every ublk-linear server on this host. Where the pid is "-" the server has died: the next "up" of its
file takes the device over, or removes it where that is its policy; "down" and "remove --orphan" remove it in any case.

With --orphans only those are listed, with their policy, who uses them, and why the file could not have them back.`,
		Example: "  ublk-linear ls --json\n  ublk-linear ls --orphans",
		Args:    args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if orphans {
				return listOrphans(cmd, g)
			}
			l, err := daemon.ListAll(cmd.Context(), g.run)
			if err != nil && len(l.Devices) == 0 {
				return err
			}
			if err != nil {
				err = errors.Join(errPartial, err)
			}
			if g.json {
				return errors.Join(printJSON(cmd, l), err)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tNODE\tSIZE\tSTATE\tPID\tFILE")
			for _, d := range l.Devices {
				pid := "-"
				if d.PID != 0 {
					pid = strconv.Itoa(d.PID)
				}
				fmt.Fprintf(w, "%s\t%s\t%v\t%s\t%s\t%s\n", dash(d.Name), d.Node, config.Size(d.Bytes), d.State, pid, dash(d.Config))
			}
			return errors.Join(w.Flush(), err)
		},
	}
	cmd.Flags().BoolVar(&orphans, "orphans", false, "only devices whose server has died, and what is in the way of taking them over (needs root)")
	return cmd
}

func listOrphans(cmd *cobra.Command, g *globals) error {
	l, err := daemon.ListOrphans(cmd.Context(), g.run)
	if err != nil && len(l.Orphans) == 0 {
		return err
	}
	if g.json {
		return errors.Join(printJSON(cmd, l), err)
	}
	return errors.Join(printOrphans(cmd.OutOrStdout(), l), err)
}

func printOrphans(out io.Writer, l daemon.Orphans) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tNODE\tID\tSIZE\tSTATE\tPOLICY\tFILE")
	for _, d := range l.Orphans {
		fmt.Fprintf(w, "%s\t%s\t%d\t%v\t%s\t%s\t%s\n", dash(d.Name), d.Node, d.ID, config.Size(d.Bytes), d.State, d.OnCrash, dash(d.Config))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, d := range l.Orphans {
		for _, u := range d.Users {
			fmt.Fprintf(out, "%s: %s\n", d.Node, u)
		}
		for _, why := range d.Why {
			fmt.Fprintf(out, "%s cannot be taken over: %s\n", d.Node, why)
		}
	}
	return nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
