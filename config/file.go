package config

import (
	"fmt"
	"io"
	"os"
)

// Bounds of a file.
const (
	// maxSectors is the largest length or end in sectors that dm takes: LLONG_MAX >> 9.
	maxSectors = 1<<54 - 1
	// maxDisks is how many disks one file may name.
	maxDisks = 65535
	// maxSegments is how many targets dm takes in one table.
	maxSegments = 1048576
	// maxFileBytes bounds what Load reads.
	maxFileBytes = 256 << 20
)

// File is one configuration, in file order.
type File struct {
	Path    string // as it was given to Load or Parse
	Version int
	Disks   []*Disk
	Devices []*Device
	Faults  []*Fault

	root    *node              // where everything stands; nil if built by hand
	disks   map[string]*Disk   // filled by Parse; lookups fall back to the slice
	devices map[string]*Device // likewise
}

// Disk finds a disk by name; nil if there is none.
func (f *File) Disk(name string) *Disk {
	if f.disks != nil {
		return f.disks[name]
	}
	for _, d := range f.Disks {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// Device finds a device by name; nil if there is none.
func (f *File) Device(name string) *Device {
	if f.devices != nil {
		return f.devices[name]
	}
	for _, d := range f.Devices {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// Kind is where a disk comes from.
type Kind uint8

// The kinds of disk. The zero Kind is a disk whose source could not be read.
const (
	KindPath     Kind = iota + 1 // path: a block device by its path
	KindMatch                    // match: a block device by its identity
	KindFile                     // file: a regular file
	KindMemory                   // memory: gone when the server stops
	KindDeclared                 // size: known by its numbers only, cannot be served
)

// String is the key of the file that makes a disk this kind.
func (k Kind) String() string {
	switch k {
	case KindPath:
		return "path"
	case KindMatch:
		return "match"
	case KindFile:
		return "file"
	case KindMemory:
		return "memory"
	case KindDeclared:
		return "size"
	}
	return "unknown"
}

// Disk is something devices are laid on.
type Disk struct {
	Name string
	Pos  Pos // of its name
	Kind Kind

	Path     string            // KindPath: absolute, cleaned
	Match    map[string]string // KindMatch: keys serial, wwid, partuuid, model
	File     string            // KindFile: resolved against the folder of the configuration
	Create   Size              // KindFile: make it, sparse, with this size if it is not there; 0: do not
	Memory   Size              // KindMemory
	Declared Size              // KindDeclared

	// UnstablePath says that the file allows Path to be a name the kernel deals out anew at every
	// boot, as /dev/sda (unstable_path = true). Without it such a path is an error.
	UnstablePath bool
	ReadOnly     bool
	Limits       *LimitsOverride // nil: as reported
	Copy         *CopyOverride   // nil: as reported
}

// Bytes is the size the file gives the disk; 0 if it gives none.
func (d *Disk) Bytes() Size {
	switch d.Kind {
	case KindFile:
		return d.Create
	case KindMemory:
		return d.Memory
	case KindDeclared:
		return d.Declared
	}
	return 0
}

// LimitsOverride replaces limits a disk reports. nil is not said. Units are bytes unless noted.
type LimitsOverride struct {
	LogicalBlock    *uint64 // power of two, 512 to 64KiB
	PhysicalBlock   *uint64 // power of two, at least LogicalBlock, at most 2GiB
	IOMin           *uint64 // multiple of LogicalBlock, not 0
	IOOpt           *uint64 // multiple of LogicalBlock; 0: none
	MaxIO           *uint64 // max_hw_sectors × 512, at least 4096
	Chunk           *uint64 // multiple of LogicalBlock; 0: none
	AlignmentOffset *uint64 // below PhysicalBlock, multiple of LogicalBlock
	DMAAlignment    *uint64 // mask: one less than a power of two, at most 4095
	MaxSegments     *uint64 // count, 1 to 65535
	MaxSegmentSize  *uint64 // 4096 to 2^32-1

	DiscardMax         *uint64 // what the hardware takes; 0: no discard
	DiscardGranularity *uint64 // multiple of LogicalBlock
	WriteZeroesMax     *uint64 // 0: no write zeroes

	VolatileCache *bool
	FUA           *bool
	Rotational    *bool
}

// CopyOverride replaces the copy ability a disk reports. nil or "" is not said.
type CopyOverride struct {
	Method string  // nvme, xcopy, file or none
	MSSRL  *uint64 // logical blocks per source range, from 1
	MCL    *uint64 // logical blocks per command, from 1
	MSRC   *uint64 // source ranges per command minus 1
	Domain string  // disks offload to each other only inside one; "": the disk itself

	Simulate Simulate // of a disk that is Simulated
}

// Device is what is served.
type Device struct {
	Name string
	Pos  Pos // of its name
	ID   int // N of /dev/ublkbN, 0 to 1048575; -1: none asked for

	ReadOnly     bool
	AllowOverlap bool // its extents may be mapped elsewhere too; needs ReadOnly
	Queues       int  // 1 to 128; 0: default
	Depth        int  // 1 to 4096; 0: default
	MaxIO        Size // 4KiB to 1MiB, multiple of 4KiB; 0: default
	DataPath     DataPath
	OnCrash      OnCrash // as it is written, "": not at all; File.Crash is what counts
	OnDiskLoss   OnDiskLoss

	Segments  []Segment
	FromTable bool // written as a dm table
}

// Sectors is the length of the device.
func (d *Device) Sectors() uint64 {
	if len(d.Segments) == 0 {
		return 0
	}
	last := d.Segments[len(d.Segments)-1]
	return last.Start + last.Sectors
}

// Segment is one target of a device: one line of a dm table. In a file with errors a segment that
// could not be read has Type "".
type Segment struct {
	Type    string // "linear" or "striped"
	Start   uint64 // sector of the device
	Sectors uint64 // length, over all legs
	Chunk   uint32 // sectors; 0 for linear
	Legs    []Leg  // one for linear
	Pos     Pos
}

// Leg is the extent of one disk under a segment: Sectors / len(Legs) sectors from Offset on.
type Leg struct {
	Disk   string
	Offset uint64 // sectors
	Pos    Pos
}

// Facts is what is known of a disk that has been opened.
type Facts struct {
	Bytes        uint64 // 0: unknown
	LogicalBlock uint32 // bytes; 0: unknown
	ReadOnly     bool
}

// Load reads and parses the file at path. The error is non-nil only if the file cannot be read. The
// File may be used only if Problems.Errors is empty.
func Load(path string) (*File, Problems, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxFileBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	if len(text) > maxFileBytes {
		return nil, nil, fmt.Errorf("config: %s is larger than %s", path, Size(maxFileBytes))
	}
	f, ps := Parse(path, text)
	return f, ps, nil
}
