package uring

import (
	"os"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A thread that blocks in Syscall costs more than the switch: Go's runtime takes its processor away, its monitor thread is
// woken for that and looks around at short intervals afterwards, and the thread has to get a processor again. A wait of which
// the runtime is not told costs none of that, but keeps the processor. So a ring whose waits are usually short begins them
// untold, and goes on in the ordinary way when somebody wants the processor, or the world to stop: that is a signal then
// (runtime.preemptM), again and again until it is heard, and ends the wait with EINTR. The monitor thread sends it to whoever
// has run for 10 ms, so no wait is longer than two of those.
//
// What may take long and cannot be interrupted, giving commands to a disk, is always told.

// untold is how many threads wait without the runtime's knowledge. There are never more than half of its processors: the others
// serve who is not a queue.
var untold atomic.Int32

// BriefAt lets waits begin untold. *n is how many of the entries that are queued may take long when they are submitted, other
// than ublk's own commands: while there are any, what is queued is submitted by a call of its own, of which the runtime knows.
// Enter sets *n to zero when all is submitted. It must be the owning thread's alone.
func (r *Ring) BriefAt(n *int) { r.untold, r.lengthy = mayWaitUntold(), n }

// mayWaitUntold is how many may.
func mayWaitUntold() int32 {
	if strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1") {
		return 0 // no signal would come
	}
	return int32(runtime.GOMAXPROCS(0) / 2)
}

// briefly submits what is queued and waits untold. done is false when the wait is to go on, with
// what is still queued.
// hot path
func (r *Ring) briefly(wait, flags uint32) (done bool, errno unix.Errno) {
	if untold.Load() >= r.untold {
		return false, 0
	}
	if *r.lengthy != 0 {
		r.enters++
		errno = enter(r.enterFD, r.Queued(), 0, flags)
		if errno != 0 || r.Ready() >= wait {
			return true, errno
		}
	}
	if untold.Add(1) > r.untold {
		untold.Add(-1)
		return false, 0
	}
	r.enters++
	errno = enterUntold(r.enterFD, r.Queued(), wait, flags)
	untold.Add(-1)
	done = r.Ready() >= wait || errno != 0 && errno != unix.EINTR
	return done, errno
}
