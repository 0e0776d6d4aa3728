package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newResume(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "resume DEVICE",
		Short: "Let a suspended device go on",
		Long: `Let a suspended device go on. One that was not suspended any more, since its time was over, is exit code 1: what was done
meanwhile was not undisturbed.`,
		Example:           "  ublk-linear resume data -c volumes.toml",
		Args:              args(1, 1, "one device"),
		ValidArgsFunction: g.names,
		RunE: func(cmd *cobra.Command, a []string) error {
			server, err := g.server()
			if err != nil {
				return err
			}
			out, err := server.Resume(cmd.Context(), a[0])
			if err != nil {
				return fmt.Errorf("%s: %w", g.file, err)
			}
			if !out.Was {
				return fmt.Errorf("device %s: %w", a[0], errNotSuspended)
			}
			if g.json {
				return printJSON(cmd, out)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s is resumed\n", out.Name, out.Node)
			return err
		},
	}
}
