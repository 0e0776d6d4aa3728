package ublk

import (
	"fmt"
	"strings"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Features is what the driver said to GET_FEATURES, or the flags of a device.
type Features uint64

// Flags that a caller asks about.
const (
	UserRecovery Features = uapi.UBLK_F_USER_RECOVERY
	AutoBufReg   Features = uapi.UBLK_F_AUTO_BUF_REG
	UpdateSize   Features = uapi.UBLK_F_UPDATE_SIZE
	SafeStop     Features = uapi.UBLK_F_SAFE_STOP_DEV
	CanQuiesce   Features = uapi.UBLK_F_QUIESCE
)

// featureNames has the name and the first mainline kernel of each bit; a distribution may have it earlier.
var featureNames = [...]struct{ name, since string }{
	{"SUPPORT_ZERO_COPY", "6.15"}, {"URING_CMD_COMP_IN_TASK", "6.0"}, {"NEED_GET_DATA", "6.0"}, {"USER_RECOVERY", "6.1"},
	{"USER_RECOVERY_REISSUE", "6.1"}, {"UNPRIVILEGED_DEV", "6.3"}, {"CMD_IOCTL_ENCODE", "6.4"}, {"USER_COPY", "6.5"},
	{"ZONED", "6.6"}, {"USER_RECOVERY_FAIL_IO", "6.13"}, {"UPDATE_SIZE", "6.16"}, {"AUTO_BUF_REG", "6.16"},
	{"QUIESCE", "6.16"}, {"PER_IO_DAEMON", "6.16"}, {"BUF_REG_OFF_DAEMON", "6.17"}, {"BATCH_IO", "7.0"},
	{"INTEGRITY", "7.0"}, {"SAFE_STOP_DEV", "7.0"}, {"NO_AUTO_PART_SCAN", "7.0"}, {"SHMEM_ZC", "7.1"},
}

// Has says whether all of want are there.
func (f Features) Has(want Features) bool { return f&want == want }

// Missing lists what a driver lacks of want; nil when it has all.
func (f Features) Missing(want Features) []Feature {
	var out []Feature
	for _, x := range (want &^ f).List() {
		if x.Has {
			x.Has = false
			out = append(out, x)
		}
	}
	return out
}

// Feature is one bit of the driver's answer.
type Feature struct {
	Name  string // as in ublk_cmd.h, without UBLK_F_
	Since string // the first mainline kernel that has it
	Has   bool
}

// List is every feature known here, in bit order, and any bit beyond as "BIT_n".
func (f Features) List() []Feature {
	var out []Feature
	for i, n := range featureNames {
		out = append(out, Feature{n.name, n.since, f>>i&1 == 1})
	}
	for i := len(featureNames); i < 64; i++ {
		if f>>i&1 == 1 {
			out = append(out, Feature{fmt.Sprintf("BIT_%d", i), "", true})
		}
	}
	return out
}

// String is the names of the bits that are set.
func (f Features) String() string {
	var out []string
	for _, x := range f.List() {
		if x.Has {
			out = append(out, x.Name)
		}
	}
	return strings.Join(out, "|")
}
