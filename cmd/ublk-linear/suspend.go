package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/daemon"
)

func newSuspend(g *globals) *cobra.Command {
	last := 30 * time.Second
	cmd := &cobra.Command{
		Use:   "suspend DEVICE",
		Short: "Keep all I/O of a device from its disks, for a while",
		Long: fmt.Sprintf(`Keep all I/O of a device from its disks, for a while: requests wait, and so do copies. When this returns, what was under way
has ended, and the disks are flushed: everything that was written is on them, and nothing comes until the device resumes, by
"resume" or by itself when the time is over. Suspended again, it stays so from now on for the time that is given, %v at
most.

A file system above has its own cache: freeze it before (fsfreeze -f), for a snapshot that needs no recovery.`, daemon.MaxLease),
		Example:           "  ublk-linear suspend data --for 10s && lvcreate -s -n snap vg/leg; ublk-linear resume data",
		Args:              args(1, 1, "one device"),
		ValidArgsFunction: g.names,
		RunE: func(cmd *cobra.Command, a []string) error {
			if last <= 0 || last > daemon.MaxLease {
				return usagef("--for %v is not above 0 and up to %v", last, daemon.MaxLease)
			}
			server, err := g.server()
			if err != nil {
				return err
			}
			out, err := server.Suspend(cmd.Context(), a[0], daemon.SuspendRequest{Seconds: last.Seconds()})
			if err != nil {
				return fmt.Errorf("%s: %w", g.file, err)
			}
			if g.json {
				return printJSON(cmd, out)
			}
			word := "suspended"
			if out.Renewed {
				word = "still suspended"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s is %s, and resumes in %v\n", out.Name, out.Node, word, last)
			return err
		},
	}
	cmd.Flags().DurationVar(&last, "for", last, "until the device resumes by itself")
	return cmd
}

// errNotSuspended is of a device that was not, or whose time was over.
var errNotSuspended = errors.New("it was not suspended")
