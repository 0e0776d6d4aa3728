package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/copy/series"
)

type modelJSON struct {
	Name    string       `json:"name"`
	Title   string       `json:"title"`
	Author  string       `json:"author"`
	Posted  string       `json:"posted"`
	Message string       `json:"message"`
	Defects []defectJSON `json:"defects"`
}

type defectJSON struct {
	Name string `json:"name"`
	What string `json:"what"`
	Ref  string `json:"ref"`
}

// listSeries prints the designs and what is known to be wrong with the code of each.
func listSeries(cmd *cobra.Command, asJSON bool) error {
	all := []modelJSON{}
	for _, m := range series.Models() {
		j := modelJSON{m.Name, m.Title, m.Author, m.Posted, m.Message, []defectJSON{}}
		for _, d := range m.Defects {
			j.Defects = append(j.Defects, defectJSON(d))
		}
		all = append(all, j)
	}
	if asJSON {
		return printJSON(cmd, struct {
			Schema int         `json:"schema"`
			Series []modelJSON `json:"series"`
		}{schema, all})
	}
	out := cmd.OutOrStdout()
	for i, m := range all {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s: %s\n", m.Name, m.Title)
		for _, x := range []struct{ what, text string }{{"author", m.Author}, {"posted", m.Posted}, {"message", m.Message}} {
			if x.text != "" {
				indent(out, x.what+": ", x.text)
			}
		}
		for _, d := range m.Defects {
			indent(out, "defect "+d.Name+": ", d.What+" ("+d.Ref+")")
		}
	}
	return nil
}
