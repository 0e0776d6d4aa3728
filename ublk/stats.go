package ublk

import "sync/atomic"

// Stats are counters that a queue keeps and anyone may read.
type Stats struct {
	Requests [5]atomic.Uint64 // by target.Op
	Bytes    [5]atomic.Uint64
	Errors   atomic.Uint64
	Commands atomic.Uint64 // sent to disks
	Retries  atomic.Uint64 // sent again: short transfers and EAGAIN
}
