package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
)

func newStatus(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "status DEVICE",
		Short:             "Show one served device: its table, disks, counters",
		Example:           "  ublk-linear status data -c volumes.toml",
		Args:              args(1, 1, "one device"),
		ValidArgsFunction: g.names,
		RunE: func(cmd *cobra.Command, a []string) error {
			server, err := g.server()
			if err != nil {
				return err
			}
			s, err := server.Status(cmd.Context(), a[0])
			if err != nil {
				return fmt.Errorf("%s: %w", g.file, err)
			}
			if g.json {
				return printJSON(cmd, s)
			}
			return printStatus(cmd.OutOrStdout(), s)
		},
	}
}

func printStatus(out io.Writer, s daemon.Status) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	row := func(key, format string, a ...any) { fmt.Fprintf(w, key+"\t"+format+"\n", a...) }
	row("device", "%s (%s, %s)", s.Name, s.Node, s.Link)
	if s.Suspended > 0 {
		row("suspended", "resumes in %v", seconds(s.Suspended).Round(100*time.Millisecond))
	}
	row("state", "%s, served by process %d from %s", s.State, s.PID, s.Config)
	if s.Failure != "" {
		row("failure", "%s", s.Failure)
	}
	mode := "read-write"
	if s.ReadOnly {
		mode = "read-only"
	}
	row("size", "%v (%d sectors), %s", config.Size(s.Bytes), s.Sectors, mode)
	row("queues", "%d × %d requests of up to %v, data path %s", s.Queues, s.Depth, config.Size(s.MaxIO), s.DataPath)
	for i, l := range strings.Split(strings.TrimSpace(s.Table), "\n") {
		row([]string{"table", ""}[min(i, 1)], "%s", l)
	}
	for i, d := range s.Disks {
		id := ""
		if d.Serial != "" {
			id = ", serial " + d.Serial
		}
		row([]string{"disks", ""}[min(i, 1)], "%s = %s %s, %v%s", d.Name, d.Kind, d.Node, config.Size(d.Bytes), id)
	}
	printLosses(row, s.Disks)
	printHealth(row, s.Disks)
	for i, op := range ops {
		c := s.IO[op]
		row([]string{"requests", ""}[min(i, 1)], "%s %d, %v", op, c.Requests, config.Size(c.Bytes))
	}
	row("errors", "%d", s.Errors)
	row("commands", "%d sent to disks, %d of them again", s.Commands, s.Retries)
	for i, c := range s.Copies {
		row([]string{"copies", ""}[min(i, 1)], "%d: %s to %s, %s", c.ID, c.Source, c.Destination, progressText(c.CopyProgress))
	}
	for i, x := range s.Faults {
		row([]string{"faults", ""}[min(i, 1)], "line %d: %s of %s, %s, %s: %s; %d matched, %d hit", x.Line, x.Op, x.Disk, x.Range, x.When, x.Action, x.Matched, x.Hits)
	}
	for i, x := range s.Stalled {
		row([]string{"stalled", ""}[min(i, 1)], "%s does not answer: %s at sector %d, since %.0f s (queue %d)", x.Disk, x.Op, x.Sector, x.Seconds, x.Queue)
	}
	row("process", "%s", processText(s.Process))
	for i, l := range s.Inexpressible {
		row([]string{"not said", ""}[min(i, 1)], "%s", l)
	}
	return w.Flush()
}

var ops = []string{"read", "write", "flush", "discard", "write-zeroes"}

// printLosses is a line for every disk that is gone, or has been.
func printLosses(row func(key, format string, a ...any), disks []daemon.DiskStatus) {
	key := "disk loss"
	for _, d := range disks {
		if d.Since != nil {
			row(key, "%s is gone since %s: %s, %d commands wait for it", d.Name, d.Since.Format(time.RFC3339), d.State, d.Parked)
			key = ""
		}
		if r := d.Returned; r != nil {
			more := ""
			if r.Unflushed {
				more = "; writes that were not flushed may have gone with its cache"
			}
			row(key, "%s was gone, and came back at %s%s", d.Name, r.Time.Format(time.RFC3339), more)
			key = ""
		}
	}
}

// printHealth is a line for every disk and operation that a command was sent for, and the last that failed.
func printHealth(row func(key, format string, a ...any), disks []daemon.DiskStatus) {
	key := "disk I/O"
	for _, d := range disks {
		for _, op := range ops {
			if c := d.IO[op]; c.Commands > 0 {
				row(key, "%s %s: %d commands, %v, %d errors, p50 < %v, p99 < %v, max < %v", d.Name, op, c.Commands, config.Size(c.Bytes), c.Errors,
					shortTime(c.P50), shortTime(c.P99), shortTime(c.Max))
				key = ""
			}
		}
	}
	key = "disk errors"
	for _, d := range disks {
		if e := d.LastError; e != nil {
			row(key, "%s: the last is %s, %s at sector %d, %s", d.Name, e.Errno, e.Op, e.Sector, e.Time.Format(time.RFC3339))
			key = ""
		}
	}
}

// shortTime is seconds with three digits: it is the end of a bucket that is as wide.
func shortTime(s float64) time.Duration {
	d := time.Duration(s * 1e9)
	for unit := time.Nanosecond; unit <= time.Second; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
	return d.Round(time.Second)
}
