package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/conform"
)

// conformArgs is what conform is told.
type conformArgs struct {
	target, disk, directory, region string
	destroys                        bool
	sim                             simArgs
	seed                            uint64
	rounds                          int
	only                            []string
	junit, html, progress           string
	list                            bool
}

func newConform(g *globals) *cobra.Command {
	var c conformArgs
	cmd := &cobra.Command{
		Use:   "conform [--target model|sim|DISK | --disk DISK | --directory DIR]",
		Short: "Judge how a device copies, scenario by scenario",
		Long: `Send a suite of copies to a device that copies by itself, and say of each whether what happened is what was to be
expected, and why it matters where it is not: limits, overlap, partial failure, visibility, concurrency, random requests.

Of a disk of the file (NVMe or SCSI), the region is OVERWRITTEN. The disk is held as by up. What is around the region is read
before and after, and the report proves that it is untouched. With --directory, two files are made there and removed
again. The model is the reference that the others are judged by.

A disk in memory that copies by method "nvme" is simulated, with the misbehaviours that the file gives it; it is its own, so
that nothing has to be said about it. --target sim is one without a file.`,
		Example: `  ublk-linear conform --target model
  ublk-linear conform --disk a --region 1GiB+64MiB --i-know-this-destroys-data --html report.html
  ublk-linear conform --directory /srv --json
  ublk-linear conform --target sim --misbehave overlap-forward,limits-late
  ublk-linear conform --list`,
		Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.check(); err != nil {
				return err
			}
			if c.list {
				return g.listScenarios(cmd, &c)
			}
			reports, err := g.conform(cmd, &c)
			if len(reports) == 0 {
				return err
			}
			return errors.Join(g.report(cmd, &c, reports), err, verdictOf(reports))
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.target, "target", "", "`WHAT` is judged: model, sim, or a disk of the file")
	f.StringVar(&c.disk, "disk", "", "a `DISK` of the file")
	f.StringVar(&c.directory, "directory", "", "a `DIR` in whose file system two files are made and copied between")
	f.StringVar(&c.region, "region", "", "`START+LEN` of the disk, in which everything is overwritten")
	f.BoolVar(&c.destroys, "i-know-this-destroys-data", false, "needed for a disk")
	f.Uint64Var(&c.seed, "seed", 1, "of what is random; the same `S` makes the same requests")
	f.IntVar(&c.rounds, "rounds", 200, "requests of each random scenario")
	f.StringSliceVar(&c.only, "only", nil, "run only these `SCENARIOS`")
	f.StringVar(&c.junit, "junit", "", "write a JUnit XML test suite to `FILE`")
	f.StringVar(&c.html, "html", "", "write a self-contained page to `FILE`")
	f.StringVar(&c.progress, "progress", "auto", "`WHEN` on stderr: auto (on a terminal), always or never")
	f.BoolVar(&c.list, "list", false, "say what the scenarios and the misbehaviours are, and run none")
	c.sim.flags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("progress", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// check refuses what cannot be meant, before anything is opened.
func (c *conformArgs) check() error {
	given := 0
	for _, s := range []string{c.target, c.disk, c.directory} {
		if s != "" {
			given++
		}
	}
	if _, err := conform.Pick(c.only); err != nil {
		return usagef("--only: %w (conform --list has them)", err)
	}
	if c.rounds < 1 || c.rounds > 1e6 {
		return usagef("--rounds %d: from 1 to 1000000", c.rounds)
	}
	if p := c.progress; p != "auto" && p != "always" && p != "never" {
		return usagef("--progress %q: auto, always or never", p)
	}
	if c.list {
		return nil
	}
	if given != 1 {
		return usagef("conform takes one of --target model|sim|DISK, --disk DISK and --directory DIR")
	}
	if c.target != "" && c.target != "model" && c.target != "sim" {
		c.disk, c.target = c.target, ""
	}
	if err := c.sim.check(c.target == "sim"); err != nil {
		return err
	}
	if c.disk == "" && (c.region != "" || c.destroys) {
		return usagef("--region and --i-know-this-destroys-data are for a disk")
	}
	return nil
}

// meant refuses to overwrite a disk that was not given for it.
func (c *conformArgs) meant() error {
	switch {
	case c.region == "":
		return usagef("--region START+LEN says where on disk %s everything may be overwritten", c.disk)
	case !c.destroys:
		return usagef("everything in %s of disk %s will be overwritten, and a device that misbehaves may overwrite more: --i-know-this-destroys-data says that this is meant", c.region, c.disk)
	}
	return nil
}

// conform runs the suite on what was named: one target, or both methods of a folder. Reports come beside an error, too.
func (g *globals) conform(cmd *cobra.Command, c *conformArgs) (reports []*conform.Report, err error) {
	o := conform.Options{Seed: c.seed, Rounds: c.rounds, Only: c.only}
	switch {
	case c.disk != "":
		return g.conformDisk(cmd, c, o)
	case c.directory != "":
		return conformFiles(cmd, c, o)
	}
	if c.target == "sim" {
		return g.conformSim(cmd, c, o)
	}
	m := conform.NewModel(conform.Geometry{Block: 4096, MSSRL: 16, MCL: 40, Ranges: 4}, 8<<20)
	r, err := c.run(cmd, m, o)
	return []*conform.Report{r}, err
}

// run is the suite on one target, with progress.
func (c *conformArgs) run(cmd *cobra.Command, t conform.Target, o conform.Options) (*conform.Report, error) {
	bar := newSteps(cmd.ErrOrStderr(), c.progress, t.Geometry().Name)
	o.Progress = bar.tell
	r, err := conform.Run(cmd.Context(), t, o)
	bar.end()
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted: the suite was not run to its end")
	}
	return r, err
}

// conformFiles runs it on both methods that the folder's file system has.
func conformFiles(cmd *cobra.Command, c *conformArgs, o conform.Options) (reports []*conform.Report, err error) {
	var without []error
	for _, m := range []conform.FileMethod{conform.CopyFileRange, conform.CloneRange} {
		f, err := conform.NewFiles(c.directory, m)
		if errors.Is(err, unix.EOPNOTSUPP) {
			without = append(without, err)
			fmt.Fprintf(cmd.ErrOrStderr(), "ublk-linear: not run: %v\n", err)
			continue
		}
		if err != nil {
			return reports, err
		}
		r, err := c.run(cmd, f, o)
		reports = append(reports, r)
		if err := errors.Join(err, f.Close()); err != nil {
			return reports, err
		}
	}
	if len(reports) == 0 {
		return nil, errors.Join(without...)
	}
	return reports, nil
}

// verdictOf is what of the reports is not success: exit code 7.
func verdictOf(reports []*conform.Report) error {
	for _, r := range reports {
		if r.Around != nil && !r.Around.Untouched {
			return partialError{fmt.Errorf("%s: what is around the region was overwritten: %s", r.Target.Name, r.Around.Words())}
		}
	}
	for _, r := range reports {
		if r.Complete && r.Differ > 0 {
			return partialError{fmt.Errorf("%s: %s", r.Target.Name, r.Summary())}
		}
	}
	return nil
}
