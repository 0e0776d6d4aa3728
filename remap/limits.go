package remap

import (
	"fmt"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// Limits stacks the limits of the disks through the targets, in the order of dm_calculate_queue_limits. Errors are dm's
// refusals, with the numbers: device_area_is_invalid, validate_hardware_zoned, validate_hardware_logical_block_alignment.
func (t *Table) Limits(disk func(target.Disk) limits.Bottom) (limits.Limits, error) {
	l, _, err := t.Explain(disk, func(d target.Disk) string { return fmt.Sprintf("disk %d", d) })
	return l, err
}

// Explain is Limits with who imposed each value: a disk by its name, a target by its number from 1, or the kernel's own
// rule. A field that is missing was imposed by nobody.
func (t *Table) Explain(disk func(target.Disk) limits.Bottom, name func(target.Disk) string) (limits.Limits, limits.Trace, error) {
	top, why := limits.Stacking(), limits.Trace{}
	lbs := make([]uint64, len(t.spans)) // logical block of each target, in sectors
	var noDiscard, noZeroes string
	for i, s := range t.spans {
		ti, inside := limits.Stacking(), limits.Trace{}
		me := fmt.Sprintf("target %d (%s)", i+1, s.Type())
		for e := range s.Target.Extents {
			d, before := disk(e.Disk), ti
			ti.Stack(d.Limits, d.Start+e.Start)
			ti.ReadOnly = ti.ReadOnly || d.ReadOnly
			inside.Note(&before, &ti, name(e.Disk), nil)
			if d.MaxDiscardSectors == 0 && noDiscard == "" {
				noDiscard = name(e.Disk)
			}
			if d.MaxWriteZeroesSectors == 0 && noZeroes == "" {
				noZeroes = name(e.Disk)
			}
		}
		before := ti
		s.Target.Hints(&ti)
		inside.Note(&before, &ti, me, nil)
		lbs[i] = uint64(ti.LogicalBlock) / 512
		if err := t.areas(i, lbs[i], disk, name); err != nil {
			return top, why, fmt.Errorf("%s: %w", me, err)
		}
		before = top
		top.Stack(ti, 0)
		top.ReadOnly = top.ReadOnly || ti.ReadOnly
		why.Note(&before, &top, me, inside)
	}
	if err := t.zones(disk, name); err != nil {
		return top, why, err
	}
	if err := t.blocks(uint64(top.LogicalBlock)/512, lbs); err != nil {
		return top, why, err
	}
	before := top
	if noDiscard != "" {
		top.NoDiscard()
		why.Note(&before, &top, noDiscard, nil)
		for _, f := range []string{"discard_max_sectors", "discard_max_hw_sectors", "discard_granularity"} {
			why[f] = noDiscard
		}
	}
	if noZeroes != "" {
		top.NoUnmapZeroes()
		why["write_zeroes_max_sectors"] = noZeroes
	}
	before = top
	top.Finish()
	why.Note(&before, &top, "the block layer", nil)
	return top, why, nil
}

// areas checks the extents of one target against their disks (device_area_is_invalid).
func (t *Table) areas(i int, lbs uint64, disk func(target.Disk) limits.Bottom, name func(target.Disk) string) error {
	for e := range t.spans[i].Target.Extents {
		d := disk(e.Disk)
		if d.Sectors != 0 && (e.Start >= d.Sectors || e.Len > d.Sectors-e.Start) {
			return fmt.Errorf("sectors %d+%d are past the end of %s, which has %d", e.Start, e.Len, name(e.Disk), d.Sectors)
		}
		if e.Start%lbs != 0 || e.Len%lbs != 0 {
			return fmt.Errorf("sectors %d+%d of %s are not aligned to the target's logical block size %d", e.Start, e.Len, name(e.Disk), lbs*512)
		}
		if zone := uint64(d.ChunkSectors); d.Zoned && zone != 0 && (e.Start%zone != 0 || e.Len%zone != 0) { // nor may the last zone be a smaller one
			return fmt.Errorf("sectors %d+%d of %s are not aligned to its zones of %d sectors", e.Start, e.Len, name(e.Disk), zone)
		}
	}
	return nil
}

// zones refuses what dm refuses of zoned disks (validate_hardware_zoned): a stripe over one, zones beside disks without,
// zones of different or odd sizes.
func (t *Table) zones(disk func(target.Disk) limits.Bottom, name func(target.Disk) string) error {
	zoned, flat := target.Disk(0), target.Disk(0)
	var haveZoned, haveFlat bool
	for _, i := range t.disks {
		d := disk(i)
		switch {
		case !d.Zoned:
			flat, haveFlat = i, true
		case haveZoned && disk(zoned).ChunkSectors != d.ChunkSectors:
			return fmt.Errorf("%s has zones of %d sectors, %s of %d", name(zoned), disk(zoned).ChunkSectors, name(i), d.ChunkSectors)
		case d.ChunkSectors&(d.ChunkSectors-1) != 0:
			return fmt.Errorf("the zones of %s have %d sectors, not a power of two", name(i), d.ChunkSectors)
		default:
			zoned, haveZoned = i, true
		}
	}
	if !haveZoned {
		return nil
	}
	if haveFlat {
		return fmt.Errorf("%s is zoned and %s is not", name(zoned), name(flat))
	}
	for i, s := range t.spans {
		if s.Type() != "linear" {
			return fmt.Errorf("target %d (%s) cannot be on the zoned %s", i+1, s.Type(), name(zoned))
		}
	}
	return nil
}

// blocks checks that a request aligned to the device's logical block, cut at the edge of a target, is aligned for the
// disks behind it (validate_hardware_logical_block_alignment). lbs are those of the targets; all in sectors.
func (t *Table) blocks(top uint64, lbs []uint64) error {
	var rest uint64 // of a block that the last target ended inside
	for i, s := range t.spans {
		if rest < s.Len && rest%lbs[i] != 0 {
			return fmt.Errorf("target %d (start sector %d, length %d) is not aligned to the logical block size %d of its disks", i+1, s.Start, s.Len, lbs[i]*512)
		}
		rest = (top - s.End()%top) % top
	}
	if rest != 0 {
		last := t.spans[len(t.spans)-1]
		return fmt.Errorf("target %d (start sector %d, length %d) ends inside a logical block of %d", len(t.spans), last.Start, last.Len, top*512)
	}
	return nil
}

// CopyLimits stacks the copy ability of the disks under a rule.
func (t *Table) CopyLimits(rule limits.CopyRule, disk func(target.Disk) (limits.CopyLimits, uint32)) limits.CopyLimits {
	s := limits.CopyStack{Rule: rule}
	var lbs uint32
	for _, p := range t.spans {
		for e := range p.Target.Extents {
			l, b := disk(e.Disk)
			s.Leg(l, p.Type() == "linear")
			lbs = max(lbs, b)
		}
	}
	return s.Result(lbs)
}
