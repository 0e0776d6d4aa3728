package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
)

func newEvents(g *globals) *cobra.Command {
	var follow bool
	var after uint64
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened in the server: failing disks, reloads, copies",
		Long: `Show what happened in the server, oldest first: disks that fail, do not answer, vanish or come back, devices that came, went, were recovered,
resized, suspended or resumed, reloads, upgrades, copies. The server keeps the last 256; what is gone of those asked for is told.

With --follow, also what comes, until ^C (exit code 0) or the end of the server (5). With --json, one object a line.`,
		Example: "  ublk-linear events -c volumes.toml\n  ublk-linear events --follow --json | jq 'select(.event == \"disk-error\")'",
		Args:    args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := g.server()
			if err != nil {
				return err
			}
			lines := json.NewEncoder(cmd.OutOrStdout())
			lines.SetEscapeHTML(false)
			err = server.Events(cmd.Context(), after, follow, func(x daemon.Event) error {
				if g.json {
					return lines.Encode(&x)
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), eventText(&x))
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", g.file, err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes")
	cmd.Flags().Uint64Var(&after, "after", 0, "only what came after the event of that `NUMBER`")
	return cmd
}

// eventText is an event in one line.
func eventText(x *daemon.Event) string {
	text := fmt.Sprintf("%s %d %s", x.Time.Local().Format("2006-01-02T15:04:05.000Z07:00"), x.Seq, x.Kind)
	add := func(format string, a ...any) { text += fmt.Sprintf(format, a...) }
	if x.Disk != "" {
		add(" disk %s", x.Disk)
	}
	if x.Device != "" {
		add(" device %s", x.Device)
	}
	if x.Node != "" {
		add(" %s", x.Node)
	}
	if x.Changes > 0 {
		add(" %d changes", x.Changes)
	}
	if x.Old+x.New > 0 {
		add(" %v, was %v", config.Size(x.New*512), config.Size(x.Old*512))
	}
	if x.To != "" {
		add(" from %s to %s", x.From, x.To)
	}
	if c := x.Copy; c != nil {
		add(" copy %d from %s to %s, %v of %v", c.ID, c.Source, c.Destination, config.Size(c.Bytes), config.Size(c.Total))
	}
	if x.Op != "" {
		add(": %s", x.Op)
		if x.Sector != nil {
			add(" at sector %d", *x.Sector)
		}
	}
	if x.Errno != "" {
		add(" %s", x.Errno)
	}
	if x.Errors > 0 {
		add(", %d errors since it was last told of", x.Errors)
	}
	if x.Seconds > 0 {
		add(", %v", seconds(x.Seconds).Round(time.Microsecond))
	}
	if x.Lost > 0 {
		add(" %d events are gone", x.Lost)
	}
	if x.Error != "" {
		add(": %s", strings.ReplaceAll(x.Error, "\n", "; "))
	}
	return text
}
