package ublk

import (
	"unsafe"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

const timespecSize = int(unsafe.Sizeof(uapi.Timespec{}))

// timespecsOf views mapped memory as n timespecs.
func timespecsOf(m []byte, n int) []uapi.Timespec {
	return unsafe.Slice((*uapi.Timespec)(unsafe.Pointer(&m[:n*timespecSize][0])), n)
}

// addrOfTimespec is the address of a timespec in mapped memory.
// hot path
func addrOfTimespec(t *uapi.Timespec) uint64 { return uint64(uintptr(unsafe.Pointer(t))) }
