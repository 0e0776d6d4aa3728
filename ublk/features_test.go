package ublk

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

const featureList = `SUPPORT_ZERO_COPY 6.15 true
URING_CMD_COMP_IN_TASK 6.0 false
NEED_GET_DATA 6.0 false
USER_RECOVERY 6.1 false
USER_RECOVERY_REISSUE 6.1 false
UNPRIVILEGED_DEV 6.3 false
CMD_IOCTL_ENCODE 6.4 true
USER_COPY 6.5 false
ZONED 6.6 false
USER_RECOVERY_FAIL_IO 6.13 false
UPDATE_SIZE 6.16 true
AUTO_BUF_REG 6.16 false
QUIESCE 6.16 false
PER_IO_DAEMON 6.16 false
BUF_REG_OFF_DAEMON 6.17 false
BATCH_IO 7.0 false
INTEGRITY 7.0 false
SAFE_STOP_DEV 7.0 false
NO_AUTO_PART_SCAN 7.0 false
SHMEM_ZC 7.1 true
BIT_20  true
BIT_63  true
`

func TestFeatures(t *testing.T) {
	f := Features(uapi.UBLK_F_SUPPORT_ZERO_COPY | uapi.UBLK_F_CMD_IOCTL_ENCODE | uapi.UBLK_F_UPDATE_SIZE | uapi.UBLK_F_SHMEM_ZC | 1<<20 | 1<<63)
	var b strings.Builder
	for _, x := range f.List() {
		fmt.Fprintf(&b, "%s %s %v\n", x.Name, x.Since, x.Has)
	}
	if d := cmp.Diff(featureList, b.String()); d != "" {
		t.Error(d)
	}
	if got := f.String(); got != "SUPPORT_ZERO_COPY|CMD_IOCTL_ENCODE|UPDATE_SIZE|SHMEM_ZC|BIT_20|BIT_63" {
		t.Error(got)
	}
	if Features(0).String() != "" || !f.Has(UpdateSize) || f.Has(UpdateSize|SafeStop) || !f.Has(0) {
		t.Error("Has")
	}
}

// The names stand at the bits of the header.
func TestFeatureBits(t *testing.T) {
	for name, bit := range map[string]Features{"USER_RECOVERY": UserRecovery, "AUTO_BUF_REG": AutoBufReg, "UPDATE_SIZE": UpdateSize, "SAFE_STOP_DEV": SafeStop,
		"CMD_IOCTL_ENCODE": uapi.UBLK_F_CMD_IOCTL_ENCODE, "QUIESCE": uapi.UBLK_F_QUIESCE, "BATCH_IO": uapi.UBLK_F_BATCH_IO, "SHMEM_ZC": uapi.UBLK_F_SHMEM_ZC} {
		if bit.String() != name {
			t.Errorf("%s is %s", name, bit)
		}
	}
}

func TestState(t *testing.T) {
	if got := fmt.Sprint(Dead, Live, Quiesced, FailIO, State(9)); got != "dead live quiesced fail-io unknown" {
		t.Error(got)
	}
}
