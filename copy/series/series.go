package series

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
)

// Disk is a bottom device as the designs' drivers know it. Its place in World.Disks is its target.Disk.
type Disk struct {
	Name         string
	Driver       string // "nvme", "sd", "null_blk": whose fops the 2026 design compares
	LogicalBlock uint32 // bytes
	Sectors      uint64
	Copy         limits.Copy // Domain is the namespace's identity
	UserMax      uint64      // what somebody wrote to copy_max_bytes, in bytes; 0: nothing was written
	ReadOnly     bool
	Zoned        bool
	ZoneSectors  uint64
	CDFE         bool // descriptor formats 2 and 3 are enabled
	UserOff      bool // somebody wrote 0 to copy_max_bytes
	// Stacked is "dm-linear" or "md" for a disk that is itself a stacked device; On is where it begins on another disk.
	Stacked string
	On      target.Extent
}

// Device is a stacked device.
type Device struct {
	Name         string
	Table        *remap.Table
	LogicalBlock uint32 // stacked, bytes
	ReadOnly     bool
	Bare         bool // not stacked: the disk itself, or a partition of it; Table is one linear target over it
}

// Request is a copy in bytes, N source segments to M destination segments of equal totals. A design that cannot say it as
// one request refuses it, or says in Outcome.Why how its caller would have to cut it.
type Request struct {
	Src, Dst         *Device
	SrcSegs, DstSegs []blkcopy.Seg
}

// World is what a request meets.
type World struct {
	Disks []Disk
	// Answer is the device's answer to its nth command (from 0): an NVMe status, 0 for success, and how many of the command's
	// source ranges were copied. nil: every command that is within the disk's own limits succeeds; others get 0x183, 0x02 and
	// so on, as a device would.
	Answer func(n int, c *Command) (status uint16, ranges int)
	// NoMemory says whether the nth allocation (from 0) of a design's bookkeeping fails. nil: none does.
	NoMemory func(n int) bool
}

// Options of a run. The zero value is the design as it is described.
type Options struct {
	AsPosted bool            // all defects of the posted code
	Defects  map[string]bool // or some, by Defect.Name
}

// Has says whether a defect is on.
func (o *Options) Has(name string) bool { return o != nil && (o.AsPosted || o.Defects[name]) }

// Defect is where posted code differs from its own description, or from what its author says of it.
type Defect struct {
	Name string // "lost-device-error"
	What string // one sentence
	Ref  string // message id, file and function
}

// Value is a limit that a design advertises, under the name it has there.
type Value struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
	Unit  string `json:"unit"` // sectors, bytes, segments, ranges, bool
}

// Bio is what the block layer is given, in order.
type Bio struct {
	Op      string `json:"op"`     // REQ_OP_COPY_SRC
	Device  string `json:"device"` // a device's name, or a disk's behind remapping
	Sector  uint64 `json:"sector"`
	Sectors uint64 `json:"sectors"`
	Note    string `json:"note,omitempty"` // "split at the target's end", "token"
}

// Command is what a device is sent, or what is read and written instead.
type Command struct {
	Method  limits.Method   `json:"method"` // nvme; blkcopy.Emulated
	Format  int             `json:"format"` // NVMe descriptor format
	Sources []target.Extent `json:"sources"`
	Dst     target.Extent   `json:"dst"`
	Status  uint16          `json:"status"` // what the device answered
	Ranges  int             `json:"ranges"` // source ranges that were copied
	// Buffer tells commands that are read and write apart: what stands together with one number is read, all of it, before
	// any of it is written. 0: each command is by itself.
	Buffer int `json:"buffer,omitempty"`
}

// Finding is something that goes wrong, or that the caller would not expect.
type Finding struct {
	Defect string `json:"defect,omitempty"` // by name, if it is a known one
	Text   string `json:"text"`
}

// Outcome is what a design does with a request.
type Outcome struct {
	Model    string     `json:"model"`
	Limits   []Value    `json:"limits"` // of the destination device, as sysfs would show them
	Accepted bool       `json:"accepted"`
	Errno    unix.Errno `json:"errno"` // what the caller gets; 0
	Why      string     `json:"why"`   // the rule behind a refusal, or behind the way taken
	Bios     []Bio      `json:"bios"`
	Commands []Command  `json:"commands"` // in the order sent
	Bytes    uint64     `json:"bytes"`    // what the caller is told was copied
	CompLen  []uint64   `json:"comp_len,omitempty"`
	Never    bool       `json:"never"` // the request never completes
	// Offloaded, Emulated and Host are bytes: really copied by devices, really copied by reading and writing, and moved
	// through the host (2 x Emulated, unless something is read for nothing).
	Offloaded uint64    `json:"offloaded_bytes"`
	Emulated  uint64    `json:"emulated_bytes"`
	Host      uint64    `json:"host_bytes"`
	Wrong     []Finding `json:"wrong"`
}

// Model is one design.
type Model struct {
	Name    string // as plan --series takes it
	Title   string
	Author  string
	Posted  string // date
	Message string // message id of the cover letter
	Defects []Defect
	// Limits is what a device advertises.
	Limits func(w *World, d *Device, o *Options) []Value
	// Run does a request.
	Run func(w *World, r *Request, o *Options) *Outcome
}

// Models is every design, oldest first, and ours last, by which they are judged.
func Models() []*Model {
	return []*Model{simpleCopy2021, token2023, pair2024, vectored2025, offload2026, ours}
}

// Find is the model of a name.
func Find(name string) (*Model, bool) {
	i := slices.IndexFunc(Models(), func(m *Model) bool { return m.Name == name })
	if i < 0 {
		return nil, false
	}
	return Models()[i], true
}
