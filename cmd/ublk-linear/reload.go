package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// invalidError makes what a server says of its file an invalid file.
type invalidError struct{ error }

func (invalidError) Is(target error) bool { return target == errInvalid }

func newReload(g *globals) *cobra.Command {
	var r daemon.ReloadRequest
	wait := daemon.DefaultReloadWait
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the server serve what the file says now",
		Long: `Have the server of the file serve what the file says now. Everything is checked before anything is touched, and all that is
wrong is listed; then devices that go are stopped, those that changed are suspended together, mapped anew and resumed, and
new ones are started: all of that, or nothing.

A reload changes where a device lies. It moves no data: what was at a place that changed is not there any more.

id, queues, depth, max_io, read_only and on_crash cannot change while a device is served, nor can a new table need stricter
limits than the device was announced with. Growing and shrinking need Linux 6.16. Copies on devices that change are waited
for. SIGHUP to the server does the same, with the defaults.`,
		Example: "  ublk-linear reload --check -c volumes.toml; ublk-linear reload -c volumes.toml",
		Args:    args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait < 0 || wait > daemon.MaxReloadWait {
				return usagef("--wait %v is not in 0..%v", wait, daemon.MaxReloadWait)
			}
			s := wait.Seconds()
			r.WaitSeconds = &s
			server, err := g.server()
			if err != nil {
				return err
			}
			out, err := server.Reload(cmd.Context(), r)
			switch {
			case errors.Is(err, daemon.ErrReload):
				return invalidError{err}
			case errors.Is(err, daemon.ErrNotServed):
				return fmt.Errorf("%s: %w", g.file, err)
			case err != nil:
				return err
			}
			if g.json {
				err = printJSON(cmd, out)
			} else {
				err = printReload(cmd.OutOrStdout(), &out)
			}
			if err == nil && r.Check && out.Changes > 0 {
				err = errWould
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&r.Check, "check", false, "say what would change, and change nothing; exit code 6 when there is something")
	f.BoolVar(&r.Shrink, "shrink", false, "devices may become smaller, if nobody uses them: what lies behind their new end is lost to them")
	f.BoolVar(&r.Force, "force", false, "also when a device that goes is mounted or open: its users get I/O errors")
	f.BoolVar(&r.CancelCopies, "cancel-copies", false, "end copies on devices that change, instead of waiting for them")
	f.DurationVar(&wait, "wait", wait, "for copies on devices that change")
	return cmd
}

// printReload prints a diff of dm tables.
func printReload(w io.Writer, r *daemon.ReloadResult) error {
	var err error
	line := func(format string, a ...any) {
		if _, e := fmt.Fprintf(w, format+"\n", a...); err == nil {
			err = e
		}
	}
	marks := map[string]string{daemon.Added: "+", daemon.Removed: "-", daemon.Changed: "!"}
	for _, d := range r.Disks {
		what := ""
		if d.What != "" {
			what = ": " + d.What
		}
		line("%s disk %s (%s)%s", marks[d.Change], d.Name, d.Source, what)
	}
	for i := range r.Devices {
		d := &r.Devices[i]
		if d.Change == daemon.Unchanged {
			continue
		}
		line("%s device %s%s", marks[d.Change], d.Name, deviceChange(d))
		for _, s := range d.Settings {
			line("    %s", s)
		}
		for g, c := d.Gone, d.Come; len(g)+len(c) > 0; {
			if len(c) == 0 || len(g) > 0 && g[0].Start <= c[0].Start {
				line("  - %v", g[0])
				g = g[1:]
			} else {
				line("  + %v", c[0])
				c = c[1:]
			}
		}
	}
	for _, c := range r.Copies {
		line("copy %d from %s to %s was ended after %d of %d bytes", c.ID, c.Source, c.Destination, c.Bytes, c.Total)
	}
	switch {
	case r.Changes == 0:
		line("%s: nothing has changed", r.Config)
	case r.Check:
		line("%s: %s to make", r.Config, count(r.Changes, "change"))
	default:
		line("%s: %s made; requests of changed devices waited for %v", r.Config, count(r.Changes, "change"), seconds(r.Stall))
	}
	return err
}

func deviceChange(d *daemon.DeviceDiff) string {
	if d.Change != daemon.Changed {
		return fmt.Sprintf(": %d sectors", d.OldSectors+d.NewSectors)
	}
	most := ""
	if !d.MovedExact {
		most = "at most "
	}
	size := fmt.Sprintf("%d sectors", d.NewSectors)
	if d.OldSectors != d.NewSectors {
		size = fmt.Sprintf("%d sectors, were %d", d.NewSectors, d.OldSectors)
	}
	return fmt.Sprintf(": %s; %s%d lie elsewhere", size, most, d.Moved)
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Microsecond)
}

// hangups are SIGHUPs: each is a reload. One that comes before there is a server is kept for it.
type hangups struct {
	sig  chan os.Signal
	end  chan struct{}
	done sync.WaitGroup
}

func catchHangups() *hangups {
	h := &hangups{sig: make(chan os.Signal, 1), end: make(chan struct{})}
	signal.Notify(h.sig, unix.SIGHUP)
	return h
}

// reloader is what a hangup asks: *daemon.Server.
type reloader interface {
	Reload(ctx context.Context, r daemon.ReloadRequest) (*daemon.ReloadResult, error)
}

// serve reloads until stop. tell is told when a reload begins, and when it has ended.
func (h *hangups) serve(ctx context.Context, s reloader, log *slog.Logger, tell func(reloading bool)) {
	h.done.Go(func() {
		for {
			select {
			case <-h.end:
				return
			case <-h.sig:
			}
			tell(true)
			if _, err := s.Reload(ctx, daemon.ReloadRequest{}); err != nil {
				log.Error("reload on SIGHUP", "err", err)
			}
			tell(false)
		}
	})
}

// stop waits for a reload that has begun. The server ends it, where it only waits.
func (h *hangups) stop() {
	signal.Stop(h.sig)
	close(h.end)
	h.done.Wait()
}
