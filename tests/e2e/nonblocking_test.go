package e2e

import (
	"fmt"
	"testing"

	"github.com/ublk-go/ublk-linear/disk"
)

// Which drivers may sleep when they are given a request is the kernel's to say: null_blk does with memory
// (BLK_MQ_F_BLOCKING), SCSI never does, and dm is no driver of blk-mq at all.
func TestNonBlocking(t *testing.T) {
	anyKernel(t)
	scsi := scsiDisks(t, 2, 64, 512)
	for _, c := range []struct {
		name, node string
		want       bool
	}{
		{"null_blk", nullBlk(t, 16, "memory_backed=0"), true},
		{"null_blk with memory", nullBlk(t, 16), false},
		{"SCSI", scsi[0], true},
		{"a partition of it", twoPartitions(t, scsi[1], 8192, 16384), true},
		{"dm-linear", dmCreate(t, "nonblocking", fmt.Sprintf("0 2048 linear %s 0\n", nullBlk(t, 16, "memory_backed=0"))), false},
	} {
		d, err := disk.Open(t.Context(), disk.Spec{Name: "x", Path: c.node, UnstablePath: true}, nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := d.NonBlocking(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
