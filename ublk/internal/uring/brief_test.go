package uring

import (
	"encoding/binary"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// newBrief is a ring that waits untold, whatever the machine.
func newBrief(t testing.TB) *Ring {
	t.Helper()
	if mayWaitUntold() == 0 && runtime.GOMAXPROCS(0) > 1 {
		t.Skip("the runtime does not preempt here")
	}
	r := newRing(t, Options{Entries: 8, Deferred: true})
	r.BriefAt(new(int))
	places.Store(4)
	return r
}

// poll queues a wait for a pipe to be readable.
func (r *Ring) poll(fd int) {
	e := r.SQE()
	e.Opcode, e.FD, e.OpFlags = uapi.IORING_OP_POLL_ADD, int32(fd), unix.POLLIN
}

func pipe(t testing.TB) (in, out int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(p[0]), unix.Close(p[1]) })
	return p[0], p[1]
}

// Whatever a thread waits for without the runtime's knowledge, the world stops, the collector and others get on, and the
// wait goes on in the ordinary way.
func TestBriefHoldsNobodyUp(t *testing.T) {
	const waiting = 2 // of 4 processors
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2 * waiting))
	var outs [waiting]int
	ended := make(chan error, waiting)
	for i := range outs {
		in, out := pipe(t)
		outs[i] = out
		begun := make(chan bool)
		go func() {
			r := newBrief(t)
			r.poll(in)
			begun <- true
			err := r.Enter(1)
			if c, ok := r.Next(); err == nil && (!ok || c.Res <= 0) {
				err = unix.ENOMSG
			}
			ended <- err
		}()
		<-begun
	}
	done := make(chan bool)
	go func() {
		for range 50 {
			runtime.GC()
			time.Sleep(time.Millisecond) // others run, and the next finds them waiting again
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("the collector waits for who waits for a pipe")
	case err := <-ended:
		t.Fatal("a wait ended: ", err)
	}
	for _, out := range outs {
		if _, err := unix.Write(out, []byte{1}); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if n := untold.Load(); n != 0 {
		t.Errorf("%d threads are counted as waiting", n)
	}
}

// Nobody is preempted with GODEBUG=asyncpreemptoff=1, so nobody waits untold: the same holds.
func TestBriefWithoutPreemption(t *testing.T) {
	const off = "asyncpreemptoff=1"
	if strings.Contains(os.Getenv("GODEBUG"), off) {
		r := newRing(t, Options{Entries: 8})
		if r.BriefAt(new(int)); places.Load() != 0 {
			t.Error("it may wait untold")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestBriefWithoutPreemption$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG="+off)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") && !strings.Contains(string(out), "--- SKIP") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What may take long is submitted by a call of its own, of which the runtime knows.
func TestBriefTellsOfDisks(t *testing.T) {
	r := newBrief(t)
	mem, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	binary.NativeEndian.PutUint64(mem[8:], 1e6) // a timespec of 1 ms
	enters := func(lengthy int) uint64 {
		e := r.SQE()
		e.Opcode, e.FD, e.Addr, e.Len = uapi.IORING_OP_TIMEOUT, -1, address(mem), 1
		*r.lengthy = lengthy
		before := r.Enters()
		if err := r.Enter(1); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.Next(); !ok || *r.lengthy != 0 {
			t.Fatalf("completion %v, and %d entries are still to be submitted", ok, *r.lengthy)
		}
		return r.Enters() - before
	}
	atOnce := 0
	for range 20 { // a wait may be interrupted, and go on by another call
		if n := enters(1); n < 2 {
			t.Fatalf("submitted and waited for by %d call", n)
		}
		if enters(0) == 1 {
			atOnce++
		}
	}
	if atOnce == 0 {
		t.Error("ublk's own commands are submitted by a call of their own")
	}
}

// A wait that lasts is interrupted by the runtime's monitor, and goes on told: an idle thread costs nothing.
func TestBriefEnds(t *testing.T) {
	r := newBrief(t)
	in, out := pipe(t)
	r.poll(in)
	lasted := make(chan bool, 1)
	go func() {
		time.Sleep(200 * time.Millisecond) // the monitor wants 10
		for end := time.Now().Add(30 * time.Second); untold.Load() != 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // it is a machine with others
		}
		lasted <- untold.Load() != 0
		_, _ = unix.Write(out, []byte{1})
	}()
	before := r.Enters()
	if err := r.Enter(1); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Next(); !ok || <-lasted {
		t.Fatalf("completion %v, or it was untold for 30 s", ok)
	}
	if n := r.Enters() - before; n < 2 || n > 20 {
		t.Errorf("%d enters, want one that waits untold, and one that goes on", n)
	}
}

// A place is kept from one wait to the next, is somebody else's when a wait lasts or the ring is closed, and nobody gets one
// beyond the number there are.
func TestBriefPlaces(t *testing.T) {
	turn := func(r *Ring) {
		r.SQE().Opcode = uapi.IORING_OP_NOP
		if err := r.Enter(1); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.Next(); !ok {
			t.Fatal("no completion")
		}
	}
	a, b := newBrief(t), newBrief(t)
	places.Store(1)
	turn(a)
	turn(b)
	if !a.untold || b.untold || untold.Load() != 1 {
		t.Fatalf("%v %v, %d places are taken: want the first ring's", a.untold, b.untold, untold.Load())
	}
	in, out := pipe(t)
	a.poll(in)
	go func() {
		for end := time.Now().Add(30 * time.Second); untold.Load() != 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // the monitor wants 10
		}
		_, _ = unix.Write(out, []byte{1})
	}()
	if err := a.Enter(1); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.Next(); !ok || a.untold {
		t.Fatalf("completion %v; behind a long wait it has its place: %v", ok, a.untold)
	}
	turn(b)
	turn(a)
	if a.untold || !b.untold {
		t.Fatalf("%v %v: want the second ring's", a.untold, b.untold)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	turn(a)
	if !a.untold || untold.Load() != 1 {
		t.Fatalf("%v, %d places are taken: want the first ring's", a.untold, untold.Load())
	}
}
