package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	server "github.com/ublk-go/ublk-linear/daemon"
)

func newUp(g *globals) *cobra.Command {
	var verbose, faults bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Serve all devices of the file until SIGTERM or `ublk-linear down`",
		Long: `Serve all devices of the file in the foreground. Each is printed as "NAME /dev/ublkbN" as soon as it can be opened, and
has the link /dev/ublk-linear/NAME. SIGTERM, SIGINT and "ublk-linear down" finish the I/O under way, flush nothing of
what a filesystem above still holds (unmount first), and remove the devices.

Needs root and a kernel with ublk (6.8 or later). Under systemd it says when it is ready (Type=notify).`,
		Example: "  ublk-linear up -c volumes.toml &\n  mkfs.ext4 /dev/ublk-linear/data",
		Args:    args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := g.load(cmd)
			if err != nil {
				return err
			}
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelInfo
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			ctx := cmd.Context()
			s, err := server.Up(ctx, f, &server.Options{Logger: log, RunDir: g.run, AllowFaults: faults, Started: func(d server.DeviceInfo) {
				if !g.json {
					fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", d.Name, d.Node)
				}
			}})
			if errors.Is(err, context.Canceled) {
				return errors.New("interrupted while starting: what was there is taken back")
			}
			if err != nil {
				return err
			}
			if g.json {
				if err := printJSON(cmd, server.List{Schema: schema, Devices: s.List()}); err != nil {
					_ = s.Close()
					return err
				}
			}
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
			select {
			case <-ctx.Done():
			case <-s.Down():
			}
			_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
			return s.Close()
		},
	}
	allowFaults(cmd, &faults)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log the devices' life, not only what goes wrong")
	return cmd
}

// allowFaults is the flag of the verbs that a file with [[fault]] is refused by.
func allowFaults(cmd *cobra.Command, allow *bool) {
	cmd.Flags().BoolVar(allow, "allow-faults", false, "inject the [[fault]]s of the file: I/O fails as they say, and data may be lost")
}
