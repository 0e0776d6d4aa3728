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
// has run for 10 ms, so a queue that has nothing to do waits untold for four times that at most.
//
// What may take long and cannot be interrupted, giving commands to a disk whose driver may sleep, is always told.

// A thread that has a place may wait without the runtime's knowledge. There are places for half of the runtime's processors: the
// others serve who is not a queue.
var (
	untold atomic.Int32 // places that are taken
	places atomic.Int32 // as of when BriefAt was called last
)

// BriefAt lets waits begin untold. *n is how many of the entries that are queued may take long when they are submitted, other
// than ublk's own commands: while there are any, what is queued is submitted by a call of its own, of which the runtime knows.
// Enter sets *n to zero when all is submitted. It must be the owning thread's alone.
//
// It is also what notices, for all rings, that GOMAXPROCS is another.
func (r *Ring) BriefAt(n *int) {
	places.Store(mayWaitUntold())
	r.brief, r.lengthy = true, n
}

// mayWaitUntold is how many may.
func mayWaitUntold() int32 {
	if strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1") {
		return 0 // no signal would come
	}
	return int32(runtime.GOMAXPROCS(0) / 2)
}

// claim takes a place, if one is free. The ring keeps it from one wait to the next, until one takes so long that it goes on told:
// threads that are busy do not write to what all of them share.
func (r *Ring) claim() bool {
	if !r.brief || untold.Load() >= places.Load() {
		return false
	}
	if untold.Add(1) > places.Load() {
		untold.Add(-1)
		return false
	}
	r.untold = true
	return true
}

// yield gives the place back.
func (r *Ring) yield() {
	if r.untold {
		r.untold = false
		untold.Add(-1)
	}
}

// begin is Enter where its short way does not do: it finds out how the wait is to begin.
func (r *Ring) begin(wait, flags uint32) error {
	if wait == 0 || !r.untold && !r.claim() {
		return r.told(wait, flags)
	}
	if *r.lengthy != 0 {
		r.enters++
		errno := enter(r.enterFD, r.Queued(), 0, flags)
		if r.Queued() == 0 {
			*r.lengthy = 0
		}
		if errno != 0 && errno != unix.EINTR || r.Ready() >= wait {
			return worth(errno)
		}
	}
	r.enters++
	return r.goOn(wait, flags, enterUntold(r.enterFD, r.Queued(), wait, flags))
}

// goOn is what comes behind an untold wait. If that was interrupted it is begun again, once: every 10 ms the monitor interrupts who
// has run for so long, and under load what is waited for is about to come. Told waits would be noticed by the monitor then, which
// would look around at short intervals again. A wait that is interrupted a second time goes on told, with what is still queued,
// and the place is somebody else's.
//
// That it is a function with a frame matters: it is entered behind the interruption, and so the goroutine gives way here to
// who asked for that.
func (r *Ring) goOn(wait, flags uint32, errno unix.Errno) error {
	for again := true; ; again = false {
		if errno != 0 && errno != unix.EINTR || r.Ready() >= wait {
			return worth(errno)
		}
		if !again {
			r.yield()
			return r.told(wait, flags)
		}
		r.enters++
		errno = enterUntold(r.enterFD, r.Queued(), wait, flags)
	}
}
