package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	server "github.com/ublk-go/ublk-linear/daemon"
)

func newUp(g *globals) *cobra.Command {
	var s serving
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Serve all devices of the file until SIGTERM or `ublk-linear down`",
		Long: `Serve all devices of the file in the foreground. Each is printed as "NAME /dev/ublkbN" as soon as it can be opened, and
has the link /dev/ublk-linear/NAME. SIGTERM, SIGINT and "ublk-linear down" finish the I/O under way, flush nothing of
what a filesystem above still holds (unmount first), and remove the devices.

Needs root and a kernel with ublk (6.8 or later). Under systemd it says when it is ready (Type=notify).`,
		Example:     "  ublk-linear up -c volumes.toml &\n  mkfs.ext4 /dev/ublk-linear/data",
		Args:        args(0, 0, "no arguments"),
		Annotations: map[string]string{serves: "devices"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return s.run(cmd, g) },
	}
	s.flags(cmd)
	return cmd
}

// serving is a verb that serves devices in the foreground.
type serving struct {
	verbose bool
	opt     server.Options
}

func (o *serving) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "log the devices' life, not only what goes wrong")
	allowFaults(cmd, &o.opt.AllowFaults)
	cmd.Flags().StringVar(&o.opt.Group, "group", "", "let members of `GROUP` look by the control socket: ls, status")
}

func (o *serving) run(cmd *cobra.Command, g *globals) error {
	f, err := g.load(cmd)
	if err != nil {
		return err
	}
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelInfo
	}
	lines := newLogWriter(cmd.ErrOrStderr())
	defer lines.close()
	log := slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: level}))
	ctx := cmd.Context()
	sayProcess(ctx, log)
	opt := o.opt
	opt.Logger, opt.RunDir, opt.Alive = log, g.run, newHeartbeat().beat
	opt.Exec, opt.Version, opt.Handoff = execInPlace, versionString(), os.Getenv(server.HandoffEnv)
	_ = os.Unsetenv(server.HandoffEnv)
	opt.NoScheduler, opt.Queues = noSchedulerCommand(), processorsFor
	// Whoever started the program before has been told of its devices.
	again := opt.Handoff != ""
	opt.Started = func(d server.DeviceInfo) {
		if !g.json && !again {
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", d.Name, d.Node)
		}
	}
	hup := catchHangups()
	defer hup.stop()
	s, err := server.Up(ctx, f, &opt)
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted while starting: what was there is taken back")
	}
	if err != nil {
		return err
	}
	if g.json && !again {
		if err := printJSON(cmd, server.List{Schema: schema, Devices: s.List()}); err != nil {
			_ = s.Close()
			return err
		}
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	hup.serve(ctx, s, log, sayReloading)
	select {
	case <-ctx.Done():
	case <-s.Down():
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	return s.Close()
}

// allowFaults is the flag of the verbs that a file with [[fault]] is refused by.
func allowFaults(cmd *cobra.Command, allow *bool) {
	cmd.Flags().BoolVar(allow, "allow-faults", false, "inject the [[fault]]s of the file: I/O fails as they say, and data may be lost")
}
