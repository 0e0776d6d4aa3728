package main

import (
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/daemon"
)

// copyArgs is what plan and copy are told: ranges and policy.
type copyArgs struct {
	policy   daemon.CopyPolicy
	noFlush  bool
	window   string
	inFlight string
	rate     string
}

// planFlags are those that change what is planned.
func (c *copyArgs) planFlags(cmd *cobra.Command) {
	c.word(cmd, &c.policy.AtBoundary, "at-boundary", "a request that crosses an edge between targets or chunks: `split|refuse`", "split", "refuse")
	c.word(cmd, &c.policy.Fallback, "fallback", "what the disks cannot copy by themselves: `emulate|fail`", "emulate", "fail")
	c.word(cmd, &c.policy.Overlap, "overlap", "source and destination that share blocks: `memmove|refuse`", "memmove", "refuse")
	cmd.Flags().BoolVar(&c.policy.ShareExtents, "share-extents", false, "a file system may let both files have the blocks in common (reflink): not a second copy")
	cmd.Flags().StringVar(&c.window, "window", "", "bytes planned, locked and done together: a `SIZE` from 64KiB to 32MiB (default: 1MiB; where disks copy by themselves, 4MiB to 16MiB)")
	cmd.Flags().StringVar(&c.inFlight, "in-flight", "", "bytes under way at most: a `SIZE` from one window to 256MiB (default: 2MiB; where disks copy by themselves, 16MiB to 32MiB)")
}

// copyFlags are those that change how it is done.
func (c *copyArgs) copyFlags(cmd *cobra.Command) {
	c.word(cmd, &c.policy.OnFailure, "on-failure", "an offload that failed: `emulate|fail`", "emulate", "fail")
	cmd.Flags().BoolVar(&c.policy.FUA, "fua", false, "every write is durable when its command ends")
	cmd.Flags().BoolVar(&c.noFlush, "no-flush", false, "do not flush the disks at the end")
	cmd.Flags().BoolVar(&c.policy.Zeroes, "zeroes", false, "what reads as zeroes is zeroed, not written; holes are not read")
	cmd.Flags().StringVar(&c.rate, "rate", "", "`SIZE` per second at most, as 100MiB")
}

func (c *copyArgs) word(cmd *cobra.Command, to *string, flag, usage string, words ...string) {
	cmd.Flags().StringVar(to, flag, words[0], usage)
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// request makes a request of the flags and of the arguments: all but the last are sources.
func (c *copyArgs) request(a []string) (*daemon.CopyRequest, error) {
	r := &daemon.CopyRequest{Policy: c.policy}
	r.Policy.Flush = !c.noFlush
	if err := r.Policy.Validate(); err != nil {
		return nil, usageError{err}
	}
	for _, x := range []struct {
		flag, text string
		to         *uint64
	}{{"window", c.window, &r.Policy.Window}, {"in-flight", c.inFlight, &r.Policy.InFlight}, {"rate", c.rate, &r.Policy.Rate}} {
		if x.text == "" {
			continue
		}
		n, err := config.ParseSize(x.text)
		if err != nil {
			return nil, usagef("--%s: %w", x.flag, err)
		}
		if n == 0 {
			return nil, usagef("--%s: 0 is nothing: leave it out", x.flag)
		}
		*x.to = uint64(n)
	}
	last := len(a) - 1
	sources, destinations := strings.Split(strings.Join(a[:last], ","), ","), strings.Split(a[last], ",")
	var total uint64
	for _, text := range sources {
		s, _, err := segment(&r.Source, text, "source", true)
		if err != nil {
			return nil, err
		}
		if total+s.Len < total {
			return nil, usagef("the sources have 2^64 bytes and more")
		}
		total += s.Len
	}
	for _, text := range destinations {
		s, whole, err := segment(&r.Destination, text, "destination", len(destinations) > 1)
		if err != nil {
			return nil, err
		}
		if whole {
			s.Len = total
		}
	}
	return r, nil
}

// loadFor loads the file, which has to have both devices of a request.
func (g *globals) loadFor(cmd *cobra.Command, r *daemon.CopyRequest) (*config.File, error) {
	f, err := g.load(cmd)
	if err != nil {
		return nil, err
	}
	for _, s := range []*daemon.CopySide{&r.Source, &r.Destination} {
		if _, err := device(f, s.Device); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// segment reads DEVICE:START+LEN and adds it to a side. whole says that LEN is left out, where it may be.
func segment(side *daemon.CopySide, text, what string, length bool) (s *daemon.CopySegment, whole bool, err error) {
	name, rest, ok := strings.Cut(text, ":")
	if !ok || name == "" || rest == "" {
		return nil, false, usagef("%s %q is not DEVICE:START+LEN, as data:0s+2048s", what, text)
	}
	start, size, has := strings.Cut(rest, "+")
	if !has && length {
		if what == "source" {
			return nil, false, usagef("source %q has no length: DEVICE:START+LEN, as data:0s+2048s", text)
		}
		return nil, false, usagef("destination %q has no length: of several destinations each needs one", text)
	}
	if side.Device == "" {
		side.Device = name
	}
	if side.Device != name {
		return nil, false, usagef("the %ss are on %s and on %s: one copy has one %s device", what, side.Device, name, what)
	}
	pos, err := config.ParseSize(start)
	if err != nil {
		return nil, false, usagef("start of %s %q: %w", what, text, err)
	}
	n := config.Size(0)
	if has {
		if n, err = config.ParseSize(size); err != nil {
			return nil, false, usagef("length of %s %q: %w", what, text, err)
		}
		if n == 0 {
			return nil, false, usagef("%s %q is empty", what, text)
		}
	}
	if uint64(n) > math.MaxUint64-uint64(pos) {
		return nil, false, usagef("%s %q ends past 2^64 bytes", what, text)
	}
	side.Segments = append(side.Segments, daemon.CopySegment{Pos: uint64(pos), Len: uint64(n)})
	return &side.Segments[len(side.Segments)-1], !has, nil
}

// completeRange completes the device of a range, also behind a comma.
func (g *globals) completeRange(_ *cobra.Command, _ []string, to string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	f, _, err := config.Load(g.file)
	before, now := "", to
	if i := strings.LastIndexByte(to, ','); i >= 0 {
		before, now = to[:i+1], to[i+1:]
	}
	if err != nil || strings.Contains(now, ":") {
		return nil, none
	}
	var out []string
	for _, d := range f.Devices {
		if strings.HasPrefix(d.Name, now) {
			out = append(out, before+d.Name+":")
		}
	}
	return out, none
}
