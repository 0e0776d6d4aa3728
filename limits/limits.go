package limits

// Limits is what a block device tells those above it. The field names are the block layer's
// (struct queue_limits); units are bytes unless the name says sectors, and a sector is 512 bytes.
type Limits struct {
	LogicalBlock    uint32 // smallest addressable unit, power of two, 512 and up
	PhysicalBlock   uint32 // smallest unit written without read-modify-write
	IOMin           uint32 // preferred minimum
	IOOpt           uint32 // preferred size for streaming; 0: none
	AlignmentOffset uint32 // bytes by which the device's start is off a physical block
	Misaligned      bool   // stacking found starts that cannot be aligned together

	MaxHWSectors    uint32 // the largest read or write the hardware takes
	MaxUserSectors  uint32 // the administrator's cap (max_sectors_kb when written); 0: none
	MaxSectors      uint32 // the largest read or write sent; derived from the two above
	ChunkSectors    uint32 // reads and writes should not cross a multiple of it; 0: none
	MaxSegments     uint16
	MaxSegmentSize  uint32
	SegBoundaryMask uint64
	VirtBoundary    uint64 // mask
	DMAAlignment    uint32 // mask: a buffer address AND it must be zero

	MaxIntegritySegments  uint16
	MaxDiscardSegments    uint16
	MaxHWDiscardSectors   uint32
	MaxDiscardSectors     uint32 // 0: no discard
	DiscardGranularity    uint32
	DiscardAlignment      uint32 // bytes; sysfs does not show it, what it calls so is alignment_offset
	MaxWriteZeroesSectors uint32 // 0: no write zeroes

	MaxHWUnmapZeroesSectors uint32 // write zeroes that may unmap (write_zeroes_unmap_max_hw_bytes, 6.17); 0 or MaxWriteZeroesSectors
	MaxUnmapZeroesSectors   uint32 // the same under the administrator's cap

	Atomic Atomic

	Zoned                  bool
	ZoneWriteGranularity   uint32
	MaxHWZoneAppendSectors uint32

	WriteCache bool // volatile: completed writes need a FLUSH to be durable
	FUA        bool
	Rotational bool
	ReadOnly   bool

	StableWrites bool
	NoWait       bool // sysfs does not show it
	Poll         bool
}

// Atomic is what can be written without tearing, in bytes. All zero: nothing is promised.
type Atomic struct {
	Max      uint32 // of one write; while stacking, MaxUint32 stands for "no device yet"
	UnitMin  uint32 // power of two
	UnitMax  uint32 // power of two
	Boundary uint32 // a write must not cross a multiple of it; 0: none
}
