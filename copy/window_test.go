package blkcopy

import (
	"reflect"
	"runtime"
	"testing"

	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// memory is what a window holds, of its own and by its commands.
func (w *Window) memory() (n uint64) {
	for _, s := range []any{w.Src, w.Dst, w.Pieces, w.Commands, w.items, w.extents} {
		v := reflect.ValueOf(s)
		n += uint64(v.Cap()) * uint64(v.Type().Elem().Size())
	}
	return n
}

// The largest window of the smallest pieces, with a command and two segments for each, has a bound.
func TestWindowMemory(t *testing.T) {
	const n = MaxWindow / 512
	a, b := stripeOf(t, 3*n, 1, 0, 3, 0), stripeOf(t, 4*n, 1, 3, 4, 0)
	r := whole(a, b, 0, 0, n)
	r.Window, r.InFlight = MaxWindow, MaxWindow
	many := *r
	many.SrcSegs, many.DstSegs = nil, nil
	for i := range uint64(n) {
		many.SrcSegs, many.DstSegs = append(many.SrcSegs, Seg{(n - 1 - i) * 1024, 512}), append(many.DstSegs, Seg{i * 1024, 512})
	}
	self := many
	self.Dst = self.Src
	self.DstSegs = append(many.SrcSegs[n/2:n:n], many.SrcSegs[:n/2]...) // a ring: all in one window
	for name, r := range map[string]*Request{"one segment": r, "65536 segments": &many, "in a ring": &self} {
		for _, disks := range [][]Disk{able(7, 512, 1, 1, 0), able(7, 512, 0, 0, 65535), make([]Disk, 7)} {
			p, err := NewPlan(r, disks)
			if err != nil {
				t.Fatal(err)
			}
			var w Window
			for p.Next(&w) {
				var sources int
				for i := range w.Commands {
					c := &w.Commands[i]
					if &c.Sources[0] != &w.extents[sources] {
						t.Fatalf("%s: the sources of command %d lie elsewhere", name, i)
					}
					sources += len(c.Sources)
				}
				if got := w.memory(); got > 16<<20 {
					t.Errorf("%s: %d bytes for %d pieces", name, got, len(w.Pieces))
				}
			}
		}
	}
}

// counted is a target that counts what is mapped.
type counted struct {
	target.Target
	segments *int
}

func (c counted) Map(dst []target.Segment, op target.Op, r target.Range) ([]target.Segment, uint64) {
	out, n := c.Target.Map(dst, op, r)
	*c.segments += len(out) - len(dst)
	return out, n
}

// A copy of 1 PiB begins without being planned to its end, whichever way it goes, and its windows need no memory.
func TestFirstWindow(t *testing.T) {
	const n = 1 << 41
	for _, c := range []struct {
		name     string
		same     bool
		from, to uint64
		fail     Fallback
	}{
		{"two devices", false, 0, 0, Emulate},
		{"two devices, offload only", false, 0, 0, Fail},
		{"forward", true, 1 << 20, 0, Emulate},
		{"backward", true, 0, 1 << 20, Emulate},
		{"backward, offload only", true, 0, 1 << 10, Fail},
		{"little shift", true, 0, 8, Emulate},
	} {
		t.Run(c.name, func(t *testing.T) {
			segments := 0
			table := func(first target.Disk) *remap.Table {
				s := stripeOf(t, n, 8, first, 4, 0).Spans()[0]
				return tableOf(t, remap.Part{Sectors: n, Target: counted{s.Target, &segments}})
			}
			src := table(0)
			dst := src
			if !c.same {
				dst = table(4)
			}
			r := whole(src, dst, c.from, c.to, n-1<<20)
			r.WithoutOffload = c.fail
			disks := able(8, 512, 128, 128, 127)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			p, err := NewPlan(r, disks)
			if err != nil {
				t.Fatal(err)
			}
			var w Window
			if !p.Next(&w) {
				t.Fatal("no window")
			}
			runtime.ReadMemStats(&after)
			// A window has 1024 chunks; each side maps 256 segments at a time.
			if segments > 2*(1024+256)+100 {
				t.Errorf("%d segments were mapped", segments)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("%d bytes allocated", n)
			}
			if n := testing.AllocsPerRun(20, func() { p.Next(&w) }); n != 0 {
				t.Errorf("%v allocations a window", n)
			}
		})
	}
}
