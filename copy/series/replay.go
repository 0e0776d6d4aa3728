package series

import (
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/target"
)

// Memory is the content of disks, a word a sector, by which an outcome is judged.
type Memory map[target.Disk][]uint64

// Replay does to m what the devices did: every command in order, range by range, each range read before it is written, as
// QEMU's NVMe does format 0. What is read and written by the host is read before it is written as a whole: a command, and
// commands of one Buffer together. A range that was not copied is left alone.
func (o *Outcome) Replay(m Memory) {
	for i := 0; i < len(o.Commands); i++ {
		c := &o.Commands[i]
		if c.Method != blkcopy.Emulated {
			at := c.Dst.Start
			for _, s := range c.copied() {
				copy(m[c.Dst.Disk][at:], append([]uint64(nil), m[s.Disk][s.Start:s.End()]...))
				at += s.Len
			}
			continue
		}
		var buf []uint64
		last := i
		for last+1 < len(o.Commands) && c.Buffer != 0 && o.Commands[last+1].Buffer == c.Buffer {
			last++
		}
		for j := i; j <= last; j++ {
			for _, s := range o.Commands[j].copied() {
				buf = append(buf, m[s.Disk][s.Start:s.End()]...)
			}
		}
		for ; i <= last; i++ {
			c = &o.Commands[i]
			n := c.done()
			copy(m[c.Dst.Disk][c.Dst.Start:], buf[:n])
			buf = buf[n:]
		}
		i--
	}
}

// copied is the sources of which the device says that they were copied.
func (c *Command) copied() []target.Extent {
	return c.Sources[:max(0, min(c.Ranges, len(c.Sources)))]
}
