package vm

import (
	"slices"
	"testing"
)

// A guest that waits for a disk of QEMU's must not jump to its next timer: the command's time would be up.
func TestCountedGuestWaitsForDrives(t *testing.T) {
	for drives, want := range map[bool]string{false: "shift=0,sleep=off", true: "shift=0"} {
		args := accelArgs("tcg", true, drives)
		if i := slices.Index(args, "-icount"); i < 0 || args[i+1] != want {
			t.Errorf("drives %v: %q", drives, args)
		}
	}
	if args := accelArgs("tcg", false, false); slices.Contains(args, "-icount") {
		t.Errorf("not counted: %q", args)
	}
}
