package config

import (
	"fmt"
	"strconv"
)

// Check applies the geometry rules of device-mapper, and a few it has forgotten, with what is known
// of the disks. facts is by name of the disk and may be nil; where it says nothing, what the file
// says counts (create, memory, size, limits.logical_block, read_only). A disk of unknown size is
// spared only the rule about its end, and one of unknown logical block counts as 512 bytes. The
// problems are sorted and are those of every rule, also where an earlier call has found them.
func (f *File) Check(facts map[string]Facts) Problems {
	c := &checker{f: f, r: &report{file: f.Path}, disks: make(map[string]*known, len(f.Disks)), ids: map[int]*Device{}}
	for _, d := range f.Disks {
		c.disks[d.Name] = learn(d, facts[d.Name])
		c.names = append(c.names, d.Name)
	}
	for _, d := range f.Devices {
		c.device(d)
	}
	c.overlaps()
	c.unused()
	c.faults()
	return c.r.list.sorted()
}

// known is what is known of a disk.
type known struct {
	disk     *Disk
	bytes    uint64 // 0: unknown
	logical  uint64 // bytes, at least 512
	readOnly bool
	used     bool
}

func learn(d *Disk, facts Facts) *known {
	k := &known{disk: d, bytes: facts.Bytes, logical: uint64(facts.LogicalBlock), readOnly: facts.ReadOnly || d.ReadOnly}
	if k.bytes == 0 {
		k.bytes = uint64(d.Bytes())
	}
	if k.logical == 0 && d.Limits != nil && d.Limits.LogicalBlock != nil {
		k.logical = *d.Limits.LogicalBlock
	}
	k.logical = max(k.logical, SectorBytes)
	return k
}

// checker is one call of Check.
type checker struct {
	f          *File
	r          *report
	disks      map[string]*known
	names      []string // of the disks
	ids        map[int]*Device
	extents    []extent
	unresolved bool // some leg names no disk: what looks unused may be what it meant
}

// place finds where a key of the file stands: path has names and indexes. What is not there, as in
// a table or a file built by hand, has the fallback.
func (f *File) place(fallback Pos, path ...any) (Pos, string) {
	n, at, text := f.root, fallback, ""
	for _, p := range path {
		switch p := p.(type) {
		case string:
			n = n.child(p)
			if text != "" {
				text += "."
			}
			text += keyText(p)
		case int:
			n = n.elem(p)
			text += "[" + strconv.Itoa(p) + "]"
		}
	}
	if n != nil && n != f.root {
		at = n.val
	}
	return at, text
}

// device checks one device.
func (c *checker) device(d *Device) {
	if d.AllowOverlap && !d.ReadOnly {
		at, key := c.f.place(d.Pos, "device", d.Name, "allow_overlap")
		c.r.error(at, key, "add read_only = true, or leave allow_overlap out", "allow_overlap is for devices that are read_only, and device %q is not", d.Name)
	}
	if old := c.ids[d.ID]; d.ID >= 0 && old != nil {
		at, key := c.f.place(d.Pos, "device", d.Name, "id")
		oldAt, _ := c.f.place(old.Pos, "device", old.Name, "id")
		c.r.error(at, key, "give each device its own id", "id %d of device %q is already that of device %q (%s:%d)", d.ID, d.Name, old.Name, c.f.Path, oldAt.Line)
	} else {
		c.ids[d.ID] = d
	}
	c.crash(d)
	c.diskLoss(d)
	whole := true
	refused := map[string]bool{}
	for i := range d.Segments {
		s := &segmentCheck{checker: c, d: d, i: i, seg: &d.Segments[i], refused: refused}
		whole = s.check() && whole
	}
	if whole {
		c.blockEdges(d)
	}
}

// logical is the largest logical block under a segment, and the disk that has it; 512 and nil if
// nothing is known.
func (c *checker) logical(seg *Segment) (uint64, *Disk) {
	largest, who := uint64(SectorBytes), (*Disk)(nil)
	for _, l := range seg.Legs {
		if k := c.disks[l.Disk]; k != nil && k.logical > largest {
			largest, who = k.logical, k.disk
		}
	}
	return largest, who
}

// blockEdges is dm's validate_hardware_logical_block_alignment: if disks with different logical
// blocks lie under one device, the largest is the device's, and a block of it that spans an edge
// between segments must be cut into parts that the next segment's disks can take.
func (c *checker) blockEdges(d *Device) {
	largest, who, mixed := uint64(SectorBytes), (*Disk)(nil), false
	for i := range d.Segments {
		n, disk := c.logical(&d.Segments[i])
		mixed = mixed || i > 0 && n != largest
		if n > largest {
			largest, who = n, disk
		}
	}
	if !mixed {
		return
	}
	sectors := largest / SectorBytes
	next, remaining := uint64(0), uint64(0)
	for i := range d.Segments {
		seg := &d.Segments[i]
		own, _ := c.logical(seg)
		if remaining < seg.Sectors && remaining&(own/SectorBytes-1) != 0 {
			at, key := c.f.place(seg.Pos, "device", d.Name, "segment", i)
			c.r.error(at, key, fmt.Sprintf("make segment %d end at a multiple of %ds", i, sectors),
				"segment %d of device %q starts at sector %d, inside a logical block of the device, which is %s for disk %q (dm: not aligned to h/w logical block size %d)",
				i+1, d.Name, seg.Start, Size(largest), who.Name, largest)
			return
		}
		next = (next + seg.Sectors) % sectors
		remaining = (sectors - next) % sectors
	}
	if remaining != 0 {
		i := len(d.Segments) - 1
		seg := &d.Segments[i]
		at, key := c.f.place(seg.Pos, "device", d.Name, "segment", i, "length")
		c.r.error(at, key, fmt.Sprintf("make segment %d %d sectors longer or %d shorter", i+1, remaining, next),
			"segment %d ends device %q at sector %d, inside a logical block of the device, which is %s for disk %q (dm: not aligned to h/w logical block size %d)",
			i+1, d.Name, seg.Start+seg.Sectors, Size(largest), who.Name, largest)
	}
}

// unused warns of disks no device lies on.
func (c *checker) unused() {
	if c.unresolved {
		return
	}
	if len(c.f.Devices) == 0 {
		at, _ := c.f.place(Pos{1, 1}, "device")
		c.r.warn(at, "device", "a device is a table [device.NAME]", "the file has no device")
		return
	}
	for _, d := range c.f.Disks {
		if !c.disks[d.Name].used {
			_, key := c.f.place(d.Pos, "disk", d.Name)
			c.r.warn(d.Pos, key, "", "disk %q is never used", d.Name)
		}
	}
}
