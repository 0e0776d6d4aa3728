package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/daemon"
)

func newCopy(g *globals) *cobra.Command {
	var c copyArgs
	var force, faults bool
	var progress string
	cmd := &cobra.Command{
		Use:   "copy SRC[,SRC…] DST[,DST…]",
		Short: "Copy inside and between devices, by the disks themselves where they can",
		Long: `Copy ranges of a device to another device, or inside one: through the running server, while the devices are used, or
directly on the disks where the file is not served. What the disks copy by themselves does not cross this host; the rest is
read and written. The result says which, and why. Source and destination may overlap: the result is memmove's.

The copy sees every write that was acknowledged before it. Of a mounted source, that is what the filesystem had written:
freeze it (fsfreeze) or unmount it for a consistent one. A destination that is mounted, claimed or open is refused.

` + rangeHelp + `

Exit codes: 0 all is copied, 7 not all (also when interrupted), 1 nothing, 2 the ranges cannot be meant, 4 the destination,
a disk or the file is in use, 5 no such device.`,
		Example: `  ublk-linear copy data:0s+64MiB data:128MiB
  ublk-linear copy data:0s+1GiB data:4GiB+1GiB scratch:0s --rate 100MiB
  ublk-linear copy data:0s+1TiB scratch:0s --fallback fail --json`,
		Args:              args(2, 1<<20, "one source or more and a destination"),
		ValidArgsFunction: g.completeRange,
		RunE: func(cmd *cobra.Command, a []string) error {
			r, err := c.request(a)
			if err != nil {
				return err
			}
			bar, err := newMeter(cmd.ErrOrStderr(), progress)
			if err != nil {
				return err
			}
			f, err := g.loadFor(cmd, r)
			if err != nil {
				return err
			}
			if err := daemon.FaultsAllowed(f, faults); err != nil {
				return err
			}
			res, err := g.copy(cmd.Context(), f, r, &daemon.CopyOptions{Force: force, Progress: bar.tell, RunDir: g.run, AllowFaults: faults,
				Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
			bar.end()
			if err != nil {
				return copyError(cmd.Context(), err, bar.last.Bytes > 0)
			}
			if g.json {
				err = printJSON(cmd, res)
			} else {
				err = printCopied(cmd.OutOrStdout(), res)
			}
			return errors.Join(err, resultError(cmd.Context(), res))
		},
	}
	c.planFlags(cmd)
	c.copyFlags(cmd)
	allowFaults(cmd, &faults)
	cmd.Flags().BoolVar(&force, "force", false, "also onto a device that is mounted or open; without a server, also on disks of a device that waits for one")
	cmd.Flags().StringVar(&progress, "progress", "auto", "`WHEN` on stderr: auto (a bar on a terminal, else a line every 5 s), always (a bar) or never")
	_ = cmd.RegisterFlagCompletionFunc("progress", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// copy asks the server of the file, or does it itself where there is none.
func (g *globals) copy(ctx context.Context, f *config.File, r *daemon.CopyRequest, o *daemon.CopyOptions) (*daemon.CopyResult, error) {
	inst, err := daemon.NewInstance(g.file, g.run)
	if err != nil {
		return nil, err
	}
	res, err := daemon.NewClient(inst).Copy(ctx, r, o)
	if errors.Is(err, daemon.ErrNotServed) {
		return daemon.CopyOffline(ctx, f, r, o)
	}
	return res, err
}

// copyError is a copy without a result. A request that cannot be meant is usage; one that a policy refuses is a failure.
func copyError(ctx context.Context, err error, began bool) error {
	switch {
	case errors.Is(err, daemon.ErrCopyLost) && began:
		return errors.Join(errPartial, err)
	case errors.Is(err, blkcopy.ErrOverlap), errors.Is(err, blkcopy.ErrNoOffload), errors.Is(err, blkcopy.ErrBoundary):
		return fmt.Errorf("refused: %w", err)
	case errors.Is(err, blkcopy.ErrRequest):
		return usageError{err}
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return errors.New("interrupted: nothing is copied")
	}
	return err
}

// resultError is what of a result is a failure.
func resultError(ctx context.Context, r *daemon.CopyResult) error {
	if r.Complete {
		return nil
	}
	why := r.Error
	if why == "" {
		why = "not all is copied"
	}
	err := fmt.Errorf("copy: %s", strings.ReplaceAll(why, "\n", "\ncopy: "))
	if r.Moved() || ctx.Err() != nil {
		return partialError{err}
	}
	return err
}

// partialError is errPartial in other words.
type partialError struct{ error }

func (e partialError) Is(target error) bool { return target == errPartial }
