package daemon

import "sync"

// hangs is what hung commands of copies wait for: that somebody who is affected is cancelled. The zero value is ready.
type hangs struct {
	mu     sync.Mutex
	n      int           // guarded by mu; who is cancelled, and not at an end yet
	ended  chan struct{} // guarded by mu; closed as long as n > 0
	closed bool          // guarded by mu; ended is
}

// over is closed when nothing hangs, or is to hang.
func (h *hangs) over() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renew()
	return h.ended
}

// add adds to those who are cancelled. Both calls of one may come in any order.
func (h *hangs) add(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n += n
	h.renew()
	if h.n > 0 && !h.closed {
		close(h.ended)
		h.closed = true
	}
}

// renew makes the channel, where the old one is closed and is not to be. The caller has mu.
func (h *hangs) renew() {
	if h.ended == nil || h.closed && h.n <= 0 {
		h.ended, h.closed = make(chan struct{}), false
	}
}
