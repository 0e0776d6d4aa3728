package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/conform"
	"github.com/ublk-go/ublk-linear/daemon"
)

// lookAgain is how long what is around a region is read again for, after the run was interrupted.
const lookAgain = time.Minute

// conformDisk runs the suite on a region of a disk that is held meanwhile.
func (g *globals) conformDisk(cmd *cobra.Command, c *conformArgs, o conform.Options) (_ []*conform.Report, err error) {
	f, err := g.load(cmd)
	if err != nil {
		return nil, err
	}
	simulated := f.Disk(c.disk) != nil && f.Disk(c.disk).Simulated()
	if !simulated {
		if err := c.meant(); err != nil {
			return nil, err
		}
	}
	var start, length uint64
	if c.region != "" {
		if start, length, err = region(c.region); err != nil {
			return nil, err
		}
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	d, release, err := daemon.HoldDisk(cmd.Context(), f, c.disk, g.run, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if simulated {
		dev, err := daemon.SimulatedDisk(d, f.Disk(c.disk))
		if err != nil {
			return nil, err
		}
		return c.simulated(cmd, o, dev, start, length)
	}
	t, err := conform.NewDevice(d, start, length)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	around, err := t.Surround(cmd.Context())
	if err != nil {
		return nil, err
	}
	r, err := c.run(cmd, t, o)
	// Also of a run that was interrupted, or failed: that is when it is wanted most.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), lookAgain)
	defer cancel()
	var looked error
	r.Around, looked = around.Check(ctx)
	return []*conform.Report{r}, errors.Join(err, looked)
}

// region reads START+LEN.
func region(text string) (start, length uint64, err error) {
	a, b, ok := strings.Cut(text, "+")
	if !ok {
		return 0, 0, usagef("--region %q is not START+LEN, as 1GiB+64MiB", text)
	}
	s, err := config.ParseSize(a)
	if err != nil {
		return 0, 0, usagef("start of --region %q: %w", text, err)
	}
	n, err := config.ParseSize(b)
	if err != nil {
		return 0, 0, usagef("length of --region %q: %w", text, err)
	}
	if n == 0 || uint64(s) > math.MaxUint64-uint64(n) {
		return 0, 0, usagef("--region %q is empty, or ends past 2^64 bytes", text)
	}
	return uint64(s), uint64(n), nil
}

// steps is the progress of a suite: one line, drawn over itself.
type steps struct {
	w    interface{ Write([]byte) (int, error) }
	name string
	show bool
	wide int
}

func newSteps(w interface{ Write([]byte) (int, error) }, when, name string) *steps {
	return &steps{w: w, name: name, show: when == "always" || when == "auto" && isTerminal(w)}
}

func (s *steps) tell(i, n int, scenario string) {
	if !s.show {
		return
	}
	line := fmt.Sprintf("%s: %d of %d, %s", s.name, i+1, n, scenario)
	fmt.Fprintf(s.w, "\r%-*s", s.wide, line)
	s.wide = len(line)
}

// end takes the line away.
func (s *steps) end() {
	if s.wide > 0 {
		fmt.Fprintf(s.w, "\r%*s\r", s.wide, "")
		s.wide = 0
	}
}
