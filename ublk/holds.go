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
//
// What else is asked of a queue, a new world, other bounds, to leave, is put into its gate, and the bell is rung (ask).
type holds struct {
	now atomic.Pointer[held] // nil when nothing is held

	over    chan struct{} // closed with ended
	mu      sync.Mutex
	version uint64  // of the last snapshot
	active  []*hold // in the order they were born
	gates   []*gate
	ended   bool // nothing can be held any more
}

// gate is a queue as the holds, and those who change what it serves, know it.
type gate struct {
	bell
	settled atomic.Uint64 // up to this version, no request under way in the queue conflicts with a hold
	gone    atomic.Bool   // the queue has ended

	next    atomic.Pointer[world]  // what it is to adopt
	now     atomic.Pointer[world]  // what it has adopted last
	sectors atomic.Uint64          // what its bound is to be; 0: as it is
	bound   atomic.Uint64          // what it last took for its bound
	leave   atomic.Bool            // it is to end, and leave its tags to the driver
	heeded  atomic.Pointer[saying] // what was last said of disks that it has done all of (loss.go)
	heard   chan struct{}          // holds one token: something of this was done
}

func newGate() *gate { return &gate{heard: make(chan struct{}, 1)} }

// tell says that something that was asked of the queue is done.
func (g *gate) tell() {
	select {
	case g.heard <- struct{}{}:
	default: // it has not yet been looked at since the last one
	}
}

func newHolds() *holds { return &holds{over: make(chan struct{})} }

// take adds a hold. It is false when the device is ending.
func (s *holds) take(ranges []Hold) (*hold, bool) { return s.put(fenceOf(ranges), false) }

// put adds a hold, also to a device that is ending if it must.
func (s *holds) put(f fence, must bool) (*hold, bool) {
	h := &hold{fence: f, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended && !must {
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
	g := newGate()
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
		g.gone.Store(true)
		g.tell()
		for _, h := range s.active {
			h.tell()
		}
		g.close() // here, so that nobody rings a descriptor that has become another file's
	}
}

// ask does something to the gates of all queues that have not ended, and rings them.
func (s *holds) ask(do func(*gate)) []*gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.gates {
		do(g)
		g.ring()
	}
	return slices.Clone(s.gates)
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
