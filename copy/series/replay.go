package series

import "github.com/ublk-go/ublk-linear/target"

// Memory is the content of disks, a word a sector, by which an outcome is judged.
type Memory map[target.Disk][]uint64

// Replay does to m what the devices did: every command in order, range by range, each range read before it is written, as
// QEMU's NVMe does format 0. A range that was not copied is left alone.
func (o *Outcome) Replay(m Memory) {
	for i := range o.Commands {
		c := &o.Commands[i]
		at := c.Dst.Start
		for j, s := range c.Sources {
			if j >= c.Ranges {
				break
			}
			buf := append([]uint64(nil), m[s.Disk][s.Start:s.End()]...)
			copy(m[c.Dst.Disk][at:], buf)
			at += s.Len
		}
	}
}
