package e2e

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How much, and what to repeat. A failure prints the seed and the table; given both, only that table is run, and its
// disks are compared after every request as long as they come one by one, so that the failure names one.
var (
	seedFlag   = flag.Uint64("seed", uint64(envInt("UBLK_LINEAR_SEED", 0)), "seed of the differential tests; 0 takes a new one")
	tablesFlag = flag.Int("tables", envInt("UBLK_LINEAR_SOAK", 30), "random tables of the differential test")
	onlyFlag   = flag.Int("table", envInt("UBLK_LINEAR_TABLE", -1), "of the differential test, only this table")
)

func envInt(name string, unset int) int {
	s := os.Getenv(name)
	if s == "" {
		return unset
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	return int(n)
}

// seed is the run's, printed where it is new.
func seed(t *testing.T) uint64 {
	if *seedFlag == 0 {
		*seedFlag = uint64(time.Now().UnixNano()) & (1<<40 - 1) // short enough to copy
	}
	t.Logf("seed %d (again: -seed %d, or UBLK_LINEAR_SEED)", *seedFlag, *seedFlag)
	return *seedFlag
}

const (
	perBatch = 20 // tables served together
	diskMiB  = 12
	nDisks   = 5
	window   = diskMiB * 2048 / perBatch / 8 * 8 // sectors of every disk that belong to one table
	maxIO    = 2048                              // sectors of the largest write and read
)

// bed is what a batch stands on: twice the same disks, for dm and for ours.
type bed struct {
	name string
	lbs  [nDisks]uint64 // in sectors
	make func(t *testing.T) (dm, own []string)
}

// twice makes two sets of null_blk disks with the same attributes, which may be different for every disk.
func twice(attrs func(i int) []string) func(t *testing.T) (dm, own []string) {
	return func(t *testing.T) (dm, own []string) {
		for i := range nDisks {
			dm = append(dm, nullBlk(t, diskMiB, attrs(i)...))
			own = append(own, nullBlk(t, diskMiB, attrs(i)...))
		}
		return dm, own
	}
}

// halves makes them of scsi_debug.
func halves(lbs int) func(t *testing.T) (dm, own []string) {
	return func(t *testing.T) (dm, own []string) {
		nodes := scsiDisks(t, 2*nDisks, diskMiB, lbs)
		return nodes[:nDisks], nodes[nDisks:]
	}
}

var (
	null512  = bed{"null_blk 512", [nDisks]uint64{1, 1, 1, 1, 1}, twice(func(int) []string { return nil })}
	null4096 = bed{"null_blk 4096", [nDisks]uint64{8, 8, 8, 8, 8}, twice(func(int) []string { return []string{"blocksize=4096"} })}
	scsi512  = bed{"scsi_debug 512", [nDisks]uint64{1, 1, 1, 1, 1}, halves(512)}
	scsi4096 = bed{"scsi_debug 4096", [nDisks]uint64{8, 8, 8, 8, 8}, halves(4096)}
	mixed    = bed{"null_blk mixed", [nDisks]uint64{1, 8, 1, 1, 8}, twice(func(i int) []string {
		return [nDisks][]string{{"max_sectors=24"}, {"blocksize=4096"}, {"discard=0"}, {withCache}, {"blocksize=4096", "max_sectors=64"}}[i]
	})}
	// beds are taken in turn. Those of scsi_debug, the only ones that take WRITE ZEROES, are the slowest.
	beds = []bed{null512, scsi512, mixed, null4096, scsi4096, null512, mixed, null4096, scsi512, null512}
)

// Random tables, random requests: the same through dm and through ours, on disks that were the same before. What is read
// is the same all along, and at the end so is every sector of every disk, used by a table or not.
func TestDifferential(t *testing.T) {
	anyKernel(t)
	s := seed(t)
	began, ran, ops := time.Now(), 0, 0
	for b := range (*tablesFlag + perBatch - 1) / perBatch {
		if *onlyFlag >= 0 && *onlyFlag/perBatch != b {
			continue
		}
		bed := beds[b%len(beds)]
		t.Run(fmt.Sprintf("%d %s", b, bed.name), func(t *testing.T) {
			d := newDuel(t, bed, s, b)
			d.run(t)
			ran += len(d.pairs)
			ops += int(d.ops.Load())
		})
		if t.Failed() {
			break
		}
	}
	t.Logf("%d tables, %d requests through each, %v", ran, ops, time.Since(began).Round(time.Second))
}

// duel is one batch: tables side by side on their own windows of the disks.
type duel struct {
	seed    uint64
	bed     bed
	pairs   []*pair
	dm, own []*raw // the disks
	ops     atomic.Int64
}

// pair is one table, made twice.
type pair struct {
	index   int // of all tables
	table   randomTable
	dm, own *raw
	lbs     uint64 // sectors
	mu      sync.Mutex
	log     []string
}

func newDuel(t *testing.T, b bed, seed uint64, batch int) *duel {
	d := &duel{seed: seed, bed: b}
	dmNodes, ownNodes := b.make(t)
	d.dm, d.own = openRaws(t, dmNodes), openRaws(t, ownNodes)
	d.fill(t, uint64(batch))

	var tables []dmTable
	var toml strings.Builder
	toml.WriteString("version = 1\n")
	for i, node := range ownNodes {
		fmt.Fprintf(&toml, "[disk.d%d]\npath = %q\nunstable_path = true\n", i, node)
	}
	for i := range min(perBatch, *tablesFlag-batch*perBatch) {
		p := &pair{index: batch*perBatch + i}
		p.table = newTable(rand.New(rand.NewPCG(seed, uint64(p.index))), b.lbs, uint64(i)*window)
		d.pairs = append(d.pairs, p)
		tables = append(tables, dmTable{p.name(), p.table.lines(func(d int) string { return dmNodes[d] })})
		if i%2 == 0 {
			toml.WriteString(p.table.asTable(p.name()))
		} else {
			toml.WriteString(p.table.asSegments(p.name()))
		}
	}
	nodes := dmCreateAll(t, tables)
	s := up(t, toml.String())
	for _, p := range d.pairs {
		p.dm, p.own = openRaw(t, nodes[p.name()]), openRaw(t, s.dev[p.name()])
	}
	return d
}

func (p *pair) name() string { return fmt.Sprintf("r%d", p.index) }

// fill makes the disks of both sides the same, and no two sectors alike.
func (d *duel) fill(t *testing.T, batch uint64) {
	buf := aligned(t, 1<<20)
	for i := range d.dm {
		for at := int64(0); at < diskMiB<<20; at += int64(len(buf)) {
			fill(buf, batch<<48|uint64(i)<<40|uint64(at))
			for _, disk := range []*raw{d.dm[i], d.own[i]} {
				if _, err := disk.WriteAt(buf, at); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func (d *duel) run(t *testing.T) {
	work := make(chan *pair)
	var wg sync.WaitGroup
	for range 2 {
		memory := [2]*arena{newArena(t), newArena(t)}
		wg.Go(func() {
			for p := range work {
				d.exercise(t, p, memory)
			}
		})
	}
	for _, p := range d.pairs {
		d.capabilities(t, p)
		if *onlyFlag < 0 || *onlyFlag == p.index {
			work <- p
		}
	}
	close(work)
	wg.Wait()
	d.compare(t, 0, diskMiB*2048)
}

// capabilities checks that both devices can the same.
func (d *duel) capabilities(t *testing.T, p *pair) {
	for _, attr := range []string{"discard_max_bytes", "write_zeroes_max_bytes"} {
		dm, own := queue(t, p.dm.node, attr), queue(t, p.own.node, attr)
		if (dm > 0) != (own > 0) {
			t.Errorf("%s of dm is %d, ours is %d\n%s", attr, dm, own, d.replay(p))
		}
	}
	dm, own := queue(t, p.dm.node, "logical_block_size"), queue(t, p.own.node, "logical_block_size")
	if dm != own {
		t.Errorf("logical_block_size of dm is %d, ours is %d\n%s", dm, own, d.replay(p))
	}
	if p.dm.sectors != p.own.sectors || p.dm.sectors != p.table.sectors() {
		t.Errorf("dm has %d sectors, ours %d\n%s", p.dm.sectors, p.own.sectors, d.replay(p))
	}
	p.lbs = dm / 512
}

// replay says what the table was, what was done to it, and how to do it again.
func (d *duel) replay(p *pair) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.log
	if len(last) > 12 {
		last = last[len(last)-12:]
	}
	return fmt.Sprintf("on %s, table %d (again: -seed %d -table %d, or UBLK_LINEAR_SEED=%d UBLK_LINEAR_TABLE=%d):\n%slast requests:\n  %s",
		d.bed.name, p.index, d.seed, p.index, d.seed, p.index,
		p.table.lines(func(d int) string { return fmt.Sprintf("d%d", d) }), strings.Join(last, "\n  "))
}

// exercise sends requests one after the other, then from several goroutines to parts of the device that do not touch, and
// reads both devices from end to end.
func (d *duel) exercise(t *testing.T, p *pair, memory [2]*arena) {
	r := rand.New(rand.NewPCG(d.seed, 1<<32|uint64(p.index)))
	all := span{0, p.own.sectors}
	mem := memory[0]
	for range 20 {
		if !d.both(t, p, p.table.request(r, all, p.lbs), mem) {
			return
		}
		if at := uint64(p.index%perBatch) * window; *onlyFlag >= 0 && !d.compare(t, at, at+window) {
			return
		}
	}
	var wg sync.WaitGroup
	parts := cut(r, p.own.sectors/p.lbs, 4)
	for i, part := range parts {
		r := rand.New(rand.NewPCG(d.seed, uint64(2+i)<<32|uint64(p.index)))
		part = span{part.start * p.lbs, part.end * p.lbs}
		mem := memory[i%2].part(i / 2)
		wg.Go(func() {
			for range 6 {
				if !d.both(t, p, p.table.request(r, part, p.lbs), mem) {
					return
				}
			}
		})
	}
	wg.Wait()
	for at := uint64(0); at < all.end; at += maxIO {
		if !d.both(t, p, request{op: opRead, start: at, length: min(maxIO, all.end-at)}, mem) {
			return
		}
	}
}

// both sends a request to both devices and says whether they agree.
func (d *duel) both(t *testing.T, p *pair, q request, mem *arena) bool {
	p.mu.Lock()
	p.log = append(p.log, q.String())
	p.mu.Unlock()
	d.ops.Add(1)
	theirs, ours := mem.dm[:q.bytes()], mem.own[:q.bytes()]
	if q.op == opWrite || q.op == opWriteSync {
		fill(theirs, q.pattern)
		copy(ours, theirs)
	}
	dmErr, ownErr := q.do(p.dm, theirs), q.do(p.own, ours)
	switch {
	case q.op == opDiscard && errors.Is(dmErr, unix.EOPNOTSUPP) && errors.Is(ownErr, unix.EOPNOTSUPP) && queue(t, p.own.node, "discard_max_bytes") == 0:
	case dmErr != nil || ownErr != nil:
		t.Errorf("%v: dm says %v, ours says %v\n%s", q, dmErr, ownErr, d.replay(p))
		return false
	case q.op == opRead:
		if first, n := differ(theirs, ours); n > 0 {
			t.Errorf("%v: %d sectors read differently, the first is %d\n%s", q, n, q.start+uint64(first), d.replay(p))
			return false
		}
	}
	return true
}

// compare compares sectors of all disks and says whether they are the same.
func (d *duel) compare(t *testing.T, start, end uint64) bool {
	t.Helper()
	const step = 2048
	var wg sync.WaitGroup
	good := true
	var mu sync.Mutex
	for half := range 2 {
		a, b := aligned(t, step*512), aligned(t, step*512)
		wg.Go(func() {
			blamed := map[int]bool{}
			for i := half; i < nDisks; i += 2 {
				for at := start; at < end; at += step {
					n := min(step, end-at) * 512
					_, err := d.dm[i].ReadAt(a[:n], int64(at*512))
					_, err2 := d.own[i].ReadAt(b[:n], int64(at*512))
					first, count := differ(a[:n], b[:n])
					if err := errors.Join(err, err2); err == nil && count == 0 {
						continue
					} else if err != nil {
						t.Error(err)
					}
					sector := at + uint64(max(first, 0))
					who := int(sector / window)
					mu.Lock()
					good = false
					if !blamed[who] && who < len(d.pairs) {
						blamed[who] = true
						t.Errorf("disk d%d: %d sectors differ, the first is %d\n%s", i, count, sector, d.replay(d.pairs[who]))
					} else if who >= len(d.pairs) {
						t.Errorf("disk d%d: %d sectors differ, the first is %d, which no table has", i, count, sector)
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return good
}

// arena is the memory of one requester.
type arena struct{ dm, own []byte }

// newArena has room for requests of maxIO, and that twice.
func newArena(t *testing.T) *arena {
	return &arena{aligned(t, 2*maxIO*512), aligned(t, 2*maxIO*512)}
}

func (a *arena) part(i int) *arena {
	return &arena{a.dm[i*maxIO*512:][:maxIO*512], a.own[i*maxIO*512:][:maxIO*512]}
}
