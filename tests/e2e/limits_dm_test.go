package e2e

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

const limitBatch = 14 // tables that dm has at a time

// scsiRounds are scsi_debug's parameters, which hold for all its disks.
var scsiRounds = []struct {
	name   string
	part   uint64 // where a partition begins
	params []string
}{
	{"512e off its grid", 30007, []string{"physblk_exp=3", "lowest_aligned=7", "lbpu=1", "unmap_granularity=16", "unmap_max_blocks=65536", "opt_blks=1024"}},
	{"512e", 30001, []string{"physblk_exp=3", "lbpws=1", "lbprz=1", "opt_xferlen_exp=7", "atomic_wr=1", "atomic_wr_align=8", "atomic_wr_gran=8", "atomic_wr_max_length=256"}},
	{"4Kn of 16K", 30008, []string{"sector_size=4096", "physblk_exp=2", "lowest_aligned=1", "opt_blks=96"}},
}

// limitCase is a random table and what we compute of it.
type limitCase struct {
	index  int
	name   string
	table  randomTable
	lines  string
	want   limits.Limits
	refuse error
	dmSays string // why dm does not take it
}

// limitBench is what tables are made of: the disks and what they say at the moment.
type limitBench struct {
	seed    uint64
	rules   kernelRules
	disks   []*limitDisk
	bottoms []limits.Bottom
	fields  int // that the kernel shows
	refused int
	bad     int            // that differ
	kinds   map[string]int // of the tables that dm has
}

// Every limit that sysfs shows of dm over random tables is what we compute from the disks' sysfs, and what dm refuses we
// refuse. UBLK_LINEAR_SOAK=n makes 3n/2 tables; with the same n, UBLK_LINEAR_SEED replays and UBLK_LINEAR_TABLE picks one.
func TestLimitsAgainstDM(t *testing.T) {
	needGuest(t)
	begin := time.Now()
	b := &limitBench{seed: seed(t), kinds: map[string]int{}}
	common := limitDisks(t)
	b.rules = askKernel(t, common)
	t.Logf("disks after %v; this kernel: %+v", time.Since(begin).Round(time.Millisecond), b.rules)
	n := max(*tablesFlag*3/2, len(scsiRounds)*limitBatch)
	done := 0
	for i, round := range scsiRounds {
		t.Run(round.name, func(t *testing.T) {
			nodes := scsiHosts(t, 2, round.params...)
			b.disks = slices.Clone(common)
			var dev uint32
			for _, node := range nodes {
				d := newLimitDisk(t, "scsi", node, "")
				dev = d.maxDev(t)
				d.dev = dev
				b.disks = append(b.disks, d)
			}
			for _, p := range addParts(t, nodes[1], 56, round.part) {
				d := newLimitDisk(t, "scsi part", p, nodes[1])
				d.dev = dev
				b.disks = append(b.disks, d)
			}
			for ; done < n*(i+1)/len(scsiRounds); done += limitBatch {
				b.batch(t, done, min(limitBatch, n*(i+1)/len(scsiRounds)-done))
			}
			done = n * (i + 1) / len(scsiRounds)
		})
	}
	t.Logf("%d tables of %d fields in %v: %d refused; of the others %v", n, b.fields, time.Since(begin).Round(time.Millisecond), b.refused, b.kinds)
	// Of the ten or eleven kinds a seed may lack one.
	if *onlyFlag < 0 && !t.Failed() && (b.refused < n/20 || b.refused > n/2 || len(b.kinds) < 8) {
		t.Error("the tables are too much alike")
	}
}

// batch makes tables first to first+n of the run, and compares.
func (b *limitBench) batch(t *testing.T, first, n int) {
	r := rand.New(rand.NewPCG(b.seed, 1<<50|uint64(first)))
	use := b.choose(r)
	restore := b.cap(t, r, use)
	defer restore()
	b.bottoms = make([]limits.Bottom, len(b.disks))
	sys := os.DirFS("/sys")
	for _, i := range use {
		var err error
		if b.bottoms[i], err = limits.ReadBottom(sys, b.disks[i].name()); err != nil {
			t.Fatalf("%s: %v", b.disks[i].what, err)
		}
	}
	var cases []*limitCase
	for i := range n {
		c := &limitCase{index: first + i, name: fmt.Sprintf("lim%d", first+i)}
		c.table = b.random(rand.New(rand.NewPCG(b.seed, 1<<51|uint64(first+i))), use)
		c.lines = c.table.lines(func(d int) string { return b.disks[d].node })
		if c.want, c.refuse = b.compute(t, c.table); c.refuse != nil {
			b.refused++
		}
		if *onlyFlag < 0 || *onlyFlag == c.index {
			cases = append(cases, c)
		}
	}
	remove := b.create(t, cases)
	defer remove()
	minors := b.minors(t)
	for _, c := range cases {
		b.compare(t, c, minors[c.name])
	}
	if b.bad > 12 {
		t.Fatal("enough")
	}
}

// compare is dm's answer, or its limits, against ours.
func (b *limitBench) compare(t *testing.T, c *limitCase, minor string) {
	t.Helper()
	differs := func(format string, a ...any) {
		t.Helper()
		b.bad++
		t.Errorf("%s\n%s", b.replay(c), fmt.Sprintf(format, a...))
	}
	switch {
	case (c.refuse == nil) != (c.dmSays == ""):
		differs("dm says %q, ours says %v", c.dmSays, c.refuse)
		return
	case c.refuse != nil:
		if !strings.Contains(c.dmSays, "Invalid argument") {
			differs("dm says %s", c.dmSays)
		}
		return
	case minor == "":
		differs("dm does not have it")
		return
	}
	for what, is := range map[string]bool{
		"off the grid": c.want.AlignmentOffset != 0, "misaligned": c.want.Misaligned, "discard": c.want.MaxDiscardSectors != 0, "zeroes": c.want.MaxWriteZeroesSectors != 0,
		"zoned": c.want.Zoned, "atomic": c.want.Atomic.Max != 0, "capped": c.want.MaxUserSectors != 0, "large": c.want.MaxSectors > b.rules.softCap,
		"virtual boundary": c.want.VirtBoundary != 0, "write cache": c.want.WriteCache, "chunk": c.want.ChunkSectors != 0,
	} {
		if is {
			b.kinds[what]++
		}
	}
	got, want := sysLimits(t, "/dev/dm-"+minor), limitsAsShown(c.want)
	b.fields = len(got)
	var diff []string
	for _, f := range limits.Fields() {
		if v, ok := got[f.Name]; ok && v != want[f.Name] {
			diff = append(diff, fmt.Sprintf("%s: dm shows %s, ours %s", f.Name, v, want[f.Name]))
		}
	}
	if len(diff) > 0 {
		differs("%s", strings.Join(diff, "\n"))
	}
}

// replay is all it takes to look at a case again.
func (b *limitBench) replay(c *limitCase) string {
	var s strings.Builder
	fmt.Fprintf(&s, "seed %d table %d:\n%s", b.seed, c.index, c.lines)
	said := map[int]bool{}
	for _, p := range c.table {
		for _, l := range p.legs {
			if !said[l.disk] {
				said[l.disk] = true
				fmt.Fprintf(&s, "%s is %s: %+v\n", b.disks[l.disk].node, b.disks[l.disk].what, b.bottoms[l.disk])
			}
		}
	}
	return s.String()
}

// compute is ours: what stacking makes of the disks, and the kernel's rules where they are older.
func (b *limitBench) compute(t *testing.T, table randomTable) (limits.Limits, error) {
	t.Helper()
	var parts []remap.Part
	dev := uint32(math.MaxUint32)
	for _, p := range table {
		for _, l := range p.legs {
			if d := b.disks[l.disk].dev; d != 0 {
				dev = min(dev, d)
			}
		}
		var tgt target.Target
		var err error
		if p.chunk == 0 {
			tgt, err = linear.New(target.Disk(p.legs[0].disk), target.Range{Start: p.legs[0].start, Len: p.length})
		} else {
			var legs []stripe.Leg
			for _, l := range p.legs {
				legs = append(legs, stripe.Leg{Disk: target.Disk(l.disk), Start: l.start})
			}
			var s *stripe.Stripe
			s, err = stripe.New(p.length, uint32(p.chunk), legs)
			tgt = oldStripe{s, b.rules}
		}
		if err != nil {
			t.Fatalf("%v of %+v", err, p)
		}
		parts = append(parts, remap.Part{Sectors: p.length, Target: tgt})
	}
	tab, err := remap.NewTable(parts)
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := tab.Explain(func(d target.Disk) limits.Bottom { return b.bottoms[d] }, func(d target.Disk) string { return b.disks[d].what })
	return b.rules.finish(l, dev), err
}

// create makes dm devices of the cases, those that we would take in one go. The returned function removes them.
func (b *limitBench) create(t *testing.T, cases []*limitCase) func() {
	t.Helper()
	var specs, names []string
	for _, c := range cases {
		if c.refuse == nil {
			specs = append(specs, c.name+",,,rw,"+strings.ReplaceAll(strings.TrimSpace(c.lines), "\n", ","))
		}
		names = append(names, c.name)
	}
	together := len(specs) > 0 && exec.Command("dmsetup", "create", "--noudevsync", "--concise", strings.Join(specs, ";")).Run() == nil
	if !together {
		there := b.minors(t)
		for _, c := range cases {
			if there[c.name] == "" && c.refuse == nil {
				c.dmSays = b.createOne(c)
			}
		}
	}
	for _, c := range cases {
		if c.refuse != nil {
			c.dmSays = b.createOne(c)
		}
	}
	return func() {
		var there []string
		for name := range b.minors(t) {
			if slices.Contains(names, name) {
				there = append(there, name)
			}
		}
		dmRemoveAll(t, there)
	}
}

func (b *limitBench) createOne(c *limitCase) string {
	cmd := exec.Command("dmsetup", "create", c.name, "--noudevsync")
	cmd.Stdin = strings.NewReader(c.lines)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return fmt.Sprintf("%v: %s", err, out)
}

// minors is dm's devices by name.
func (b *limitBench) minors(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for l := range strings.Lines(sh(t, "dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "name,minor")) {
		name, minor, _ := strings.Cut(strings.TrimSpace(l), " ")
		out[name] = minor
	}
	return out
}
