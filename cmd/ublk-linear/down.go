package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/daemon"
)

func newDown(g *globals) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the server of the file and remove its devices",
		Long: `Stop the server of the file and remove its devices. A device that is mounted, claimed or open is named and nothing is
stopped, unless --force. Where the server has died, what it left is removed, devices that wait for the next server among
them.`,
		Example: "  umount /srv && ublk-linear down -c volumes.toml",
		Args:    args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := daemon.NewInstance(g.file, g.run)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			out, err := daemon.NewClient(inst).Down(ctx, daemon.DownRequest{Force: force})
			if errors.Is(err, daemon.ErrNotServed) {
				gone, serr := daemon.Sweep(ctx, inst, force)
				if serr != nil {
					return serr
				}
				if len(gone) == 0 {
					return fmt.Errorf("%s: %w", g.file, err)
				}
				out, err = daemon.DownResult{Schema: schema, Stopped: gone}, nil
			}
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd, out)
			}
			for _, d := range out.Stopped {
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s is gone\n", d.Name, d.Node)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when a device is mounted or open: its users get I/O errors")
	return cmd
}
