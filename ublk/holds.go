package ublk

import (
	"slices"
	"sync"
	"sync/atomic"
)

// holds are a device's holds: what goes between those who hold, on any goroutine, and the queues.
//
//  1. take and drop put a new snapshot into now and ring every queue's bell.
//  2. A queue looks at now for each request that it takes. From the bell on, every request that it took under an older
//     snapshot is in its tags.
//  3. It lets go on what no longer conflicts, and says in its gate how far it is settled (park.go).
//  4. Hold returns when every gate says so of its version.
type holds struct {
	now atomic.Pointer[held] // nil when nothing is held

	over    chan struct{} // closed with ended
	mu      sync.Mutex
	version uint64  // of the last snapshot
	active  []*hold // in the order they were born
	gates   []*gate
	ended   bool // nothing can be held any more
}

// gate is a queue as the holds know it.
type gate struct {
	bell
	settled atomic.Uint64 // up to this version, no request under way in the queue conflicts with a hold
}

func newHolds() *holds { return &holds{over: make(chan struct{})} }

// take adds a hold. It is false when the device is ending.
func (s *holds) take(ranges []Hold) (*hold, bool) {
	h := &hold{fence: fenceOf(ranges), wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, false
	}
	h.born, h.gates = s.version+1, slices.Clone(s.gates)
	s.active = append(s.active, h)
	s.publish()
	return h, true
}

// drop takes a hold away, if it is still there.
func (s *holds) drop(h *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.active, h); i >= 0 {
		s.active = slices.Delete(s.active, i, i+1)
		s.publish()
	}
}

// end takes all holds away, for good.
func (s *holds) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse()
	s.active = nil
	s.publish()
}

// join makes the gate of a queue that has not begun.
func (s *holds) join() (*gate, error) {
	g := &gate{}
	if err := g.open(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.settled.Store(s.version) // it has taken nothing, and what it will take it holds against now
	s.gates = append(s.gates, g)
	return g, nil
}

// leave takes out the gate of a queue that has ended, and its ring with it. What is held stays held, since other queues may
// go on for a while; but nobody can be sure of a device that has lost a queue, so holds that wait, or come, fail.
func (s *holds) leave(g *gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse()
	if i := slices.Index(s.gates, g); i >= 0 {
		s.gates = slices.Delete(s.gates, i, i+1)
		g.close() // here, so that nobody rings a descriptor that has become another file's
	}
}

// refuse lets the holds that wait, or come, fail. The caller has mu.
func (s *holds) refuse() {
	if !s.ended {
		s.ended = true
		close(s.over)
	}
}

// publish makes the active holds known to the queues. The caller has mu. The bells are rung behind the new snapshot: a queue
// that hears one finds it, or a newer one.
func (s *holds) publish() {
	s.version++
	if len(s.active) == 0 {
		s.now.Store(nil)
	} else {
		s.now.Store(newHeld(s.version, s.active))
	}
	for _, g := range s.gates {
		g.ring()
	}
}
