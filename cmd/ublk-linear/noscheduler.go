package main

import (
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// noSchedulerCommand is what a server runs for daemon.Options.NoScheduler: this program, also where its file was replaced.
func noSchedulerCommand() []string { return []string{"/proc/self/exe", "no-scheduler"} }

// newNoScheduler is for a server's child: daemon.NoSchedulers says why there is one.
func newNoScheduler() *cobra.Command {
	return &cobra.Command{
		Use:     "no-scheduler",
		Short:   "Take the I/O scheduler of new devices out, by their names on stdin",
		Example: "  ublk-linear no-scheduler <<<ublkb0",
		Args:    args(0, 0, "no arguments"),
		Hidden:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			signal.Ignore(unix.SIGPIPE)                                   // a server that is gone does not end what it has asked for
			_ = os.WriteFile("/proc/self/comm", []byte("ublk-linear"), 0) // it was executed as "exe"
			return daemon.NoSchedulers("/sys", cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
