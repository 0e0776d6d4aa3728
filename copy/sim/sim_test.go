package sim

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
)

// device is one of blocks of 512 bytes, each with a content of its own, and its store.
func device(t testing.TB, c Config, blocks uint64, misbehave ...string) (*Device, *Memory) {
	t.Helper()
	if c.Block == 0 {
		c.Block = 512
	}
	if c.Clock == nil {
		c.Clock = &VirtualClock{}
	}
	c.Bytes, c.Misbehave = blocks*uint64(c.Block), append(c.Misbehave, misbehave...)
	s := NewMemory(c.Bytes)
	r := rand.New(rand.NewPCG(c.Seed, 1))
	for i := range s.b {
		s.b[i] = byte(r.Uint32())
	}
	d, err := New(c, s)
	if err != nil {
		t.Fatal(err)
	}
	return d, s
}

func read(t testing.TB, d *Device) []byte {
	t.Helper()
	p := make([]byte, d.Bytes())
	if err := d.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	return p
}

func ranges(pairs ...uint64) (out []target.Range) {
	for p := range slices.Chunk(pairs, 2) {
		out = append(out, target.Range{Start: p[0], Len: p[1]})
	}
	return out
}

// TestOracle: without misbehaviours random commands do what memmove does, and are refused for exactly what a device refuses;
// writes, flushes, power cuts and broken blocks between them do what they should to what is seen and to what is durable.
func TestOracle(t *testing.T) {
	var copied, overlapped, sized, placed, unread, cut, fuas int
	check := func(t *rapid.T) {
		block := rapid.SampledFrom([]uint32{512, 1024, 4096}).Draw(t, "block")
		unit, size := uint64(block), uint64(48)
		c := Config{Block: block, Bytes: size * unit, Seed: rapid.Uint64().Draw(t, "seed"), Cache: rapid.Bool().Draw(t, "cache"), Clock: &VirtualClock{},
			MSSRL: rapid.Uint32Range(1, 12).Draw(t, "mssrl"), MCL: rapid.Uint32Range(1, 24).Draw(t, "mcl"), MSRC: rapid.Uint32Range(0, 4).Draw(t, "msrc")}
		store := NewMemory(c.Bytes)
		d, err := New(c, store)
		if err != nil {
			t.Fatal(err)
		}
		now, durable, broken := make([]byte, c.Bytes), make([]byte, c.Bytes), map[uint64]bool{}
		var writes byte
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0: // a write
				at := rapid.Uint64Range(0, size-1).Draw(t, "at")
				n := rapid.Uint64Range(1, size-at).Draw(t, "n")
				p := make([]byte, n*unit)
				for i := range p {
					writes++
					p[i] = writes
				}
				if err := d.WriteAt(p, at*unit); err != nil {
					t.Fatal(err)
				}
				copy(now[at*unit:], p)
				for i := range n {
					delete(broken, at+i)
				}
				if !c.Cache {
					copy(durable[at*unit:], p)
				}
			case 1:
				if err := d.Flush(); err != nil {
					t.Fatal(err)
				}
				copy(durable, now)
			case 2:
				if err := d.PowerCut(); err != nil {
					t.Fatal(err)
				}
				copy(now, durable)
				cut++
			case 3:
				at := rapid.Uint64Range(0, size-1).Draw(t, "broken")
				if err := d.Break(at*unit, unit); err != nil {
					t.Fatal(err)
				}
				broken[at] = true
			default:
				var src []target.Range
				var n uint64
				for range rapid.IntRange(1, 6).Draw(t, "ranges") {
					r := target.Range{Start: rapid.Uint64Range(0, size).Draw(t, "start"), Len: rapid.Uint64Range(1, 13).Draw(t, "len")}
					n += r.Len
					src = append(src, target.Range{Start: r.Start * unit / 512, Len: r.Len * unit / 512})
				}
				dst, fua := rapid.Uint64Range(0, size).Draw(t, "dst"), rapid.Bool().Draw(t, "fua")
				a, err := d.Copy(src, dst*unit/512, fua)
				if err != nil {
					t.Fatal(err)
				}
				want, overlap := expected(&c, src, dst, n, broken)
				if a.Status != want {
					t.Fatalf("%v to %d: status 0x%x, not 0x%x", src, dst, a.Status, want)
				}
				done := src
				switch want {
				case 0:
					copied++
				case StatusSize:
					sized++
				case StatusLBA:
					placed++
				case StatusRead:
					unread++
				}
				if want != 0 {
					// What was moved before the failure is known by dw0 only: the rest is found out, each range old or new.
					done = src[:a.DW0]
					if (want != StatusRead || overlap) && a.DW0 != 0 {
						t.Fatalf("refused with 0x%x, and dw0 %d", a.Status, a.DW0)
					}
				}
				if overlap && want == 0 {
					overlapped++
				}
				if fua {
					fuas++
				}
				var data []byte
				for _, s := range done {
					data = append(data, now[s.Start*512:s.End()*512]...)
				}
				move := func(p []byte, at uint64) {
					copy(now[at:], p)
					if fua || !c.Cache {
						copy(durable[at:], p)
					}
					for i := range uint64(len(p)) / unit {
						delete(broken, at/unit+i)
					}
				}
				if want == StatusRead && !overlap { // ranges behind dw0 that were done before the bad one
					at := dst * unit
					var all [][]byte
					for _, s := range src {
						all = append(all, slices.Clone(now[s.Start*512:s.End()*512]))
					}
					for i, s := range src {
						bytes1 := s.Len * 512
						got := make([]byte, bytes1)
						d.mu.Lock()
						_ = d.load(got, at/unit)
						d.mu.Unlock()
						bad := slices.ContainsFunc(blocksOf(s, unit), func(b uint64) bool { return broken[b] })
						if i == int(a.DW0) && bytes.Equal(got, all[i]) && !bytes.Equal(got, now[at:at+bytes1]) {
							t.Fatalf("range %d is copied, and dw0 says that it is not", i)
						}
						if i < int(a.DW0) || !bad && bytes.Equal(got, all[i]) && !bytes.Equal(got, now[at:at+bytes1]) {
							move(all[i], at)
						}
						at += bytes1
					}
				} else if want == 0 {
					move(data, dst*unit)
				}
			}
			same(t, d, store, now, durable, broken)
		}
	}
	for copied < 20 || overlapped < 5 || sized < 20 || placed < 20 || unread < 5 || cut < 20 || fuas < 20 {
		rapid.Check(t, check)
	}
}

func blocksOf(r target.Range, unit uint64) (out []uint64) {
	for b := r.Start * 512 / unit; b < r.End()*512/unit; b++ {
		out = append(out, b)
	}
	return out
}

// expected is what a device should answer, in the words of the specification.
func expected(c *Config, src []target.Range, dst, n uint64, broken map[uint64]bool) (status uint16, overlap bool) {
	unit := uint64(c.Block)
	size := c.Bytes / unit
	if len(src) > int(c.MSRC)+1 || n > uint64(c.MCL) {
		return StatusSize, false
	}
	var bad bool
	for _, s := range src {
		at, l := s.Start*512/unit, s.Len*512/unit
		if l > uint64(c.MSSRL) {
			return StatusSize, false
		}
		if at+l > size {
			return StatusLBA, false
		}
		overlap = overlap || at < dst+n && dst < at+l
		for i := range l {
			bad = bad || broken[at+i]
		}
	}
	if dst+n > size {
		return StatusLBA, false
	}
	if bad {
		return StatusRead, overlap
	}
	return 0, overlap
}

// same compares all blocks that can be read, and the store, with what they should have.
func same(t *rapid.T, d *Device, s *Memory, now, durable []byte, broken map[uint64]bool) {
	t.Helper()
	for b := range d.end {
		p := make([]byte, d.block)
		err := d.ReadAt(p, b*d.block)
		if broken[b] != errors.Is(err, unix.ENODATA) {
			t.Fatalf("block %d: %v, broken %v", b, err, broken[b])
		}
		if err == nil && !bytes.Equal(p, now[b*d.block:(b+1)*d.block]) {
			t.Fatalf("block %d is wrong", b)
		}
	}
	if !bytes.Equal(s.b, durable) {
		t.Fatal("the store is wrong")
	}
}

// TestNames: every trait has one name, in its place.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for i, m := range Misbehaviours() {
		if int(m.trait) != i || m.Name == "" || seen[m.Name] || len(m.What) < 15 || len(m.Why) < 15 {
			t.Errorf("%d: %+v", i, m)
		}
		seen[m.Name] = true
	}
	if len(seen) != int(traits) {
		t.Errorf("%d names, %d traits", len(seen), traits)
	}
	if _, err := newSwitches([]string{"hangs", "nonsense"}); err == nil {
		t.Error("an unknown name")
	}
}

func TestConfig(t *testing.T) {
	good := Config{Block: 4096, Bytes: 1 << 20}
	for name, change := range map[string]func(*Config){
		"block":   func(c *Config) { c.Block = 520 },
		"small":   func(c *Config) { c.Block = 256 },
		"large":   func(c *Config) { c.Block, c.Bytes = 1<<17, 1<<20 },
		"cut":     func(c *Config) { c.Bytes += 512 },
		"empty":   func(c *Config) { c.Bytes = 0 },
		"mssrl":   func(c *Config) { c.MSSRL = 1 << 16 },
		"msrc":    func(c *Config) { c.MSRC = 256 },
		"latency": func(c *Config) { c.Latency = -1 },
		"name":    func(c *Config) { c.Misbehave = []string{""} },
	} {
		c := good
		change(&c)
		if _, err := New(c, NewMemory(1<<20)); err == nil {
			t.Error(name)
		}
	}
	d, err := New(good, NewMemory(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if c := d.Identify(); c.MSSRL != MostMSSRL || c.MCL != MostMCL || c.MSRC != 0 {
		t.Errorf("%+v", c)
	}
}

// TestEncode: what no command says is an error, and nothing is sent: no time passes, nothing changes.
func TestEncode(t *testing.T) {
	d, s := device(t, Config{Block: 4096, Latency: time.Second}, 64)
	before := slices.Clone(s.b)
	for name, c := range map[string]struct {
		src []target.Range
		dst uint64
	}{
		"none":      {nil, 8},
		"empty":     {ranges(0, 8, 16, 0), 64},
		"start":     {ranges(1, 8), 64},
		"length":    {ranges(0, 7), 64},
		"dst":       {ranges(0, 8), 65},
		"many":      {slices.Repeat(ranges(0, 8), 257), 64},
		"very long": {ranges(0, 8*(1<<16+1)), 64},
	} {
		if a, err := d.Copy(c.src, c.dst, false); !errors.Is(err, disk.ErrCopyRequest) || a != (Completion{}) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	other, _ := device(t, Config{}, 64)
	if _, err := d.CopyFrom(other, ranges(0, 8), 64, false); !errors.Is(err, disk.ErrCopyRequest) {
		t.Error(err)
	}
	if !bytes.Equal(s.b, before) || !d.Now().IsZero() {
		t.Error("something was done")
	}
}

// TestClock: latency is each command's own, the rate is shared, and nobody waits.
func TestClock(t *testing.T) {
	d, _ := device(t, Config{Latency: 10 * time.Millisecond, Rate: 512 * 100}, 256)
	for i := range 3 {
		began := d.Now()
		if a, err := d.Copy(ranges(0, 50), 100, false); err != nil || a.Status != 0 {
			t.Fatal(a, err)
		}
		if took := d.Now().Sub(began); took != 510*time.Millisecond {
			t.Errorf("copy %d took %v", i, took)
		}
	}
	d, _ = device(t, Config{}, 256, "hangs")
	var long int
	for range 24 {
		began := d.Now()
		_, _ = d.Copy(ranges(0, 1), 100, false)
		if took := d.Now().Sub(began); took >= hang {
			long++
		} else if took != 0 {
			t.Error(took)
		}
	}
	if long != 3 {
		t.Errorf("%d hung", long)
	}
	if transferTime(1<<63, 1) > 200*365*24*time.Hour || transferTime(100, 50) != 2*time.Second {
		t.Error("times")
	}
}

// TestClockShared: two commands at once have the rate together.
func TestClockShared(t *testing.T) {
	clock := &still{}
	d, _ := device(t, Config{Rate: 51200, Clock: clock}, 256)
	for range 2 {
		_, _ = d.Copy(ranges(0, 100), 100, false)
	}
	if want := []time.Duration{time.Second, 2 * time.Second}; !slices.Equal(clock.slept, want) {
		t.Error(clock.slept)
	}
}

// still is a clock that notes sleeps, and stands.
type still struct{ slept []time.Duration }

func (*still) Now() time.Time          { return time.Unix(1, 0) }
func (c *still) Sleep(d time.Duration) { c.slept = append(c.slept, d) }

// TestSeed: the same seed moves ranges in the same order, seen by what is done before a bad range; another in others.
func TestSeed(t *testing.T) {
	orders := func(seed uint64) (out []uint32) {
		d, _ := device(t, Config{Seed: seed, MSRC: 7}, 128)
		for range 16 {
			_ = d.Break(7*512, 512)
			a, err := d.Copy(ranges(0, 1, 1, 1, 2, 1, 3, 1, 4, 1, 5, 1, 6, 1, 7, 1), 64, false)
			if err != nil || a.Status != StatusRead {
				t.Fatal(a, err)
			}
			out = append(out, a.DW0)
		}
		return out
	}
	if a, b := orders(3), orders(3); !slices.Equal(a, b) {
		t.Error(a, b)
	}
	if a, b := orders(3), orders(4); slices.Equal(a, b) {
		t.Error("two seeds, one order")
	}
}

// TestStoreErrors: what the store cannot do is a status of the side that failed.
func TestStoreErrors(t *testing.T) {
	for _, c := range []struct {
		read, write bool
		want        uint16
	}{{true, false, StatusRead}, {false, true, StatusWrite}} {
		d, err := New(Config{Block: 512, Bytes: 1 << 16}, &failing{NewMemory(1 << 16), c.read, c.write})
		if err != nil {
			t.Fatal(err)
		}
		if a, err := d.Copy(ranges(0, 4), 8, false); err != nil || a.Status != c.want || a.DW0 != 0 {
			t.Error(a, err)
		}
	}
}

type failing struct {
	*Memory
	read, write bool
}

func (f *failing) ReadAt(p []byte, at uint64) error {
	if f.read {
		return unix.EIO
	}
	return f.Memory.ReadAt(p, at)
}

func (f *failing) WriteAt(p []byte, at uint64) error {
	if f.write {
		return unix.EIO
	}
	return f.Memory.WriteAt(p, at)
}

// TestFormat2: between two namespaces MSSRL is the source's, MCL and MSRC are the destination's, as measured on QEMU.
func TestFormat2(t *testing.T) {
	a, _ := device(t, Config{MSSRL: 32, MCL: 8, MSRC: 0}, 128)
	b, _ := device(t, Config{MSSRL: 4, MCL: 64, MSRC: 1, Seed: 1}, 128)
	for _, c := range []struct {
		src  []target.Range
		want uint16
	}{
		{ranges(0, 32), 0}, {ranges(0, 33), StatusSize}, {ranges(0, 32, 40, 32), 0}, {ranges(0, 1, 1, 1, 2, 1), StatusSize},
		{ranges(100, 29), StatusLBA},
	} {
		got, err := b.CopyFrom(a, c.src, 10, false)
		if err != nil || got.Status != c.want {
			t.Errorf("%v: %+v, %v", c.src, got, err)
		}
		var want []byte
		for _, s := range c.src {
			want = append(want, read(t, a)[min(s.Start*512, 128*512):min(s.End()*512, 128*512)]...)
		}
		if c.want == 0 && !bytes.Equal(read(t, b)[10*512:10*512+len(want)], want) {
			t.Error("other data")
		}
	}
}

// TestMethod: the engine's commands reach the devices that are simulated, and the real method what is real.
func TestMethod(t *testing.T) {
	a, _ := device(t, Config{MSRC: 2, MSSRL: 8}, 128)
	b, _ := device(t, Config{MSRC: 2, Seed: 5}, 128)
	real := &noted{}
	m := Method([]*Device{a, b, nil}, real)
	ext := func(disk target.Disk, start, n uint64) target.Extent {
		return target.Extent{Disk: disk, Range: target.Range{Start: start, Len: n}}
	}
	send := func(dst target.Extent, src ...target.Extent) (uint64, error) {
		return m.Copy(&blkcopy.Command{Sources: src, Dst: dst}, &blkcopy.Policy{})
	}
	if n, err := send(ext(1, 64, 5), ext(0, 1, 2), ext(0, 9, 3)); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	from, to := read(t, a), read(t, b)
	if !bytes.Equal(to[64*512:69*512], slices.Concat(from[512:3*512], from[9*512:12*512])) {
		t.Error("other data")
	}
	if n, err := send(ext(0, 64, 9), ext(0, 1, 9)); n != 0 || !errors.Is(err, unix.EOPNOTSUPP) {
		t.Error(n, err)
	}
	var status *disk.NVMeError
	_ = b.Break(9*512, 512)
	n, err := send(ext(1, 64, 5), ext(1, 1, 2), ext(1, 9, 3))
	if !errors.As(err, &status) || status.Status != StatusRead || n != uint64(status.Result)*2 || status.Side() != "source" {
		t.Error(n, err)
	}
	before := read(t, a)
	for _, c := range [][]target.Extent{{ext(0, 2, 4), ext(0, 0, 4)}, {ext(0, 8, 4), ext(0, 0, 2), ext(1, 0, 2)}, {ext(0, 8, 4), ext(2, 0, 4)}, {ext(2, 8, 4), ext(0, 0, 4)}, {ext(0, 0, 0)}} {
		if n, err := send(c[0], c[1:]...); n != 0 || err == nil {
			t.Errorf("%v was sent", c)
		}
	}
	if !bytes.Equal(before, read(t, a)) || real.n != 0 {
		t.Error("something was done")
	}
	if n, err := send(ext(2, 8, 4), ext(2, 0, 4)); n != 4 || err != nil || real.n != 1 {
		t.Error(n, err, real.n)
	}
}

type noted struct{ n int }

func (r *noted) Copy(c *blkcopy.Command, _ *blkcopy.Policy) (uint64, error) {
	r.n++
	return c.Dst.Len, nil
}

// TestTogether: copies both ways between two devices, reads, writes, flushes and cuts at once neither race nor hang, and a
// block is never torn.
func TestTogether(t *testing.T) {
	a, _ := device(t, Config{Cache: true, MSRC: 3}, 64)
	b, _ := device(t, Config{Cache: true, MSRC: 3, Seed: 1}, 64)
	full := func(v byte) []byte { return bytes.Repeat([]byte{v}, 8*512) }
	for _, d := range []*Device{a, b} {
		for i := range uint64(8) {
			if err := d.WriteAt(full(byte(i)), i*8*512); err != nil {
				t.Fatal(err)
			}
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 0))
			x, y := a, b
			if i%2 == 1 {
				x, y = b, a
			}
			p := make([]byte, 8*512)
			for range 200 {
				var err error
				switch r.IntN(6) {
				case 0:
					err = x.WriteAt(full(byte(r.Uint32())), r.Uint64N(8)*8*512)
				case 1:
					err = x.Flush()
				case 2:
					_, err = x.Copy(ranges(0, 8, 8, 8), 32, r.IntN(2) == 0)
				case 3, 4:
					_, err = y.CopyFrom(x, ranges(r.Uint64N(57), 8), r.Uint64N(57), false)
				case 5:
					if err = x.ReadAt(p, r.Uint64N(8)*8*512); err == nil {
						for at := 0; at < len(p); at += 512 {
							if !bytes.Equal(p[at:at+512], bytes.Repeat(p[at:at+1], 512)) {
								err = errors.New("a torn block")
							}
						}
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
