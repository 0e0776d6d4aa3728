package series

import "github.com/ublk-go/ublk-linear/limits"

// pairMaxBytes is BLK_COPY_MAX_BYTES: the clamp of the hardware limit, and as many bytes in a call are too many.
const pairMaxBytes = 1 << 27

// Defects of v20.
const (
	pairReversed  = "nvmet-reversed"
	pairCopiedLen = "emulation-copied-len"
	pairZero      = "zero-on-failure"
	pairUserCap   = "user-cap-not-inherited"
)

var pair2024 = &Model{
	Name:    "pair-2024",
	Title:   "pair: two bios under one plug that the queue makes one request of",
	Author:  "Nitesh Shetty",
	Posted:  "2024-05-20",
	Message: "20240520102033.9361-1-nj.shetty@samsung.com",
	Defects: []Defect{{
		Name: pairReversed,
		What: "a namespace of the Linux target copies from the destination to the source",
		Ref:  "<20240520102033.9361-1-nj.shetty@samsung.com>, nvmet_bdev_execute_copy: (dst, src) for (pos_in, pos_out)",
	}, {
		Name: pairCopiedLen,
		What: "emulation leaves the copied length as it was asked for when it fails: the target answers with success",
		Ref:  "<20240520102033.9361-1-nj.shetty@samsung.com>, blkdev_copy_emulation_work and nvmet_bdev_copy_endio",
	}, {
		Name: pairZero,
		What: "copy_file_range returns 0, and no error, when an offload fails from its first byte, or is refused",
		Ref:  "<20240520102033.9361-1-nj.shetty@samsung.com>, blkdev_copy_file_range of block/fops.c: copied < 0 becomes 0",
	}, {
		Name: pairUserCap,
		What: "an administrator's cap on a leg does not reach the device above: max_copy_sectors is computed anew from a user limit that is not stacked",
		Ref:  "<20240520102033.9361-1-nj.shetty@samsung.com>, blk_validate_limits after blk_stack_limits",
	}},
	Limits: pairLimits,
	Run:    runPair,
}

// pairMax are the limits of a device, in sectors: hardware, and hardware under the caps.
func pairMax(w *World, d *Device, o *Options) (hw, most uint64) {
	l, user := w.copyLimits(d, limits.Copy2024)
	if !d.Bare && o.Has(pairUserCap) {
		user = 1<<32 - 1
	}
	return uint64(l.MaxSectors), min(uint64(l.MaxSectors), user)
}

// pairLimits are the files of queue/ (block/blk-sysfs.c).
func pairLimits(w *World, d *Device, o *Options) []Value {
	hw, most := pairMax(w, d, o)
	return []Value{{"copy_max_bytes", most * 512, "bytes"}, {"copy_max_hw_bytes", hw * 512, "bytes"}}
}
