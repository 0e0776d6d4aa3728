package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	server "github.com/ublk-go/ublk-linear/daemon"
)

func newAdopt(g *globals) *cobra.Command {
	var s serving
	var check bool
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Take over the devices that a dead server of the file left, and serve only them",
		Long: `Take over the devices of the file whose server has died, as "up" does, and serve them in the foreground; devices of the
file that no server left are not added. Everything is compared first: the table, the disks, the shape of the queues. When
anything differs nothing is touched, and all differences are listed.

With --check nothing is taken over in any case: what would be is printed (exit code 6), or what differs (3), or that nothing
waits (0).

With --trust-file devices are taken over also where the server's state is lost, by the id that the file gives them. Nothing
tells then whether their table and disks are what they were: it is yours to know.`,
		Example:     "  ublk-linear adopt --check -c volumes.toml\n  ublk-linear adopt --trust-file -c volumes.toml",
		Args:        args(0, 0, "no arguments"),
		Annotations: map[string]string{serves: "devices"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.opt.Adopt = true
			if check {
				return checkAdopt(cmd, g, s.opt.TrustFile)
			}
			return s.run(cmd, g)
		},
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&check, "check", false, "only compare, and say what would be taken over")
	cmd.Flags().BoolVar(&s.opt.TrustFile, "trust-file", false, "also devices whose state is lost: by their id in the file")
	return cmd
}

// adoptJSON is what adopt --check prints.
type adoptJSON struct {
	Schema      int                 `json:"schema"`
	Adoptable   []server.DeviceInfo `json:"adoptable"`
	Differences []problemJSON       `json:"differences"`
}

func checkAdopt(cmd *cobra.Command, g *globals, trust bool) error {
	f, err := g.load(cmd)
	if err != nil {
		return err
	}
	found, ps, err := server.Adoptable(cmd.Context(), f, g.run, trust)
	if err != nil {
		return err
	}
	if g.json {
		if err := printJSON(cmd, adoptJSON{schema, found, problemsJSON(ps)}); err != nil {
			return err
		}
	} else if len(found) > 0 && len(ps) == 0 {
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tNODE\tSIZE\tSTATE")
		for _, d := range found {
			fmt.Fprintf(w, "%s\t%s\t%v\t%s\n", d.Name, d.Node, config.Size(d.Bytes), d.State)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	switch {
	case len(ps) > 0 && g.json:
		return errInvalid
	case len(ps) > 0:
		return ps
	case len(found) > 0:
		return errWould
	}
	return nil
}
