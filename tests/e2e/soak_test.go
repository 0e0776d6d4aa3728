package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// soaking is a server whose devices are in use while everything that can happen to it does.
//
//	life   two tables in four wordings of the same places, under verified writes, of which none may fail
//	copy   what life is copied to
//	fs     a file system, whose files are written, read back and removed
//	rough  on a disk that fails, tears, shortens and delays what it is told, under verified writes
//	grow   nobody's; it grows by a MiB and, when the disk is full, is made small again
type soaking struct {
	t     testing.TB
	rng   *rand.Rand
	disks [3]string // a, b and c
	file  string
	s     *server
	words int    // which wording of life
	grown uint64 // sectors
	grows bool
	copy  *copying
	did   map[string]int
	slow  map[string]time.Duration
}

const (
	growLeast = 8 * mib
	growMost  = 16 * mib
)

func (m *soaking) config() string {
	life := []string{
		"0 32768 linear a 8\n32768 49152 striped 2 24 a 32776 b 0",
		"0 8 linear a 8\n8 32760 linear a 16\n32768 49152 striped 2 24 a 32776 b 0",
		"0 32768 striped 1 64 a 8\n32768 48 striped 2 24 a 32776 b 0\n32816 49104 striped 2 24 a 32800 b 24",
		"0 30000 linear a 8\n30000 2768 linear a 30008\n32768 24000 striped 2 24 a 32776 b 0\n56768 25152 striped 2 24 a 44776 b 12000",
	}[m.words]
	toml := pathDisks(m.disks[:]...) + tableDevice("life", life) + tableDevice("copy", "0 65536 linear b 65536") +
		tableDevice("fs", fmt.Sprintf("0 %d striped 2 128 a %d b %d", 160*mib, 64*mib, 64*mib)) +
		tableDevice("rough", "0 65536 linear c 8") + tableDevice("grow", fmt.Sprintf("0 %d linear b %d", m.grown, 144*mib))
	for i, l := range []string{
		"op = \"write\"\naction = \"eio\"\nprobability = 0.02",
		"op = \"write\"\naction = \"torn\"\nbytes = \"2s\"\nprobability = 0.01",
		"op = \"read\"\naction = \"short\"\nbytes = \"3s\"\nprobability = 0.05",
		"op = \"any\"\naction = \"delay\"\ndelay = \"50ms\"\nprobability = 0.02",
	} {
		toml += fmt.Sprintf("[[fault]]\ndisk = \"c\"\n%s\nseed = %d\n", l, i+1)
	}
	return toml
}

// start serves the file, as it is now.
func (m *soaking) start() {
	m.t.Helper()
	s, err := tryUp(m.t, m.file, "--allow-faults")
	if err != nil {
		m.t.Fatal(err)
	}
	if m.s != nil {
		for name, node := range m.s.dev {
			if s.dev[name] != node {
				m.t.Fatalf("%s was %s and is %s", name, node, s.dev[name])
			}
		}
	}
	m.s = s
}

func (m *soaking) reload(flags ...string) {
	m.t.Helper()
	m.s.rewrite(m.config())
	exits(m.t, 0, append([]string{"reload", "-c", m.file}, flags...)...)
}

// events are what happens, in the order of the first round. After it they come at random.
var soakEvents = []struct {
	name string
	do   func(m *soaking)
}{
	{"copy", func(m *soaking) {
		m.ended()
		m.copy = startCopy(m.t, m.file)
	}},
	{"kill", func(m *soaking) {
		m.s.crash()
		m.copy.kill()
		m.start()
		m.copy.wait()
		m.copy = nil
	}},
	{"reload", func(m *soaking) {
		m.words = (m.words + 1 + m.rng.IntN(3)) % 4
		m.reload()
	}},
	{"resize", func(m *soaking) {
		switch {
		case !m.grows:
		case m.grown < growMost:
			m.grown += mib
			m.reload()
		default:
			m.grown = growLeast
			m.reload("--shrink")
		}
	}},
	{"suspend", func(m *soaking) {
		name := []string{"life", "fs", "rough"}[m.rng.IntN(3)]
		exits(m.t, 0, "suspend", name, "--for", "20s", "-c", m.file)
		time.Sleep(time.Duration(m.rng.IntN(500)) * time.Millisecond)
		exits(m.t, 0, "resume", name, "-c", m.file)
	}},
	{"upgrade", func(m *soaking) {
		m.ended()
		exits(m.t, 0, "upgrade", "--wait", "-c", m.file)
	}},
}

// ended ends a copy that may be under way.
func (m *soaking) ended() {
	m.copy.kill()
	m.copy.wait()
	m.copy = nil
}

// event has one of the events happen.
func (m *soaking) event(i int) {
	m.t.Helper()
	e := soakEvents[i]
	begin := time.Now()
	e.do(m)
	m.did[e.name]++
	m.slow[e.name] = max(m.slow[e.name], time.Since(begin))
}

func (m *soaking) String() string {
	var out []string
	for _, e := range soakEvents {
		out = append(out, fmt.Sprintf("%s %d (at most %v)", e.name, m.did[e.name], m.slow[e.name].Round(10*time.Millisecond)))
	}
	return strings.Join(out, ", ")
}

// tree writes, verifies and removes files until it is told to end, and leaves the last ones.
func (m *soaking) tree(dir string, stop *atomic.Bool, rounds *atomic.Int64) {
	for seed := uint64(1); ; seed++ {
		sub := filepath.Join(dir, fmt.Sprint(seed))
		writeTree(m.t, sub, seed, 4)
		unix.Sync()
		checkTree(m.t, sub, seed)
		rounds.Add(1)
		if stop.Load() || m.t.Failed() {
			return
		}
		if err := os.RemoveAll(filepath.Join(dir, fmt.Sprint(seed-1))); err != nil {
			m.t.Error(err)
			return
		}
	}
}

// Everything that can happen to a server happens in random order, while a file system lives on it, blocks are written and
// verified, copies run and a disk fails: nothing acknowledged is lost, what must not fail does not, and the file system is clean.
func TestSoak(t *testing.T) {
	needGuest(t)
	cleared(t)
	seed := rand.Uint64()
	length := 10 * time.Second
	if soak {
		length = 30 * time.Minute
	}
	m := &soaking{t: t, rng: rand.New(rand.NewPCG(seed, 1)), disks: [3]string{nullBlk(t, 160, withCache), nullBlk(t, 160, withCache), nullBlk(t, 64, withCache)},
		grown: growLeast, grows: has616(t), did: map[string]int{}, slow: map[string]time.Duration{}}
	t.Logf("seed %d", seed)
	m.file = writeConfig(t, m.config())
	m.start()
	node, dir := m.s.dev["fs"], filepath.Join(t.TempDir(), "m")
	words(t, "mkfs.ext4 -q -F", node)
	unmount := mount(t, node, dir, "ext4")
	life, rough := startBlocks(t, m.s.dev["life"], 81920, false), startBlocks(t, m.s.dev["rough"], 65536, true)
	defer life.end()
	defer rough.end()
	var stop atomic.Bool
	var trees atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() { m.tree(dir, &stop, &trees) })
	notStalled(t, "tree", func() *server { return m.s }, &trees)

	begin, said := time.Now(), time.Now()
	for i := 0; !t.Failed() && (i < len(soakEvents) || time.Since(begin) < length); i++ {
		life.moves(20)
		time.Sleep(time.Duration(m.rng.IntN(300)) * time.Millisecond)
		k := i
		if i >= len(soakEvents) {
			k = m.rng.IntN(len(soakEvents))
		}
		m.event(k)
		if time.Since(said) > 30*time.Second {
			said = time.Now()
			t.Logf("%v: %v; %d writes, %d and %d failures on the rough disk, %d trees, longest request %v", time.Since(begin).Round(time.Second), m,
				life.writes.Load(), rough.writes.Load(), rough.failed.Load(), trees.Load(), time.Duration(life.longest.Load()).Round(time.Millisecond))
		}
	}
	m.ended()
	life.moves(20)
	stop.Store(true)
	wg.Wait()
	life.end()
	rough.end()
	unmount()
	unmount = mount(t, node, dir, "ext4")
	subs, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	last := fmt.Sprint(trees.Load())
	if !slices.ContainsFunc(subs, func(e os.DirEntry) bool { return e.Name() == last }) {
		t.Errorf("the last tree, %s, is not there", last)
	} else {
		checkTree(t, filepath.Join(dir, last), uint64(trees.Load()))
	}
	unmount()
	words(t, "e2fsck -fn", node)
	t.Logf("%v: %v; %d trees", time.Since(begin).Round(time.Second), m, trees.Load())
	if rough.failed.Load() == 0 {
		t.Error("the rough disk has not failed anything")
	}
	m.s.down()
	nothingLeft(t, m.disks[:]...)
}
