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

// nvmePassthruCmd is struct nvme_passthru_cmd.
type nvmePassthruCmd struct {
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
	CDW11To15   [5]uint32
	TimeoutMS   uint32
	Result      uint32
}

// Size and offsets as the kernel's header gives them: a wrong one does not compile.
var (
	_ [72]struct{} = [unsafe.Sizeof(nvmePassthruCmd{})]struct{}{}
	_ [4]struct{}  = [unsafe.Offsetof(nvmePassthruCmd{}.NSID)]struct{}{}
	_ [16]struct{} = [unsafe.Offsetof(nvmePassthruCmd{}.Metadata)]struct{}{}
	_ [24]struct{} = [unsafe.Offsetof(nvmePassthruCmd{}.Addr)]struct{}{}
	_ [36]struct{} = [unsafe.Offsetof(nvmePassthruCmd{}.DataLen)]struct{}{}
	_ [40]struct{} = [unsafe.Offsetof(nvmePassthruCmd{}.CDW10)]struct{}{}
	_ [64]struct{} = [unsafe.Offsetof(nvmePassthruCmd{}.TimeoutMS)]struct{}{}
	_ [68]struct{} = [unsafe.Offsetof(nvmePassthruCmd{}.Result)]struct{}{}
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
		cmd := (*nvmePassthruCmd)(unsafe.Pointer(&mem[size]))
		*cmd = nvmePassthruCmd{
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
