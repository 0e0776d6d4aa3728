package ublk

import "github.com/ublk-go/ublk-linear/ublk/internal/uapi"

// Recovery says what becomes of a device whose server dies.
type Recovery uint8

// The policies. A device of the first goes with its server; the others wait for a successor (Control.Recover).
const (
	NoRecovery      Recovery = iota // I/O fails, and the disk is removed
	RecoveryReissue                 // requests under way are sent to the successor, new ones wait for it
	RecoveryQueue                   // requests under way fail, new ones wait for the successor
	RecoveryFail                    // requests under way and new ones fail until there is a successor (Linux 6.13)
)

var recoveries = [...]struct {
	name  string
	flags Features
}{
	NoRecovery:      {"none", 0},
	RecoveryReissue: {"reissue", uapi.UBLK_F_USER_RECOVERY | uapi.UBLK_F_USER_RECOVERY_REISSUE},
	RecoveryQueue:   {"queue", uapi.UBLK_F_USER_RECOVERY},
	RecoveryFail:    {"fail", uapi.UBLK_F_USER_RECOVERY | uapi.UBLK_F_USER_RECOVERY_FAIL_IO},
}

// recoveryFlags are the flags that make the policy.
const recoveryFlags Features = uapi.UBLK_F_USER_RECOVERY | uapi.UBLK_F_USER_RECOVERY_REISSUE | uapi.UBLK_F_USER_RECOVERY_FAIL_IO

// Flags is what the policy asks of the driver; Features.Missing says what a driver lacks of it.
func (r Recovery) Flags() Features { return recoveries[r].flags }

func (r Recovery) String() string {
	if int(r) < len(recoveries) {
		return recoveries[r].name
	}
	return "unknown"
}

// Recovery is the policy that a device's flags say.
func (f Features) Recovery() Recovery {
	for r := range recoveries {
		if f&recoveryFlags == recoveries[r].flags {
			return Recovery(r)
		}
	}
	return NoRecovery
}
