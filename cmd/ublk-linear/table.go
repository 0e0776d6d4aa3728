package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/daemon"
)

type spanJSON struct {
	Start   uint64 `json:"start"`
	Sectors uint64 `json:"sectors"`
	Target  string `json:"target"`
	Params  string `json:"params"`
}

type tableJSON struct {
	Name  string     `json:"name"`
	Spans []spanJSON `json:"spans"`
}

func newTable(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "table [DEVICE]",
		Short: "Print devices as dmsetup table lines",
		Long:  "Print devices as dmsetup table lines: start and length in 512-byte sectors, target, parameters, with disks by their name in the file.",
		Example: `  ublk-linear table
  ublk-linear table data | sed 's/ a / 8:16 /' | dmsetup create data   # the same device by device-mapper`,
		Args:              args(0, 1, "at most one device"),
		ValidArgsFunction: g.names,
		RunE: func(cmd *cobra.Command, a []string) error {
			f, err := g.load(cmd)
			if err != nil {
				return err
			}
			tables, err := daemon.Tables(f)
			if err != nil {
				return err
			}
			only := -1
			if len(a) == 1 {
				if only, err = device(f, a[0]); err != nil {
					return err
				}
			}
			name := daemon.DiskName(f)
			out := struct {
				Schema  int         `json:"schema"`
				Devices []tableJSON `json:"devices"`
			}{schema, []tableJSON{}}
			for i, t := range tables {
				if only >= 0 && only != i {
					continue
				}
				d := tableJSON{Name: f.Devices[i].Name, Spans: []spanJSON{}}
				for _, s := range t.Spans() {
					d.Spans = append(d.Spans, spanJSON{s.Start, s.Len, s.Type(), s.Params(name)})
				}
				out.Devices = append(out.Devices, d)
			}
			if g.json {
				return printJSON(cmd, out)
			}
			for _, d := range out.Devices {
				for _, s := range d.Spans {
					prefix := "" // as dmsetup: the name only where several devices are listed
					if len(out.Devices) > 1 {
						prefix = d.Name + ": "
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%s%d %d %s %s\n", prefix, s.Start, s.Sectors, s.Target, s.Params)
				}
			}
			return nil
		},
	}
}
