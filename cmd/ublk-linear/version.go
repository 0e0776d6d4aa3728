package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/daemon"
)

// version is set by the linker for a release; otherwise it is what the module says.
var version = ""

type featureJSON struct {
	Name  string `json:"name"`
	Since string `json:"since"`
	Has   bool   `json:"has"`
}

func newVersion(g *globals) *cobra.Command {
	var features bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version; with --features, what this kernel's ublk driver can do",
		Example: "  ublk-linear version --features",
		Args:    args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := struct {
				Schema   int           `json:"schema"`
				Version  string        `json:"version"`
				Go       string        `json:"go"`
				Features []featureJSON `json:"features,omitempty"`
			}{Schema: schema, Version: versionString(), Go: runtime.Version()}
			if features {
				has, err := daemon.Features()
				if err != nil {
					return err
				}
				for _, f := range has {
					out.Features = append(out.Features, featureJSON(f))
				}
			}
			if g.json {
				return printJSON(cmd, out)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintf(w, "ublk-linear %s %s\n", out.Version, out.Go)
			for _, f := range out.Features {
				has := "no"
				if f.Has {
					has = "yes"
				}
				fmt.Fprintf(w, "%s\t%s\tmainline since %s\n", f.Name, has, dash(f.Since))
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&features, "features", false, "ask the ublk driver (needs root)")
	return cmd
}

func versionString() string {
	if version != "" {
		return version
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "(devel)"
}
