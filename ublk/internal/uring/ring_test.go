package uring

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

func newRing(t testing.TB, o Options) *Ring {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r, err := New(o)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		t.Skipf("this kernel gives no io_uring: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestNopRoundTrip(t *testing.T) {
	for _, o := range []Options{{Entries: 8}, {Entries: 8, SQE128: true}, {Entries: 8, Deferred: true}, {Entries: 8, CQEntries: 64, Deferred: true}} {
		r := newRing(t, o)
		for turn := range uint64(50) { // several times round the ring
			for i := range uint64(8) {
				e := r.SQE()
				if e == nil {
					t.Fatalf("%+v: ring full at %d", o, i)
				}
				e.Opcode, e.UserData = uapi.IORING_OP_NOP, turn*8+i
			}
			if r.SQE() != nil {
				t.Fatalf("%+v: a ninth entry of eight", o)
			}
			if err := r.Enter(8); err != nil {
				t.Fatal(err)
			}
			for i := range uint64(8) {
				c, ok := r.Next()
				if !ok || c.UserData != turn*8+i || c.Res != 0 {
					t.Fatalf("%+v: completion %d: %+v %v", o, i, c, ok)
				}
			}
			if _, ok := r.Next(); ok {
				t.Fatal("a completion too many")
			}
		}
	}
}

// The completion ring is smaller than what completes: the kernel keeps the overflow and nothing is lost.
func TestOverflowLosesNothing(t *testing.T) {
	r := newRing(t, Options{Entries: 8, CQEntries: 8, Deferred: true})
	seen := map[uint64]bool{}
	for n := uint64(0); n < 64; n++ {
		e := r.SQE()
		for e == nil {
			if err := r.Enter(0); err != nil {
				t.Fatal(err)
			}
			e = r.SQE()
		}
		e.Opcode, e.UserData = uapi.IORING_OP_NOP, n
	}
	for len(seen) < 64 {
		if err := r.Enter(1); err != nil {
			t.Fatal(err)
		}
		for c, ok := r.Next(); ok; c, ok = r.Next() {
			seen[c.UserData] = true
		}
	}
}

func TestEnterTimeout(t *testing.T) {
	r := newRing(t, Options{Entries: 8})
	start := time.Now()
	if err := r.EnterTimeout(30 * time.Millisecond); !errors.Is(err, ErrTimeout) {
		t.Fatalf("got %v", err)
	}
	if d := time.Since(start); d < 25*time.Millisecond {
		t.Fatalf("gave up after %v", d)
	}
	r.SQE().Opcode = uapi.IORING_OP_NOP
	if err := r.EnterTimeout(time.Second); err != nil {
		t.Fatal(err)
	}
}

func TestCloseLeavesNoDescriptor(t *testing.T) {
	count := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(d)
	}
	newRing(t, Options{Entries: 8}) // anything that opens once
	before := count()
	for range 20 {
		r, err := New(Options{Entries: 8})
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		r.Close() // twice is harmless
	}
	if after := count(); after != before {
		t.Fatalf("%d descriptors before, %d after", before, after)
	}
}

func TestNoAllocs(t *testing.T) {
	r := newRing(t, Options{Entries: 8, Deferred: true})
	if n := testing.AllocsPerRun(100, func() {
		r.SQE().Opcode = uapi.IORING_OP_NOP
		if r.Enter(1) != nil {
			t.Fatal("enter")
		}
		r.Next()
	}); n != 0 {
		t.Fatalf("%v allocations per round trip", n)
	}
}
