package daemon

import (
	"fmt"
	"slices"

	"github.com/ublk-go/ublk-linear/config"
)

// keepFaults refuses a file with other faults than those that are in force: the queues and the copies of devices that do not
// change have them. fresh has its disks by place.
func keepFaults(now, fresh *config.File, wrong *ReloadError) {
	place := func(f *config.File, name string) int {
		return slices.IndexFunc(f.Disks, func(d *config.Disk) bool { return d != nil && d.Name == name })
	}
	same := slices.EqualFunc(now.Faults, fresh.Faults, func(a, b *config.Fault) bool {
		x, y := *a, *b
		x.Pos, y.Pos = config.Pos{}, config.Pos{}
		return x == y && place(now, a.Disk) == place(fresh, b.Disk)
	})
	if same {
		return
	}
	at := config.Pos{Line: 1, Col: 1}
	if len(fresh.Faults) > 0 {
		at = fresh.Faults[0].Pos
	}
	wrong.add(errAt(fresh, at, fmt.Errorf("the faults, or the disk of one, are not what they were: faults stay as long as the server runs (down, then up --allow-faults)")))
}
