package ublk

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// patience is how long a test waits for what must happen.
const patience = 5 * time.Second

// enter makes a queue's gate, and gives it back with the test.
func enter(t tester, hs *holds) *gate {
	t.Helper()
	g, err := hs.join()
	if err != nil {
		t.Fatalf("join: %v", err)
		return nil
	}
	if c, ok := t.(interface{ Cleanup(func()) }); ok {
		c.Cleanup(func() {
			hs.leave(g)
			g.armed = false
			g.free()
		})
	}
	return g
}

// bell takes the read of the bell, or its cancellation.
func (k *kernel) bell(e *uapi.SQE) {
	g := k.q.gate
	switch {
	case e.UserData == bellData && e.Opcode == uapi.IORING_OP_READ && e.FD == int32(g.fd) && e.Addr == addrOf(g.mem) && e.Len == 8 && e.Off == 0 && e.Flags == 0:
		if k.armed {
			k.t.Fatalf("the bell's read is armed twice")
		}
		k.armed = true
	case e.UserData == hushData && e.Opcode == uapi.IORING_OP_ASYNC_CANCEL && e.Addr == bellData && e.Off == 0 && e.OpFlags == 0:
		if k.armed {
			k.armed = false
			k.post(bellData, -int32(unix.ECANCELED))
		}
		k.post(hushData, 0)
	default:
		k.t.Fatalf("no read of the bell: %+v", e)
	}
}

// hear completes the read if the bell was rung; with a seed not always, unless it must.
func (k *kernel) hear(must bool) {
	g := k.q.gate
	if k.armed && g.fd >= 0 && (must || k.chance(2)) && awaits(g.fd, 0) {
		if n, err := unix.Read(g.fd, g.mem[:bellSize]); n != bellSize {
			k.t.Fatalf("read of the eventfd: %d %v", n, err)
		}
		k.armed = false
		k.post(bellData, bellSize)
	}
}

// awaits says whether a descriptor can be read within d.
func awaits(fd int, d time.Duration) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(d.Milliseconds()))
	return n == 1
}

// rung says whether the armed read would complete.
func (k *kernel) rung() bool { return k.armed && awaits(k.q.gate.fd, 0) }

// attend makes the kernel wait for the bell, as the real one does, as long as someone may ring it: until done is closed. A
// queue that has requests to answer then and is not woken fails the test.
func (k *kernel) attend(done <-chan struct{}) {
	k.idle = func() bool {
		for end := time.Now().Add(patience); time.Now().Before(end); {
			if k.armed && awaits(k.q.gate.fd, time.Millisecond) {
				return true
			}
			select {
			case <-done:
				// What was rung before is still to be heard.
				return k.rung()
			default:
			}
		}
		return false
	}
}
