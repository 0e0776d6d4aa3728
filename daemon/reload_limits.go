package daemon

import (
	"errors"
	"fmt"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/ublk"
)

// A live device has told its users its limits when it was started, and ublk tells them once (SET_PARAMS is refused when
// the device is up: ublk_ctrl_set_params, EACCES). So a new table may ask for less than was told, never for more.

// stricter lists in which ways a device as it is wanted needs more of its users than the live one has told them.
func stricter(live, want *ublk.Spec) []error {
	var out []error
	said, asked := presented(live), presented(want)
	say := func(limit string, had, needs uint64, why string) {
		out = append(out, fmt.Errorf("%s: the device was announced with %d, and the new table needs %d: %s", limit, had, needs, why))
	}
	atMost := func(limit string, had, needs uint64, why string) {
		if needs > had {
			say(limit, had, needs, why)
		}
	}
	// none is how a limit says that there is none.
	atLeast := func(limit string, had, gives, none uint64, why string) {
		if gives != none && (had == none || gives < had) {
			say(limit, had, gives, why)
		}
	}
	a, b := &live.Limits, &want.Limits
	atMost("logical_block_size", uint64(a.LogicalBlock), uint64(b.LogicalBlock), "a disk has larger blocks than requests come in")
	atMost("physical_block_size", said.physical(a.PhysicalBlock), asked.physical(b.PhysicalBlock), "a write that was told not to tear would be read, changed and written")
	atLeast("max_sectors", largest(live), largest(want), 0, "a disk takes no such request")
	atMost("dma_alignment", uint64(a.DMAAlignment), uint64(b.DMAAlignment), "a disk takes no such buffer")
	atLeast("max_segments", uint64(a.MaxSegments), uint64(b.MaxSegments), 0, "a disk takes no such request")
	atLeast("max_segment_size", uint64(a.MaxSegmentSize), uint64(b.MaxSegmentSize), 0, "a disk takes no such request")
	atLeast("seg_boundary_mask", a.SegBoundaryMask, b.SegBoundaryMask, 0, "a disk takes no such segment")
	if b.VirtBoundary&^a.VirtBoundary != 0 {
		say("virt_boundary_mask", a.VirtBoundary, b.VirtBoundary, "a disk takes no such segments")
	}
	// How much a disk takes at a time is the kernel's to cut (blkdev_cmd_discard, blkdev_issue_zeroout); whether it does, not.
	switch {
	case a.MaxDiscardSectors == 0:
	case b.MaxDiscardSectors == 0:
		say("discard_max_sectors", uint64(a.MaxDiscardSectors), 0, "discards that were promised would fail")
	default:
		atMost("discard_granularity", uint64(a.DiscardGranularity), uint64(b.DiscardGranularity), "smaller discards would do nothing")
	}
	if a.MaxWriteZeroesSectors != 0 && b.MaxWriteZeroesSectors == 0 {
		say("write_zeroes_max_sectors", uint64(a.MaxWriteZeroesSectors), 0, "zeroing that was promised would fail")
	}
	if b.WriteCache && !a.WriteCache {
		out = append(out, errors.New("write_cache: the device was announced without one, so nobody flushes it, and a disk of the new table has one"))
	}
	return out
}

// fixed lists what of a changed device can only be had by another start. What the new file does not say stays as it is.
func fixed(old, now *config.File, was, conf *config.Device, live, want *ublk.Spec) []error {
	var out []error
	say := func(key string, had, asked any) {
		out = append(out, fmt.Errorf("%s is %v, and cannot become %v while the device is served", key, had, asked))
	}
	if conf.ID >= 0 && conf.ID != live.ID {
		say("id", live.ID, conf.ID)
	}
	number := func(key string, had, asked, granted int) {
		if asked != 0 && asked != had && asked != granted {
			say(key, granted, asked)
		}
	}
	number("queues", was.Queues, conf.Queues, live.Queues)
	number("depth", was.Depth, conf.Depth, live.Depth)
	number("max_io", int(was.MaxIO), int(conf.MaxIO), int(live.MaxIO))
	if want.ReadOnly != live.ReadOnly {
		say("read_only", live.ReadOnly, want.ReadOnly)
	}
	if a, b := old.Crash(was), now.Crash(conf); a != b {
		say("on_crash", a, b)
	}
	if a, b := live.DataPath, dataPaths[conf.DataPath]; b != ublk.AutoPath && a != b {
		say("data_path", a, b)
	}
	return out
}

// shown are the values that ublk shows in place of those that it cannot say.
type shown map[string]uint64

func presented(s *ublk.Spec) shown {
	out := shown{}
	for _, l := range s.Presented() {
		out[l.Limit] = l.Presented
	}
	return out
}

func (s shown) physical(v uint32) uint64 {
	if p, ok := s["physical_block_size"]; ok {
		return p
	}
	return uint64(v)
}

// largest is the largest read or write of a device, in sectors.
func largest(s *ublk.Spec) uint64 {
	io := s.MaxIO
	if io == 0 {
		io = ublk.DefaultMaxIO
	}
	n := uint64(io / 512)
	if m := uint64(s.Limits.MaxSectors); m != 0 {
		n = min(n, m)
	}
	return n
}

// announced are the limits that a device which waits was announced with, if its disks can keep to them: a reload may have
// given it a table that can more. Otherwise they are those of its disks, and the driver will say what is different.
func (d *deviceRecord) announced(want *ublk.Spec) limits.Limits {
	if d.Announced == nil {
		return want.Limits
	}
	was := *want
	was.Limits = *d.Announced
	if len(stricter(&was, want)) > 0 {
		return want.Limits
	}
	return was.Limits
}
