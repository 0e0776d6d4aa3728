package disk

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/ublk-go/ublk-linear/limits"
	"golang.org/x/sys/unix"
)

// Disk is an open disk, held exclusively until Close. Its methods may be called from several goroutines.
type Disk struct {
	info    Info
	limits  limits.Limits
	copy    limits.Copy
	fd      atomic.Int32 // -1 when closed
	discard atomic.Bool
	noZero  bool // fallocate cannot zero without punching
	prompt  bool // its driver never sleeps when it is given a request (nonblocking.go)
	place   place
	calls   *calls
	nsid    atomic.Uint32 // of the NVMe namespace; 0: not asked yet
	cmd32   atomic.Bool   // the kernel has no NVME_IOCTL_IO64_CMD
	scsi    *scsiAbility  // nil unless copy's method is XCopy
	unable  atomic.Pointer[SCSIError]
	length  atomic.Uint64 // in sectors; it may grow (length.go)
	queue   uint64        // bytes
}

// Open finds, checks and holds the disk that s names.
//
// It fails with an error that is
//   - *UnstableError: the path can name another disk after the next boot;
//   - *BusyError, and EBUSY: somebody has the disk; it names whom;
//   - ENOENT, EACCES: no such disk, no permission;
//   - EROFS: the disk is read-only and s is not;
//
// or any other error of the system calls, or of s itself (Spec.Validate).
func Open(ctx context.Context, s Spec, o *Options) (*Disk, error) {
	if err := s.Validate(); err != nil {
		return nil, s.named(err)
	}
	opt := o.withDefaults()
	var d *Disk
	var err error
	switch {
	case s.File != "":
		d, err = openFileDisk(ctx, &s, opt)
	case s.Memory != 0:
		d, err = openMemory(&s)
	default:
		d, err = openBlock(ctx, &s, opt)
	}
	if err != nil {
		return nil, s.named(err)
	}
	return d, nil
}

func newDisk(fd int, info Info, l limits.Limits) *Disk {
	d := &Disk{info: info, limits: l, calls: systemCalls()}
	d.fd.Store(int32(fd))
	d.length.Store(info.Sectors)
	return d
}

// Name is what the configuration calls the disk.
func (d *Disk) Name() string { return d.info.Name }

// Kind is what the disk is made of.
func (d *Disk) Kind() Kind { return d.info.Kind }

// Node is the kernel's name of a block device ("/dev/nvme0n1"), the path of a file, or "memory".
func (d *Disk) Node() string { return d.info.Node }

// Rdev is the device number of a block device, as in st_rdev, and 0 for others.
func (d *Disk) Rdev() uint64 { return d.info.Rdev }

// Sectors is the length, as of when the disk was opened, or as SetSectors has it.
func (d *Disk) Sectors() uint64 { return d.length.Load() }

// Identity is what the disk calls itself; empty unless it is a block device.
func (d *Disk) Identity() Identity { return d.info.Identity }

// Info is what Inspect would have said.
func (d *Disk) Info() Info {
	i := d.info
	i.Sectors = d.Sectors()
	return i
}

// ReadOnly reports whether the disk was opened for reading only.
func (d *Disk) ReadOnly() bool { return d.info.ReadOnly }

// FD is the file descriptor, -1 after Close. It stays the disk's: closing it is Close's.
func (d *Disk) FD() int { return int(d.fd.Load()) }

// Limits is what the disk can do. A block device has no discard unless DiscardByCommand: fallocate on it
// writes zeroes (blkdev_fallocate), and that is not what a discard asks for.
func (d *Disk) Limits() limits.Limits {
	l := d.limits
	if d.info.Kind == Block && !d.discard.Load() {
		l.MaxDiscardSectors, l.MaxHWDiscardSectors, l.DiscardGranularity = 0, 0, 0
	}
	return l
}

// QueueBytes is the most bytes that a hardware queue of a block device has at once (limits.QueueBytes), as of when the disk was
// opened. 0 is unknown: of files, memory, and devices that take bios without requests.
func (d *Disk) QueueBytes() uint64 { return d.queue }

// DiscardByCommand reports whether a block device is discarded with the io_uring command
// BLOCK_URING_CMD_DISCARD; false until SetDiscardByCommand says so, and for files and memory, which are
// discarded by punching holes.
func (d *Disk) DiscardByCommand() bool { return d.info.Kind == Block && d.discard.Load() }

// SetDiscardByCommand tells a block device whether its ring takes BLOCK_URING_CMD_DISCARD. Whoever has the
// ring finds out, and says so before the disk's limits are used. It is nothing to files and memory.
func (d *Disk) SetDiscardByCommand(ok bool) { d.discard.Store(ok) }

// ZeroRange reports whether fallocate zeroes a range of the disk and keeps it allocated (FALLOC_FL_ZERO_RANGE). tmpfs, and
// so memory, can only punch holes.
func (d *Disk) ZeroRange() bool { return !d.noZero }

// Close lets go of the disk; a second Close does nothing. The hold lasts until I/O in flight has ended.
func (d *Disk) Close() error {
	fd := d.fd.Swap(-1)
	if fd < 0 {
		return nil
	}
	if err := unix.Close(int(fd)); err != nil {
		return fmt.Errorf("disk %s: close: %w", d.info.Name, err)
	}
	return nil
}
