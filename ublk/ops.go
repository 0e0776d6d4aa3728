package ublk

import (
	"golang.org/x/sys/unix"

	faults "github.com/ublk-go/ublk-linear/fault"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Backing is an open disk as a queue needs it. The index in the list given to Start is the target.Disk.
type Backing struct {
	FD    int
	Name  string // for messages
	Block bool   // a block device: discards are BLOCK_URING_CMD_DISCARD. Otherwise a file: they punch holes
	// NonBlocking is set where the disk's driver never sleeps when it is given a read or write (disk.Disk.NonBlocking): the queue
	// does not tell Go's runtime then that it is in the kernel.
	NonBlocking bool
	// NoZeroRange is set where fallocate cannot zero without punching (tmpfs, memfd).
	NoZeroRange bool
	// Null is set for a disk that is not there: what it is sent is done at once, moves no data (a read returns whatever lay in
	// the pages before), and FD is not used. It is for measuring what a device costs without its disks. Linux 6.10.
	Null   bool
	Faults *faults.Disk // asked before each command; nil: none
	Stats  *DiskStats   // counts what the disk is asked for; nil: nothing does
}

// maxRetries bounds how often one command is sent again after EAGAIN while it makes no progress. The second time on it is sent
// to a kernel worker that may block, so that more than one retry is already unusual.
const maxRetries = 64

// kind is what a command asks of a disk; its values are those of target.Op.
type kind uint8

const (
	kindRead    = kind(target.Read)
	kindWrite   = kind(target.Write)
	kindSync    = kind(target.Flush)
	kindDiscard = kind(target.Discard)
	kindZero    = kind(target.WriteZeroes)
)

// op is one command to one disk: a slot of the queue's pool.
type op struct {
	at      uint64 // byte position on the disk
	left    uint64 // bytes not yet done
	bytes   uint64 // of the command
	iov     uint32 // first iovec not yet done, in the queue's array
	niov    uint32
	tag     uint16
	disk    target.Disk
	kind    kind
	dsync   bool
	noUnmap bool
	retries uint8
	mark    int64      // of a flush: what was written before it (DiskStats)
	end     unix.Errno // the result when all is done: a torn write's (fault.go)
}

// atOnce says whether who gives the command to its disk gets on without sleeping: io_uring tries a read or write with IOCB_NOWAIT
// first, and leaves to a worker what would wait for a request or a frozen queue.
// hot path
func (o *op) atOnce(b *Backing) bool { return b.NonBlocking && o.kind <= kindWrite }

// fill writes the command into a submission entry.
// hot path
func (o *op) fill(e *uapi.SQE, b *Backing, iovs []uapi.Iovec, fixed bool) {
	e.FD = int32(b.FD)
	if o.retries > 0 {
		e.Flags = uapi.IOSQE_ASYNC
	}
	if b.Null {
		e.Opcode, e.OpFlags, e.Len = uapi.IORING_OP_NOP, uapi.IORING_NOP_INJECT_RESULT, uint32(o.left)
		return
	}
	switch o.kind {
	case kindRead, kindWrite:
		e.Off = o.at
		if o.dsync {
			e.OpFlags = uapi.RWF_DSYNC
		}
		v := &iovs[o.iov]
		one, many := uapi.IORING_OP_READ+uint8(o.kind), uapi.IORING_OP_READV+uint8(o.kind)
		if fixed {
			one, many, e.BufIndex = uapi.IORING_OP_READ_FIXED+uint8(o.kind), uapi.IORING_OP_READV_FIXED+uint8(o.kind), o.tag
		}
		if o.niov == 1 {
			e.Opcode, e.Addr, e.Len = one, v.Base, uint32(v.Len)
		} else {
			e.Opcode, e.Addr, e.Len = many, addrOfIovec(v), o.niov
		}
	case kindSync:
		e.Opcode, e.OpFlags = uapi.IORING_OP_FSYNC, uapi.IORING_FSYNC_DATASYNC
	case kindDiscard:
		if b.Block {
			e.Opcode, e.Off, e.Addr, e.Addr3 = uapi.IORING_OP_URING_CMD, uapi.BLOCK_URING_CMD_DISCARD, o.at, o.left
			return
		}
		o.fallocate(e, uapi.FALLOC_FL_PUNCH_HOLE)
	case kindZero:
		// Zeroing that may release the blocks must not fall back to writing zeroes: the block layer above has that
		// fallback and limits of its own for it. blkdev_fallocate takes PUNCH_HOLE so (BLKDEV_ZERO_NOFALLBACK).
		if o.noUnmap && !b.NoZeroRange {
			o.fallocate(e, uapi.FALLOC_FL_ZERO_RANGE)
		} else {
			o.fallocate(e, uapi.FALLOC_FL_PUNCH_HOLE)
		}
	}
}

// fallocate always runs in a kernel worker (IORING_OP_FALLOCATE is never tried inline): the queue does not block.
func (o *op) fallocate(e *uapi.SQE, mode uint32) {
	e.Opcode, e.Off, e.Addr, e.Len = uapi.IORING_OP_FALLOCATE, o.at, o.left, mode|uapi.FALLOC_FL_KEEP_SIZE
}

// verdict of a completion.
type verdict uint8

const (
	finished verdict = iota
	again            // send what is left
)

// complete takes a command's result: the rest of a short transfer and EAGAIN are sent again; errno is 0 or the failure.
// A read or write of nothing is the end of the disk, where dm would have had an error from the device: EIO.
// hot path
func (o *op) complete(res int32, iovs []uapi.Iovec) (verdict, unix.Errno) {
	if res < 0 {
		errno := unix.Errno(-res)
		if errno == unix.EAGAIN || errno == unix.EINTR {
			if o.retries++; o.retries <= maxRetries {
				return again, 0
			}
			return finished, unix.EIO
		}
		if errno == unix.EOPNOTSUPP && o.kind == kindDiscard && o.retries == 0 {
			// The first attempt must not block (REQ_NOWAIT), and submit_bio_noacct refuses that on a disk that cannot tell,
			// as on dm-log-writes. A kernel worker may block.
			o.retries++
			return again, 0
		}
		return finished, errno
	}
	if o.kind > kindWrite {
		return finished, 0
	}
	n := uint64(res)
	switch {
	case n == 0, n > o.left:
		return finished, unix.EIO
	case n == o.left:
		return finished, o.end
	}
	o.left -= n
	o.at += n
	o.retries = 0
	for n > 0 {
		v := &iovs[o.iov]
		if n < v.Len {
			v.Base += n
			v.Len -= n
			break
		}
		n -= v.Len
		o.iov++
		o.niov--
	}
	return again, 0
}
