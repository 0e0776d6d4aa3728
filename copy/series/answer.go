package series

import (
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// NVMe status values that devices answer a copy with, as they are on the wire without DNR.
const (
	scInvalidField   = 0x002
	scInvalidNS      = 0x00b
	scLBARange       = 0x080
	scInvalidFormat  = 0x10a
	scReadOnly       = 0x182
	scSizeLimit      = 0x183
	scIncompatible   = 0x185
	scOverlap        = 0x187
	scZoneBoundary   = 0x1b8
	scZoneWrite      = 0x1bc
	scWriteFault     = 0x280
	scUnrecoveredRd  = 0x281
	statusMask       = 0x7ff // what is left of a status without DNR, More and CRD
	formatsWithNSIDs = 2     // format 2 names the source's namespace, format 0 does not
)

// devices answers the commands of one outcome, in the order they are sent.
type devices struct {
	w       *World
	o       *Outcome
	written map[[2]uint64]uint64 // write pointers, by disk and zone, of zones that have been written to
}

func (w *World) devices(o *Outcome) *devices {
	return &devices{w: w, o: o, written: map[[2]uint64]uint64{}}
}

// send appends a command to the outcome with its answer, and counts what was copied; false: the device says that it
// failed. The block layer sees the status and nothing else: a device that says success and copies less is believed. World.Answer is asked about every command, those that are a read and a write too: n is the command's place in
// Outcome.Commands. Status and Ranges of c are not read.
func (v *devices) send(c Command) bool {
	n := len(v.o.Commands)
	if v.rounded(&c); c.Dst.Len == 0 && c.Method == limits.NVMeCopy {
		c.Status = scInvalidField // WARN_ON(!n_lba)
	} else if v.w.Answer != nil {
		c.Status, c.Ranges = v.w.Answer(n, &c)
	} else {
		c.Status, c.Ranges = v.answer(&c)
	}
	c.Status &= statusMask
	c.Ranges = max(min(c.Ranges, len(c.Sources)), 0)
	done := c.done() * 512
	if c.Method == blkcopy.Emulated {
		v.o.Emulated += done
		v.o.Host += 2 * done
	} else {
		v.o.Offloaded += done
	}
	v.o.Commands = append(v.o.Commands, c)
	if c.Status == 0 && c.Ranges < len(c.Sources) {
		v.o.fault("", "%s says that command %d succeeded, and copied %d of its %d ranges", v.w.name(c.Dst.Disk), n, c.Ranges, len(c.Sources))
	}
	return c.Status == 0
}

// rounded is what an NVMe driver makes of sectors that are not on blocks: nvme_sect_to_lba shifts, and what is lost is
// lost. A chunk of a limit that is no multiple of the stacked logical block comes to this.
func (v *devices) rounded(c *Command) {
	if c.Method != limits.NVMeCopy {
		return
	}
	odd, total := false, uint64(0)
	for i := range c.Sources {
		s, n := &c.Sources[i], v.w.Disks[c.Sources[i].Disk].block()
		odd = odd || (s.Start|s.Len)%n != 0
		s.Start, s.Len = s.Start/n*n, s.Len/n*n
		total += s.Len
	}
	n := v.w.Disks[c.Dst.Disk].block()
	if odd = odd || c.Dst.Start%n != 0; odd {
		v.o.fault("", "command %d is not on the blocks of its disks: the driver rounds it down, and other sectors are copied", len(v.o.Commands))
		c.Dst.Start, c.Dst.Len = c.Dst.Start/n*n, total
	}
}

// last is the command that was sent last.
func (v *devices) last() *Command { return &v.o.Commands[len(v.o.Commands)-1] }

// done is how many sectors of a command's destination, from its first, were copied.
func (c *Command) done() uint64 {
	var n uint64
	for i, s := range c.Sources {
		if i < c.Ranges {
			n += s.Len
		}
	}
	return n
}

// answer is the default: what QEMU 10's nvme answers (facts of its behaviour were measured on 10.0.2), by the limits of
// the disks themselves. Checked before anything is copied: format, MSRC, MCL. Checked range by range while copying, so
// that earlier ranges are copied: MSSRL, overlap (formats 2 and 3 only), ends of both sides, write pointer. What lies
// behind the range that failed is not done.
func (v *devices) answer(c *Command) (status uint16, ranges int) {
	dst := &v.w.Disks[c.Dst.Disk]
	if c.Method == blkcopy.Emulated {
		return v.emulated(c, dst)
	}
	if s := v.whole(c, dst); s != 0 {
		return s, 0
	}
	at := c.Dst.Start
	for i, src := range c.Sources {
		if s := v.ranged(c, &src, at, dst); s != 0 {
			return s, i
		}
		at += src.Len
	}
	return 0, len(c.Sources)
}

// whole checks what QEMU checks of a command before it begins.
func (v *devices) whole(c *Command, dst *Disk) uint16 {
	switch {
	case !dst.Copy.Can():
		return scInvalidField // ONCS without Copy: Invalid Opcode on other devices
	case c.Method != limits.NVMeCopy || dst.Copy.Method != limits.NVMeCopy:
		if c.Method != dst.Copy.Method {
			return scInvalidField
		}
	case c.Format == 2 && !dst.CDFE, c.Format > 3:
		return scInvalidField
	case c.Format == 3 && !dst.CDFE:
		return scInvalidField
	case c.Format&1 == 1: // no namespace here has protection information
		return scInvalidFormat
	}
	if uint64(len(c.Sources)) > uint64(dst.Copy.MSRC)+1 {
		return scSizeLimit
	}
	var total uint64
	for _, s := range c.Sources {
		total += s.Len
	}
	if mcl := dst.Copy.MCL; mcl != 0 && total > uint64(mcl)*dst.block() {
		return scSizeLimit
	}
	return 0
}

// ranged checks what QEMU checks of a source range when it comes to it: MSSRL is the source's.
func (v *devices) ranged(c *Command, s *target.Extent, at uint64, dst *Disk) uint16 {
	src := dst
	if c.Format >= formatsWithNSIDs || c.Method != limits.NVMeCopy || v.w.Disks[s.Disk].Copy.Domain == dst.Copy.Domain {
		src = &v.w.Disks[s.Disk]
	}
	switch {
	case c.Format >= formatsWithNSIDs && !src.Copy.Can():
		return scInvalidNS
	case src.block() != dst.block():
		return scIncompatible
	case src.Copy.MSSRL != 0 && s.Len > uint64(src.Copy.MSSRL)*src.block():
		return scSizeLimit
	case c.Format >= formatsWithNSIDs && s.Disk == c.Dst.Disk && s.End() > at && s.End() < at+s.Len:
		return scOverlap // the source ends strictly inside the destination; the other way is not found
	case s.End() < s.Start || s.End() > src.Sectors, at+s.Len < at || at+s.Len > dst.Sectors:
		return scLBARange
	}
	return v.zone(c, at, s.Len, dst)
}

// emulated is the answer to a read and a write.
func (v *devices) emulated(c *Command, dst *Disk) (uint16, int) {
	at := c.Dst.Start
	for i, s := range c.Sources {
		switch {
		case s.End() < s.Start || s.End() > v.w.Disks[s.Disk].Sectors, at+s.Len < at || at+s.Len > dst.Sectors:
			return scLBARange, i
		case dst.ReadOnly:
			return scReadOnly, i
		}
		if z := v.zone(c, at, s.Len, dst); z != 0 {
			return z, i
		}
		at += s.Len
	}
	return 0, len(c.Sources)
}

// zone writes to a zone, where dst has any: at its write pointer only, and not past its end. Nothing is known of a zone's
// write pointer before the request; it is taken to be where the first write goes.
func (v *devices) zone(c *Command, at, n uint64, dst *Disk) uint16 {
	if !dst.Zoned || dst.ZoneSectors == 0 {
		return 0
	}
	z := [2]uint64{uint64(c.Dst.Disk), at / dst.ZoneSectors}
	if wp, ok := v.written[z]; ok && wp != at {
		return scZoneWrite
	}
	if at%dst.ZoneSectors+n > dst.ZoneSectors {
		return scZoneBoundary
	}
	v.written[z] = at + n
	return 0
}

// block is the logical block in sectors.
func (d *Disk) block() uint64 { return uint64(max(d.LogicalBlock, 512)) / 512 }

// errnoOf is what a caller of the block layer gets for an NVMe status (nvme_error_status of drivers/nvme/host/core.c, then
// blk_status_to_errno of block/blk-core.c).
func errnoOf(status uint16) unix.Errno {
	switch status & statusMask {
	case 0:
		return 0
	case scInvalidField, 0x001, scInvalidNS, 0x180: // and Invalid Opcode, Conflicting Attributes
		return unix.EOPNOTSUPP
	case scLBARange, 0x021, 0x082: // and Command Interrupted, Namespace Not Ready
		return unix.EREMOTEIO
	case 0x081: // Capacity Exceeded
		return unix.ENOSPC
	case scReadOnly, scWriteFault, scUnrecoveredRd, 0x285, 0x286, 0x287: // the medium
		return unix.ENODATA
	case 0x083: // Reservation Conflict
		return unix.EBADE
	case 0x282, 0x283, 0x284, 0x181: // protection information
		return unix.EILSEQ
	case 0x1bd: // Too Many Active Zones
		return unix.EOVERFLOW
	case 0x1be: // Too Many Open Zones
		return unix.ETOOMANYREFS
	}
	return unix.EIO
}
