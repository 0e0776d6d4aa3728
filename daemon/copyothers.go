package daemon

import (
	"time"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
)

// A copy has less under way while devices use a disk that takes little at once (blkcopy.Request.Used). It looks when a window
// would begin beside another, every few milliseconds as a rule; between looks nothing is done.
const (
	// lull is how long no command of a device's has been answered when copies take a disk for theirs. Who sends commands at
	// longer intervals finds two windows before him, which is a few milliseconds of at least 100; and the longer it were, the more
	// of its speed would a copy lose for each command of those that come once a second, as file systems and monitors do.
	lull = 100 * time.Millisecond
	// recent is how old a look may be for the next one to tell from it that a disk is used: who has used it a while before a
	// copy need not be there any more.
	recent = time.Second
)

// use is what looks have found of the commands of devices at a disk. All copies share it, so that one that follows another
// knows what that has found.
type use struct {
	seen   uint64    // commands, at the last look
	looked time.Time // the last look
	found  time.Time // the last that found more than the one before
}

// look says whether a disk is used that has answered so many commands.
func (u *use) look(now time.Time, commands uint64) bool {
	if commands != u.seen && now.Sub(u.looked) < recent {
		u.found = now
	}
	u.seen, u.looked = commands, now
	return now.Sub(u.found) < lull
}

// asked is how many commands of devices a disk has answered. Copies go another way, past the queues, and do not count; nor do
// flushes, which whoever copies may send before, and which no read is behind.
func (k *diskHealth) asked() (n uint64) {
	for op := range k.stats.Ops {
		if target.Op(op) != target.Flush {
			n += k.stats.Ops[op].Commands.Load()
		}
	}
	return n
}

// oneQueue says whether two block devices are one, or partitions of one disk. Others have no Whole.
func oneQueue(a, b interface{ Whole() uint64 }) bool {
	return a.Whole() != 0 && a.Whole() == b.Whole()
}

// used says whether devices use a disk, or another partition of its whole disk: they have one queue.
func (h *health) used(d *disk.Disk, now time.Time) (used bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for o, k := range h.of {
		if o == d || oneQueue(o, d) {
			used = k.use.look(now, k.asked()) || used
		}
	}
	return used
}

// servedWorld is what copies of served devices are planned with: others use the disks, too.
func (s *Server) servedWorld(devices []*blkcopy.Device) *copyWorld {
	w, ds := newCopyWorld(s.file, s.disks, devices), s.disks
	w.used = func(i target.Disk) bool { return s.health.used(ds[i], time.Now()) }
	return w
}
