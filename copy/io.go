package blkcopy

import (
	"context"

	"github.com/ublk-go/ublk-linear/target"
)

// IO is a disk as it is read and written. Bytes count from its start; buffers are aligned to 512 bytes and multiples of the
// disk's logical block. bufs is the caller's again after the call, and unchanged. *disk.Disk is one.
type IO interface {
	// Readv fills bufs in order; moved is the bytes that came, also with an error.
	Readv(bufs [][]byte, at uint64) (moved uint64, err error)
	// Writev writes bufs in order; with fua they are durable when it returns.
	Writev(bufs [][]byte, at uint64, fua bool) (moved uint64, err error)
	// Sync makes durable what was written before.
	Sync() error
}

// Zeroer is an IO that zeroes without being sent the zeroes. An error means that nothing is known of the range.
type Zeroer interface {
	Zero(at, n uint64) error
}

// Holes is an IO that knows where nothing was ever written: NextData is the next range of bytes at or after at, and below
// limit, that may hold data; start is limit when there is none.
type Holes interface {
	NextData(at, limit uint64) (start, end uint64, err error)
}

// Method is a way in which disks copy by themselves.
type Method interface {
	// Copy does one command. done is the sectors from the first of its destination on that are certainly copied: all of
	// them without an error; with one, what lies behind them may be anything.
	Copy(c *Command, p *Policy) (done uint64, err error)
}

// Locker keeps everybody else out of a window while it is copied. The ranges are the devices', in sectors.
type Locker interface {
	// Lock returns when writes to src and dst, and reads of dst, that had begun have ended, and keeps new ones waiting until
	// unlock. It must not deadlock with other copies' windows.
	Lock(ctx context.Context, src, dst []target.Range) (unlock func(), err error)
}
