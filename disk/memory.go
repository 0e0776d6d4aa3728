package disk

import (
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/ublk-go/ublk-linear/limits"
	"golang.org/x/sys/unix"
)

// openMemory makes a disk of anonymous memory, which is taken from the system as it is written. Nobody else
// has its file, so there is nothing to hold.
func openMemory(s *Spec) (*Disk, error) {
	name := "ublk-linear:" + s.Name
	if len(name) > 249 { // MFD_NAME_MAX_LEN
		name = name[:249]
	}
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	if err := unix.Ftruncate(fd, int64(s.Memory)); err != nil {
		return nil, errors.Join(fmt.Errorf("memory of %d bytes: %w", s.Memory, err), unix.Close(fd))
	}
	d := newDisk(fd, memoryInfo(s), memoryLimits())
	d.noZero = true
	d.copy = memoryCopy()
	return d, nil
}

func memoryInfo(s *Spec) Info {
	return Info{Name: s.Name, Kind: Memory, Node: "memory", Sectors: s.Memory / 512, LogicalBlock: 512}
}

// memoryLimits are the file limits without anything to flush.
func memoryLimits() limits.Limits {
	l := softLimits(512)
	l.MaxDiscardSectors, l.MaxHWDiscardSectors = math.MaxUint32>>9, math.MaxUint32>>9
	l.MaxWriteZeroesSectors = math.MaxUint32 >> 9
	l.DiscardGranularity = uint32(os.Getpagesize())
	return l
}
