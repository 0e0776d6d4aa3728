package daemon

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHoldDisk: while a disk is held, neither it nor its file can be had by anybody else; then both can.
func TestHoldDisk(t *testing.T) {
	f, run := load(t, volumes), runDir(t)
	inst, err := NewInstance(f.Path, run)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d, release, err := HoldDisk(t.Context(), f, "a", run, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d.ReadOnly() || d.Sectors() != 2048 {
			t.Errorf("%+v", d.Info())
		}
		if _, err := inst.Lock(); !errors.Is(err, unix.EBUSY) {
			t.Errorf("the instance is free: %v", err)
		}
		if _, _, err := HoldDisk(t.Context(), f, "b", run, nil); !errors.Is(err, unix.EBUSY) {
			t.Errorf("the file is free: %v", err)
		}
		other := load(t, strings.ReplaceAll(volumes, `file = "a.img"`, `file = "`+f.Disk("a").File+`"`))
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // it does not wait
		if _, _, err := HoldDisk(ctx, other, "a", run, nil); !errors.Is(err, unix.EBUSY) {
			t.Errorf("the disk is free: %v", err)
		}
		if err := release(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := HoldDisk(t.Context(), f, "x", run, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, _, err := HoldDisk(t.Context(), f, "n", run, nil); err == nil || !strings.Contains(err.Error(), "only declared") {
		t.Error(err)
	}
	if lock, err := inst.Lock(); err != nil { // a failure gives it back
		t.Error(err)
	} else {
		lock.Close()
	}
}
