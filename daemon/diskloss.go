package daemon

import (
	"context"
	"io/fs"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// A disk may vanish under devices whose on_disk_loss says that their requests wait for it (park):
//
//  1. a command fails as those of a vanished disk do; its queue puts it aside and says so (ublk/loss.go);
//  2. the keeper looks at the disk. If it is there, the command has failed. If it is gone, its devices' requests wait;
//  3. the disk is looked for, by what it is and not by where it is: it may be there again by itself, as a SCSI device that was
//     offline, or as another block device, which is opened as at the start (diskloss_return.go);
//  4. it is put in the place of the old one in all tables, and what waited is sent;
//  5. a device whose time is over before that has its requests fail, until the disk is back.
//
// Disks of devices that do not park are not watched. When such a device shares a disk with one that does, it gets the disk
// that is back, too.

const (
	lossLook  = 200 * time.Millisecond // how often a disk that is gone is looked for
	lossGrace = 100 * time.Millisecond // for how long a disk that failed a command is looked at before it counts as there
	lossAgain = 10 * time.Millisecond  // and how often
)

// lossDevice is a device to the keeper: *ublk.Device.
type lossDevice interface {
	DiskThere(d target.Disk, asOf time.Time)
	DiskAway(d target.Disk)
	DiskLost(d target.Disk)
	DiskBack(ctx context.Context, d target.Disk, fresh *ublk.Backing, unflushed bool) error
	InFlight(d target.Disk) int
	Parked() map[target.Disk]int
}

// diskUser is a device that lies on a disk.
type diskUser struct {
	name string
	at   target.Disk
	park time.Duration // 0: it does not wait
	dev  lossDevice
}

// goneDisk is a disk that is gone.
type goneDisk struct {
	since time.Time
	over  map[string]bool // devices that do not wait any more
	inWay string          // why it cannot be taken back, as it was last told
}

// keeper keeps devices from disks that are gone until these are back.
type keeper struct {
	log      *slog.Logger
	events   *events
	sys      fs.FS
	users    func(*disk.Disk) []diskUser
	known    func() []*disk.Disk                           // that devices lie on
	suspects func() []*disk.Disk                           // that have failed a command since it was last asked
	there    func(*disk.Disk) bool                         // the block device that was opened, still or again
	back     func(ctx context.Context, d *disk.Disk) error // takes a disk back; errStillGone
	ended    func(users []diskUser)                        // what must not go on over a loss

	wake chan struct{}
	stop context.CancelFunc
	done sync.WaitGroup

	mu   sync.Mutex
	gone map[*disk.Disk]*goneDisk // guarded by mu; the entries are of the keeper's goroutine
}

// start begins to keep, until end.
func (k *keeper) start() {
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.done.Go(func() {
		var look <-chan time.Time // nil while no disk is gone: an idle server is not woken
		for {
			select {
			case <-k.wake:
			case <-look:
			case <-ctx.Done():
				return
			}
			look = nil
			if k.turn(ctx) {
				look = time.After(lossLook)
			}
		}
	})
}

// end ends it; more than once is nothing, and of one that was not started.
func (k *keeper) end() {
	if k != nil && k.stop != nil {
		k.stop()
		k.done.Wait()
	}
}

// suspect says that a disk has failed a command. It waits for nothing.
func (k *keeper) suspect() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// turn looks at every disk once that has failed a command, or is gone, and says whether one is still gone.
func (k *keeper) turn(ctx context.Context) bool {
	for _, d := range k.suspects() {
		if k.look(d) == nil {
			k.judge(ctx, d)
		} else {
			k.tell(d) // by a queue that had not heard
		}
	}
	k.mu.Lock()
	gone := maps.Clone(k.gone)
	k.mu.Unlock()
	open := map[*disk.Disk]bool{}
	if len(gone) > 0 {
		for _, d := range k.known() {
			open[d] = true
		}
	}
	for d := range gone {
		if !open[d] { // a reload has closed it
			k.forget(d)
			continue
		}
		if !k.take(ctx, d) {
			k.expire(d, time.Now())
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.gone) > 0
}

// look is what is known of a disk that is gone; nil of one that is not.
func (k *keeper) look(d *disk.Disk) *goneDisk {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gone[d]
}

func (k *keeper) forget(d *disk.Disk) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.gone, d)
}

// judge finds out whether a disk is gone that has failed a command. A disk may fail its commands a moment before sysfs says
// that it goes, so that it is looked at for a while.
func (k *keeper) judge(ctx context.Context, d *disk.Disk) {
	asOf := time.Now()
	for k.there(d) {
		if time.Since(asOf) >= lossGrace {
			for _, u := range k.users(d) {
				u.dev.DiskThere(u.at, asOf)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(lossAgain):
		}
	}
	g := &goneDisk{since: time.Now(), over: map[string]bool{}}
	for _, u := range k.users(d) {
		g.over[u.name] = u.park == 0
	}
	k.mu.Lock()
	if k.gone == nil {
		k.gone = map[*disk.Disk]*goneDisk{}
	}
	k.gone[d] = g
	k.mu.Unlock()
	k.tell(d)
	k.log.Error("a disk is gone: requests for it wait", "disk", d.Name(), "node", d.Node())
	k.events.publish(Event{Kind: DiskGone, Disk: d.Name(), Node: d.Node()})
	k.ended(k.users(d))
}

// tell tells the devices on a disk that is gone.
func (k *keeper) tell(d *disk.Disk) {
	g := k.look(d)
	for _, u := range k.users(d) {
		if g.over[u.name] {
			u.dev.DiskLost(u.at)
		} else {
			u.dev.DiskAway(u.at)
		}
	}
}

// expire fails the requests of devices that have waited for as long as they were to.
func (k *keeper) expire(d *disk.Disk, now time.Time) {
	g := k.look(d)
	for _, u := range k.users(d) {
		if g.over[u.name] || now.Sub(g.since) < u.park {
			continue
		}
		n := u.dev.Parked()[u.at]
		k.mu.Lock()
		g.over[u.name] = true
		k.mu.Unlock()
		u.dev.DiskLost(u.at)
		k.log.Error("a disk is lost: requests for it fail", "disk", d.Name(), "device", u.name, "parked", n, "after", now.Sub(g.since).Round(time.Millisecond))
		k.events.publish(Event{Kind: ParkTimedOut, Disk: d.Name(), Device: u.name, Errors: uint64(n), Seconds: now.Sub(g.since).Seconds()})
	}
}

// take takes a disk back if it is there again.
func (k *keeper) take(ctx context.Context, d *disk.Disk) bool {
	err := k.back(ctx, d)
	g := k.look(d)
	switch {
	case err == nil:
		k.forget(d)
		return true
	case err == errStillGone || ctx.Err() != nil:
		return false
	case g.inWay != err.Error():
		g.inWay = err.Error()
		k.log.Warn("a disk is back, and cannot be used", "disk", d.Name(), "err", err)
		k.events.publish(Event{Kind: DiskUnfit, Disk: d.Name(), Error: err.Error()})
	}
	return false
}

// state is what a device sees of a disk: whether it is there, and since when not.
func (k *keeper) state(d *disk.Disk, device string) (state string, since time.Time) {
	if k == nil {
		return DiskPresent, time.Time{}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.gone[d]
	switch {
	case g == nil:
		return DiskPresent, time.Time{}
	case g.over[device]:
		return DiskLost, g.since
	}
	return DiskParked, g.since
}
