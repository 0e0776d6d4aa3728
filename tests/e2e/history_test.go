package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
)

// Histories of a device whose server dies and comes again, or gets other tables: a few blocks that many read and write, each
// by one command, and copy in pairs. Every history must be one that some order explains.

// shape is where the blocks of such a device lie: four on the first disk, eight on both by turns, four on the second. The
// first eight are the pairs' sources, the others their destinations.
type shape struct {
	moved bool // the disks have changed places, and all is elsewhere on them
	cut   bool // the same places in other words
}

const (
	pastBlock   = register / 512 // sectors
	pastBlocks  = 2 * registers
	pastSectors = pastBlocks * pastBlock
)

func (s shape) base() (near, far string, from uint64) {
	if s.moved {
		return "b", "a", 1024
	}
	return "a", "b", 0
}

func (s shape) table() string {
	near, far, from := s.base()
	first, last := fmt.Sprintf("0 32 linear %s %d", near, from), fmt.Sprintf("96 32 linear %s %d", far, from)
	if s.cut {
		first = fmt.Sprintf("0 8 linear %s %d\n8 24 striped 1 8 %s %d", near, from, near, from+8)
		last = fmt.Sprintf("96 24 linear %s %d\n120 8 linear %s %d", far, from, far, from+24)
	}
	return fmt.Sprintf("%s\n32 64 striped 2 8 %s %d %s %d\n%s", first, near, from+64, far, from+64, last)
}

// place is the disk of a block and its sector there.
func (s shape) place(block uint64) (disk string, sector uint64) {
	near, far, from := s.base()
	switch k := block - 4; {
	case block < 4:
		return near, from + block*pastBlock
	case block >= 12:
		return far, from + (block-12)*pastBlock
	case k%2 == 0:
		return near, from + 64 + k/2*pastBlock
	default:
		return far, from + 64 + k/2*pastBlock
	}
}

// actors read, write and copy, and write down what they did.
type actors struct {
	t     *testing.T
	past  past
	value atomic.Uint64
	fails bool // requests may fail while there is no server
	// still is held for writing by whoever wants no copy to be under way.
	still  sync.RWMutex
	copied atomic.Uint64
	wg     sync.WaitGroup
	ctx    context.Context
	stop   context.CancelFunc
}

// act begins on a device that is all zeroes; every third of the actors only reads. Writes to the first disk, which is slow,
// are few.
func act(t *testing.T, s *server, name string, fails bool) *actors {
	t.Helper()
	a := &actors{t: t, fails: fails, past: past{begun: time.Now()}}
	a.ctx, a.stop = context.WithCancel(t.Context())
	t.Cleanup(func() { // before the memory goes, however the test ends
		a.stop()
		a.wg.Wait()
	})
	seed := seed(t)
	const clients = 12
	for i := range clients {
		b, r := pages(t, register), rand.New(rand.NewPCG(seed, uint64(i)))
		fd, err := unix.Open(s.dev[name], unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		a.wg.Go(func() {
			defer unix.Close(fd)
			for a.ctx.Err() == nil && a.one(i, fd, b, r, i%3 == 0) {
				time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
			}
		})
	}
	c := client(t, s.file)
	a.wg.Go(func() {
		for i := 0; a.ctx.Err() == nil && a.copy(c, clients, name, i%3 == 0); i++ {
			time.Sleep(100 * time.Millisecond)
		}
	})
	cleared(t) // before they are waited for: who waits for a server waits for ever
	return a
}

// one is one request; it says whether to go on.
func (a *actors) one(client int, fd int, b []byte, r *rand.Rand, reads bool) bool {
	d := deed{client: client, pairInput: pairInput{pair: r.IntN(registers), dst: r.IntN(2) == 1, op: 'r'}}
	block := uint64(d.pair)
	if d.dst {
		block += registers
	}
	disk, _ := shape{}.place(block)
	if !reads && r.IntN(map[string]int{"a": 8, "b": 2}[disk]) == 0 {
		d.op, d.value = 'w', a.value.Add(1)
		stampBlock(b, d.value)
	}
	d.call = a.past.now()
	n, errno := transfer(fd, d.op == 'w', b, block*pastBlock)
	d.ret = a.past.now()
	switch {
	case errno != 0 && !a.fails, errno == 0 && n != register:
		a.t.Errorf("%s: %d bytes, %v", d, n, errno)
		return false
	case errno != 0:
		time.Sleep(20 * time.Millisecond)
		if d.op == 'r' {
			return true
		}
		d.unsure = true
	case d.op == 'r':
		whole := false
		if d.saw, whole = blockValue(b); !whole {
			a.t.Errorf("%s: torn: %d and others", d, d.saw)
			return false
		}
	}
	a.past.add(d)
	return true
}

// copy copies all sources to their destinations, or only the second half, whose destinations are on the second disk; it says
// whether to go on.
func (a *actors) copy(c *daemon.Client, client int, device string, all bool) bool {
	first := registers / 2
	if all {
		first = 0
	}
	a.still.RLock()
	defer a.still.RUnlock()
	call := a.past.now()
	side := func(block int) daemon.CopySide {
		return daemon.CopySide{Device: device, Segments: []daemon.CopySegment{{Pos: uint64(block) * register, Len: uint64(registers-first) * register}}}
	}
	out, err := c.Copy(context.Background(), &daemon.CopyRequest{Source: side(first), Destination: side(registers + first)}, &daemon.CopyOptions{Force: true})
	ret := a.past.now()
	if errors.Is(err, daemon.ErrNotServed) || errors.Is(err, unix.EBUSY) {
		return true // and nothing of it is done
	}
	unsure := err != nil || !out.Complete // which only an outage explains
	for p := first; p < registers; p++ {
		a.past.add(deed{client: client, pairInput: pairInput{pair: p, op: 'c'}, unsure: unsure, call: call, ret: ret})
	}
	if !unsure {
		a.copied.Add(1)
	}
	return true
}

// enough says whether so much was done that it means something; on a slow machine that takes longer.
func (a *actors) enough() bool {
	a.past.mu.Lock()
	defer a.past.mu.Unlock()
	return len(a.past.deeds) >= 300 && a.copied.Load() > 0 || a.t.Failed()
}

// end waits for the actors, and has what they did judged.
func (a *actors) end(name string) {
	a.t.Helper()
	a.stop()
	a.wg.Wait()
	if a.t.Failed() {
		return
	}
	a.past.judge(a.t, name)
	a.t.Logf("%d copies came to their end", a.copied.Load())
}

// SIGKILL and recovery, again and again: what was acknowledged before is there after, nothing old comes back, and what failed
// has been done when the next server serves, or never will be.
func TestHistoryCrash(t *testing.T) {
	needGuest(t)
	for _, policy := range policies(t) {
		t.Run(policy, func(t *testing.T) {
			cleared(t)
			disk, slow := delayed(t, "past-"+policy, nullBlk(t, 16), 0)
			file := writeConfig(t, onCrash(pathDisks(disk, nullBlk(t, 16))+tableDevice("past", shape{}.table()), policy))
			s, err := tryUp(t, file)
			if err != nil {
				t.Fatal(err)
			}
			s.crash()
			begun := time.Now()
			if s, err = tryUp(t, file); err != nil {
				t.Fatal(err)
			}
			takes := min(3*time.Since(begun), 4*time.Second)
			slow(int(takes.Milliseconds()))
			a := act(t, s, "past", policy != "reissue")
			a.past.reissues = policy == "reissue"
			rng := rand.New(rand.NewPCG(uint64(len(policy)), 12))
			var slowest time.Duration
			rounds := 0
			for end := time.Now().Add(time.Duration(scaled(6, 10)) * time.Second); (time.Now().Before(end) || rounds < 3 || !a.enough()) && !t.Failed(); rounds++ {
				time.Sleep(time.Duration(200+rng.IntN(600)) * time.Millisecond)
				if rounds%3 == 2 { // a write to the slow disk, which no server lived through, is sent again by each: let one be answered
					time.Sleep(takes)
				}
				died := a.past.now()
				s.crash()
				begun = time.Now()
				if s, err = tryUp(t, file); err != nil {
					t.Fatal(err)
				}
				slowest = max(slowest, time.Since(begun))
				a.past.mu.Lock()
				a.past.outages = append(a.past.outages, outage{died, a.past.now()})
				a.past.mu.Unlock()
			}
			time.Sleep(300 * time.Millisecond) // reads of what the last one has left
			a.end("crash-" + policy)
			t.Logf("%d crashes, the slowest recovery took %v, a write to the first disk %v", rounds, slowest.Round(time.Millisecond), takes.Round(time.Millisecond))
			s.down()
		})
	}
}
