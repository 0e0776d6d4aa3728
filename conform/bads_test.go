package conform

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/ublk-go/ublk-linear/target"
)

// logged is a model that notes its commands.
type logged struct {
	*Model
	mu  sync.Mutex
	log []string // guarded by mu
}

func (l *logged) Copy(src []target.Range, dst uint64, fua bool) Answer {
	l.mu.Lock()
	l.log = append(l.log, fmt.Sprint(src, dst, fua))
	l.mu.Unlock()
	return l.Model.Copy(src, dst, fua)
}

var bads = []struct {
	name string
	make func() *bad
	want []string // in the order of the suite
}{
	{"none", func() *bad { return &bad{} }, nil},
	{"overlap refused", func() *bad {
		return &bad{copy: func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
			var n uint64
			for _, s := range src {
				n += s.Len
			}
			for _, s := range src {
				if s.Start < dst+n && dst < s.End() && b.asked(src, dst).OK() {
					return Answer{Status: StatusOverlap}
				}
			}
			return b.Model.Copy(src, dst, fua)
		}}
	}, nil},
	{"range by range", func() *bad {
		return &bad{copy: oneByOne(func(n int) (o []int) {
			for i := range n {
				o = append(o, i)
			}
			return o
		})}
	}, []string{"overlap-forward-ranges"}},
	{"range by range from the last", func() *bad {
		return &bad{copy: oneByOne(func(n int) (o []int) {
			for i := range n {
				o = append(o, n-1-i)
			}
			return o
		})}
	}, []string{"overlap-backward-ranges"}},
	{"MSSRL checked late", func() *bad { return &bad{copy: late(true, func(i uint32) uint32 { return i })} }, []string{"range-over-second"}},
	{"MSSRL checked late, dw0 0", func() *bad { return &bad{copy: late(true, func(uint32) uint32 { return 0 })} }, []string{"range-over-second", "range-over-second-dw0"}},
	{"dw0 of what was not copied", func() *bad { return &bad{copy: late(false, func(i uint32) uint32 { return i })} }, []string{"range-over-second-dw0"}},
	{"dw0 beyond the failure", func() *bad { return &bad{copy: answering(func(a *Answer) { a.DW0 = 3 })} }, []string{"ranges-over", "range-over", "total-over", "range-over-second-dw0", "lba-first-out", "lba-second-out", "lba-last-out", "source-unreadable"}},
	{"MSSRL not checked", func() *bad { return &bad{copy: ignoring(func(g *Geometry) { g.MSSRL = 0 })} }, []string{"range-over", "range-over-second", "random-limits"}},
	{"MCL not checked", func() *bad { return &bad{copy: ignoring(func(g *Geometry) { g.MCL = 0 })} }, []string{"total-over", "random-limits"}},
	{"MSRC not checked", func() *bad { return &bad{copy: ignoring(func(g *Geometry) { g.Ranges = 0 })} }, []string{"ranges-over", "random-limits"}},
	{"MSSRL one too small", func() *bad { return &bad{copy: ignoring(func(g *Geometry) { g.MSSRL-- })} }, []string{"range-longest", "total-most", "random-requests", "random-limits"}},
	{"MCL one too small", func() *bad { return &bad{copy: ignoring(func(g *Geometry) { g.MCL-- })} }, []string{"total-most", "random-requests", "random-limits"}},
	{"MSRC one too small", func() *bad { return &bad{copy: ignoring(func(g *Geometry) { g.Ranges-- })} }, []string{"gather-in-order", "gather-single-blocks", "ranges-most", "random-requests", "random-limits"}},
	{"wrong status", func() *bad { return &bad{copy: answering(func(a *Answer) { a.Status = 0x004 })} }, []string{"ranges-over", "range-over", "total-over", "range-over-second", "lba-first-out", "lba-second-out", "lba-last-out", "lba-wraps", "destination-out", "source-unreadable", "random-limits"}},
	{"errors swallowed", func() *bad { return &bad{copy: answering(func(a *Answer) { *a = Answer{} })} }, []string{"unaligned-refused", "empty-refused", "ranges-over", "range-over", "total-over", "range-over-second", "lba-first-out", "lba-second-out", "lba-last-out", "lba-wraps", "destination-out", "source-unreadable", "random-limits"}},
	{"all refused", func() *bad {
		return &bad{copy: func(*bad, []target.Range, uint64, bool) Answer { return Answer{Status: statusInvalid} }}
	}, []string{"one-block", "one-range", "gather-in-order", "gather-single-blocks", "sources-overlap-each-other", "ranges-most", "ranges-over", "range-longest", "range-over", "total-most", "total-over", "range-over-second", "lba-first-out", "lba-second-out", "lba-last-out", "lba-wraps", "destination-out", "device-end", "overlap-onto-itself", "overlap-forward-one", "overlap-backward-one", "overlap-forward-ranges", "overlap-backward-ranges", "source-unreadable", "unflushed-write-seen", "fua-read-back", "fua-durable", "flush-durable", "concurrent-copies", "concurrent-io", "random-requests", "random-limits"}},
	{"nothing copied", func() *bad {
		return &bad{copy: func(b *bad, src []target.Range, dst uint64, _ bool) Answer { return b.asked(src, dst) }}
	}, []string{"one-block", "one-range", "gather-in-order", "gather-single-blocks", "sources-overlap-each-other", "ranges-most", "range-longest", "total-most", "device-end", "overlap-forward-one", "overlap-backward-one", "overlap-forward-ranges", "overlap-backward-ranges", "unflushed-write-seen", "read-after-completion", "fua-read-back", "fua-durable", "flush-durable", "concurrent-copies", "concurrent-io", "race-write-source", "race-read-destination", "random-requests"}},
	{"last range left out", func() *bad {
		return &bad{copy: before(func(_ *bad, src []target.Range, _ uint64, _ bool) []target.Range {
			return src[:max(1, len(src)-1)]
		})}
	}, []string{"gather-in-order", "gather-single-blocks", "sources-overlap-each-other", "ranges-most", "total-most", "overlap-forward-ranges", "overlap-backward-ranges", "random-requests"}},
	{"sources sorted", func() *bad {
		return &bad{copy: before(func(_ *bad, src []target.Range, _ uint64, _ bool) []target.Range {
			slices.SortFunc(src, func(a, b target.Range) int { return int(a.Start) - int(b.Start) })
			return src
		})}
	}, []string{"gather-in-order", "gather-single-blocks", "random-requests"}},
	{"one block too many", func() *bad {
		return &bad{copy: after(func(b *bad, _ []target.Range, dst, n uint64, _ bool) {
			at := (dst + n) * 512
			clear(b.now[min(at, uint64(len(b.now))):min(at+b.shape().Block, uint64(len(b.now)))])
		})}
	}, []string{"one-block", "one-range", "gather-in-order", "gather-single-blocks", "sources-overlap-each-other", "guard-blocks", "ranges-most", "range-longest", "total-most", "device-end", "overlap-onto-itself", "overlap-forward-one", "overlap-backward-one", "overlap-forward-ranges", "overlap-backward-ranges", "unflushed-write-seen", "write-after-copy", "fua-read-back", "fua-durable", "flush-durable", "concurrent-copies", "concurrent-io", "race-write-source", "race-read-destination", "random-requests"}},
	{"moved", func() *bad {
		return &bad{copy: after(func(b *bad, src []target.Range, dst, n uint64, _ bool) {
			if at := src[0].Start; at >= dst+n || at+1 <= dst {
				clear(b.now[at*512 : at*512+512])
			}
		})}
	}, []string{"one-block", "one-range", "gather-in-order", "gather-single-blocks", "sources-overlap-each-other", "source-unchanged", "ranges-most", "range-longest", "total-most", "device-end", "overlap-forward-one", "overlap-forward-ranges", "unflushed-write-seen", "read-after-completion", "write-after-copy", "fua-read-back", "fua-durable", "flush-durable", "concurrent-copies", "concurrent-io", "race-read-destination", "random-requests"}},
	{"FUA ignored", func() *bad {
		return &bad{copy: func(b *bad, src []target.Range, dst uint64, _ bool) Answer { return b.Model.Copy(src, dst, false) }}
	}, []string{"fua-durable"}},
	{"FUA not copied", func() *bad {
		return &bad{copy: before(func(_ *bad, src []target.Range, dst uint64, fua bool) []target.Range {
			if fua {
				return nil
			}
			return src
		})}
	}, []string{"fua-read-back", "fua-durable", "random-requests"}},
	{"flush forgets copies", func() *bad {
		return &bad{
			copy: after(func(b *bad, _ []target.Range, dst, n uint64, fua bool) {
				if !fua {
					kept := append([]byte(nil), b.durable[dst*512:(dst+n)*512]...)
					b.last = func() { copy(b.durable[dst*512:], kept) }
				}
			}),
			flush: func(b *bad) error {
				err := b.Model.Flush()
				if b.last != nil {
					b.alone(b.last)
				}
				b.last = nil
				return err
			},
		}
	}, []string{"flush-durable"}},
	{"write cache not looked at", func() *bad {
		return &bad{ // a small write is in the cache until the next one, and a copy takes the medium
			write: func(b *bad, p []byte, at uint64) error {
				b.mu.Lock()
				defer b.mu.Unlock()
				old := make([]byte, len(p))
				b.alone(func() { copy(old, b.now[at:]) }) // also of a block that cannot be read
				b.last = nil
				if uint64(len(p)) <= 8*b.shape().Block {
					b.last = func() { copy(b.now[at:], old) }
				}
				return b.Model.WriteAt(p, at)
			},
			copy: func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
				b.mu.Lock()
				defer b.mu.Unlock()
				if b.last == nil || !b.asked(src, dst).OK() {
					return b.Model.Copy(src, dst, fua)
				}
				b.alone(func() {
					kept := append([]byte(nil), b.now...)
					b.last()
					var data []byte
					for _, s := range src {
						data = append(data, b.now[s.Start*512:s.End()*512]...)
					}
					copy(b.now, kept)
					copy(b.now[dst*512:], data)
				})
				return Answer{}
			},
		}
	}, []string{"unflushed-write-seen", "random-requests"}},
	{"completed early", func() *bad {
		return &bad{ // what is copied lands again behind the next write
			copy: after(func(b *bad, _ []target.Range, dst, n uint64, _ bool) {
				data := append([]byte(nil), b.now[dst*512:(dst+n)*512]...)
				b.last = func() { copy(b.now[dst*512:], data) }
			}),
			write: func(b *bad, p []byte, at uint64) error {
				err := b.Model.WriteAt(p, at)
				if uint64(len(p)) <= 8*b.shape().Block {
					b.alone(func() {
						if b.last != nil {
							b.last()
						}
					})
				}
				b.alone(func() { b.last = nil })
				return err
			},
		}
	}, []string{"write-after-copy"}},
	{"first address checked only", func() *bad {
		return &bad{copy: func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
			a := b.Model.Copy(src, dst, fua)
			if end := b.shape().Length / 512; a.Status == StatusLBA && src[0].End() <= end {
				b.alone(func() { b.raw(src, dst) })
				return Answer{}
			}
			return a
		}}
	}, []string{"lba-second-out", "lba-last-out", "lba-wraps", "destination-out"}},
	{"addresses wrap", func() *bad {
		return &bad{copy: func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
			end := b.shape().Length / 512
			for i := range src {
				if src[i].Start >= end {
					src[i].Start %= end
				}
			}
			return b.Model.Copy(src, dst, fua)
		}}
	}, []string{"lba-first-out", "lba-second-out", "lba-last-out"}},
	{"destination clipped", func() *bad {
		return &bad{copy: func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
			a := b.Model.Copy(src, dst, fua)
			if a.Status == StatusLBA && !slices.ContainsFunc(src, func(r target.Range) bool { return r.End() > b.shape().Length/512 || r.End() < r.Start }) {
				b.alone(func() { b.raw(src, dst) })
				return Answer{}
			}
			return a
		}}
	}, []string{"destination-out"}},
	{"last block refused", func() *bad {
		return &bad{copy: func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
			end := b.shape().Length / 512
			if slices.ContainsFunc(src, func(r target.Range) bool { return r.End() == end }) {
				return Answer{Status: StatusLBA}
			}
			return b.Model.Copy(src, dst, fua)
		}}
	}, []string{"device-end"}},
	{"overlap refused with another status", func() *bad {
		return &bad{copy: func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
			if b.asked(src, dst).OK() && len(src) == 1 && src[0].Start == dst {
				return Answer{Status: statusInvalid}
			}
			return b.Model.Copy(src, dst, fua)
		}}
	}, []string{"overlap-onto-itself"}},
	{"memcpy forward", func() *bad {
		return &bad{copy: blockwise(false)}
	}, []string{"overlap-forward-one", "overlap-forward-ranges"}},
	{"memcpy backward", func() *bad {
		return &bad{copy: blockwise(true)}
	}, []string{"overlap-backward-one", "overlap-backward-ranges"}},
	{"unaligned rounded", func() *bad {
		return &bad{copy: func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
			mask := b.shape().sectors(1) - 1
			for i := range src {
				if src[i].Len > 0 {
					src[i].Start, src[i].Len = src[i].Start&^mask, (src[i].Len+mask)&^mask
				}
			}
			return b.Model.Copy(src, dst&^mask, fua)
		}}
	}, []string{"unaligned-refused"}},
	{"empty taken", func() *bad {
		return &bad{copy: func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
			src = slices.DeleteFunc(src, func(r target.Range) bool { return r.Len == 0 })
			if len(src) == 0 {
				return Answer{}
			}
			return b.Model.Copy(src, dst, fua)
		}}
	}, []string{"empty-refused"}},
	{"lists mixed up", func() *bad { return &bad{copy: confused} }, []string{"concurrent-copies"}},
	{"torn blocks", func() *bad { return &bad{copy: torn} }, []string{"race-write-source", "race-read-destination"}},
	{"MCL below MSSRL", func() *bad {
		return &bad{Model: NewModel(Geometry{Block: 4096, MSSRL: 16, MCL: 8, Ranges: 4}, 2<<20)}
	}, []string{"identify-sane"}},
	{"MSSRL said to be more", func() *bad { return &bad{geometry: func(g *Geometry) { g.MSSRL = 20 }} }, []string{"range-longest", "total-most", "random-requests", "random-limits"}},
}

// blockwise moves block by block, up or down.
func blockwise(down bool) func(*bad, []target.Range, uint64, bool) Answer {
	return func(b *bad, src []target.Range, dst uint64, fua bool) Answer {
		a := b.asked(src, dst)
		if !a.OK() {
			return a
		}
		type move struct{ from, to uint64 }
		var moves []move
		for _, s := range src {
			for i := range s.Len {
				moves = append(moves, move{s.Start + i, dst})
				dst++
			}
		}
		if down {
			slices.Reverse(moves)
		}
		b.alone(func() {
			for _, m := range moves {
				copy(b.now[m.to*512:m.to*512+512], b.now[m.from*512:])
				if fua {
					copy(b.durable[m.to*512:m.to*512+512], b.now[m.from*512:m.from*512+512])
				}
			}
		})
		return a
	}
}

// perhaps are the scenarios in which it depends on who comes first whether a misbehaviour is seen.
var perhaps = map[string][]string{
	"moved": {"race-write-source"}, // what is cleared may be written again
}

// TestEveryScenarioFinds: every scenario is there for a misbehaviour at least.
func TestEveryScenarioFinds(t *testing.T) {
	found := map[string]bool{}
	for _, c := range bads {
		for _, n := range c.want {
			found[n] = true
		}
	}
	for _, c := range simulated {
		for _, n := range c.finds {
			found[n] = true
		}
	}
	for _, s := range Scenarios() {
		if !found[s.Name] {
			t.Errorf("%s finds nothing", s.Name)
		}
	}
}

// TestMisbehaviours: of each exactly the scenarios that should differ do.
func TestMisbehaviours(t *testing.T) {
	for _, c := range bads {
		t.Run(c.name, func(t *testing.T) {
			x := c.make()
			if x.Model == nil {
				x.Model = NewModel(geometries[0], 2<<20)
			}
			r := run1(t, x, Options{Seed: 1, Rounds: 60})
			got := slices.DeleteFunc(r.Differing(), func(s string) bool { return slices.Contains(perhaps[c.name], s) })
			if !slices.Equal(got, c.want) {
				t.Errorf("differ\n%q\nshould\n%q", got, c.want)
				for _, res := range r.Results {
					if res.Outcome == Differs {
						t.Log(res.Name, ": ", res.Happened)
					}
				}
			}
		})
	}
}
