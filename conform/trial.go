package conform

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/ublk-go/ublk-linear/target"
)

// run is a run of blocks of the arena.
type run struct{ at, n uint64 }

// trial is one scenario at work. Blocks count from the arena's start.
type trial struct {
	ctx    context.Context
	t      Target
	g      Geometry
	rand   *rand.Rand
	seed   uint64
	rounds int // of the random scenarios

	base   uint64 // the arena's first block in the region
	shadow []id   // what the arena should hold
	first  uint64 // the write that the arena began with
	writes *uint64
}

// arena takes n blocks somewhere in the region and gives each a content of its own. A region with less is not applicable. Of
// two files half of it lies in each.
func (x *trial) arena(n uint64) error {
	have := x.g.Length / x.g.Block
	if n > have {
		return skip("it needs a region of %d blocks, this one has %d", n, have)
	}
	if x.g.Seam > 0 {
		return x.arenaAt(x.g.Seam/x.g.Block-n/2, n)
	}
	return x.arenaAt(x.rand.Uint64N(have-n+1), n)
}

// arenaAt takes the n blocks from block base of the region.
func (x *trial) arenaAt(base, n uint64) error {
	x.base, x.shadow = base, make([]id, n)
	x.first = *x.writes + 1
	return x.write(run{0, n})
}

// write gives blocks a content that nothing had before.
func (x *trial) write(r run) error {
	ids := x.fresh(r.n)
	if err := x.put(r.at, ids); err != nil {
		return err
	}
	copy(x.shadow[r.at:], ids)
	return nil
}

// fresh are n contents that nothing had before. It is not for several goroutines.
func (x *trial) fresh(n uint64) []id {
	*x.writes++
	ids := make([]id, n)
	for i := range ids {
		ids[i] = newID(*x.writes, uint64(i))
	}
	return ids
}

// chunk is how many bytes are read or written at once.
const chunk = 1 << 20

// put writes contents, and leaves the shadow alone.
func (x *trial) put(at uint64, ids []id) error {
	b := make([]byte, min(uint64(len(ids))*x.g.Block, chunk))
	for len(ids) > 0 {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		n := min(uint64(len(ids)), uint64(len(b))/x.g.Block)
		for i := range n {
			ids[i].fill(b[i*x.g.Block:(i+1)*x.g.Block], x.seed)
		}
		if err := x.t.WriteAt(b[:n*x.g.Block], (x.base+at)*x.g.Block); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		at, ids = at+n, ids[n:]
	}
	return nil
}

// found is what a block holds.
type found struct {
	id    id
	whole bool
}

// get reads blocks.
func (x *trial) get(r run) ([]found, error) {
	out := make([]found, 0, r.n)
	b := make([]byte, min(r.n*x.g.Block, chunk))
	for at := r.at; at < r.at+r.n; {
		if err := x.ctx.Err(); err != nil {
			return nil, err
		}
		n := min(r.at+r.n-at, uint64(len(b))/x.g.Block)
		if err := x.t.ReadAt(b[:n*x.g.Block], (x.base+at)*x.g.Block); err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		for i := range n {
			who, whole := holds(b[i*x.g.Block:(i+1)*x.g.Block], x.seed)
			out = append(out, found{who, whole})
		}
		at += n
	}
	return out, nil
}

// send is one command; the shadow is left alone.
func (x *trial) send(src []run, dst uint64, fua bool) Answer {
	list := make([]target.Range, len(src))
	for i, s := range src {
		list[i] = target.Range{Start: x.g.sectors(x.base + s.at), Len: x.g.sectors(s.n)}
	}
	return x.t.Copy(list, x.g.sectors(x.base+dst), fua)
}

// moved does to the shadow what a copy does, as memmove would.
func (x *trial) moved(src []run, dst uint64) {
	copy(x.shadow[dst:], x.gathered(src))
}

// gathered is what the sources hold, in order.
func (x *trial) gathered(src []run) (data []id) {
	for _, s := range src {
		data = append(data, x.shadow[s.at:s.at+s.n]...)
	}
	return data
}

// copies sends a command that must succeed, and judges the whole arena.
func (x *trial) copies(src []run, dst uint64) error { return x.copiesFUA(src, dst, false) }

func (x *trial) copiesFUA(src []run, dst uint64, fua bool) error {
	if err := x.fits(src); err != nil {
		return err
	}
	if a := x.send(src, dst, fua); !a.OK() {
		return differs("%s was refused: %v", words(src, dst), a)
	}
	x.moved(src, dst)
	if what, err := x.wrong(); err != nil || what != "" {
		return orDiffers(err, "after %s, %s", words(src, dst), what)
	}
	return nil
}

// fits skips what the target's own limits do not allow.
func (x *trial) fits(src []run) error {
	var total uint64
	for _, s := range src {
		if s.n > x.g.rangeMost() {
			return skip("a source range has %d blocks at most", x.g.rangeMost())
		}
		total += s.n
	}
	switch {
	case uint64(len(src)) > x.g.most():
		return skip("a command has at most %d source ranges", x.g.most())
	case total > x.g.totalMost():
		return skip("a command copies at most %d blocks", x.g.totalMost())
	}
	return nil
}

// wrong compares the arena with the shadow, and says what of it differs first; "" is nothing.
func (x *trial) wrong() (string, error) {
	got, err := x.get(run{0, uint64(len(x.shadow))})
	if err != nil {
		return "", err
	}
	first, n := -1, 0
	for i, f := range got {
		if !f.whole || f.id != x.shadow[i] {
			if n++; first < 0 {
				first = i
			}
		}
	}
	if n == 0 {
		return "", nil
	}
	what := fmt.Sprintf("block %d has %s instead of %s", first, x.name(got[first]), x.name(found{x.shadow[first], true}))
	if n > 1 {
		what += fmt.Sprintf(", and %d more blocks are wrong", n-1)
	}
	return what, nil
}

// name says what a block holds: by where in the arena that was at first.
func (x *trial) name(f found) string {
	switch {
	case !f.whole:
		return "what is no whole block of the suite's"
	case uint64(f.id)>>32 == x.first:
		return fmt.Sprintf("what block %d had at first", uint32(f.id))
	}
	return f.id.String()
}

func orDiffers(err error, format string, a ...any) error {
	if err != nil {
		return err
	}
	return differs(format, a...)
}

// words is a command for people: "2+3, 9+1 → 20", in blocks of the arena.
func words(src []run, dst uint64) string {
	var b strings.Builder
	for i, s := range src {
		if i == 8 && len(src) > 9 {
			fmt.Fprintf(&b, " and %d more", len(src)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d+%d", s.at, s.n)
	}
	return fmt.Sprintf("the copy of blocks %s to %d", b.String(), dst)
}
