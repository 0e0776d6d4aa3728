package main

import (
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/ublk-go/ublk-linear/tests/bench"
)

// each runs a point of a set and clears up behind it.
func (b *bencher) each(points []int, quick bool, run func(x int) error) error {
	if quick {
		points = []int{points[0], points[len(points)-1]}
	}
	for _, x := range points {
		if err := errors.Join(run(x), b.clear()); err != nil {
			return fmt.Errorf("%d: %w", x, err)
		}
	}
	return nil
}

// depth is one striped device under more and more at once.
func depth(b *bencher, quick bool) error {
	return b.each([]int{1, 4, 16, 64, 128}, quick, func(x int) error {
		l := &line{}
		b.stripes(l, 4, legMiB, 1, false, "zero-copy")
		if l.err != nil {
			return l.err
		}
		return b.rotate("depth", x, []job{{"4K random read", "randread", "4k", x, 1}}, l.all)
	})
}

// legs is more and more disks under one device.
func legs(b *bencher, quick bool) error {
	return b.each([]int{1, 2, 4, 8, 16}, quick, func(x int) error {
		l := &line{}
		b.stripes(l, x, legMiB, 1, false, "buffer", "zero-copy")
		if l.err != nil {
			return l.err
		}
		jobs := []job{read32, big}
		if quick {
			jobs = jobs[1:]
		}
		return b.rotate("legs", x, jobs, l.all)
	})
}

// segmented is tables of more and more linear targets.
func segmented(b *bencher, quick bool) error {
	return b.each([]int{1, 100, 10000}, quick, func(x int) error {
		l := &line{}
		for _, t := range append([]tool{{name: "dm-linear"}}, b.tools...) {
			d, err := b.disks(2, 512, false)
			switch {
			case err != nil:
				return err
			case t.path == "":
				l.add(b.dm(t.name, segments(d, x)))
			default:
				l.add(b.up(t, t.name+", zero-copy", newConfig(d).device(b.name("s"), "zero-copy", 1, segments(named(d), x)), 1))
			}
		}
		if l.err != nil {
			return l.err
		}
		return b.rotate("segments", x, []job{read32}, l.all)
	})
}

// many serves x linear devices of one disk.
func (b *bencher) many(x int) (*contender, time.Duration, error) {
	d, err := b.disks(1, 1024, false)
	if err != nil {
		return nil, 0, err
	}
	c := newConfig(d)
	for i := range x {
		c.device(fmt.Sprintf("v%d", i), "zero-copy", 1, fmt.Sprintf("0 16384 linear d0 %d", i*16384))
	}
	begin := time.Now()
	s, err := b.up(b.tools[0], b.tools[0].name+", zero-copy", c, x)
	return s, time.Since(begin), err
}

// devices is one server of more and more devices, all of which are read.
func devices(b *bencher, quick bool) error {
	return b.each([]int{1, 16, 64}, quick, func(x int) error {
		s, _, err := b.many(x)
		if err != nil {
			return err
		}
		return b.rotate("devices", x, []job{read32}, []*contender{s})
	})
}

// idle is what devices cost that nobody uses.
func idle(b *bencher, quick bool) error {
	return b.each([]int{1, 16, 64}, quick, func(x int) error {
		s, took, err := b.many(x)
		if err != nil {
			return err
		}
		time.Sleep(time.Second) // what a start leaves behind has gone
		wait := 10 * time.Second
		if quick {
			wait = 3 * time.Second
		}
		before := s.usage()
		time.Sleep(wait)
		after := s.usage()
		p := bench.Sample{Set: "idle", X: x, Job: "idle", Contender: s.name, RSS: after.rss, Anon: after.anon, SetupSecs: took.Seconds(),
			CorePct: 100 * (after.cpu - before.cpu).Seconds() / wait.Seconds()}
		b.add(p)
		fmt.Printf("idle %d devices: %.3f %% of a core, RSS %d KiB, anonymous %d KiB, up after %.1f s\n", x, p.CorePct, p.RSS, p.Anon, p.SetupSecs)
		return nil
	})
}

// discard is a whole device of four legs, again and again.
func discard(b *bencher, _ bool) error {
	l := &line{}
	b.stripes(l, 4, 1024, 1, true, "zero-copy")
	if l.err != nil {
		return l.err
	}
	for r := range b.rounds {
		for i := range l.all {
			c := l.all[(i+r)%len(l.all)]
			begin := time.Now()
			if out, err := exec.Command("blkdiscard", "-f", c.node).CombinedOutput(); err != nil {
				return fmt.Errorf("blkdiscard %s: %w: %s", c.name, err, out)
			}
			s := bench.Sample{Set: "discard", Job: "discard of 4 GiB", Contender: c.name, Round: r, Seconds: time.Since(begin).Seconds()}
			b.add(s)
			fmt.Printf("discard of 4 GiB, %s, round %d: %.3f s\n", c.name, r, s.Seconds)
		}
	}
	return nil
}

// steady is one long run: what the server has allocated does not grow.
func steady(b *bencher, quick bool) error {
	l := &line{}
	b.stripes(l, 4, legMiB, 1, false, "buffer", "zero-copy")
	if l.err != nil {
		return l.err
	}
	took := b.steady
	if quick {
		took = 4 * time.Second
	}
	for _, c := range l.all[1:] {
		var runs []bench.Sample
		for _, d := range []time.Duration{took / 4, took * 3 / 4} {
			r, err := b.round(read32, d, []*contender{c})
			if err != nil {
				return err
			}
			runs = append(runs, r...)
		}
		first, last := runs[0], runs[1]
		s := bench.Sample{Set: "steady", Job: read32.name, Contender: c.name, Requests: last.Requests, Anon: last.Anon, RSS: last.RSS, GrownKiB: last.Anon - first.Anon}
		b.add(s)
		fmt.Printf("steady, %s: %.0f requests, RssAnon %d KiB, %+d KiB\n", c.name, s.Requests, s.Anon, s.GrownKiB)
	}
	return nil
}
