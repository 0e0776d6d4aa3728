package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

func newUpgrade(g *globals) *cobra.Command {
	var r daemon.UpgradeRequest
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Have the running server go on as another program, while its devices are used",
		Long: `Have the running server of the file go on as another program, by default the one that this command is. Requests wait
meanwhile, and none fails. The new program is tried on the file first; the file must be what is served, and no copy under
way. Then the devices are let go, the new program is executed in the server's process, and takes them over. How long each
device answered nothing is printed.

Where anything fails before the new program runs, the old one takes its devices over again and serves on. Where the new
program does not come up, the devices wait: "up" takes them over.`,
		Example: "  ublk-linear upgrade -c volumes.toml\n  ublk-linear upgrade -c volumes.toml --binary /opt/ublk-linear-2/ublk-linear",
		Args:    args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := g.server()
			if err != nil {
				return err
			}
			if r.Binary == "" {
				if r.Binary, err = os.Executable(); err != nil {
					return err
				}
			}
			if r.Binary, err = filepath.Abs(r.Binary); err != nil {
				return err
			}
			out, err := server.Upgrade(cmd.Context(), r)
			if err != nil {
				return fmt.Errorf("%s: %w", g.file, err)
			}
			if g.json {
				return printJSON(cmd, out)
			}
			w := cmd.OutOrStdout()
			for _, d := range out.Devices {
				fmt.Fprintf(w, "%s %s stood still for %.1f ms\n", d.Name, d.Node, d.Stall)
			}
			fmt.Fprintf(w, "upgraded from %s to %s, process %d: %.1f ms from the first device to the last\n", out.From, out.To, out.PID, out.Stall)
			return nil
		},
	}
	cmd.Flags().StringVar(&r.Binary, "binary", "", "the `PATH` of the new program; default this one")
	cmd.Flags().BoolVar(&r.Wait, "wait", false, "for copies under way, instead of failing")
	cmd.Flags().BoolVar(&r.Force, "force", false, `also where requests fail meanwhile: on_crash = "fail", and "queue" before Linux 6.16`)
	return cmd
}

// execInPlace becomes another program, with the arguments of this one.
func execInPlace(binary string, env []string) error {
	return unix.Exec(binary, append([]string{binary}, os.Args[1:]...), append(os.Environ(), env...))
}
