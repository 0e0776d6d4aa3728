package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/daemon"
)

func newRemove(g *globals) *cobra.Command {
	var r daemon.RemoveRequest
	cmd := &cobra.Command{
		Use:   "remove --orphan NAME|ID | --all",
		Short: "Remove devices whose server has died, and what waits in them",
		Long: `Remove devices whose server has died and that wait for the next one: requests that wait in them fail. Their disks are not
touched. A device whose server lives is refused ("down" stops it), and so is one that is mounted, claimed or open, unless
--force. With --all, what dead servers have written down of devices that are gone is cleared, too. It needs no configuration
file. "ls --orphans" lists what there is.`,
		Example: "  ublk-linear remove --orphan data\n  ublk-linear remove --orphan 7 --force\n  ublk-linear remove --all",
		Args:    args(0, 0, "no arguments: --orphan NAME, or --all"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (r.Which == "") == !r.All {
				return usagef("remove takes either --orphan NAME|ID or --all")
			}
			r.RunDir = g.run
			out, err := daemon.RemoveOrphans(cmd.Context(), r)
			if err != nil && len(out.Removed) == 0 {
				return err
			}
			if g.json {
				if perr := printJSON(cmd, out); perr != nil {
					return perr
				}
			} else {
				for _, d := range out.Removed {
					fmt.Fprintf(cmd.OutOrStdout(), "%s %s is gone\n", dash(d.Name), d.Node)
				}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&r.Which, "orphan", "", "the device's `NAME|ID`")
	cmd.Flags().BoolVar(&r.All, "all", false, "all orphans of this host")
	cmd.Flags().BoolVar(&r.Force, "force", false, "also when a device is mounted or open: its users get I/O errors")
	return cmd
}
