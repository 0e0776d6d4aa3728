package daemon

import (
	"fmt"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/copy/sim"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
)

// simulatedCopy is the ability of a simulated disk without what its [disk.X.copy] says: as much as a command can say.
func simulatedCopy() limits.Copy {
	return limits.Copy{Method: limits.NVMeCopy, MSSRL: sim.MostMSSRL, MCL: sim.MostMCL, MSRC: sim.MostMSRC}
}

// diskStore is an open disk as a simulated device has it.
type diskStore struct{ *disk.Disk }

func (s diskStore) ReadAt(p []byte, at uint64) error {
	_, err := s.Readv([][]byte{p}, at)
	return err
}

func (s diskStore) WriteAt(p []byte, at uint64) error {
	_, err := s.Writev([][]byte{p}, at, false)
	return err
}

// simConfig is the device that a simulated disk of a checked file is, of so many bytes.
func simConfig(d *config.Disk, bytes uint64) sim.Config {
	c, block := overrideCopy(simulatedCopy(), d), uint64(512)
	if d.Limits != nil && d.Limits.LogicalBlock != nil {
		block = *d.Limits.LogicalBlock
	}
	s := &d.Copy.Simulate
	return sim.Config{Block: uint32(block), Bytes: bytes / block * block, MSSRL: c.MSSRL, MCL: c.MCL, MSRC: c.MSRC,
		Misbehave: s.Misbehave, Latency: s.Latency, Rate: uint64(s.Rate), Seed: s.Seed}
}

// SimulatedDisk is an open disk of a checked file, for which Simulated holds, as a device that has all of its data: with a
// write cache, and a time of its own. The disk is the caller's, who leaves it alone meanwhile.
func SimulatedDisk(open *disk.Disk, d *config.Disk) (*sim.Device, error) {
	c := simConfig(d, open.Sectors()*512)
	c.Cache, c.Clock = true, &sim.VirtualClock{}
	return newSim(c, open, d)
}

func newSim(c sim.Config, open *disk.Disk, d *config.Disk) (*sim.Device, error) {
	s, err := sim.New(c, diskStore{open})
	if err != nil {
		return nil, fmt.Errorf("disk %s, simulated: %w", d.Name, err)
	}
	return s, nil
}

// simulate puts the simulated disks into the methods of disks. Below a served device data goes past the simulation, which
// so has no cache.
func (ds disks) simulate(f *config.File, methods map[limits.Method]blkcopy.Method) map[limits.Method]blkcopy.Method {
	var devices []*sim.Device
	for i, d := range ds {
		if d == nil || !f.Disks[i].Simulated() {
			continue
		}
		// What it refuses the file's check has refused, but for a disk without one whole block, on which no device fits.
		if s, err := newSim(simConfig(f.Disks[i], d.Sectors()*512), d, f.Disks[i]); err == nil {
			if devices == nil {
				devices = make([]*sim.Device, len(ds))
			}
			devices[i] = s
		}
	}
	if devices != nil {
		methods[limits.NVMeCopy] = sim.Method(devices, methods[limits.NVMeCopy])
	}
	return methods
}
