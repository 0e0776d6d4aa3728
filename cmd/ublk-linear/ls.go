package main

import (
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
)

func newList(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the devices of every ublk-linear server on this host",
		Long:    `List the devices of every ublk-linear server on this host. Where the pid is "-" the server has died: "down" or the next "up" of its file removes the device.`,
		Example: "  ublk-linear ls --json",
		Args:    args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
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
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
