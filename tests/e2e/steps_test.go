package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/daemon"
	"github.com/ublk-go/ublk-linear/ublk"
)

// A server is killed before a step, or inside it, of what it does: a step is a system call that changes something (a control
// command, a queue's first fetch, a file that is made, written, renamed, removed, locked, a program that is executed, an
// answer). Each round is one step, until the operation comes to its end without. A soak takes every step, both ways.

// sweep is one operation.
type sweep struct {
	t     *testing.T
	rng   *rand.Rand
	last  int           // the highest step there was
	whole bool          // a round came to its end
	worst time.Duration // the longest round
}

// round is what a killed operation was; killed is false when it came to its end.
type round struct {
	steps  []string
	killed bool
}

func (r round) String() string {
	if len(r.steps) == 0 {
		return "no step"
	}
	return fmt.Sprintf("step %d, %s", len(r.steps), r.steps[len(r.steps)-1])
}

// over runs the rounds of an operation: some, of about as many steps as there are, or all, before and inside each.
func (s *sweep) over(about int, do func(at int, inside time.Duration) round) {
	s.t.Helper()
	one := func(at int, inside time.Duration) bool {
		start := time.Now()
		r := do(at, inside)
		took := time.Since(start)
		s.worst = max(s.worst, took)
		if r.killed {
			s.last = max(s.last, len(r.steps))
		} else {
			s.whole = true
		}
		s.t.Logf("at %d, %v inside: %v, killed %v, %v in all", at, inside, r, r.killed, took.Round(time.Millisecond))
		return r.killed && !s.t.Failed()
	}
	n := 0
	defer func() {
		s.t.Logf("TABLE %s: %d steps, %d rounds, to its end %v, the longest round %v, failed %v", s.t.Name(), s.last, n, s.whole, s.worst.Round(time.Millisecond), s.t.Failed())
	}()
	if !soak {
		n++
		at, inside := 1+s.rng.IntN(about), time.Duration(0)
		if s.rng.IntN(2) == 1 {
			inside = insideFor(s.rng)
		}
		one(at, inside)
		return
	}
	for at := 1; ; at++ {
		n += 2
		if !one(at, 0) || !one(at, insideFor(s.rng)) {
			return
		}
	}
}

// stepsConfig is a device to write to, and one whose content says by which table it is read; fresh has other words for the
// first, other places for the second, and one device for another.
func stepsConfig(a, b string, fresh bool, grown bool) string {
	out := pathDisks(a, b)
	life, look := "0 4096 linear a 8\n4096 2048 linear b 8", "0 1024 linear a 10240"
	if fresh {
		life, look = "0 2048 linear a 8\n2048 2048 striped 1 8 a 2056\n4096 2048 linear b 8", "0 256 linear b 12504\n256 768 striped 2 8 a 12504 b 15000"
	}
	if grown {
		life += "\n6144 2048 linear b 17504"
		look += "\n1024 512 linear b 10240"
	}
	out += tableDevice("life", life) + tableDevice("look", look)
	if fresh {
		return out + tableDevice("comes", "0 512 linear b 22496")
	}
	return out + tableDevice("goes", "0 512 linear b 23752")
}

const lifeSectors = 6144

// looks is what "look" must read as, put together from the disks.
func looks(a, b []byte, fresh, grown bool) []byte {
	cut := func(d []byte, at, n int) []byte { return d[at*512:][:n*512] }
	var out []byte
	if !fresh {
		out = append(out, cut(a, 10240, 1024)...)
	} else {
		out = append(out, cut(b, 12504, 256)...)
		for i := range 768 / 16 {
			out = append(out, cut(a, 12504+8*i, 8)...)
			out = append(out, cut(b, 15000+8*i, 8)...)
		}
	}
	if grown {
		out = append(out, cut(b, 10240, 512)...)
	}
	return out
}

// stepsDisks are two disks that hold a pattern, and what they hold.
func stepsDisks(t *testing.T) (a, b string, inA, inB []byte) {
	t.Helper()
	a, b = nullBlk(t, 16), nullBlk(t, 16)
	scribble(t, a, 1)
	scribble(t, b, 2)
	return a, b, bytes.Clone(whole(t, a)), bytes.Clone(whole(t, b))
}

// removedOf says whether an error is the one of a driver before 6.16 that cannot take a recovery up again, and then removes
// what is left, as that says: nothing else helps there, and what waits in the devices fails.
func removedOf(t *testing.T, err error, load *blocks) bool {
	t.Helper()
	if has616(t) || !strings.Contains(err.Error(), ublk.ErrUnrecoverable.Error()) {
		return false
	}
	t.Logf("removed, as that says: %v", err)
	if load != nil {
		load.stop.Store(true) // a read of a device that is gone is one of nothing, without an error
	}
	exits(t, 0, "remove", "--all", "--force")
	if load != nil {
		load.wg.Wait()
		_ = unix.Close(load.fd)
	}
	return true
}

// nothingWritten fails the test when a state, a socket or a link is left.
func nothingWritten(t *testing.T) {
	t.Helper()
	for _, p := range []string{"/run/ublk-linear/*.json*", "/run/ublk-linear/*.sock", "/dev/ublk-linear/*"} {
		if left, _ := filepath.Glob(p); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
}

func newSweep(t *testing.T) *sweep {
	t.Helper()
	needGuest(t)
	cleared(t)
	t.Setenv("PATH", filepath.Dir(another(t))+":"+os.Getenv("PATH")) // not on a share
	return &sweep{t: t, rng: rand.New(rand.NewPCG(uint64(len(t.Name())), 77))}
}

// spareScans keeps the program from being killed inside START_DEV where that must not be (scansWithin).
func (s *sweep) spareScans() {
	if scansWithin(s.t) {
		startScans.Store(true)
		s.t.Cleanup(func() { startScans.Store(false) })
	}
}

// Killed in its start, a server leaves what the next one takes over, or what `remove` does away with.
func TestStepsStart(t *testing.T) {
	s := newSweep(t)
	s.spareScans()
	a, b, inA, inB := stepsDisks(t)
	file := writeConfig(t, stepsConfig(a, b, false, false))
	s.over(60, func(at int, inside time.Duration) round {
		up, err := traceUp(t, file, "up", at, inside)
		steps, killed := up.disarm()
		r := round{steps, killed}
		if err == nil && !killed { // all devices are there, and all is announced
			up.down()
		} else if killed {
			_ = up.wait()
		}
		if killed && at%4 == 3 {
			promptly(t, "remove", func() { exits(t, 0, "remove", "--all") })
			nothingWritten(t) // not even the state that a start writes before there is a device
			promptly(t, "up", func() { up.server = again(t, file) })
			up.down()
		} else if killed {
			promptly(t, "up", func() { up.server = again(t, file) })
			if got := whole(t, up.dev["look"]); !bytes.Equal(got, looks(inA, inB, false, false)) {
				t.Errorf("%v: another content", r)
			}
			up.down()
		} else if err != nil {
			t.Error(err)
		}
		nothingLeft(t, a, b)
		nothingWritten(t)
		return r
	})
}

// again is a server of the file, which must come up.
func again(t *testing.T, file string) *server {
	t.Helper()
	s, err := tryUp(t, file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Killed in taking devices over, under I/O: the next one has them, and nobody sees an error.
func TestStepsRecovery(t *testing.T) {
	s := newSweep(t)
	a, b, inA, inB := stepsDisks(t)
	file := writeConfig(t, stepsConfig(a, b, false, false))
	srv := again(t, file)
	old := !has616(t)
	load := startBlocks(t, srv.dev["life"], lifeSectors, old)
	s.over(60, func(at int, inside time.Duration) round {
		load.moves(10)
		srv.crash()
		verb := "up"
		if at%2 == 0 {
			verb = "adopt"
		}
		failed := load.failed.Load()
		up, err := traceUp(t, file, verb, at, inside)
		steps, killed := up.disarm()
		r := round{steps, killed}
		if !killed {
			if err != nil {
				t.Error(err)
			}
			srv = up.server
			return r
		}
		_ = up.wait()
		removed := false
		promptly(t, "up", func() {
			if srv, err = tryUp(t, file); err != nil && removedOf(t, err, load) {
				removed = true
				srv, err = tryUp(t, file)
			}
		})
		if err != nil {
			t.Fatalf("%v: %v", r, err)
		}
		if removed {
			load = startBlocks(t, srv.dev["life"], lifeSectors, old)
		} else if n := load.failed.Load() - failed; n > 0 {
			t.Errorf("%v: %d errors", r, n)
		}
		if got := whole(t, srv.dev["look"]); !bytes.Equal(got, looks(inA, inB, false, false)) {
			t.Errorf("%v: another content", r)
		}
		load.moves(10)
		return r
	})
	load.moves(10)
	load.end()
	srv.down()
	nothingLeft(t, a, b)
	nothingWritten(t)
}

// reloaded is a file that a server has, and the one that it is to have.
type reloaded struct {
	t         *testing.T
	file      string
	text      [2]string
	want      [2][]byte // what look reads
	sectors   [2]uint64 // of look
	life      bool      // with I/O; else it may shrink
	srv       *tracedServer
	at        int // which of the two it has
	load      *blocks
	oldKernel bool
	inA, inB  string
}

// serve has the devices served by the file that is theirs: the new one if that is taken, or else the old one.
func (c *reloaded) serve(first int) {
	c.t.Helper()
	for _, i := range []int{first, 1 - first} {
		if err := os.WriteFile(c.file, []byte(c.text[i]), 0o600); err != nil {
			c.t.Fatal(err)
		}
		srv, err := traceUp(c.t, c.file, "up", 0, 0)
		srv.disarm()
		if err != nil && removedOf(c.t, err, c.load) {
			c.load = nil
			srv, err = traceUp(c.t, c.file, "up", 0, 0)
			srv.disarm()
		}
		if err == nil {
			c.srv, c.at = srv, i
			break
		}
		if code(srv.rc) != 3 || i != first {
			c.t.Fatalf("neither file is that of the devices: %v", err)
		}
	}
	c.begin()
	c.check()
}

// begin begins I/O, if there is to be some and is none.
func (c *reloaded) begin() {
	if c.life && c.load == nil {
		c.load = startBlocks(c.t, c.srv.dev["life"], lifeSectors, c.oldKernel)
	}
}

// unload ends it; nobody has seen an error, but where a driver left nothing else to do.
func (c *reloaded) unload() {
	c.t.Helper()
	if c.load != nil {
		c.load.moves(10)
		c.load.end()
		if n := c.load.failed.Load(); n > 0 {
			c.t.Errorf("%d errors", n)
		}
		c.load = nil
	}
}

// check holds the devices against the file that they are served by.
func (c *reloaded) check() {
	c.t.Helper()
	got := whole(c.t, c.srv.dev["look"])
	if uint64(len(got)) != c.sectors[c.at]*512 || !bytes.Equal(got, c.want[c.at]) {
		first, n := differ(got[:min(len(got), len(c.want[c.at]))], c.want[c.at][:min(len(got), len(c.want[c.at]))])
		c.t.Errorf("%d bytes, want %d; %d sectors are not those of its table, from %d on", len(got), len(c.want[c.at]), n, first)
	}
}

// reload has the server take the other file. The error is that of the reload.
func (c *reloaded) reload(shrink bool) error {
	if err := os.WriteFile(c.file, []byte(c.text[1-c.at]), 0o600); err != nil {
		c.t.Fatal(err)
	}
	_, err := client(c.t, c.file).Reload(context.Background(), daemon.ReloadRequest{Shrink: shrink})
	return err
}

// sweepReload kills a server in a reload from the first file to the second, or with back from the second to the first.
func (s *sweep) reload(c *reloaded, from, about int) {
	t := s.t
	s.spareScans()
	c.serve(from)
	s.over(about, func(at int, inside time.Duration) round {
		if c.at != from {
			c.unload() // what is open cannot shrink
			if err := c.reload(true); err != nil {
				t.Fatal(err)
			}
			c.at = from
			c.check()
			c.begin()
		}
		if c.load != nil {
			c.load.moves(10)
		}
		c.srv.arm(at, inside)
		err := c.reload(true)
		steps, killed := c.srv.disarm()
		r := round{steps, killed}
		if !killed {
			if err != nil {
				t.Error(err)
			}
			c.at = 1 - from
			c.check()
			return r
		}
		_ = c.srv.wait()
		promptly(t, "up", func() { c.serve(1 - from) })
		if c.load != nil {
			c.load.moves(10)
		}
		return r
	})
	c.unload()
	c.srv.down()
	nothingLeft(t, c.inA, c.inB)
	nothingWritten(t)
}

func newChange(t *testing.T, life bool, fresh, grown [2]bool) *reloaded {
	t.Helper()
	a, b, inA, inB := stepsDisks(t)
	c := &reloaded{t: t, life: life, oldKernel: !has616(t), inA: a, inB: b}
	for i := range c.text {
		c.text[i] = stepsConfig(a, b, fresh[i], grown[i])
		c.want[i] = looks(inA, inB, fresh[i], grown[i])
		c.sectors[i] = uint64(len(c.want[i])) / 512
	}
	c.file = writeConfig(t, c.text[0])
	return c
}

// Killed in a reload under I/O: the old tables or the new, all of them.
func TestStepsReload(t *testing.T) {
	newSweep(t).reload(newChange(t, true, [2]bool{false, true}, [2]bool{}), 0, 35)
}

// Killed while devices grow: the old size or the new, and the content of both.
func TestStepsGrow(t *testing.T) {
	s := newSweep(t)
	if !has616(t) {
		t.Skip("this kernel cannot resize")
	}
	s.reload(newChange(t, true, [2]bool{}, [2]bool{false, true}), 0, 13)
}

// And while they shrink.
func TestStepsShrink(t *testing.T) {
	s := newSweep(t)
	if !has616(t) {
		t.Skip("this kernel cannot resize")
	}
	s.reload(newChange(t, false, [2]bool{}, [2]bool{false, true}), 1, 14)
}

// Killed in an upgrade under I/O, in the old program or in the new one.
func TestStepsUpgrade(t *testing.T) {
	s := newSweep(t)
	c := newChange(t, true, [2]bool{}, [2]bool{})
	next := another(t)
	c.serve(0)
	s.over(120, func(at int, inside time.Duration) round {
		c.load.moves(10)
		c.srv.arm(at, inside)
		_, err := client(t, c.file).Upgrade(t.Context(), daemon.UpgradeRequest{Binary: next})
		steps, killed := c.srv.disarm()
		r := round{steps, killed}
		if !killed {
			if err != nil {
				t.Error(err)
			}
			c.check()
			return r
		}
		_ = c.srv.wait()
		promptly(t, "up", func() { c.serve(0) })
		c.load.moves(10)
		return r
	})
	c.unload()
	c.srv.down()
	nothingLeft(t, c.inA, c.inB)
	nothingWritten(t)
}

// Killed while it takes its devices down: `down`, `up` or `remove` end what it began.
func TestStepsDown(t *testing.T) {
	s := newSweep(t)
	c := newChange(t, false, [2]bool{}, [2]bool{})
	s.over(23, func(at int, inside time.Duration) round {
		c.serve(0)
		c.srv.arm(at, inside)
		_, err := client(t, c.file).Down(t.Context(), daemon.DownRequest{})
		rc := c.srv.wait()
		steps, killed := c.srv.disarm()
		r := round{steps, killed}
		if !killed && (err != nil || rc != nil) {
			t.Error(err, rc)
		}
		if killed && at%2 == 0 {
			promptly(t, "up", func() { c.serve(0) })
			c.srv.down()
		} else if killed {
			promptly(t, "remove", func() { exits(t, 0, "remove", "--all") })
		}
		nothingLeft(t, c.inA, c.inB)
		nothingWritten(t)
		return r
	})
}

// `remove --orphan` that is killed: doing it again ends it.
func TestStepsRemove(t *testing.T) {
	s := newSweep(t)
	c := newChange(t, false, [2]bool{}, [2]bool{})
	s.over(10, func(at int, inside time.Duration) round {
		c.serve(0)
		c.srv.crash()
		tr, err := trace([]string{"ublk-linear", "remove", "--orphan", "life"}, os.Stdout, os.Stderr, at, inside)
		if err != nil {
			t.Fatal(err)
		}
		rc := <-tr.done
		steps, killed := tr.disarm()
		r := round{steps, killed}
		if !killed && rc != nil {
			t.Error(rc)
		}
		if at%2 == 0 { // who comes instead has the other devices, and makes this one anew
			promptly(t, "up", func() { c.serve(0) })
			c.srv.down()
		} else {
			promptly(t, "remove", func() { exits(t, 0, "remove", "--all") })
		}
		nothingLeft(t, c.inA, c.inB)
		nothingWritten(t)
		return r
	})
}
