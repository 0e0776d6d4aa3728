package daemon

import (
	"cmp"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// DiskIO is what a server's devices asked of a disk, of one operation. Times are from sending a command to its answer, as
// the ends of power-of-two buckets: what they stand for took that long at most, and at least half of it. 0: no command.
type DiskIO struct {
	Commands uint64          `json:"commands"` // answered
	Bytes    uint64          `json:"bytes"`    // of those that succeeded
	Errors   uint64          `json:"errors"`   // commands that failed
	P50      float64         `json:"p50_seconds"`
	P99      float64         `json:"p99_seconds"`
	Max      float64         `json:"max_seconds"`
	Latency  []LatencyBucket `json:"latency"` // those that have commands
}

// DiskError is the last command that a disk failed.
type DiskError struct {
	Errno  string    `json:"errno"` // its name, as EIO
	Op     string    `json:"op"`
	Sector uint64    `json:"sector"` // of the disk: where what was left of the command begins
	Time   time.Time `json:"time"`
}

// maxFailures is how many failures may wait to be told of: beyond them, they are only counted.
const maxFailures = 256

// health is what a server knows of how its disks do. Queues count in it, and hand it what fails; it logs that, and makes
// events of it, seldom. The zero value counts and tells nothing, until start.
type health struct {
	log    *slog.Logger
	events *events
	failed chan failure
	end    chan struct{}
	done   sync.WaitGroup

	mu     sync.Mutex
	of     map[*disk.Disk]*diskHealth    // guarded by mu
	places atomic.Pointer[[]*diskHealth] // of the disks by number; replaced under mu
}

// diskHealth is that of one open disk. All devices that lie on it share it, and a reload leaves it as it is.
type diskHealth struct {
	name   string
	stats  ublk.DiskStats
	missed atomic.Uint64 // failures that found no room in failed
	limit  limiter       // of the goroutine of health
	last   failure       // likewise: the last that was not missed
	gone   bool          // guarded by health.mu
	use    use           // guarded by health.mu

	suspect atomic.Bool // it has failed a command that was put aside
	back    *DiskReturn // guarded by health.mu
}

// failure is a command that failed.
type failure struct {
	disk   *diskHealth
	device string
	op     target.Op
	sector uint64
	errno  unix.Errno
}

// start begins to tell.
func (h *health) start(log *slog.Logger, e *events) {
	h.log, h.events = log, e
	h.failed, h.end = make(chan failure, maxFailures), make(chan struct{})
	h.done.Go(func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case f := <-h.failed:
				h.note(f, time.Now())
			case <-t.C:
				h.turn(time.Now(), false)
			case <-h.end:
				return
			}
		}
	})
}

// stop tells of what is untold; more than once is nothing. By then the devices are gone.
func (h *health) stop() {
	if h.end == nil {
		return
	}
	close(h.end)
	h.done.Wait()
	h.end = nil
	h.turn(time.Now(), true)
}

// backings is what the queues are given of disks: each with its counters, which are the same for as long as it is open.
// A number has its disk from then on, until it is another's.
func (h *health) backings(ds disks) []ublk.Backing {
	out := ds.backings()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[*disk.Disk]*diskHealth{}
	}
	var places []*diskHealth
	if p := h.places.Load(); p != nil {
		places = append(places, *p...) // queues may read the old one
	}
	for len(places) < len(ds) {
		places = append(places, nil)
	}
	for i, d := range ds {
		if d == nil {
			continue
		}
		k := h.of[d]
		if k == nil {
			k = &diskHealth{name: d.Name(), limit: limiter{every: failEvery}}
			h.of[d] = k
		}
		out[i].Stats, places[i] = &k.stats, k
	}
	h.places.Store(&places)
	return out
}

// forget lets disks go that are closed, once all of each is told.
func (h *health) forget(ds []*disk.Disk) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range ds {
		if k := h.of[d]; k != nil {
			k.gone = true
		}
	}
}

// failing is what a device's queues call with every command that fails. It waits for nothing and allocates nothing: what
// finds no room is counted.
func (h *health) failing(device string) func(target.Disk, target.Op, uint64, unix.Errno) {
	return func(d target.Disk, op target.Op, sector uint64, errno unix.Errno) {
		p := h.places.Load()
		if p == nil || int(d) >= len(*p) || (*p)[d] == nil {
			return
		}
		k := (*p)[d]
		select {
		case h.failed <- failure{k, device, op, sector, errno}:
		default:
			k.missed.Add(1)
		}
	}
}

// note counts a failure, and tells of it if it is time.
func (h *health) note(f failure, now time.Time) {
	f.disk.last = f
	h.tell(f.disk, f.disk.limit.add(now, 1+f.disk.missed.Swap(0)))
}

// turn tells of what has come since each disk was last told of: if it is time, or if the disk is gone, or of all.
func (h *health) turn(now time.Time, all bool) {
	var open, gone []*diskHealth
	h.mu.Lock()
	for d, k := range h.of {
		if k.gone {
			delete(h.of, d)
		}
		if k.gone || all {
			gone = append(gone, k)
		} else {
			open = append(open, k)
		}
	}
	h.mu.Unlock()
	if len(gone) > 0 { // some of theirs may wait
		for range len(h.failed) {
			h.note(<-h.failed, now)
		}
	}
	for _, k := range open {
		h.tell(k, k.limit.add(now, k.missed.Swap(0)))
	}
	for _, k := range gone {
		n := k.limit.add(now, k.missed.Swap(0))
		h.tell(k, n+k.limit.rest(now))
	}
}

// tell says that a disk has failed n commands, if it has, and which was the last that is known.
func (h *health) tell(k *diskHealth, n uint64) {
	if n == 0 {
		return
	}
	f := k.last // the event has its own
	if last, ok := k.stats.LastError(); f.disk == nil && ok {
		f.op, f.sector, f.errno = last.Op, last.Sector, last.Errno
	}
	errno := errnoName(f.errno)
	h.log.Error("a disk fails commands", "disk", k.name, "errors", n, "device", f.device, "op", f.op, "sector", f.sector, "errno", errno)
	h.events.publish(Event{Kind: DiskFails, Disk: k.name, Device: f.device, Op: f.op.String(), Sector: &f.sector, Errno: errno, Errors: n})
}

func errnoName(e unix.Errno) string { return cmp.Or(unix.ErrnoName(e), e.Error()) }

// status is what is known of a disk.
func (h *health) status(d *disk.Disk) (map[string]DiskIO, *DiskError) {
	h.mu.Lock()
	k := h.of[d]
	h.mu.Unlock()
	if k == nil {
		k = &diskHealth{}
	}
	return diskIO(&k.stats)
}

func diskIO(s *ublk.DiskStats) (map[string]DiskIO, *DiskError) {
	out := map[string]DiskIO{}
	for op := range s.Ops {
		var l latency
		o := &s.Ops[op]
		for i := range l {
			l[i] = o.Latency[i].Load()
		}
		out[opName(op)] = DiskIO{Commands: o.Commands.Load(), Bytes: o.Bytes.Load(), Errors: o.Errors.Load(),
			P50: l.part(50), P99: l.part(99), Max: l.part(100), Latency: l.buckets()}
	}
	last, ok := s.LastError()
	if !ok {
		return out, nil
	}
	return out, &DiskError{Errno: errnoName(last.Errno), Op: last.Op.String(), Sector: last.Sector, Time: last.Time}
}
