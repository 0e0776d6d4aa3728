package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
)

// errInvalid ends check after it has printed the problems itself.
var errInvalid = errors.New("")

type problemJSON struct {
	Line    int    `json:"line"`
	Col     int    `json:"col"`
	Key     string `json:"key"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

func newCheck(g *globals) *cobra.Command {
	var disks bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Report every problem of the file",
		Long: `Report every problem of the file as file:line:col: message, with a hint. Nothing is opened but the file; with
--disks the disks it names are looked at too (their sizes, block sizes and names; they are not opened).`,
		Example: "  ublk-linear check -c volumes.toml",
		Args:    args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, ps, err := config.Load(g.file)
			if err != nil {
				return err
			}
			if disks && len(ps.Errors()) == 0 {
				for _, p := range daemon.Look(f) {
					if !slices.Contains(ps, p) { // the geometry rules run again, now with the disks' sizes
						ps = append(ps, p)
					}
				}
				slices.SortStableFunc(ps, func(a, b config.Problem) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col)) })
			}
			bad, warn := ps.Errors(), ps.Warnings()
			if g.json {
				out := struct {
					Schema   int           `json:"schema"`
					Problems []problemJSON `json:"problems"`
					Warnings []problemJSON `json:"warnings"`
				}{schema, problemsJSON(bad), problemsJSON(warn)}
				if err := printJSON(cmd, out); err != nil {
					return err
				}
			} else {
				for _, p := range ps {
					fmt.Fprintln(cmd.OutOrStdout(), p)
					if p.Hint != "" {
						fmt.Fprintln(cmd.OutOrStdout(), "    hint: "+p.Hint)
					}
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s\n", g.file, count(len(bad), "problem"), count(len(warn), "warning"))
			}
			if len(bad) > 0 {
				return errInvalid
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&disks, "disks", false, "look at the disks too, without opening them")
	return cmd
}

func problemsJSON(ps config.Problems) []problemJSON {
	out := []problemJSON{}
	for _, p := range ps {
		out = append(out, problemJSON{p.Line, p.Col, p.Key, p.Message, p.Hint})
	}
	return out
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
