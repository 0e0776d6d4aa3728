package ublk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Bounds and defaults of a Spec.
const (
	MaxDepth     = uapi.UBLK_MAX_QUEUE_DEPTH
	MaxQueues    = 128
	MaxIOLimit   = 1 << 20
	DefaultDepth = 128
	DefaultMaxIO = 512 << 10
)

// Spec is a device to add.
type Spec struct {
	ID       int           // N of /dev/ublkbN; -1: the driver chooses
	Queues   int           // hardware queues; 0: one. The driver lowers it to the number of CPUs
	Depth    int           // requests in flight per queue, 1..MaxDepth; 0: DefaultDepth
	MaxIO    uint32        // the largest request in bytes, a multiple of the page size up to MaxIOLimit; 0: DefaultMaxIO
	Sectors  uint64        // capacity in 512-byte sectors
	Limits   limits.Limits // what the device advertises, as far as ublk can say it
	ReadOnly bool
	DataPath DataPath // how data goes between the driver and the disks
	Mark     uint64   // kept by the driver for whoever finds the device later (ublksrv_flags)
	Recovery Recovery // what becomes of the device when this process dies
	// DiskFailed is called from a queue's thread for every command that failed, sector counting from the disk's start. It must
	// not block. nil: nothing.
	DiskFailed func(disk target.Disk, op target.Op, sector uint64, errno unix.Errno)
	// DiskSuspect is called from a queue's thread for every command that was put aside because its disk may be gone (Device.Park).
	// It must not block. nil: nothing.
	DiskSuspect func(disk target.Disk)
}

func (s *Spec) setDefaults() {
	if s.Queues == 0 {
		s.Queues = 1
	}
	if s.Depth == 0 {
		s.Depth = DefaultDepth
	}
	if s.MaxIO == 0 {
		s.MaxIO = DefaultMaxIO
	}
}

// Validate lists every value out of range, joined.
func (s *Spec) Validate() error {
	d := *s
	d.setDefaults()
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if d.ID < -1 || d.ID >= 1<<20 {
		bad("id %d is not in 0..%d, or -1", d.ID, 1<<20-1)
	}
	if d.Queues < 1 || d.Queues > MaxQueues {
		bad("queues %d is not in 1..%d", d.Queues, MaxQueues)
	}
	if d.Depth < 1 || d.Depth > MaxDepth {
		bad("depth %d is not in 1..%d", d.Depth, MaxDepth)
	}
	if page := uint32(os.Getpagesize()); d.MaxIO < page || d.MaxIO > MaxIOLimit || d.MaxIO%page != 0 {
		bad("max I/O %d is not a multiple of %d up to %d", d.MaxIO, page, MaxIOLimit)
	}
	if int(d.Recovery) >= len(recoveries) {
		bad("recovery %d is not a policy", d.Recovery)
	}
	lbs := uint64(d.Limits.LogicalBlock)
	switch {
	case lbs < 512 || lbs&(lbs-1) != 0:
		bad("logical block size %d is not a power of two from 512 on", lbs)
	case lbs > uint64(os.Getpagesize()):
		bad("logical block size %d is larger than a page (%d): ublk cannot say it", lbs, os.Getpagesize())
	case d.Sectors == 0 || d.Sectors%(lbs/512) != 0:
		bad("%d sectors is not a positive multiple of the logical block size %d", d.Sectors, lbs)
	}
	return errors.Join(errs...)
}
