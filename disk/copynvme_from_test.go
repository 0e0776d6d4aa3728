package disk

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/target"
)

// A source on another partition: its own start is added and its own end counts; on another namespace, nothing is sent.
func TestCopyNVMeFrom(t *testing.T) {
	src, _ := namespaceDisk(t, 512, 2048, 1000)
	dst, f := namespaceDisk(t, 512, 8192, 4000)
	src.place.whole, dst.place.whole = 259, 259
	done, err := dst.CopyNVMeFrom(src, []target.Range{{Start: 992, Len: 8}}, 3992, false)
	if done != 8 || err != nil {
		t.Fatalf("%d, %v", done, err)
	}
	if want := words(0, 0, 2048+992, 0, 7, 0, 0, 0); !bytes.Equal(f.list[:32], want) {
		t.Errorf("list % x, not % x", f.list[:32], want)
	}
	if want := words(8192+3992, 0, 0, 0, 0, 0); !bytes.Equal(f.cmd[40:64], want) {
		t.Errorf("command % x, not % x", f.cmd[40:64], want)
	}
	sent := len(f.requests)
	for _, c := range []struct {
		name   string
		r      target.Range
		to     uint64
		change func()
		want   error
	}{
		{"past the source's end", target.Range{Start: 996, Len: 8}, 0, func() {}, ErrCopyRequest},
		{"past the destination's end", target.Range{Start: 0, Len: 8}, 3996, func() {}, ErrCopyRequest},
		{"partitions that overlap", target.Range{Start: 0, Len: 8}, 4, func() { dst.place.start = 2048 }, ErrCopyRequest},
		{"other blocks", target.Range{Start: 0, Len: 8}, 0, func() { dst.place.start = 8192; src.info.LogicalBlock = 4096 }, unix.EOPNOTSUPP},
		{"another namespace", target.Range{Start: 0, Len: 8}, 0, func() { src.info.LogicalBlock = 512; src.place.whole = 260 }, unix.EOPNOTSUPP},
		{"no namespace", target.Range{Start: 0, Len: 8}, 0, func() { src.place.whole, dst.place.whole = 0, 0 }, unix.EOPNOTSUPP},
	} {
		c.change()
		if done, err := dst.CopyNVMeFrom(src, []target.Range{c.r}, c.to, false); done != 0 || !errors.Is(err, c.want) || len(f.requests) != sent {
			t.Errorf("%s: %d, %v, %d requests", c.name, done, err, len(f.requests)-sent)
		}
	}
}
