package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
	"github.com/ublk-go/ublk-linear/limits"
)

type limitsJSON struct {
	LogicalBlockSize      uint32            `json:"logical_block_size"`
	PhysicalBlockSize     uint32            `json:"physical_block_size"`
	IOMin                 uint32            `json:"io_min"`
	IOOpt                 uint32            `json:"io_opt"`
	MaxSectors            uint32            `json:"max_sectors"`
	ChunkSectors          uint32            `json:"chunk_sectors"`
	DMAAlignment          uint32            `json:"dma_alignment"`
	DiscardGranularity    uint32            `json:"discard_granularity"`
	DiscardMaxSectors     uint32            `json:"discard_max_sectors"`
	WriteZeroesMaxSectors uint32            `json:"write_zeroes_max_sectors"`
	AlignmentOffset       uint32            `json:"alignment_offset"`
	Misaligned            bool              `json:"misaligned"`
	Features              []string          `json:"features"`
	Copy                  limits.CopyLimits `json:"copy"`
}

type deviceLimitsJSON struct {
	Name          string       `json:"name"`
	Limits        limitsJSON   `json:"limits"`
	Why           limits.Trace `json:"why"`
	Inexpressible []string     `json:"inexpressible"`
}

func newLimits(g *globals) *cobra.Command {
	var sysfs, rule string
	var nodes []string
	cmd := &cobra.Command{
		Use:   "limits [DEVICE]",
		Short: "Show what devices can do, and which disk imposed each limit",
		Long: `Show the stacked queue limits of devices, as the kernel's device-mapper would compute them, which disk or target imposed
each value, what every disk says, and what ublk cannot express. Nothing is held; as root, NVMe and SCSI disks are opened
for reading and asked what they can copy. --sysfs reads a saved tree of another host's /sys instead of this one's.`,
		Example: `  ublk-linear limits data
  ublk-linear limits data --copy-rule 2026 --json
  ublk-linear limits --sysfs ./saved-sys --node a=nvme0n1 --node b=sda1`,
		Args:              args(0, 1, "at most one device"),
		ValidArgsFunction: g.names,
		RunE: func(cmd *cobra.Command, a []string) error {
			r, err := limits.ParseCopyRule(rule)
			if err != nil {
				return usageError{err}
			}
			o := &daemon.LimitsOptions{Rule: r, Node: map[string]string{}}
			for _, n := range nodes {
				d, dev, ok := strings.Cut(n, "=")
				if !ok || d == "" || dev == "" {
					return usagef("--node %q is not DISK=DEVICE, as a=nvme0n1", n)
				}
				o.Node[d] = strings.TrimPrefix(dev, "/dev/")
			}
			if sysfs != "" {
				if st, err := os.Stat(sysfs); err != nil || !st.IsDir() {
					return usagef("--sysfs %s is no folder", sysfs)
				}
				o.Sys = os.DirFS(sysfs)
			}
			f, err := g.load(cmd)
			if err != nil {
				return err
			}
			if len(a) == 1 {
				i, err := device(f, a[0])
				if err != nil {
					return err
				}
				f = only(f, i)
			}
			ds, err := daemon.Limits(f, o)
			if err != nil {
				return err
			}
			if g.json {
				return printLimitsJSON(cmd, ds, len(a) == 1)
			}
			for i := range ds {
				if i > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				if err := printLimits(cmd.OutOrStdout(), &ds[i], r); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&rule, "copy-rule", string(limits.CopyMin), "how copy limits are stacked: min, 2024 (Shetty v20) or 2026 (Van Assche v1)")
	cmd.Flags().StringVar(&sysfs, "sysfs", "", "read this saved `DIR` instead of /sys")
	cmd.Flags().StringArrayVar(&nodes, "node", nil, "`DISK=DEVICE`: the kernel's name of a disk's device; repeat it")
	return cmd
}

// only is the file with one device, so that nobody looks at the disks of the others.
func only(f *config.File, i int) *config.File {
	one := *f
	one.Devices = f.Devices[i : i+1]
	return &one
}

func printLimitsJSON(cmd *cobra.Command, ds []daemon.DeviceLimits, one bool) error {
	all := []deviceLimitsJSON{}
	for _, d := range ds {
		l := d.Limits
		all = append(all, deviceLimitsJSON{d.Name, limitsJSON{l.LogicalBlock, l.PhysicalBlock, l.IOMin, l.IOOpt, l.MaxSectors, l.ChunkSectors, l.DMAAlignment,
			l.DiscardGranularity, l.MaxDiscardSectors, l.MaxWriteZeroesSectors, l.AlignmentOffset, l.Misaligned, l.Features(), d.Copy}, d.Why, d.Inexpressible})
	}
	if one {
		return printJSON(cmd, struct {
			Schema int `json:"schema"`
			deviceLimitsJSON
		}{schema, all[0]})
	}
	return printJSON(cmd, struct {
		Schema  int                `json:"schema"`
		Devices []deviceLimitsJSON `json:"devices"`
	}{schema, all})
}

// printLimits is the table for people: a row a limit, a column a disk.
func printLimits(out io.Writer, d *daemon.DeviceLimits, rule limits.CopyRule) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	row := []string{"device " + d.Name, "VALUE", "IMPOSED BY"}
	for _, k := range d.Disks {
		row = append(row, "disk "+k.Name)
	}
	fmt.Fprintln(w, strings.Join(row, "\t"))
	for _, f := range limits.Fields() {
		v := f.Get(&d.Limits)
		row := []string{f.Name, fmt.Sprint(v), dash(d.Why[f.Name])}
		said := v != 0
		for _, k := range d.Disks {
			b := f.Get(&k.Limits)
			said = said || b != 0
			row = append(row, fmt.Sprint(b))
		}
		if said {
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
	}
	for _, c := range []struct {
		name string
		get  func(limits.CopyLimits) uint32
	}{
		{"copy_max_sectors", func(c limits.CopyLimits) uint32 { return c.MaxSectors }},
		{"copy_max_range_sectors", func(c limits.CopyLimits) uint32 { return c.MaxRangeSectors }},
		{"copy_max_ranges", func(c limits.CopyLimits) uint32 { return c.MaxRanges }},
	} {
		row := []string{c.name, fmt.Sprint(c.get(d.Copy)), "rule " + string(rule)}
		for _, k := range d.Disks {
			row = append(row, fmt.Sprint(c.get(k.Copy.Limits(rule, k.LogicalBlock))))
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, k := range d.Disks {
		if k.Copy.Can() {
			fmt.Fprintf(out, "copy on disk %s: %s, domain %s\n", k.Name, k.Copy.Method, k.Copy.Domain)
		} else {
			fmt.Fprintf(out, "no copy on disk %s: %s\n", k.Name, k.Copy.Reason)
		}
	}
	for _, s := range d.Inexpressible {
		fmt.Fprintln(out, "ublk cannot say:", s)
	}
	for _, s := range d.Hints {
		fmt.Fprintln(out, "hint:", s)
	}
	return nil
}
