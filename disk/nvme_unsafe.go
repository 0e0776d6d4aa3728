package disk

import (
	"bytes"
	"fmt"
	"structs"
	"unsafe"

	"github.com/ublk-go/ublk-linear/limits"
	"golang.org/x/sys/unix"
)

// Of linux/nvme_ioctl.h and the NVMe specification.
const (
	nvmeIoctlID       = 0x4e40     // NVME_IOCTL_ID, _IO('N', 0x40): the number of the namespace
	nvmeIoctlAdminCmd = 0xc0484e41 // NVME_IOCTL_ADMIN_CMD, _IOWR('N', 0x41, struct nvme_passthru_cmd)

	nvmeAdminIdentify = 0x06
	nvmeCNSNamespace  = 0x00
	nvmeCNSController = 0x01

	nvmeTimeout = 10_000 // milliseconds
)

// nvmePassthruCmd64 is struct nvme_passthru_cmd64. struct nvme_passthru_cmd is the same up to TimeoutMS.
type nvmePassthruCmd64 struct {
	_           structs.HostLayout
	Opcode      uint8
	Flags       uint8
	_           uint16
	NSID        uint32
	CDW2, CDW3  uint32
	Metadata    uint64
	Addr        uint64
	MetadataLen uint32
	DataLen     uint32
	CDW10       uint32
	CDW11       uint32
	CDW12       uint32
	CDW13To15   [3]uint32
	TimeoutMS   uint32 // 0: the driver's
	Result32    uint32 // the result of nvme_passthru_cmd, reserved in nvme_passthru_cmd64
	Result      uint64
}

// Size and offsets as the kernel's header gives them: a wrong one does not compile.
var (
	_ [80]struct{} = [unsafe.Sizeof(nvmePassthruCmd64{})]struct{}{}
	_ [4]struct{}  = [unsafe.Offsetof(nvmePassthruCmd64{}.NSID)]struct{}{}
	_ [16]struct{} = [unsafe.Offsetof(nvmePassthruCmd64{}.Metadata)]struct{}{}
	_ [24]struct{} = [unsafe.Offsetof(nvmePassthruCmd64{}.Addr)]struct{}{}
	_ [36]struct{} = [unsafe.Offsetof(nvmePassthruCmd64{}.DataLen)]struct{}{}
	_ [40]struct{} = [unsafe.Offsetof(nvmePassthruCmd64{}.CDW10)]struct{}{}
	_ [48]struct{} = [unsafe.Offsetof(nvmePassthruCmd64{}.CDW12)]struct{}{}
	_ [64]struct{} = [unsafe.Offsetof(nvmePassthruCmd64{}.TimeoutMS)]struct{}{}
	_ [68]struct{} = [unsafe.Offsetof(nvmePassthruCmd64{}.Result32)]struct{}{}
	_ [72]struct{} = [unsafe.Offsetof(nvmePassthruCmd64{}.Result)]struct{}{}
	_ [80]struct{} = [nvmeIoctlIO64Cmd >> 16 & 0x3fff]struct{}{}
	_ [72]struct{} = [nvmeIoctlIOCmd >> 16 & 0x3fff]struct{}{}
	_ [72]struct{} = [nvmeIoctlAdminCmd >> 16 & 0x3fff]struct{}{}
)

// identifyNVMe asks the namespace that fd is open on, or on a partition of, and its controller what they are. Neither
// changes anything, and neither takes a privilege beyond having the device open.
func identifyNVMe(fd int) (id identified, err error) {
	nsid, err := ioctlNVMe(fd, nvmeIoctlID, 0)
	if err != nil {
		return id, fmt.Errorf("namespace number: %w", err)
	}
	const size = limits.NVMeIdentifySize
	mem, err := unix.Mmap(-1, 0, 2*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return id, fmt.Errorf("memory: %w", err)
	}
	defer unix.Munmap(mem) // fails for no mapping of ours

	ask := func(cns, nsid uint32) ([]byte, error) {
		clear(mem)
		cmd := (*nvmePassthruCmd64)(unsafe.Pointer(&mem[size]))
		*cmd = nvmePassthruCmd64{
			Opcode: nvmeAdminIdentify, NSID: nsid, CDW10: cns, TimeoutMS: nvmeTimeout,
			Addr: uint64(uintptr(unsafe.Pointer(&mem[0]))), DataLen: size,
		}
		status, err := ioctlNVMe(fd, nvmeIoctlAdminCmd, uintptr(unsafe.Pointer(cmd)))
		if err == nil && status != 0 {
			err = fmt.Errorf("status 0x%x: %w", status, unix.EIO)
		}
		return bytes.Clone(mem[:size]), err
	}
	id.nsid = nsid
	if id.ns, err = ask(nvmeCNSNamespace, nsid); err != nil {
		return id, fmt.Errorf("namespace %d: %w", nsid, err)
	}
	if id.ctrl, err = ask(nvmeCNSController, 0); err != nil {
		return id, fmt.Errorf("controller: %w", err)
	}
	return id, nil
}

// ioctlNVMe returns what the call does: for a command it is the status of the completion. arg is no pointer to the Go heap.
func ioctlNVMe(fd int, request uint, arg uintptr) (uint32, error) {
	return retry(func() (uint32, error) {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), arg)
		if errno != 0 {
			return 0, errno
		}
		return uint32(r), nil
	})
}
