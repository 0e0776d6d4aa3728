package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

// set is a comparison: who is up together, and what they do.
type set struct {
	name string
	run  func(b *bencher, quick bool) error
}

var sets = []set{
	{"served", served}, {"delayed", delayed}, {"idle", idle}, {"account", account}, {"memory", memory}, {"queues", queues}, {"segments", segmented},
	{"steady", steady}, {"discard", discard}, {"depth", depth}, {"devices", devices}, {"legs", legs}, {"builds", builds},
	{"copy", bulk}, {"copysmall", smallCopies}, {"foreground", foreground}, {"gc", collecting},
}

func setNames() []string {
	var out []string
	for _, s := range sets {
		out = append(out, s.name)
	}
	return out
}

// choose is the sets of a comma-separated list, in their own order; all for an empty one.
func choose(only string) ([]set, error) {
	if only == "" {
		return sets, nil
	}
	names := strings.Split(only, ",")
	for _, n := range names {
		if !slices.Contains(setNames(), n) {
			return nil, fmt.Errorf("no set %q; there are %s", n, strings.Join(setNames(), ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(sets), func(s set) bool { return !slices.Contains(names, s.name) }), nil
}

// rotate measures every job of every contender, round by round, beginning with another contender each round. Before the
// first, each has served for a moment: an emulated CPU translates code when it first runs.
func (b *bencher) rotate(set string, x int, jobs []job, all []*contender) error {
	return b.rotateFor(set, x, b.time, jobs, all)
}

// rotateFor is rotate with another time for each measurement.
func (b *bencher) rotateFor(set string, x int, d time.Duration, jobs []job, all []*contender) error {
	if _, err := b.round(jobs[0], 200*time.Millisecond, all); err != nil {
		return err
	}
	for _, j := range jobs {
		for r := range b.rounds {
			turn := slices.Concat(all[r%len(all):], all[:r%len(all)])
			samples, err := b.round(j, d, turn)
			if err != nil {
				return err
			}
			for _, s := range samples {
				s.Set, s.X, s.Round = set, x, r
				b.add(s)
				fmt.Printf("%-8s %6d %-26s %-32s round %d: %8.0f IOPS, p50 %7.0f, p99 %7.0f, server %6.1f us/IO, %.2f switches/IO%s\n", set, x, j.name, s.Contender, r, s.IOPS, s.P50, s.P99, s.CPU, s.Switches, beside(&s))
			}
		}
		if err := b.save(); err != nil {
			return err
		}
	}
	return nil
}

// line is who takes part; the first error of making them is kept.
type line struct {
	all []*contender
	err error
}

func (l *line) add(c *contender, err error) {
	if l.err == nil {
		l.err = err
	}
	if c != nil {
		l.all = append(l.all, c)
	}
}

const (
	legMiB     = 256
	legSectors = legMiB << 11
	chunk      = 128
)

// stripes adds dm-striped and every build of ours over their own disks.
func (b *bencher) stripes(l *line, n, mib, queues int, memory bool, paths ...string) {
	d, err := b.disks(n, mib, memory)
	l.add(nil, err)
	if l.err != nil {
		return
	}
	l.add(b.dm("dm-striped", striped(d, chunk, mib<<11)))
	for _, t := range b.tools {
		for _, p := range paths {
			d, err := b.disks(n, mib, memory)
			l.add(nil, err)
			if l.err != nil {
				return
			}
			l.add(b.up(t, t.name+" striped, "+p, newConfig(d).device(b.name("s"), p, queues, striped(named(d), chunk, mib<<11)), 1))
		}
	}
}

// served is the main comparison: four legs, chunks of 64 KiB, disks that take no time.
func served(b *bencher, quick bool) error {
	l := &line{}
	d, err := b.disks(5, legMiB, false)
	if err != nil {
		return err
	}
	l.add(&contender{name: "bare disk", node: d[0]}, nil)
	l.add(b.dm("dm-linear", fmt.Sprintf("0 %d linear %s 0", legSectors, d[1])))
	l.add(b.up(b.tools[0], b.tools[0].name+" linear, zero-copy", newConfig(d[2:3]).device(b.name("l"), "zero-copy", 1, fmt.Sprintf("0 %d linear d0 0", legSectors)), 1))
	b.stripes(l, 4, legMiB, 1, false, "buffer", "zero-copy")
	l.add(bare(b.ceiling("ublk null, buffer", "buffer", 1)))
	l.add(bare(b.ceiling("ublk null, zero-copy", "zero-copy", 1)))
	if b.kublk != "" {
		for _, k := range [][]string{{"kublk stripe, zero-copy", "--auto_zc"}, {"kublk stripe, zero-copy, batch", "--auto_zc", "-b"}} {
			d, err := b.disks(4, legMiB, false)
			l.add(nil, err)
			l.add(b.kernelServer(k[0], 1, append(append([]string{"stripe"}, k[1:]...), d...)...))
		}
		b.bareStripe(l)
		l.add(bare(b.kernelServer("kublk null, zero-copy, no scheduler", 1, "null", "--auto_zc")))
	}
	if l.err != nil {
		return l.err
	}
	jobs := []job{read1, read32, write1, write32, mid, big, bigOut}
	if quick {
		jobs = []job{read1, read32, big}
	}
	return b.rotate("served", 0, jobs, l.all)
}

// bareStripe adds the kernel's server without a scheduler, as ublk-linear's devices are.
func (b *bencher) bareStripe(l *line) {
	if b.kublk == "" {
		return
	}
	d, err := b.disks(4, legMiB, false)
	l.add(nil, err)
	l.add(bare(b.kernelServer("kublk stripe, zero-copy, no scheduler", 1, append([]string{"stripe", "--auto_zc"}, d...)...)))
}

// queues is two queues and two jobs.
func queues(b *bencher, _ bool) error {
	l := &line{}
	b.stripes(l, 4, legMiB, 2, false, "buffer", "zero-copy")
	l.add(b.ceiling("ublk null, zero-copy", "zero-copy", 2))
	if b.kublk != "" {
		d, err := b.disks(4, legMiB, false)
		l.add(nil, err)
		l.add(b.kernelServer("kublk stripe, zero-copy", 2, append([]string{"stripe", "--auto_zc"}, d...)...))
	}
	if l.err != nil {
		return l.err
	}
	return b.rotate("queues", 2, []job{two}, l.all)
}

// memory is disks that hold data: what a copy of it costs is seen.
func memory(b *bencher, quick bool) error {
	l := &line{}
	b.stripes(l, 2, 64, 1, true, "buffer", "zero-copy")
	d, err := b.disks(1, 64, true)
	if err != nil || l.err != nil {
		return errors.Join(err, l.err)
	}
	l.add(&contender{name: "bare disk", node: d[0]}, nil)
	jobs := []job{write32, bigOut, read32, big} // written before it is read
	if quick {
		jobs = []job{write32, big}
	}
	return b.rotate("memory", 0, jobs, l.all)
}

// builds is several builds of ours side by side, on a stripe: what a change is worth.
func builds(b *bencher, _ bool) error {
	if len(b.tools) < 2 {
		return nil
	}
	l := &line{}
	b.stripes(l, 4, legMiB, 1, false, "zero-copy")
	if b.kublk != "" {
		d, err := b.disks(4, legMiB, false)
		l.add(nil, err)
		l.add(b.kernelServer("kublk stripe, zero-copy", 1, append([]string{"stripe", "--auto_zc"}, d...)...))
		b.bareStripe(l)
	}
	if l.err != nil {
		return l.err
	}
	return b.rotate("builds", 0, []job{read1, write1, read32, write32, mid, big, bigOut}, l.all)
}

// beside is what went on beside a sample, in words.
func beside(s *bench.Sample) (text string) {
	if s.BesideMiBs > 0 {
		text += fmt.Sprintf(", beside a copy at %.0f MiB/s", s.BesideMiBs)
	}
	if s.Asked+s.Collections > 0 {
		text += fmt.Sprintf(", asked %d times, %d collections", s.Asked, s.Collections)
	}
	return text
}
