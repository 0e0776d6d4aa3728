package disk

import (
	"io/fs"
	"slices"
	"strings"
)

// NonBlocking reports whether the disk's driver never sleeps when it is given a read or write that may fail with EAGAIN instead
// (IOCB_NOWAIT). It is so for a driver of blk-mq without BLK_MQ_F_BLOCKING, which the kernel calls inside rcu_read_lock
// (blk_mq_run_dispatch_ops): NVMe over PCI, virtio, SCSI on most hosts. It is not for nbd, and for null_blk with memory, and not known, which is
// false, of what takes bios (dm, md, the multipath head of an NVMe namespace, brd, zram), of files, and where debugfs is not to
// be read.
func (d *Disk) NonBlocking() bool { return d.prompt }

// nonBlocking asks debugfs for the flags of a whole disk's first hardware queue; all of a disk have the same.
func nonBlocking(whole string, o *Options) bool {
	b, err := fs.ReadFile(o.Sys, "kernel/debug/block/"+whole+"/hctx0/flags")
	if err != nil {
		return false
	}
	flags := strings.FieldsFunc(string(b), func(r rune) bool { return r == '|' || r == ' ' || r == '\n' })
	return !slices.Contains(flags, "BLOCKING")
}
