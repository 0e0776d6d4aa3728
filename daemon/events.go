package daemon

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Kinds of events.
const (
	DeviceUp        = "up"             // a new device is there
	DeviceRecovered = "recovered"      // one that waited was taken over
	DeviceDown      = "down"           // a reload took one away
	DeviceFailed    = "failed"         // one ended by itself
	DeviceResized   = "resized"        // a reload made one larger or smaller
	DeviceSuspended = "suspended"      //
	DeviceResumed   = "resumed"        // by somebody, or by itself
	DiskFails       = "disk-error"     // a disk failed commands
	DiskStalls      = "stalled"        // a disk has had a command for long
	DiskAnswers     = "answers"        // and has none any more
	DiskGone        = "disk-gone"      // its devices' requests wait for it
	DiskReturned    = "disk-back"      // and go on
	DiskUnfit       = "disk-unfit"     // it is back, and cannot be used
	ParkTimedOut    = "park-timeout"   // a device waits for it no longer
	Reloaded        = "reloaded"       //
	ReloadFailed    = "reload-failed"  // nothing has changed, or what has is said
	Upgraded        = "upgraded"       // the first of the new program
	UpgradeFailed   = "upgrade-failed" // the old program serves on
	CopyStarted     = "copy-started"
	CopyDone        = "copy-done"
	CopyFailed      = "copy-failed" // or was cancelled
	EventsLost      = "lost"        // of a reader: what was gone before it asked
)

// Event is something that happened in a server. Fields that a kind does not have are not there.
type Event struct {
	Schema int       `json:"schema"`
	Seq    uint64    `json:"seq"` // from 1, in each process anew; of EventsLost, that of the last that is lost
	Time   time.Time `json:"time"`
	Kind   string    `json:"event"`

	Device  string    `json:"device,omitempty"`
	Node    string    `json:"node,omitempty"`
	Disk    string    `json:"disk,omitempty"`
	Op      string    `json:"op,omitempty"`
	Sector  *uint64   `json:"sector,omitempty"`  // of the disk
	Errno   string    `json:"errno,omitempty"`   // of the last command
	Errors  uint64    `json:"errors,omitempty"`  // commands that failed, since the disk was last told of
	Seconds float64   `json:"seconds,omitempty"` // that requests waited, or will at most
	Old     uint64    `json:"old_sectors,omitempty"`
	New     uint64    `json:"new_sectors,omitempty"`
	Changes int       `json:"changes,omitempty"`
	From    string    `json:"from,omitempty"` // versions
	To      string    `json:"to,omitempty"`
	Copy    *CopyInfo `json:"copy,omitempty"`
	Lost    uint64    `json:"lost,omitempty"`
	Error   string    `json:"error,omitempty"`
}

// keptEvents is how many events are kept.
const keptEvents = 256

// Followers at a time, and those of them who may only look: root always finds room.
const (
	maxFollowers     = 16
	maxLookFollowers = 8
)

// events are the last that happened. Whoever reads them has a place in them and no part of them: one who is slow finds
// that some are gone, and nobody waits for one. The zero value is ready; of nil, nothing is kept.
type events struct {
	mu        sync.Mutex
	ring      [keptEvents]Event // guarded by mu; by Seq
	last      uint64            // guarded by mu
	more      chan struct{}     // guarded by mu; closed at the next, if somebody waits for it
	ended     bool              // guarded by mu
	followers map[right]int     // guarded by mu
}

// publish tells of something that happened, now.
func (e *events) publish(x Event) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	x.Schema, x.Seq, x.Time = Schema, e.last, time.Now()
	e.ring[x.Seq%keptEvents] = x
	e.wake()
}

// wake tells those who wait. The caller has mu.
func (e *events) wake() {
	if e.more != nil {
		close(e.more)
		e.more = nil
	}
}

// end lets followers go when they have read what there is.
func (e *events) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	e.wake()
}

// since is what came after an event, oldest first, what is gone of that as an EventsLost before it. more is closed when
// there is more; nil: never. A number that is not reached yet is of another process: then all is new.
func (e *events) since(after uint64) (out []Event, more <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if after > e.last {
		after = 0
	}
	if e.last-after > keptEvents {
		gone := e.last - keptEvents
		out = append(out, Event{Schema: Schema, Seq: gone, Time: time.Now(), Kind: EventsLost, Lost: gone - after})
		after = gone
	}
	for seq := after + 1; seq <= e.last; seq++ {
		out = append(out, e.ring[seq%keptEvents])
	}
	if e.ended {
		return out, nil
	}
	if e.more == nil {
		e.more = make(chan struct{})
	}
	return out, e.more
}

// follow makes room for a follower, until leave. Errors: EBUSY.
func (e *events) follow(r right) (leave func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r != everything {
		r = look
	}
	if e.followers == nil {
		e.followers = map[right]int{}
	}
	if e.followers[look]+e.followers[everything] >= maxFollowers || r == look && e.followers[look] >= maxLookFollowers {
		return nil, fmt.Errorf("%d follow the events, which is the most: %w", e.followers[look]+e.followers[everything], unix.EBUSY)
	}
	e.followers[r]++
	return sync.OnceFunc(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.followers[r]--
	}), nil
}

func (s *Server) eventRing() *events { return &s.events }
