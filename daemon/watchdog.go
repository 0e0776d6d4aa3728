package daemon

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

const (
	stalledAfter = 10 * time.Second // a command in flight for longer is told of
	stalledAgain = time.Minute      // and again
	watchEvery   = time.Second
)

// StallInfo is the oldest command that a disk has not answered, of one queue.
type StallInfo struct {
	Disk    string  `json:"disk"`
	Queue   int     `json:"queue"`
	Op      string  `json:"op"`
	Sector  uint64  `json:"sector"` // of the disk
	Seconds float64 `json:"seconds"`
}

// watched is a device to the watchdog.
type watched struct {
	name    string
	stalled func(than time.Duration) []ublk.Stall
	disk    func(target.Disk) string
}

// watchdog asks every device whether its commands come back. It only tells: a disk that takes long may still answer, and
// nothing that is sent can be taken back. The zero value watches nothing.
type watchdog struct {
	devices func() []watched
	than    time.Duration
	alive   func()
	log     *slog.Logger
	events  *events
	end     chan struct{}
	done    sync.WaitGroup

	mu   sync.Mutex
	now  map[string][]StallInfo // guarded by mu; by device
	said map[held]time.Time     // of the watchdog's goroutine; when a disk was last told of
}

// held is a device that a disk keeps waiting.
type held struct{ device, disk string }

// start begins to watch. devices takes the server's lock, so that alive is not called by a server that is stuck with it;
// alive says nothing of the disks.
func (w *watchdog) start(than time.Duration, alive func(), devices func() []watched, log *slog.Logger) {
	w.devices, w.than, w.alive, w.log = devices, cmp.Or(than, stalledAfter), alive, log
	w.end = make(chan struct{})
	w.done.Go(func() {
		t := time.NewTicker(watchEvery)
		defer t.Stop()
		for {
			w.turn(time.Now())
			select {
			case <-t.C:
			case <-w.end:
				return
			}
		}
	})
}

// stop ends the watch; more than once is nothing.
func (w *watchdog) stop() {
	if w.end == nil {
		return
	}
	close(w.end)
	w.done.Wait()
	w.end = nil
}

// turn asks every device once.
func (w *watchdog) turn(now time.Time) {
	all := map[string][]StallInfo{}
	still := map[held]time.Time{}
	there := map[string]bool{}
	for _, d := range w.devices() {
		there[d.name] = true
		oldest := map[string]StallInfo{}
		for _, s := range d.stalled(w.than) {
			i := StallInfo{d.disk(s.Disk), s.Queue, s.Op.String(), s.Sector, s.Age.Seconds()}
			all[d.name] = append(all[d.name], i)
			if o, ok := oldest[i.Disk]; !ok || i.Seconds > o.Seconds {
				oldest[i.Disk] = i
			}
		}
		for _, i := range oldest {
			k := held{d.name, i.Disk}
			last, ok := w.said[k]
			if !ok || now.Sub(last) >= stalledAgain {
				last = now
				w.log.Warn("a disk does not answer", "device", d.name, "disk", i.Disk, "op", i.Op, "sector", i.Sector, "seconds", int(i.Seconds), "queue", i.Queue)
				w.events.publish(Event{Kind: DiskStalls, Device: d.name, Disk: i.Disk, Op: i.Op, Sector: &i.Sector, Seconds: i.Seconds})
			}
			still[k] = last
		}
	}
	for k := range w.said {
		if _, ok := still[k]; !ok && there[k.device] {
			w.log.Warn("a disk answers again", "device", k.device, "disk", k.disk)
			w.events.publish(Event{Kind: DiskAnswers, Device: k.device, Disk: k.disk})
		}
	}
	w.said = still
	w.mu.Lock()
	w.now = all
	w.mu.Unlock()
	if w.alive != nil {
		w.alive()
	}
}

// of is what a device waits for, the oldest first.
func (w *watchdog) of(device string) []StallInfo {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := append([]StallInfo{}, w.now[device]...)
	slices.SortFunc(out, func(a, b StallInfo) int { return cmp.Compare(b.Seconds, a.Seconds) })
	return out
}

// watched is every device of the server.
func (s *Server) watched() []watched {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []watched
	for _, d := range s.devices {
		out = append(out, watched{d.conf.Name, d.dev.Stalled, DiskName(s.file)})
	}
	return out
}
