package config

import (
	"fmt"
	"slices"
)

// segmentCheck checks one segment.
type segmentCheck struct {
	*checker
	d       *Device
	i       int
	seg     *Segment
	refused map[string]bool // disks of the device already reported as read-only
}

// at finds a key of the segment.
func (s *segmentCheck) at(fallback Pos, path ...any) (Pos, string) {
	if s.d.FromTable {
		return fallback, dotted([]string{"device", s.d.Name, "table"})
	}
	return s.f.place(fallback, append([]any{"device", s.d.Name, "segment", s.i}, path...)...)
}

// atLeg finds a key of a leg.
func (s *segmentCheck) atLeg(leg int, name string) (Pos, string) {
	if s.seg.Type == "striped" {
		return s.at(s.seg.Legs[leg].Pos, "legs", leg, name)
	}
	return s.at(s.seg.Legs[leg].Pos, name)
}

// title names the segment in a message.
func (s *segmentCheck) title() string { return fmt.Sprintf("segment %d of device %q", s.i+1, s.d.Name) }

// dm is what device-mapper would say, in front of messages about its own tables.
func (s *segmentCheck) dm(words string) string {
	if s.d.FromTable {
		return words + ": "
	}
	return ""
}

// check reports whether nothing was wrong that would make rules about the whole device pointless.
func (s *segmentCheck) check() bool {
	resolved := s.legs()
	seg := s.seg
	if seg.Type == "" {
		return false
	}
	if seg.Sectors == 0 {
		at, key := s.at(seg.Pos, "length")
		s.r.error(at, key, "a segment has at least 1s", "length of %s is zero", s.title())
		return false
	}
	if len(seg.Legs) == 0 || seg.Type == "striped" && !s.stripe() {
		return false
	}
	fits := s.ends()
	aligned := s.alignment()
	s.oneDisk()
	s.mapped()
	return resolved && fits && aligned
}

// legs looks up the disks.
func (s *segmentCheck) legs() bool {
	ok := true
	for i, l := range s.seg.Legs {
		k := s.disks[l.Disk]
		if k == nil {
			ok, s.unresolved = false, true
			if l.Disk != "" {
				at, key := s.atLeg(i, "disk")
				hint := suggest(l.Disk, s.names)
				if len(s.names) == 0 {
					hint = fmt.Sprintf("the file has no disks; add [disk.%s]", keyText(clipTo(l.Disk, 63)))
				} else if s.d.FromTable && l.Disk[0] == '/' {
					hint = "a table names disks of this file, as a for [disk.a]; " + hint
				}
				s.r.error(at, key, hint, "%sunknown disk %s", s.dm("device lookup failed"), clip(l.Disk))
			}
			continue
		}
		k.used = true
		if k.readOnly && !s.d.ReadOnly && !s.refused[l.Disk] {
			s.refused[l.Disk] = true
			at, key := s.atLeg(i, "disk")
			s.r.error(at, key, fmt.Sprintf("add read_only = true to device %q, or lay it on another disk", s.d.Name), "disk %q is read-only, and device %q is not", l.Disk, s.d.Name)
		}
	}
	if s.seg.Type == "" {
		s.unresolved = true
	}
	return ok
}

// stripe checks length and chunk against each other.
func (s *segmentCheck) stripe() bool {
	seg, n := s.seg, uint64(len(s.seg.Legs))
	if seg.Chunk == 0 {
		at, key := s.at(seg.Pos, "chunk")
		s.r.error(at, key, `write a size from 1s on, as "64KiB"`, "chunk of %s is zero", s.title())
		return false
	}
	chunk := uint64(seg.Chunk)
	if row := chunk * n; seg.Sectors%row != 0 {
		at, key := s.at(seg.Pos, "length")
		s.r.error(at, key, nearestStripe(seg.Sectors, chunk, n, sectorsSize), "length %s of segment %d is not a multiple of chunk × legs (%s × %d = %s)",
			sectorsSize(seg.Sectors), s.i+1, sectorsSize(chunk), n, sectorsSize(row))
		return false
	}
	return true
}

// width is how many sectors of each leg the segment takes.
func (s *segmentCheck) width() uint64 { return s.seg.Sectors / uint64(len(s.seg.Legs)) }

// ends reports legs that go past the end of their disk.
func (s *segmentCheck) ends() bool {
	ok := true
	for i, l := range s.seg.Legs {
		if l.Offset > maxSectors || s.width() > maxSectors-l.Offset {
			at, key := s.atLeg(i, "offset")
			s.r.error(at, key, fmt.Sprintf("the last sector is %d", uint64(maxSectors)), "%s ends past what device-mapper can address", s.title())
			ok = false
			continue
		}
		k := s.disks[l.Disk]
		if k == nil || k.bytes == 0 {
			continue
		}
		size := k.bytes / SectorBytes
		if l.Offset+s.width() <= size {
			continue
		}
		ok = false
		words := s.dm(fmt.Sprintf("too small for target: start=%d, len=%d, dev_size=%d", l.Offset, s.width(), size))
		if l.Offset >= size {
			at, key := s.atLeg(i, "offset")
			past := "at the end"
			if l.Offset > size {
				past = exact((l.Offset-size)*SectorBytes) + " past the end"
			}
			s.r.error(at, key, fmt.Sprintf("use an offset below %s, the size of the disk", sectorsSize(size)), "%soffset %s of %s is %s of disk %q", words, sectorsSize(l.Offset), s.title(), past, l.Disk)
			continue
		}
		at, key := s.at(l.Pos, "length")
		what := "length"
		if n := len(s.seg.Legs); n > 1 {
			what = fmt.Sprintf("length / %d legs", n)
		}
		s.r.error(at, key, s.largest(), "%s%s ends %s past the end of disk %q: offset %s + %s %s is more than its %s",
			words, s.title(), exact((l.Offset+s.width()-size)*SectorBytes), l.Disk, sectorsSize(l.Offset), what, sectorsSize(s.width()), sectorsSize(size))
	}
	return ok
}

// largest is a hint that names the largest length that fits all disks under the segment.
func (s *segmentCheck) largest() string {
	room := uint64(maxSectors)
	for _, l := range s.seg.Legs {
		if k := s.disks[l.Disk]; k != nil && k.bytes != 0 {
			size := k.bytes / SectorBytes
			room = min(room, size-min(size, l.Offset))
		}
	}
	logical, _ := s.logical(s.seg)
	step := logical / SectorBytes
	if s.seg.Chunk != 0 {
		step = uint64(s.seg.Chunk)
	}
	room = room / step * step * uint64(len(s.seg.Legs))
	if room == 0 {
		return "nothing fits behind this offset"
	}
	return fmt.Sprintf("the largest length that fits is %s", sectorsSize(room))
}

// alignment reports offsets, lengths and chunks that cut a logical block of the disks.
func (s *segmentCheck) alignment() bool {
	logical, who := s.logical(s.seg)
	if who == nil {
		return true
	}
	ok := true
	step := logical / SectorBytes
	words := s.dm(fmt.Sprintf("not aligned to h/w logical block size %d of %s", logical, who.Name))
	fault := func(at Pos, key, what string, sectors uint64, more string) {
		ok = false
		s.r.error(at, key, multiples(sectors/step*logical, logical), "%s%s %s is not a multiple of %s, the logical block of disk %q%s", words, what, sectorsSize(sectors), Size(logical), who.Name, more)
	}
	for i, l := range s.seg.Legs {
		if l.Offset%step != 0 && s.disks[l.Disk] != nil {
			at, key := s.atLeg(i, "offset")
			fault(at, key, "offset", l.Offset, "")
		}
	}
	switch {
	case s.seg.Type != "striped" && s.width()%step != 0:
		at, key := s.at(s.seg.Pos, "length")
		fault(at, key, "length", s.seg.Sectors, "")
	case s.seg.Type == "striped" && uint64(s.seg.Chunk)%step != 0:
		// dm only checks the whole length, takes such a table, and fails I/O that it cuts at a chunk.
		at, key := s.at(s.seg.Pos, "chunk")
		words = ""
		fault(at, key, "chunk", uint64(s.seg.Chunk), "; device-mapper accepts this and then fails I/O")
	}
	return ok
}

// oneDisk warns of stripes whose legs share a disk.
func (s *segmentCheck) oneDisk() {
	if len(s.seg.Legs) < 2 {
		return
	}
	first := map[string]int{}
	for i, l := range s.seg.Legs {
		old, seen := first[l.Disk]
		if !seen {
			first[l.Disk] = i
			continue
		}
		if s.disks[l.Disk] == nil {
			continue
		}
		at, key := s.atLeg(i, "disk")
		s.r.warn(at, key, "stripes are faster than one disk only on several", "legs %d and %d of %s lie on one disk, %q", old+1, i+1, s.title(), l.Disk)
	}
}

// mapped notes what the segment takes of each disk.
func (s *segmentCheck) mapped() {
	s.extents = slices.Grow(s.extents, len(s.seg.Legs))
	for i, l := range s.seg.Legs {
		if s.disks[l.Disk] != nil && l.Offset <= maxSectors && s.width() > 0 {
			_, key := s.atLeg(i, "offset")
			s.extents = append(s.extents, extent{disk: l.Disk, start: l.Offset, end: l.Offset + s.width(), d: s.d, seg: s.i, leg: i, at: l.Pos, key: key})
		}
	}
}
