package disk

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// TestCopyNVMeUnchecked: an overlap is sent, and the device's answer comes back as it is.
func TestCopyNVMeUnchecked(t *testing.T) {
	d, f := namespaceDisk(t, 512, 2048, 1000)
	src := []target.Range{{Start: 10, Len: 4}, {Start: 14, Len: 4}}
	if _, err := d.CopyNVMe(src, 14, false); !errors.Is(err, ErrCopyRequest) || len(f.list) > 0 {
		t.Fatalf("CopyNVMe sends an overlap: %v", err)
	}
	f.answers = []nvmeAnswer{{status: 0}, {status: 0x4183, result: 1}, {err: unix.EIO}}
	if status, _, err := d.CopyNVMeUnchecked(src, 14, true); status != 0 || err != nil {
		t.Errorf("0x%x %v", status, err)
	}
	if want := words(0, 0, 2058, 0, 3, 0, 0, 0, 0, 0, 2062, 0, 3, 0, 0, 0); string(f.list[:64]) != string(want) {
		t.Errorf("the list is % x", f.list[:64])
	}
	if status, result, err := d.CopyNVMeUnchecked(src, 14, false); status != 0x183 || result != 1 || err != nil {
		t.Errorf("0x%x %d %v", status, result, err)
	}
	if _, _, err := d.CopyNVMeUnchecked(src, 14, false); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
}

// TestCopyNVMeUncheckedBounds: all but the overlap is held to as in CopyNVMe, and nothing of what is refused is sent.
func TestCopyNVMeUncheckedBounds(t *testing.T) {
	for _, c := range []struct {
		name string
		src  []target.Range
		dst  uint64
	}{
		{"nothing", nil, 0},
		{"empty", []target.Range{{Start: 8}}, 0},
		{"too many", make([]target.Range, 257), 0},
		{"source past the end", []target.Range{{Start: 992, Len: 16}}, 0},
		{"source wraps", []target.Range{{Start: 1<<64 - 8, Len: 16}}, 0},
		{"destination past the end", []target.Range{{Start: 0, Len: 16}}, 992},
		{"odd start", []target.Range{{Start: 1, Len: 8}}, 16},
		{"odd length", []target.Range{{Start: 8, Len: 7}}, 16},
		{"odd destination", []target.Range{{Start: 8, Len: 8}}, 17},
	} {
		d, f := namespaceDisk(t, 4096, 2048, 1000)
		if _, _, err := d.CopyNVMeUnchecked(c.src, c.dst, false); !errors.Is(err, ErrCopyRequest) {
			t.Errorf("%s: %v", c.name, err)
		}
		if len(f.requests) > 0 {
			t.Errorf("%s: sent", c.name)
		}
	}
	d, f := namespaceDisk(t, 512, 0, 1000)
	d.copy = limits.Copy{Method: limits.NoCopy}
	if _, _, err := d.CopyNVMeUnchecked([]target.Range{{Len: 8}}, 16, false); !errors.Is(err, unix.EOPNOTSUPP) || len(f.requests) > 0 {
		t.Error("without the ability:", err)
	}
	d, f = namespaceDisk(t, 512, 0, 1000)
	d.info.ReadOnly = true
	if _, _, err := d.CopyNVMeUnchecked([]target.Range{{Len: 8}}, 16, false); !errors.Is(err, unix.EROFS) || len(f.requests) > 0 {
		t.Error("read-only:", err)
	}
}
