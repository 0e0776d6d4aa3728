package series

import "github.com/ublk-go/ublk-linear/target"

// offloadQueue is queue_limits' part of 2026: hw and max in sectors, src and dst in segments. flag is
// BLK_FEAT_STACKING_COPY_OFFL. All zero: no support.
type offloadQueue struct {
	hw, src, dst uint64
	max          uint64 // min(hw, user), by blk_validate_limits
	flag         bool
}

// nvmeRanges2026 is what nvme_config_copy says of every namespace; the range list of 8 KiB holds no more.
const nvmeRanges2026 = 256

// offloadDisk is what a bottom disk has (nvme_config_copy: MSSRL is all that is read of Identify Namespace), or a disk that
// is itself stacked. hw, src and dst are all zero or none is (blk_validate_copy_limits): a namespace with MSSRL 0 has none.
func offloadDisk(w *World, n target.Disk, o *Options) offloadQueue {
	d := &w.Disks[n]
	var q offloadQueue
	switch {
	case d.Stacked == "dm-linear", d.Stacked != "" && o.Has(oMD):
		if low := w.lowest(target.Extent{Disk: n}).Disk; low != n && w.Disks[low].Stacked == "" {
			q = offloadDisk(w, low, o) // the user's cap below is not inherited: only hw is stacked
		}
		q.flag = d.Stacked == "dm-linear"
	case d.Stacked != "":
	case d.copyable() && d.Copy.MSSRL != 0:
		q = offloadQueue{hw: min(uint64(d.Copy.MSSRL)*d.block(), maxUint32), src: nvmeRanges2026, dst: 1}
		if !o.Has(oMSRC) {
			q.src = min(q.src, uint64(d.Copy.MSRC)+1)
		}
	}
	q.max = min(q.hw, d.userCopy(o))
	return q
}

// userCopy is max_user_copy_sectors (queue_copy_max_store). What is no multiple of the logical block is refused, and
// changes nothing.
func (d *Disk) userCopy(o *Options) uint64 {
	switch {
	case d.UserOff:
		return 0
	case d.UserMax == 0, d.UserMax>>9 > maxUint32, d.UserMax%(d.block()*512) != 0 && !o.Has(oCap):
		return maxUint32
	}
	return d.UserMax >> 9
}

// offloadDevice stacks (blk_stack_limits: the plain minimum of hw, src and dst over everything, a user's cap apart). A
// target without the flag counts as one without support (dm_calculate_queue_limits); dm-linear sets it (linear_io_hints),
// and no other.
func offloadDevice(w *World, d *Device, o *Options) offloadQueue {
	if d.Bare {
		return offloadDisk(w, w.bare(d), o)
	}
	top := offloadQueue{hw: maxUint32, src: 1<<16 - 1, dst: 1<<16 - 1}
	for _, s := range d.Table.Spans() {
		flag := s.Target.Type() == "linear"
		for e := range s.Target.Extents {
			q := offloadDisk(w, e.Disk, o)
			top.hw, top.src, top.dst = min(top.hw, q.hw), min(top.src, q.src), min(top.dst, q.dst)
			flag = flag || q.flag && o.Has(oInherit)
		}
		if !flag {
			return offloadQueue{}
		}
	}
	if top.hw == 0 || top.src == 0 || top.dst == 0 {
		return offloadQueue{flag: true}
	}
	top.max, top.flag = top.hw, true
	return top
}

func offloadLimits(w *World, d *Device, o *Options) []Value {
	q := offloadDevice(w, d, o)
	bytes := func(sectors uint64) uint64 {
		if o.Has(oShift) {
			return uint64(uint32(sectors << 9))
		}
		return sectors << 9
	}
	flag := uint64(0)
	if q.flag {
		flag = 1
	}
	return []Value{
		{"copy_max_bytes", bytes(q.max), "bytes"},
		{"copy_max_hw_bytes", bytes(q.hw), "bytes"},
		{"max_copy_src_segments", q.src, "segments"},
		{"max_copy_dst_segments", q.dst, "segments"},
		{"BLK_FEAT_STACKING_COPY_OFFL", flag, "bool"},
	}
}
