package daemon

import (
	"time"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk"
)

// DiskReturn is how a disk came back that was gone.
type DiskReturn struct {
	Time time.Time `json:"time"`
	// Unflushed says that writes which were answered may be gone with the disk's cache. The first flush of each device on it
	// fails.
	Unflushed bool `json:"unflushed"`
}

// suspecting is what queues call with a disk whose command they put aside. It waits for nothing and allocates nothing.
func (h *health) suspecting(wake func()) func(target.Disk) {
	return func(d target.Disk) {
		if p := h.places.Load(); p != nil && int(d) < len(*p) && (*p)[d] != nil {
			(*p)[d].suspect.Store(true)
			wake()
		}
	}
}

// suspects are the disks that were suspected since it was last asked.
func (h *health) suspects() (out []*disk.Disk) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for d, k := range h.of {
		if k.suspect.Swap(false) {
			out = append(out, d)
		}
	}
	return out
}

// moved gives a disk that is back the counters that it had.
func (h *health) moved(old, fresh *disk.Disk) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of[fresh] = h.of[old]
	delete(h.of, old)
}

func (h *health) statsOf(d *disk.Disk) *ublk.DiskStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := h.of[d]; k != nil {
		return &k.stats
	}
	return &ublk.DiskStats{}
}

// returned notes that a disk is back.
func (h *health) returned(d *disk.Disk, r DiskReturn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := h.of[d]; k != nil {
		k.back = &r
	}
}

// lastReturn is when a disk last came back; nil: it was never gone.
func (h *health) lastReturn(d *disk.Disk) *DiskReturn {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := h.of[d]; k != nil {
		return k.back
	}
	return nil
}
