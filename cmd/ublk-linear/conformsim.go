package main

import (
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/conform"
	"github.com/ublk-go/ublk-linear/copy/sim"
)

// simArgs is a simulated device without a file. Its limits are those of the model unless they are given.
type simArgs struct {
	misbehave        []string
	mssrl, mcl, msrc uint
	block, rate      string
	latency          time.Duration
	cmd              *cobra.Command
	blockBytes       config.Size
	rateBytes        config.Size
}

func (s *simArgs) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&s.misbehave, "misbehave", nil, "of --target sim: `NAMES` of what it does wrong (--list has them)")
	f.UintVar(&s.mssrl, "mssrl", 16, "of --target sim: `BLOCKS` of a source range")
	f.UintVar(&s.mcl, "mcl", 40, "of --target sim: `BLOCKS` of a command")
	f.UintVar(&s.msrc, "msrc", 3, "of --target sim: source `RANGES` of a command minus 1")
	f.StringVar(&s.block, "block", "4KiB", "of --target sim: the `SIZE` of a logical block")
	f.DurationVar(&s.latency, "latency", 0, "of --target sim: the `TIME` of a command, by its own clock")
	f.StringVar(&s.rate, "rate", "", "of --target sim: how much it copies in a second (`SIZE`), by its own clock")
	s.cmd = cmd
}

// check refuses what no device has, and flags that are of no use.
func (s *simArgs) check(simulated bool) error {
	for _, name := range []string{"misbehave", "mssrl", "mcl", "msrc", "block", "latency", "rate"} {
		if s.cmd.Flags().Changed(name) && !simulated {
			return usagef("--%s is for --target sim; of a disk in memory it is said in [disk.NAME.copy]", name)
		}
	}
	if !simulated {
		return nil
	}
	for _, n := range s.misbehave {
		if err := config.CheckMisbehaviour(n); err != nil {
			return usagef("--misbehave: %w", err)
		}
	}
	switch {
	case s.mssrl < 1 || s.mssrl > sim.MostMSSRL:
		return usagef("--mssrl %d: from 1 to %d", s.mssrl, sim.MostMSSRL)
	case s.mcl < 1 || uint64(s.mcl) > sim.MostMCL:
		return usagef("--mcl %d: from 1 to %d", s.mcl, uint64(sim.MostMCL))
	case s.msrc > sim.MostMSRC:
		return usagef("--msrc %d: from 0 to %d", s.msrc, sim.MostMSRC)
	case s.latency < 0:
		return usagef("--latency %v: from 0s", s.latency)
	}
	var err error
	if s.blockBytes, err = config.ParseSize(s.block); err != nil {
		return usagef("--block: %w", err)
	}
	if b := s.blockBytes; b < 512 || b > 64<<10 || b&(b-1) != 0 {
		return usagef("--block %v: a power of two from 512B to 64KiB", b)
	}
	if s.rate != "" {
		if s.rateBytes, err = config.ParseSize(s.rate); err != nil || s.rateBytes == 0 {
			return usagef("--rate %q: a size that is not 0, as 100MiB", s.rate)
		}
	}
	return nil
}

// Blocks of the device of --target sim: enough for every scenario of its limits, and no more than memory has.
const (
	leastSimBlocks = 2048
	mostSimBlocks  = 1 << 16
)

// conformSim runs the suite on a simulated device in memory.
func (g *globals) conformSim(cmd *cobra.Command, c *conformArgs, o conform.Options) ([]*conform.Report, error) {
	s := &c.sim
	blocks := min(max(leastSimBlocks, 4*uint64(s.mcl), 4*uint64(s.mssrl)), mostSimBlocks)
	bytes := blocks * uint64(s.blockBytes)
	d, err := sim.New(sim.Config{Block: uint32(s.blockBytes), Bytes: bytes, MSSRL: uint32(s.mssrl), MCL: uint32(min(s.mcl, math.MaxUint32)), MSRC: uint32(s.msrc), Misbehave: s.misbehave,
		Seed: c.seed, Latency: s.latency, Rate: uint64(s.rateBytes), Clock: &sim.VirtualClock{}, Cache: true}, sim.NewMemory(bytes))
	if err != nil {
		return nil, err
	}
	t, err := conform.NewSim("sim", d, 0, bytes)
	if err != nil {
		return nil, err
	}
	r, err := c.run(cmd, t, o)
	return []*conform.Report{r}, err
}

// simulated runs it on a disk in memory, of which all is the region if none is given.
func (c *conformArgs) simulated(cmd *cobra.Command, o conform.Options, d *sim.Device, start, length uint64) ([]*conform.Report, error) {
	if c.region == "" {
		length = d.Bytes()
	}
	t, err := conform.NewSim("disk "+c.disk+", simulated", d, start, length)
	if err != nil {
		return nil, err
	}
	r, err := c.run(cmd, t, o)
	return []*conform.Report{r}, err
}
