package disk

import (
	"testing"
	"unsafe"

	"github.com/ublk-go/ublk-linear/target"
)

// The header points to its own data, command and sense buffer, outside the Go heap, and the data have their own pages.
func TestCopySCSIAddress(t *testing.T) {
	d, _ := lunDisk(t, "a", naaA, 512, 0, 1<<20)
	d.calls.scsi = func(_ int, s *scsiSlot) error {
		h, base := s.header(), uintptr(unsafe.Pointer(&s.mem[0]))
		if h.Data != base || base%4096 != 0 || h.Sense != base+8192 || h.MaxSense != 96 || h.Cmd != base+8192+96 || h.CmdLen != 16 || unsafe.Pointer(h) != unsafe.Pointer(&s.mem[8192+96+16]) {
			t.Errorf("%+v at %p, data at %#x", h, h, base)
		}
		if h.InterfaceID != 'S' || h.Flags != 0 || h.IovecCount != 0 {
			t.Errorf("%+v", h)
		}
		return nil
	}
	if _, err := d.CopySCSI(d, []target.Range{{Start: 0, Len: 1}}, 8, false); err != nil {
		t.Error(err)
	}
}
