package e2e

// The package ublk by itself: who serves is a process of its own, which is this test program again, told what to do on its
// standard input, and which can be killed. The test writes to the device and knows what must be on it.

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/ublk"
)

const ublkChild = "UBLK_LINEAR_E2E_CHILD"

func init() {
	if os.Getenv(ublkChild) != "" {
		serveCommands()
		os.Exit(0)
	}
}

// order is one line to a child.
type order struct {
	Do      string
	ID      int
	Policy  ublk.Recovery
	Queues  int
	Disks   []string
	Sectors uint64 // of the device, for add, recover and resize
	Table   uint64 // sectors that the table has
	Pieces  int    // of the table, per disk
}

// serveCommands does one order per line and answers each with a line: "ok ID", or the error.
func serveCommands() {
	ctx := context.Background()
	c, err := ublk.OpenControl(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var d *ublk.Device
	var disks []ublk.Backing
	drop := func() {
		for _, b := range disks {
			_ = unix.Close(b.FD)
		}
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			fmt.Println(err)
			return
		}
		spec := &ublk.Spec{ID: o.ID, Queues: o.Queues, Depth: 32, MaxIO: 128 << 10, Sectors: o.Sectors, Recovery: o.Policy,
			Limits: limits.Limits{LogicalBlock: 512, PhysicalBlock: 512, MaxSectors: 256, WriteCache: true, FUA: true, DMAAlignment: 511}}
		switch o.Do {
		case "add":
			d, err = c.Add(ctx, spec)
		case "recover":
			d, err = c.Recover(ctx, o.ID, spec)
		case "start":
			var m ublk.Mapper
			if m, disks, err = o.world(); err == nil {
				err = d.Start(ctx, m, disks)
			}
		case "swap":
			var m ublk.Mapper
			var fresh []ublk.Backing
			if m, fresh, err = o.world(); err == nil {
				err = d.Swap(ctx, m, fresh)
			}
			if err == nil { // nothing uses the old ones
				drop()
				disks = fresh
			}
		case "resize":
			err = d.Resize(ctx, o.Sectors)
		case "quiesce":
			err = d.Quiesce(ctx, 10*time.Second)
		case "detach":
			if err = d.Detach(ctx); err == nil {
				drop()
				disks = nil
			}
		case "stop":
			err = d.Stop(ctx)
		}
		if err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		fmt.Println("ok", d.ID())
	}
}

// world opens the disks, which waits for a dead server's I/O on them, and lays them one behind the other.
func (o *order) world() (ublk.Mapper, []ublk.Backing, error) {
	var disks []ublk.Backing
	for _, p := range o.Disks {
		fd, err := -1, error(nil)
		for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			flags := unix.O_RDWR | unix.O_DIRECT | unix.O_CLOEXEC
			if o.Do != "swap" { // else they are our own
				flags |= unix.O_EXCL
			}
			if fd, err = unix.Open(p, flags, 0); !errors.Is(err, unix.EBUSY) {
				break
			}
		}
		if err != nil {
			return nil, nil, err
		}
		disks = append(disks, ublk.Backing{FD: fd, Name: p, Block: true, Stats: &ublk.DiskStats{}})
	}
	var parts []remap.Part
	per := o.Table / uint64(len(disks)*o.Pieces)
	for i := range disks {
		for n := range uint64(o.Pieces) {
			to, err := linear.New(target.Disk(i), target.Range{Start: n * per, Len: per})
			if err != nil {
				return nil, nil, err
			}
			parts = append(parts, remap.Part{Sectors: per, Target: to})
		}
	}
	m, err := remap.NewTable(parts)
	return m, disks, err
}

// child is a process that serves.
type child struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	dead bool
}

func newChild(t testing.TB) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command("/proc/self/exe")}
	c.cmd.Env = append(os.Environ(), ublkChild+"=1")
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

func (c *child) kill() {
	if !c.dead {
		c.dead = true
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

func (c *child) send(o order) {
	b, err := json.Marshal(o)
	if err != nil {
		c.t.Fatal(err)
	}
	_, _ = c.in.Write(append(b, '\n'))
}

// ask gives an order and returns the answer's line.
func (c *child) ask(o order) string {
	c.t.Helper()
	c.send(o)
	s, err := c.out.ReadString('\n')
	if err != nil {
		return "no answer: " + err.Error()
	}
	return strings.TrimSpace(s)
}

// must gives an order that succeeds, and returns the device's id.
func (c *child) must(o order) int {
	c.t.Helper()
	s := c.ask(o)
	id, err := strconv.Atoi(strings.TrimPrefix(s, "ok "))
	if err != nil {
		c.t.Fatalf("%s: %s", o.Do, s)
	}
	return id
}

// begin adds or recovers a device and starts it.
func (c *child) begin(o order) int {
	c.t.Helper()
	id := c.must(o)
	o.Do = "start"
	c.must(o)
	return id
}

// blocks writes and reads a device by several goroutines, each in its own part, and holds what it reads against what it
// wrote.
type blocks struct {
	t       testing.TB
	fd      int
	fail    bool // I/O may fail: what was written then may be there or not
	stop    atomic.Bool
	wg      sync.WaitGroup
	writes  atomic.Int64
	failed  atomic.Int64
	longest atomic.Int64 // ns that one took
}

const blockSize = 4096

// serve has a new child do the order, and writes to the device.
func (o *order) serve(t testing.TB, fail bool) (*child, *blocks) {
	t.Helper()
	s := newChild(t)
	o.ID = s.begin(*o)
	return s, startBlocks(t, blockNode(o.ID), o.Sectors, fail)
}

// startBlocks begins on the first sectors of a device.
func startBlocks(t testing.TB, node string, sectors uint64, fail bool) *blocks {
	t.Helper()
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &blocks{t: t, fd: fd, fail: fail}
	const parts = 8
	for p := range uint64(parts) {
		n := min(sectors*512/blockSize/parts, 512)
		b.wg.Go(func() { b.run(p*(sectors*512/blockSize/parts), n, rand.New(rand.NewPCG(p, 7))) })
	}
	return b
}

func (b *blocks) run(first, n uint64, rng *rand.Rand) {
	mem, err := unix.Mmap(-1, 0, blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		b.t.Error(err)
		return
	}
	defer func() { _ = unix.Munmap(mem) }()
	may := make([]map[uint64]bool, n) // what each block may hold; nil: not yet written
	seq := uint64(1)
	for !b.stop.Load() {
		i := rng.Uint64N(n)
		at := int64((first + i) * blockSize)
		start := time.Now()
		switch rng.IntN(10) {
		case 0, 1, 2, 3, 4:
			seq++
			v := (first+i)<<32 | seq
			for o := 0; o < blockSize; o += 8 {
				binary.NativeEndian.PutUint64(mem[o:], v)
			}
			_, err = unix.Pwrite(b.fd, mem, at)
			if err != nil && may[i] != nil {
				may[i][v] = true
			} else if err == nil {
				may[i] = map[uint64]bool{v: true}
				b.writes.Add(1)
			}
		case 5:
			err = unix.Fdatasync(b.fd)
		default:
			var got int
			if got, err = unix.Pread(b.fd, mem, at); err == nil && got != blockSize {
				err = io.ErrUnexpectedEOF // the device is gone
			}
			if err == nil && may[i] != nil {
				v := binary.NativeEndian.Uint64(mem)
				for o := 0; o < blockSize; o += 8 {
					if w := binary.NativeEndian.Uint64(mem[o:]); w != v && may[i][v] && len(may[i]) == 1 {
						b.t.Errorf("block %d is torn: %#x and %#x", first+i, v, w)
						return
					}
				}
				if !may[i][v] {
					b.t.Errorf("block %d holds %d, want one of %v", first+i, v, may[i])
					return
				}
				if len(may[i]) > 1 { // it may still be torn between them
					continue
				}
			}
		}
		if d := int64(time.Since(start)); d > b.longest.Load() {
			b.longest.Store(d)
		}
		if err != nil {
			b.failed.Add(1)
			if !b.fail {
				b.t.Errorf("block %d: %v", first+i, err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// moves waits for n more writes.
func (b *blocks) moves(n int64) {
	b.t.Helper()
	from := b.writes.Load()
	within(b.t, "writes go on", func() bool { return b.t.Failed() || b.writes.Load() >= from+n })
}

func (b *blocks) end() {
	if b.stop.Swap(true) {
		return
	}
	b.wg.Wait()
	_ = unix.Close(b.fd)
	b.t.Logf("%d writes, %d failures, the longest took %v", b.writes.Load(), b.failed.Load(), time.Duration(b.longest.Load()).Round(time.Millisecond))
}

// allGone ends what the test has of the driver, and fails when something is left.
func allGone(t testing.TB, c *ublk.Control, s *child) {
	t.Helper()
	s.kill()
	_ = c.Close()
	nothingLeft(t)
}

func control(t testing.TB) *ublk.Control {
	t.Helper()
	c, err := ublk.OpenControl(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

const mib = 2048 // sectors

func twoDisks(t testing.TB) order {
	t.Helper()
	return order{ID: -1, Policy: ublk.RecoveryReissue, Queues: 2, Disks: []string{nullBlk(t, 32), nullBlk(t, 32)}, Sectors: 32 * mib, Table: 32 * mib, Pieces: 1}
}

func blockNode(id int) string { return "/dev/ublkb" + strconv.Itoa(id) }

// A server is killed under I/O, again and again, and another takes over: nothing that was acknowledged is lost, and with
// reissue nothing fails either.
func TestUblkKillAndRecover(t *testing.T) {
	needGuest(t)
	c := control(t)
	for _, p := range []ublk.Recovery{ublk.RecoveryReissue, ublk.RecoveryQueue, ublk.RecoveryFail} {
		t.Run(p.String(), func(t *testing.T) {
			o := twoDisks(t)
			o.Do, o.Policy = "add", p
			s := newChild(t)
			if p == ublk.RecoveryFail && !c.Features().Has(p.Flags()) {
				if a := s.ask(o); !strings.Contains(a, "USER_RECOVERY_FAIL_IO") || !strings.Contains(a, "6.13") {
					t.Errorf("add says %q", a)
				}
				return
			}
			o.ID = s.begin(o)
			b := startBlocks(t, blockNode(o.ID), o.Sectors, p != ublk.RecoveryReissue)
			defer b.end()
			for i := range scaled(4, 25) {
				b.moves(200)
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
				s.kill()
				if p == ublk.RecoveryFail {
					n := b.failed.Load()
					within(t, "I/O fails", func() bool { return b.failed.Load() > n })
				}
				start := time.Now()
				s = newChild(t)
				o.Do = "recover"
				s.begin(o)
				t.Logf("round %d: recovered after %v", i, time.Since(start).Round(time.Millisecond))
				if t.Failed() {
					return
				}
			}
			b.moves(200)
			b.end()
			s.must(order{Do: "stop"})
			s.kill()
		})
	}
	_ = c.Close()
	nothingLeft(t)
}

// A device is handed over without being stopped, in the same process and to another, under I/O.
func TestUblkDetach(t *testing.T) {
	needGuest(t)
	c := control(t)
	o := twoDisks(t)
	o.Do = "add"
	s, b := o.serve(t, false)
	defer b.end()
	o.Do = "recover"
	for i := range scaled(4, 25) {
		b.moves(200)
		start := time.Now()
		s.must(order{Do: "detach"})
		took := time.Since(start)
		if info, err := c.Info(t.Context(), o.ID); err != nil || info.State != ublk.Quiesced {
			t.Fatalf("after detach: %+v %v", info, err)
		}
		s.must(order{Do: "stop"}) // of what is detached: nothing
		if i%2 == 1 {
			s.must(o)
			s.must(order{Do: "detach"}) // not even started
			s.kill()
			s = newChild(t)
		}
		s.begin(o)
		t.Logf("detached in %v, served again after %v", took.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	}
	b.moves(200)
	b.end()
	s.must(order{Do: "stop"})
	allGone(t, c, s)
}

// With QUIESCE_DEV no request fails under the queue policy either; where the driver lacks it, the error says so.
func TestUblkQuiesce(t *testing.T) {
	needGuest(t)
	c := control(t)
	o := twoDisks(t)
	o.Do, o.Policy = "add", ublk.RecoveryQueue
	s := newChild(t)
	o.ID = s.begin(o)
	if !c.Features().Has(ublk.CanQuiesce) {
		if a := s.ask(order{Do: "quiesce"}); !strings.Contains(a, "QUIESCE (Linux 6.16)") {
			t.Errorf("quiesce says %q", a)
		}
		s.must(order{Do: "stop"})
		allGone(t, c, s)
		return
	}
	b := startBlocks(t, blockNode(o.ID), o.Sectors, false)
	defer b.end()
	o.Do = "recover"
	for range scaled(4, 25) {
		b.moves(200)
		start := time.Now()
		s.must(order{Do: "quiesce"})
		s.must(order{Do: "detach"})
		s.kill()
		s = newChild(t)
		s.begin(o)
		t.Logf("handed over in %v", time.Since(start).Round(time.Millisecond))
	}
	b.moves(200)
	b.end()
	s.must(order{Do: "quiesce"})
	s.must(order{Do: "stop"}) // of a quiesced device
	allGone(t, c, s)
}

func capacity(t testing.TB, node string) uint64 {
	t.Helper()
	fd, err := unix.Open(node, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	n, err := unix.IoctlGetInt(fd, unix.BLKGETSIZE64)
	if err != nil {
		t.Fatal(err)
	}
	return uint64(n) / 512
}

// A device grows and shrinks under I/O; where the driver cannot, the error says so and nothing has changed.
func TestUblkResize(t *testing.T) {
	needGuest(t)
	c := control(t)
	o := twoDisks(t)
	o.Do, o.Sectors, o.Table = "add", 16*mib, 32*mib
	big := o
	o.Table = 16 * mib
	s := newChild(t)
	o.ID = s.begin(o)
	node := blockNode(o.ID)
	can := c.Features().Has(ublk.UpdateSize)
	if a := s.ask(order{Do: "resize", Sectors: 20 * mib}); can && !strings.Contains(a, "fewer than") || !can && !strings.Contains(a, "UPDATE_SIZE (Linux 6.16)") {
		t.Errorf("resize beyond the table says %q", a)
	}
	if n := capacity(t, node); n != 16*mib {
		t.Errorf("%d sectors", n)
	}
	if can {
		b := startBlocks(t, node, 8*mib, false) // which is on disk 0 in both tables
		defer b.end()
		big.Do, big.Pieces = "swap", 1
		s.must(big)
		for range scaled(3, 20) {
			for _, n := range []uint64{32 * mib, 24*mib + 8, 12 * mib} {
				s.must(order{Do: "resize", Sectors: n})
				if got := capacity(t, node); got != n {
					t.Fatalf("%d sectors, want %d", got, n)
				}
				b.moves(50)
				fd, err := unix.Open(node, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				mem, err := unix.Mmap(-1, 0, blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := unix.Pwrite(fd, mem, int64(n*512-blockSize)); err != nil {
					t.Errorf("the last block of %d sectors: %v", n, err)
				}
				_ = unix.Munmap(mem)
				_ = unix.Close(fd)
			}
		}
		b.end()
	}
	s.must(order{Do: "stop"})
	allGone(t, c, s)
}

// Tables are swapped under I/O, some of which need more memory than the first.
func TestUblkSwap(t *testing.T) {
	needGuest(t)
	c := control(t)
	o := twoDisks(t)
	o.Do = "add"
	s, b := o.serve(t, false)
	defer b.end()
	o.Do = "swap"
	pieces := []int{1, 64, 1024, 2, 4096}
	for i := range scaled(10, 20) {
		o.Pieces = pieces[i%len(pieces)]
		s.must(o)
		b.moves(20)
		if t.Failed() {
			return
		}
	}
	b.end()
	s.must(order{Do: "stop"})
	allGone(t, c, s)
}

// A recovering server dies at any moment: another recovers, or says that only deletion is left, which works.
func TestUblkDiesInRecovery(t *testing.T) {
	needGuest(t)
	c := control(t)
	o := twoDisks(t)
	o.Do, o.Queues = "add", 1
	s, b := o.serve(t, true)
	b.moves(100)
	s.kill()
	o.Do = "recover"
	for i := range scaled(8, 25) {
		s = newChild(t)
		s.must(o)
		if i > 0 {
			start := o
			start.Do = "start"
			s.send(start)
			time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		}
		s.kill()
		s = newChild(t)
		a := s.ask(o)
		if strings.HasPrefix(a, "ok") {
			start := o
			start.Do = "start"
			a = s.ask(start)
		}
		t.Logf("round %d: %s", i, a)
		if !strings.HasPrefix(a, "ok") {
			if !strings.Contains(a, "delete the device") {
				t.Errorf("recovery says %q", a)
			}
			break
		}
		b.moves(20)
		s.kill()
	}
	start := time.Now()
	if err := c.Delete(t.Context(), o.ID); err != nil {
		t.Error(err)
	}
	t.Logf("deleted in %v", time.Since(start).Round(time.Millisecond))
	b.end()
	s.kill()
	allGone(t, c, s)
}

// A device that nobody serves is deleted in bounded time, with I/O waiting for it.
func TestUblkDeleteOrphan(t *testing.T) {
	needGuest(t)
	c := control(t)
	for _, p := range []ublk.Recovery{ublk.RecoveryReissue, ublk.RecoveryQueue} {
		o := twoDisks(t)
		o.Do, o.Policy = "add", p
		s, b := o.serve(t, true)
		b.moves(100)
		if _, err := c.Recover(t.Context(), o.ID, &ublk.Spec{ID: o.ID, Sectors: o.Sectors, Limits: limits.Limits{LogicalBlock: 512}, Recovery: p}); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), strconv.Itoa(s.cmd.Process.Pid)) {
			t.Errorf("recover of a device that is served: %v", err)
		}
		s.kill()
		within(t, "quiesced", func() bool {
			i, err := c.Info(t.Context(), o.ID)
			return err == nil && i.State == ublk.Quiesced
		})
		var m *ublk.MismatchError
		if _, err := c.Recover(t.Context(), o.ID, &ublk.Spec{ID: o.ID, Sectors: 8, Limits: limits.Limits{LogicalBlock: 512}, Recovery: p}); !errors.As(err, &m) {
			t.Errorf("recover of another device: %v", err)
		} else {
			t.Log(m)
		}
		start := time.Now()
		if err := c.Delete(t.Context(), o.ID); err != nil {
			t.Error(err)
		}
		t.Logf("%v: deleted in %v", p, time.Since(start).Round(time.Millisecond))
		b.end()
	}
	// Never started.
	s := newChild(t)
	o := twoDisks(t)
	o.Do = "add"
	o.ID = s.must(o)
	s.kill()
	if _, err := c.Recover(t.Context(), o.ID, &ublk.Spec{ID: o.ID, Sectors: o.Sectors, Limits: limits.Limits{LogicalBlock: 512}}); !errors.Is(err, ublk.ErrDead) {
		t.Errorf("recover of a device that was never started: %v", err)
	}
	if err := c.Delete(t.Context(), o.ID); err != nil {
		t.Error(err)
	}
	allGone(t, c, s)
}
