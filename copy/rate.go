package blkcopy

import (
	"context"
	"sync"
	"time"
)

// rate spreads bytes over time. The zero value has no bound.
type rate struct {
	mu   sync.Mutex
	per  uint64 // bytes per second
	next time.Time
}

// wait returns when n bytes may begin.
func (r *rate) wait(ctx context.Context, n uint64) error {
	if r.per == 0 {
		return ctx.Err()
	}
	r.mu.Lock()
	now := time.Now()
	at := r.next
	if at.Before(now) {
		at = now
	}
	r.next = at.Add(time.Duration(float64(n) / float64(r.per) * float64(time.Second)))
	r.mu.Unlock()
	d := at.Sub(now)
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}
