package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/conform"
	"github.com/ublk-go/ublk-linear/copy/sim"
)

// report prints the reports, and writes the files that were asked for. Of several targets each has its file: NAME, NAME.2.
func (g *globals) report(cmd *cobra.Command, c *conformArgs, reports []*conform.Report) error {
	var errs []error
	if g.json {
		errs = append(errs, printJSON(cmd, struct {
			Schema  int               `json:"schema"`
			Reports []*conform.Report `json:"reports"`
		}{schema, reports}))
	}
	for i, r := range reports {
		if !g.json {
			errs = append(errs, r.Text(cmd.OutOrStdout()))
		}
		errs = append(errs, writeReport(c.junit, i, r.JUnit), writeReport(c.html, i, r.HTML))
	}
	return errors.Join(errs...)
}

func writeReport(path string, i int, write func(io.Writer) error) error {
	if path == "" {
		return nil
	}
	if i > 0 {
		path = fmt.Sprintf("%s.%d", path, i+1)
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// listScenarios says what the suite is, and what simulated disks can do wrong.
func (g *globals) listScenarios(cmd *cobra.Command, c *conformArgs) error {
	suite, err := conform.Pick(c.only)
	if err != nil {
		return err
	}
	if g.json {
		return printJSON(cmd, struct {
			Schema    int                `json:"schema"`
			Scenarios []conform.Scenario `json:"scenarios"`

			Misbehaviours []sim.Misbehaviour `json:"misbehaviours"`
		}{schema, suite, sim.Misbehaviours()})
	}
	for _, s := range suite {
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n    expected  %s\n    why       %s\n    judged    %s\n    ref       %s\n", s.Name, s.Expect, s.Why, s.Judged, s.Ref)
	}
	if len(c.only) > 0 {
		return nil
	}
	fmt.Fprintf(cmd.OutOrStdout(), "\nMisbehaviours of simulated disks (--misbehave; [disk.NAME.copy] misbehave):\n\n")
	for _, m := range sim.Misbehaviours() {
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n    does      %s\n    why       %s\n", m.Name, m.What, m.Why)
	}
	return nil
}
