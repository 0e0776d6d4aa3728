package ublk

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/ublk-go/ublk-linear/target"
)

// against is what a hold is, said once more: whether a request conflicts with it.
func (a *ask) against(h Hold) bool {
	if max(h.Start, a.r.Start) >= min(h.End(), a.r.End()) {
		return false
	}
	return a.op == target.Write || a.op == target.Discard || a.op == target.WriteZeroes || a.op == target.Read && h.Reads
}

func (a *ask) againstAny(hs []Hold) bool { return slices.ContainsFunc(hs, a.against) }

// watch looks that nothing is at the disks that must not be. It is told of holds by those who have them, and of commands by
// the kernels of the queues.
type watch struct {
	mu     sync.Mutex
	held   [][]Hold
	flying map[*command]*ask
	wrong  []string
}

func (w *watch) over(k *kernel) {
	k.before = func(c *command) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, h := range w.held {
			if c.ask.againstAny(h) {
				w.wrong = append(w.wrong, fmt.Sprintf("%v begins, and %v is held", c.ask, h))
			}
		}
		if w.flying == nil {
			w.flying = map[*command]*ask{}
		}
		w.flying[c] = c.ask
	}
	k.after = func(c *command) {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.flying, c)
	}
}

// hold is told when Hold has returned, unhold before release is called.
func (w *watch) hold(h []Hold) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.flying {
		if a.againstAny(h) {
			w.wrong = append(w.wrong, fmt.Sprintf("%v is in flight, and %v is held", a, h))
		}
	}
	w.held = append(w.held, h)
}

func (w *watch) unhold(h []Hold) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.held, func(g []Hold) bool { return &g[0] == &h[0] })
	w.held = slices.Delete(w.held, i, i+1)
}

func (w *watch) report(t tester) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range w.wrong {
		if i == 5 {
			break
		}
		t.Errorf("%s", s)
	}
	if len(w.held) > 0 {
		t.Errorf("still held: %v", w.held)
	}
}

// randomHold makes up to three ranges, some of them empty, next to each other or past the end.
func randomHold(rng *rand.Rand, sectors uint64) []Hold {
	var out []Hold
	for range 1 + rng.IntN(3) {
		out = append(out, Hold{target.Range{Start: rng.Uint64N(sectors), Len: rng.Uint64N(1 + sectors/(1+rng.Uint64N(8)))}, rng.IntN(3) == 0})
	}
	return out
}

func all(k *kernel, reads bool) Hold { return Hold{target.Range{Len: k.bounds.sectors}, reads} }
func part(start, n uint64) Hold      { return Hold{target.Range{Start: start, Len: n}, false} }
