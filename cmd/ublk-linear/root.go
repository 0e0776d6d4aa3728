package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/daemon"
)

// Exit codes. Other programs rely on them.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 2
	exitConfig   = 3
	exitBusy     = 4
	exitNotFound = 5
	exitWould    = 6
	exitPartial  = 7
)

// errPartial is joined to what kept a verb from doing all of it; the rest was done and printed.
var errPartial = errors.New("the list is not complete")

// errWould ends a --check that found something to do; it is printed nowhere.
var errWould = errors.New("")

// usageError is a command line that cannot be meant.
type usageError struct{ error }

func usagef(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

// globals are the flags that every verb takes.
type globals struct {
	file string
	json bool
	run  string
}

// run is the program without the process: what it prints goes to out and errw, and its exit code is returned.
func run(ctx context.Context, args []string, out, errw io.Writer) int {
	w := &output{w: out}
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(w)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = w.err
	}
	if err == nil {
		return exitOK
	}
	if msg := err.Error(); msg != "" {
		fmt.Fprintf(errw, "ublk-linear: %s\n", strings.ReplaceAll(msg, "\n", "\nublk-linear: "))
	}
	if u := (usageError{}); errors.As(err, &u) {
		fmt.Fprintln(errw, "ublk-linear: see ublk-linear help")
	}
	return exitCode(err)
}

// output remembers the first failure of writing: what nobody could read was not printed, and the verb has failed.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

func exitCode(err error) int {
	var u usageError
	var ps config.Problems
	switch {
	case errors.As(err, &u):
		return exitUsage
	case errors.As(err, &ps), errors.Is(err, errInvalid):
		return exitConfig
	case errors.Is(err, errWould):
		return exitWould
	case errors.Is(err, errPartial):
		return exitPartial
	case errors.Is(err, unix.EBUSY):
		return exitBusy
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, daemon.ErrNotServed), errors.Is(err, daemon.ErrNotOrphaned):
		return exitNotFound
	}
	return exitFailure
}

func newRoot() *cobra.Command {
	g := &globals{}
	root := &cobra.Command{
		Use:   "ublk-linear",
		Short: "Device-mapper in user space: block devices of linear and striped targets, from a TOML file",
		Long: `ublk-linear presents /dev/ublkbN devices composed of linear and striped targets over real disks, files or
memory, as device-mapper does, from a description in TOML.

Exit codes: 0 ok, 1 failure, 2 usage, 3 invalid configuration, 4 busy, 5 not found, 6 would change (--check), 7 partial.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.PersistentFlags().StringVarP(&g.file, "config", "c", "ublk-linear.toml", "the configuration `FILE`")
	root.PersistentFlags().BoolVar(&g.json, "json", false, "print one JSON object and nothing else on stdout")
	root.PersistentFlags().StringVar(&g.run, "run-dir", daemon.RunDir, "`FOLDER` of locks and control sockets")
	_ = root.PersistentFlags().MarkHidden("run-dir")
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if words := cmd.Flags().Args(); cmd == root && len(words) > 0 { // a flag of what is not a verb
			return unknownVerb(root, words[0])
		}
		return usageError{err}
	})
	root.AddCommand(newCheck(g), newTable(g), newMap(g), newLimits(g), newPlan(g), newCopy(g), newBenchDesigns(g, series.Models), newConform(g), newUp(g), newAdopt(g), newUpgrade(g), newReload(g), newSuspend(g), newResume(g), newDown(g), newRemove(g), newList(g), newStatus(g), newEvents(g), newVersion(g), newNoScheduler())
	checkHelp(root)
	return root
}

// checkHelp makes cobra's own verbs refuse words that are nothing: they would show help and succeed.
func checkHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd("completion") // it looks whether there are other verbs
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(_ *cobra.Command, a []string) error {
				if at, rest, _ := root.Find(a); at == root && len(rest) > 0 {
					return unknownVerb(root, rest[0])
				}
				return nil
			}
		case "completion":
			c.Args = cobra.ArbitraryArgs
			c.RunE = func(cmd *cobra.Command, a []string) error {
				if len(a) > 0 {
					return usagef("no completion for shell %q: bash, fish, powershell or zsh", a[0])
				}
				return cmd.Help()
			}
		}
	}
}

func unknownVerb(root *cobra.Command, verb string) error {
	return usagef("unknown verb %q%s", verb, didYouMean(root, verb))
}

func didYouMean(cmd *cobra.Command, verb string) string {
	if s := cmd.SuggestionsFor(verb); len(s) > 0 {
		return fmt.Sprintf(" (did you mean %s?)", strings.Join(s, " or "))
	}
	return ""
}

// args bounds the number of arguments and says what they are.
func args(lo, hi int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		if len(a) < lo || len(a) > hi {
			return usagef("%s takes %s", cmd.Name(), what)
		}
		return nil
	}
}

// load reads the configuration. Warnings go to stderr; errors are returned, all of them.
func (g *globals) load(cmd *cobra.Command) (*config.File, error) {
	f, ps, err := config.Load(g.file)
	if err != nil {
		return nil, err
	}
	if bad := ps.Errors(); len(bad) > 0 {
		return nil, bad
	}
	for _, w := range ps.Warnings() {
		fmt.Fprintln(cmd.ErrOrStderr(), w)
	}
	return f, nil
}

// server is the way to the server of the file, which may not be there.
func (g *globals) server() (*daemon.Client, error) {
	inst, err := daemon.NewInstance(g.file, g.run)
	if err != nil {
		return nil, err
	}
	return daemon.NewClient(inst), nil
}

// names completes the devices of the file, for the first argument.
func (g *globals) names(_ *cobra.Command, a []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(a) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	f, _, err := config.Load(g.file)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, d := range f.Devices {
		out = append(out, d.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// device finds a device of the file by name.
func device(f *config.File, name string) (int, error) {
	var have []string
	for i, d := range f.Devices {
		if d.Name == name {
			return i, nil
		}
		have = append(have, d.Name)
	}
	return 0, fmt.Errorf("no device %q in %s (it has %s): %w", name, f.Path, strings.Join(have, ", "), fs.ErrNotExist)
}

// printJSON prints one object, indented.
func printJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

const schema = daemon.Schema
