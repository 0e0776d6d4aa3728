package blkcopy

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// watched is a pool that counts its mappings.
type watched struct {
	pool
	t    testing.TB
	maps int
}

func newWatched(t testing.TB) *watched {
	p := &watched{t: t}
	p.mapped = func(n uint64) ([]byte, error) {
		p.maps++
		return mapMemory(n)
	}
	t.Cleanup(p.close)
	return p
}

func (p *watched) take(n uint64) []byte {
	p.t.Helper()
	b, err := p.get(n)
	if err != nil || uint64(len(b)) < n {
		p.t.Fatalf("%d bytes for %d, %v", len(b), n, err)
	}
	return b
}

// TestPool: a buffer is large enough, not far too large, and there are few sizes.
func TestPool(t *testing.T) {
	for n, want := range map[uint64]uint64{1: 64 << 10, 64 << 10: 64 << 10, 64<<10 + 1: 128 << 10, 512 << 10: 512 << 10, 512<<10 + 1: 1 << 20,
		1<<20 - 1: 1 << 20, 1 << 20: 2 << 20, 2 << 20: 2 << 20, 2<<20 + 1: 4 << 20, 32 << 20: 32 << 20} {
		p := newWatched(t)
		b := p.take(n)
		if uint64(len(b)) != want {
			t.Errorf("%d bytes for %d, want %d", len(b), n, want)
		}
		b[0], b[len(b)-1] = 1, 1
		p.put(b)
	}
	p := newWatched(t)
	small, mid, large := p.take(1), p.take(200<<10), p.take(4<<20)
	p.put(small)
	p.put(large)
	p.put(mid)
	for _, c := range []struct {
		n, want uint64
		maps    int
	}{
		{4096, 64 << 10, 3},        // the smallest that fits
		{64<<10 + 1, 256 << 10, 3}, // the next
		{300 << 10, 512 << 10, 4},  // 256 KiB are too little, 4 MiB too much
		{1 << 20, 4 << 20, 4},
	} {
		b := p.take(c.n)
		if uint64(len(b)) != c.want || p.maps != c.maps {
			t.Errorf("for %d: %d bytes, of %d mappings; want %d, %d", c.n, len(b), p.maps, c.want, c.maps)
		}
		p.put(b)
	}
}

// TestPoolKeeps: so much is kept and no more, the youngest; small copies behind a large one map once.
func TestPoolKeeps(t *testing.T) {
	p := newWatched(t)
	var bs [][]byte
	for range 2 * keep / (4 << 20) {
		bs = append(bs, p.take(4<<20))
	}
	for _, b := range bs {
		p.put(b)
	}
	if p.held != keep {
		t.Errorf("%d bytes kept", p.held)
	}
	if got := p.take(4 << 20); &got[0] != &bs[len(bs)-1][0] {
		t.Error("not the youngest")
	} else {
		p.put(got)
	}
	p.maps = 0
	for range 10 {
		p.put(p.take(4096))
		p.put(p.take(64 << 10))
	}
	if p.maps != 1 || p.held > keep || p.held < keep-4<<20 {
		t.Errorf("%d mappings, %d bytes kept", p.maps, p.held)
	}
	var sum uint64
	for _, b := range p.free {
		sum += uint64(len(b))
	}
	if sum != p.held {
		t.Errorf("%d bytes held, %d counted", sum, p.held)
	}
	p.put(p.take(32 << 20)) // too large to be kept: it must not make room
	if p.held != sum {
		t.Errorf("%d bytes kept, %d before", p.held, sum)
	}
}

// TestPoolHuge: from 1 MiB on a buffer lies where huge pages can, and asks for them; and nothing stays mapped behind
// close.
func TestPoolHuge(t *testing.T) {
	for _, n := range []uint64{64 << 10, 1 << 20, 4 << 20} {
		grown, left := uint64(1<<62), uint64(1<<62)
		for range 8 { // whatever lies before them, and whatever the runtime maps meanwhile
			p := newWatched(t)
			before := mappedNow(t)
			b := p.take(n)
			grown = min(grown, mappedNow(t)-before)
			at := reflect.ValueOf(b).Pointer()
			flags := flagsAt(t, at)
			if n >= 1<<20 && (at%huge != 0 || !slices.Contains(flags, "hg")) || n < 1<<20 && slices.Contains(flags, "hg") || !slices.Contains(flags, "dc") {
				t.Errorf("%d bytes at %#x: %s", len(b), at, flags)
			}
			p.put(b)
			p.close()
			left = min(left, mappedNow(t)-before)
		}
		if grown != roomFor(n) || left != 0 {
			t.Errorf("%d bytes: %d mapped, %d behind close", n, grown, left)
		}
	}
}

// What makes room for others is unmapped.
func TestPoolUnmaps(t *testing.T) {
	grown := uint64(1 << 62)
	for range 8 { // whatever the runtime maps meanwhile
		p, before := newWatched(t), mappedNow(t)
		for _, n := range []uint64{keep, smallest, 2 * keep} {
			p.put(p.take(n))
		}
		grown = min(grown, mappedNow(t)-before)
		p.close()
	}
	if grown != smallest {
		t.Errorf("%d bytes stay mapped", grown)
	}
}

// mappedNow is the address space of this process, in bytes.
func mappedNow(t *testing.T) uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var pages uint64
	if _, err := fmt.Sscan(string(text), &pages); err != nil {
		t.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}

// flagsAt is the VmFlags of what is mapped at an address: hg is MADV_HUGEPAGE, dc is MADV_DONTFORK.
func flagsAt(t *testing.T, at uintptr) []string {
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	here := false
	for l := range strings.Lines(string(text)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(l, "%x-%x", &from, &to); n == 2 {
			here = from <= at && at < to
		} else if flags, ok := strings.CutPrefix(l, "VmFlags:"); ok && here {
			return strings.Fields(flags)
		}
	}
	t.Fatalf("nothing is mapped at %#x", at)
	return nil
}
