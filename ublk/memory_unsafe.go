package ublk

import (
	"unsafe"

	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// addrOf is the address of mapped memory, as the kernel is told it. The memory is never the Go heap's.
func addrOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

func putCtrlCmd(payload []byte, c *uapi.CtrlCmd) {
	*(*uapi.CtrlCmd)(unsafe.Pointer(&payload[:32][0])) = *c
}

// bytesOf views a struct that crosses in a command's payload; the caller copies it to mapped memory.
func infoBytes(i *uapi.DevInfo) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(i)), unsafe.Sizeof(*i))
}

func paramBytes(p *uapi.Params) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
}

// putIOCmd writes the 16 command bytes of an ordinary entry.
// hot path
func putIOCmd(e *uapi.SQE, c uapi.IOCmd) { *(*uapi.IOCmd)(unsafe.Pointer(&e.Addr3)) = c }

func getIOCmd(e *uapi.SQE) uapi.IOCmd { return *(*uapi.IOCmd)(unsafe.Pointer(&e.Addr3)) }

// descsOf views the mapped descriptors of a queue.
func descsOf(m []byte, depth int) []uapi.IODesc {
	return unsafe.Slice((*uapi.IODesc)(unsafe.Pointer(&m[:depth*int(unsafe.Sizeof(uapi.IODesc{}))][0])), depth)
}

// iovecsOf views mapped memory as n iovecs.
func iovecsOf(m []byte, n int) []uapi.Iovec {
	return unsafe.Slice((*uapi.Iovec)(unsafe.Pointer(&m[:n*int(unsafe.Sizeof(uapi.Iovec{}))][0])), n)
}

func addrOfIovec(v *uapi.Iovec) uint64 { return uint64(uintptr(unsafe.Pointer(v))) }
