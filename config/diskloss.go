package config

import (
	"strings"
	"time"
)

// OnDiskLoss is what becomes of requests for a disk that vanishes: "fail", "park:" and a time, or "", which is fail.
type OnDiskLoss string

// LossFail passes the errors of a vanished disk on.
const LossFail OnDiskLoss = "fail"

// Bounds of park. A disk is looked for five times a second, so that less than a second is no time to come back.
const (
	minPark = time.Second
	maxPark = 24 * time.Hour
)

// Park is how long requests wait for the disk to come back; 0: they do not.
func (o OnDiskLoss) Park() time.Duration {
	text, ok := strings.CutPrefix(string(o), "park:")
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}

const lossHint = `write on_disk_loss = "fail", or "park:30s" with a time from 1s to 24h`

// readOnDiskLoss reads on_disk_loss; "" when it is not said.
func readOnDiskLoss(t *table) OnDiskLoss {
	word, ok := t.str("on_disk_loss")
	if !ok {
		return ""
	}
	text, park := strings.CutPrefix(word, "park:")
	d, err := time.ParseDuration(text)
	switch {
	case OnDiskLoss(word) == LossFail:
	case !park:
		t.limit("on_disk_loss", lossHint, "unknown policy %s", clip(word))
		return ""
	case err != nil:
		t.limit("on_disk_loss", lossHint, "%s is not a time", clip(text))
		return ""
	case d < minPark || d > maxPark:
		t.limit("on_disk_loss", lossHint, "park time %s is not from 1s to 24h", clip(text))
		return ""
	}
	return OnDiskLoss(word)
}

// diskLoss refuses to wait for disks of which none can vanish and come back.
func (c *checker) diskLoss(d *Device) {
	if d.OnDiskLoss.Park() == 0 || len(d.Segments) == 0 {
		return
	}
	for i := range d.Segments {
		for _, l := range d.Segments[i].Legs {
			if k := c.disks[l.Disk]; k == nil || k.disk.Kind != KindFile && k.disk.Kind != KindMemory {
				return
			}
		}
	}
	at, key := c.f.place(d.Pos, "device", d.Name, "on_disk_loss")
	c.r.error(at, key, `write on_disk_loss = "fail", or leave it out`, "device %q lies on files and memory only, which do not vanish and come back", d.Name)
}
