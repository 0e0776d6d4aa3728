package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

type segmentJSON struct {
	Disk    string `json:"disk"`
	Start   uint64 `json:"start"`
	Sectors uint64 `json:"sectors"`
	Offset  uint64 `json:"offset"`
}

func newMap(g *globals) *cobra.Command {
	var merged bool
	cmd := &cobra.Command{
		Use:   "map DEVICE OP START+LEN",
		Short: "Show where an I/O lands",
		Long: `Show on which disks, and where, an I/O lands. OP is read, write, discard, write-zeroes or flush; START and LEN are
sizes (0s+2048s, 1MiB+64KiB); a flush has no range. Everything printed is in 512-byte sectors; offset is the position of
a segment's first sector inside the request. Reads and writes are cut at chunk edges, as device-mapper does; discards and
write-zeroes are one range per leg.`,
		Example:           "  ublk-linear map data read 0s+2048s",
		Args:              args(2, 3, "a device, an operation and a range START+LEN"),
		ValidArgsFunction: g.completeMap,
		RunE: func(cmd *cobra.Command, a []string) error {
			op, ok := target.ParseOp(a[1])
			if !ok {
				return usagef("unknown operation %q: read, write, discard, write-zeroes or flush", a[1])
			}
			f, err := g.load(cmd)
			if err != nil {
				return err
			}
			i, err := device(f, a[0])
			if err != nil {
				return err
			}
			tables, err := daemon.Tables(f)
			if err != nil {
				return err
			}
			var r target.Range
			switch {
			case op == target.Flush && len(a) == 3:
				return usagef("a flush has no range")
			case op != target.Flush && len(a) == 2:
				return usagef("%s needs a range START+LEN, as 0s+2048s", op)
			case len(a) == 3:
				if r, err = parseRange(a[2]); err != nil {
					return err
				}
				if n := tables[i].Sectors(); !tables[i].Contains(r) {
					return usagef("%s ends at sector %d, device %s at %d (%v)", a[2], r.End(), a[0], n, config.Size(n*512))
				}
			}
			w := bufio.NewWriter(cmd.OutOrStdout())
			p := &segmentPrinter{w: w, json: g.json, name: daemon.DiskName(f), merged: merged}
			return p.print(cmd.Context(), tables[i], op, r)
		},
	}
	cmd.Flags().BoolVar(&merged, "merged", false, "join what is contiguous on a disk")
	return cmd
}

// parseRange reads START+LEN.
func parseRange(s string) (target.Range, error) {
	start, length, ok := strings.Cut(s, "+")
	if !ok {
		return target.Range{}, usagef("range %q is not START+LEN, as 0s+2048s or 1MiB+64KiB", s)
	}
	var r target.Range
	for _, x := range []struct {
		what, text string
		to         *uint64
	}{{"start", start, &r.Start}, {"length", length, &r.Len}} {
		n, err := config.ParseSize(x.text)
		if err != nil {
			return r, usagef("%s of range %q: %w", x.what, s, err)
		}
		if n%512 != 0 {
			return r, usagef("%s of range %q is not a multiple of 512 bytes", x.what, s)
		}
		*x.to = uint64(n) / 512
	}
	if r.Len == 0 {
		return r, usagef("range %q is empty", s)
	}
	if r.Start+r.Len < r.Start {
		return r, usagef("range %q ends past 2^64 bytes", s)
	}
	return r, nil
}

// segmentPrinter prints segments as they are mapped: a range may have millions, and whoever asked may stop it.
type segmentPrinter struct {
	w      *bufio.Writer
	json   bool
	merged bool
	name   func(target.Disk) string
	n      int
	last   target.Segment
}

func (p *segmentPrinter) print(ctx context.Context, t *remap.Table, op target.Op, r target.Range) error {
	if p.json {
		fmt.Fprintf(p.w, `{"schema":%d,"segments":[`, schema)
	} else {
		fmt.Fprintf(p.w, "%-16s %14s %12s %12s\n", "DISK", "START", "SECTORS", "OFFSET")
	}
	buf := make([]target.Segment, 0, max(1024, t.Fan()))
	for done := uint64(0); ; {
		segs, n := t.Map(buf, op, target.Range{Start: r.Start + done, Len: r.Len - done})
		for _, s := range segs {
			s.Offset += done
			p.add(s)
		}
		if done += n; n == 0 || done >= r.Len {
			break
		}
		if err := cmp.Or(ctx.Err(), p.w.Flush()); err != nil {
			return err
		}
	}
	if p.merged && p.n > 0 {
		p.flush()
	}
	if p.json {
		fmt.Fprintln(p.w, "]}")
	}
	return p.w.Flush()
}

// add prints a segment, or holds it back to join it with the next.
func (p *segmentPrinter) add(s target.Segment) {
	if !p.merged {
		p.last = s
		p.n++
		p.flush()
		return
	}
	if p.n > 0 {
		if got := remap.Merge([]target.Segment{p.last, s}); len(got) == 1 {
			p.last = got[0]
			return
		}
		p.flush()
	}
	p.last = s
	p.n++
}

func (p *segmentPrinter) flush() {
	s := p.last
	if !p.json {
		fmt.Fprintf(p.w, "%-16s %14d %12d %12d\n", p.name(s.Disk), s.Sector, s.Sectors, s.Offset)
		return
	}
	b, _ := json.Marshal(segmentJSON{p.name(s.Disk), s.Sector, s.Sectors, s.Offset})
	if p.n > 1 {
		fmt.Fprint(p.w, ",")
	}
	fmt.Fprintf(p.w, "\n  %s", b)
}

func (g *globals) completeMap(cmd *cobra.Command, a []string, to string) ([]string, cobra.ShellCompDirective) {
	switch len(a) {
	case 0:
		return g.names(cmd, a, to)
	case 1:
		return []string{"read", "write", "discard", "write-zeroes", "flush"}, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
