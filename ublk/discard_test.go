package ublk

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// A disk without REQ_NOWAIT answers EOPNOTSUPP to a discard that must not block. It is sent again to a worker that may, once.
func TestDiscardMayBlock(t *testing.T) {
	for _, c := range []struct {
		name  string
		never bool
		res   int32
	}{{"by a worker", false, 0}, {"not at all", true, -int32(unix.EOPNOTSUPP)}} {
		k := boot(t, setup{shape: mixed, maxIO: 128})
		k.fault = func(x *command) fault {
			if x.op == uapi.IORING_OP_URING_CMD && (c.never || x.flags&uapi.IOSQE_ASYNC == 0) {
				return fault{errno: unix.EOPNOTSUPP}
			}
			return fault{}
		}
		a := discard(k, 0, 8)
		k.serve(a)
		if a.res != c.res || len(k.log) != 2 || k.log[1].flags&uapi.IOSQE_ASYNC == 0 {
			t.Errorf("%s: %v, %v", c.name, a, k.log)
		}
	}
}
