package blkcopy

import (
	"sync"
	"time"
)

// lane is the way to a disk. It is narrow since each I/O holds a thread, and of those a process has few; and since a disk
// that is sent everything at once serves nobody else.
type lane struct {
	io      way // of reads and writes
	offload way // of offload commands

	mu     sync.Mutex
	failed time.Time // guarded by mu; of the last Sync that failed
	err    error     // guarded by mu; its error
}

// way lets so much at a time to a disk.
type way interface {
	enter()
	leave(sectors uint64) // behind enter, with what was moved
	width() int           // the most that can be in it
}

// slots is a way of fixed width.
type slots chan struct{}

func (s slots) enter()       { s <- struct{}{} }
func (s slots) leave(uint64) { <-s }
func (s slots) width() int   { return cap(s) }

// offers is a way as wide as a disk has use for, which is found out while there is more to do than goes in.
type offers struct {
	mu    sync.Mutex
	room  sync.Cond
	climb climb
	busy  int // commands that the disk has
	queue int // that wait here

	left    int       // completions until the epoch ends
	began   time.Time // of it
	sectors uint64    // moved in it
}

func newOffers() *offers {
	o := &offers{climb: newClimb(DefaultDepth)}
	o.room.L = &o.mu
	o.restart()
	return o
}

func (o *offers) width() int { return maxClimb }

func (o *offers) enter() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue++
	for o.busy >= o.climb.limit {
		o.room.Wait()
	}
	o.queue--
	o.busy++
}

// leave is the end of a command that has moved so much.
func (o *offers) leave(sectors uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy--
	switch {
	case sectors == 0:
		o.climb.failed()
		o.restart()
	case o.queue == 0:
		o.restart() // what a disk does with fewer says nothing of the limit
	default:
		o.count(sectors)
	}
	o.room.Broadcast()
}

func (o *offers) restart() { o.left, o.sectors, o.began = o.climb.length(), 0, time.Now() }

// count is a completion while others wait, so that as many as may are with the disk.
func (o *offers) count(sectors uint64) {
	o.sectors += sectors
	if o.left--; o.left > 0 {
		return
	}
	if took := time.Since(o.began); took > 0 {
		o.climb.epoch(float64(o.sectors) / took.Seconds())
	}
	o.restart()
}
