package disk

import "unsafe"

// Of linux/nvme_ioctl.h and the NVMe specification.
const (
	nvmeIoctlIOCmd   = 0xc0484e43 // NVME_IOCTL_IO_CMD, _IOWR('N', 0x43, struct nvme_passthru_cmd)
	nvmeIoctlIO64Cmd = 0xc0504e48 // NVME_IOCTL_IO64_CMD, _IOWR('N', 0x48, struct nvme_passthru_cmd64)

	nvmeOpCopy  = 0x19
	nvmeCopyFUA = 1 << 30 // in command dword 12, of which the low byte is the number of ranges minus 1
)

// nvmeCall is an ioctl of an NVMe disk, with the command of s, or with nothing if s is nil. It returns what the ioctl does:
// the status of the completion, or the number of the namespace.
type nvmeCall func(fd int, request uint, s *nvmeSlot) (uint32, error)

func callNVMe(fd int, request uint, s *nvmeSlot) (uint32, error) {
	if s == nil {
		return ioctlNVMe(fd, request, 0)
	}
	return ioctlNVMe(fd, request, uintptr(unsafe.Pointer(s.command())))
}

// nvmeSlot is the memory of one Copy command: the list of its ranges, and behind it the command itself.
type nvmeSlot struct{ slot }

func (s *nvmeSlot) bytes() int { return nvmeCopyList + int(unsafe.Sizeof(nvmePassthruCmd64{})) }

func (s *nvmeSlot) list() []byte { return s.mem[:nvmeCopyList] }

func (s *nvmeSlot) command() *nvmePassthruCmd64 {
	return (*nvmePassthruCmd64)(unsafe.Pointer(&s.mem[nvmeCopyList]))
}

// send sends the command with one of the two requests. Its list has n ranges, lba is the destination's first block.
func (s *nvmeSlot) send(call nvmeCall, fd int, request uint, nsid uint32, lba uint64, n int, fua bool) (status, result uint32, err error) {
	cmd := s.command()
	*cmd = nvmePassthruCmd64{
		Opcode: nvmeOpCopy, NSID: nsid, Addr: uint64(uintptr(unsafe.Pointer(&s.mem[0]))), DataLen: uint32(n * nvmeCopyEntry),
		CDW10: uint32(lba), CDW11: uint32(lba >> 32), CDW12: uint32(n - 1), // the ranges' format is 0
	}
	if fua {
		cmd.CDW12 |= nvmeCopyFUA
	}
	status, err = call(fd, request, s)
	if request == nvmeIoctlIOCmd {
		return status, cmd.Result32, err
	}
	return status, uint32(cmd.Result), err
}

// nvmeSlots is of all disks.
var nvmeSlots = newSlots(32)

func newSlots(n int) slotPool[*nvmeSlot] {
	p := make(slotPool[*nvmeSlot], n)
	for i := range n {
		p <- &nvmeSlot{slot{id: byte(i + 1)}}
	}
	return p
}
