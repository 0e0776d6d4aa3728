package ublk

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrNoDriver is returned when /dev/ublk-control is not there.
	ErrNoDriver = errors.New("this kernel has no ublk: /dev/ublk-control is missing (modprobe ublk_drv; Debian's linux-image-amd64 and kernels with CONFIG_BLK_DEV_UBLK=m have it)")
	// ErrTooOld is returned when the driver lacks what every device here needs.
	ErrTooOld = errors.New("the ublk driver is too old: Linux 6.8 or later is needed")
	// ErrTimeout is returned when the driver did not answer a command in time. The command may still take effect.
	ErrTimeout = errors.New("the driver did not answer in time")
	// ErrAborted is reported by a device whose queues ended without Stop.
	ErrAborted = errors.New("the driver ended the queue")
	// ErrEnded is returned by Hold, Suspend and Swap of a device that is being stopped, or that has lost a queue.
	ErrEnded = errors.New("the device has ended")
	// ErrNoRecovery is returned by Recover, Quiesce and Detach for a device that was added without a Recovery policy.
	ErrNoRecovery = errors.New("the device was added without a recovery policy: it goes with its server")
	// ErrDead is returned by Recover for a device that was never started, or is stopped. It can only be deleted.
	ErrDead = errors.New("the device was never started, or is stopped: nothing is there to recover, delete it")
	// ErrUnrecoverable is returned by Recover, or by Start behind it, when the driver cannot take up a recovery that another server has begun and not
	// ended (before Linux 6.16). The device can only be deleted.
	ErrUnrecoverable = errors.New("a recovery was begun and broken off, and this kernel cannot take it up again (6.16 can): delete the device")

	errReplacing  = errors.New("a disk that is back is being taken over")
	errNotStarted = errors.New("the device is not started")
)

// FeatureError is returned when the driver lacks what is asked of it. errors.Is finds EOPNOTSUPP.
type FeatureError struct {
	Missing []Feature
}

func (e *FeatureError) Error() string {
	var out []string
	for _, f := range e.Missing {
		out = append(out, fmt.Sprintf("%s (Linux %s)", f.Name, f.Since))
	}
	return "this kernel's ublk lacks " + strings.Join(out, ", ")
}

// Unwrap is the errno that a driver has for it.
func (e *FeatureError) Unwrap() error { return unix.EOPNOTSUPP }

// OpError is a failed step of a device's life: what was done, to which device (-1: none yet), and the cause, which
// errors.Is reaches.
type OpError struct {
	Op  string
	Dev int
	Err error
}

func (e *OpError) Error() string {
	if e.Dev < 0 {
		return fmt.Sprintf("ublk %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("ublk%d %s: %v", e.Dev, e.Op, e.Err)
}

func (e *OpError) Unwrap() error { return e.Err }
