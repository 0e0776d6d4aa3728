package disk

import (
	"testing"
	"unsafe"

	"github.com/ublk-go/ublk-linear/target"
)

// The command points to its own list, and both are outside the Go heap, on a page of their own.
func TestCopyNVMeAddress(t *testing.T) {
	d, _ := namespaceDisk(t, 512, 0, 1<<20)
	d.calls.nvme = func(_ int, _ uint, s *nvmeSlot) (uint32, error) {
		if s == nil {
			return 7, nil
		}
		list := uintptr(unsafe.Pointer(&s.mem[0]))
		if got := s.command().Addr; got != uint64(list) || list%4096 != 0 {
			t.Errorf("the list is at %#x, and said to be at %#x", list, got)
		}
		if unsafe.Pointer(s.command()) != unsafe.Pointer(&s.mem[8192]) {
			t.Error("the command is not behind the list")
		}
		return 0, nil
	}
	if _, err := d.CopyNVMe([]target.Range{{Start: 0, Len: 1}}, 8, false); err != nil {
		t.Error(err)
	}
}
