package series

import (
	"math"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// The rules by which the designs without one in package limits stack copy limits.
const (
	// Copy2021 is SelvaKumar's (2021-08-17): MCL, MSSRL and MSRC+1 as they are, of a disk; a stacked device has nothing.
	Copy2021 limits.CopyRule = "2021"
	// Copy2023 is Shetty's v6 (2023-01-12): one limit, MSSRL, with the administrator's cap in it; the minimum of both over
	// the legs (blk_stack_limits), and nothing unless every target is linear and every leg can.
	Copy2023 limits.CopyRule = "2023"
	// Copy2025 is Busch's (2025-05-21): MCL, MSSRL and MSRC+1 of a disk; nothing of it is in blk_stack_limits, so that a
	// stacked device has nothing.
	Copy2025 limits.CopyRule = "2025"
)

// copyable says whether a design's driver copies on a disk: only NVMe's (and null_blk's) know how.
func (d *Disk) copyable() bool { return d.Copy.Can() && d.Copy.Method == limits.NVMeCopy }

// limits is what a disk by itself advertises under a rule, and the administrator's cap apart, in sectors: the largest
// number if there is none, or if the file refused it (since 2022, what is no multiple of the logical block is EINVAL).
func (d *Disk) limits(rule limits.CopyRule) (hw limits.CopyLimits, user uint64) {
	user = math.MaxUint32
	if d.UserMax != 0 && d.UserMax%(d.block()*512) == 0 {
		user = min(d.UserMax/512, math.MaxUint32)
	}
	if !d.copyable() {
		return limits.CopyLimits{}, user
	}
	switch rule {
	case Copy2021, Copy2025:
		l := d.Copy.Limits(limits.CopyMin, d.LogicalBlock)
		l.MaxRangeSectors = uint32(min(uint64(d.Copy.MSSRL)*d.block(), math.MaxUint32)) // also where a lying device has more than MCL
		if d.Copy.MSSRL == 0 {
			l.MaxRangeSectors = math.MaxUint32
		}
		return l, user
	case Copy2023:
		l := d.Copy.Limits(limits.Copy2024, d.LogicalBlock)
		l.MaxSectors = uint32(min(uint64(d.Copy.MSSRL)*d.block(), math.MaxUint32)) // no clamp yet
		if d.Copy.MSSRL == 0 {
			l.MaxSectors = math.MaxUint32
		}
		l.MaxRangeSectors = l.MaxSectors
		return l, user
	}
	return d.Copy.Limits(rule, d.LogicalBlock), user
}

// copyLimits is what a device has under a rule: its hardware limits, stacked (limits.CopyStack for the rules that it
// knows), and the least of the administrator's caps of its legs, in sectors. Which caps count is the design's to say.
func (w *World) copyLimits(d *Device, rule limits.CopyRule) (hw limits.CopyLimits, user uint64) {
	user = math.MaxUint32
	if d.Bare {
		return w.Disks[w.bare(d)].limits(rule)
	}
	for e := range d.legs {
		_, u := w.Disks[e.Disk].limits(rule)
		user = min(user, u)
	}
	switch rule {
	case Copy2021, Copy2025:
		return limits.CopyLimits{}, user
	case Copy2023: // stacks as v20 does
		hw = d.Table.CopyLimits(limits.Copy2024, func(i target.Disk) (limits.CopyLimits, uint32) {
			l, _ := w.Disks[i].limits(Copy2023)
			return l, w.Disks[i].LogicalBlock
		})
		return hw, user
	}
	hw = d.Table.CopyLimits(rule, func(i target.Disk) (limits.CopyLimits, uint32) {
		l, _ := w.Disks[i].limits(rule)
		return l, w.Disks[i].LogicalBlock
	})
	return hw, user
}

// legs yields what the device uses of its disks, target by target (dm's iterate_devices).
func (d *Device) legs(yield func(target.Extent) bool) {
	for _, s := range d.Table.Spans() {
		for e := range s.Target.Extents {
			if !yield(e) {
				return
			}
		}
	}
}

// bare is the disk that a device without a table is.
func (w *World) bare(d *Device) target.Disk { return d.Table.Disks()[0] }

// block is a device's logical block in bytes.
func (d *Device) block() uint64 { return uint64(max(d.LogicalBlock, 512)) }

// name is a disk's name.
func (w *World) name(d target.Disk) string { return w.Disks[d].Name }
