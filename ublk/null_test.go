package ublk

import (
	"testing"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// A disk that is not there is sent nothing: whatever the command, the kernel is asked for its result and no more, on either
// path, and none of what a disk would be asked is left in the entry.
func TestNullDiskIsSentNothing(t *testing.T) {
	iovs := []uapi.Iovec{{Base: 4096, Len: 512}, {Base: 8192, Len: 1024}}
	for k := kindRead; k <= kindZero; k++ {
		for _, fixed := range []bool{false, true} {
			o := op{kind: k, at: 1 << 30, left: 1536, niov: 2, dsync: k == kindWrite, tag: 7}
			if k == kindSync {
				o.left = 0
			}
			var e uapi.SQE
			o.fill(&e, &Backing{FD: 5, Null: true, Block: true}, iovs, fixed)
			want := uapi.SQE{Opcode: uapi.IORING_OP_NOP, OpFlags: uapi.IORING_NOP_INJECT_RESULT, Len: uint32(o.left), FD: 5}
			if e != want {
				t.Errorf("kind %d: %+v", k, e)
			}
			if v, errno := o.complete(int32(e.Len), iovs); v != finished || errno != 0 {
				t.Errorf("kind %d: the result is %v, %v", k, v, errno)
			}
		}
	}
}
