package ublk

import (
	"errors"
	"fmt"
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
	// ErrEnded is returned by Hold of a device that is being stopped, or that has lost a queue.
	ErrEnded = errors.New("the device has ended")
)

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
