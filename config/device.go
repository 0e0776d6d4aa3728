package config

import (
	"fmt"
	"math"
	"slices"
)

// Bounds of device keys.
const (
	maxID     = 1<<20 - 1 // minors of a major number
	maxQueues = 128
	maxDepth  = 4096
	minMaxIO  = 4 << 10
	maxMaxIO  = 1 << 20
)

// readDevices reads every [device.NAME].
func (f *File) readDevices(r *report, v value, s *scanner) {
	all, ok := r.table(v, "a device is a table [device.NAME]")
	if !ok {
		return
	}
	for _, v := range all.inOrder() {
		checkName(r, "device", v)
		d := &Device{Name: v.name(), Pos: v.key, ID: -1}
		f.Devices = append(f.Devices, d)
		f.devices[d.Name] = d
		if t, ok := r.table(v, "a device is a table [device.NAME]"); ok {
			readDevice(t, d, s)
		}
	}
}

func readDevice(t *table, d *Device, s *scanner) {
	t.known([]string{"id", "read_only", "allow_overlap", "queues", "depth", "max_io", "on_crash", "on_disk_loss", "data_path", "segment", "table"}, map[string]string{
		"segments": "a segment is a table [[device.NAME.segment]]",
		"minor":    "did you mean \"id\"?",
	})
	if n, ok := t.integer("id", 0, maxID); ok {
		d.ID = int(n)
	}
	if n, ok := t.integer("queues", 1, maxQueues); ok {
		d.Queues = int(n)
	}
	if n, ok := t.integer("depth", 1, maxDepth); ok {
		d.Depth = int(n)
	}
	if n := t.multiple4K("max_io"); n != nil {
		d.MaxIO = Size(*n)
	}
	d.OnCrash = readOnCrash(t)
	d.OnDiskLoss = readOnDiskLoss(t)
	d.DataPath = readDataPath(t)
	d.ReadOnly, _ = t.boolean("read_only")
	d.AllowOverlap, _ = t.boolean("allow_overlap")
	segments, hasSegments := t.get("segment")
	words, hasTable := t.get("table")
	switch {
	case hasSegments && hasTable:
		t.r.error(words.key, words.path, "keep one of them", "device %q has both segment and table", d.Name)
	case hasSegments:
		readSegments(t.r, segments, d)
	case hasTable:
		readTable(t.r, words, d, s)
	default:
		t.r.error(d.Pos, t.path, "add [[device.NAME.segment]] tables, or a table in dmsetup's words", "device %q has neither segment nor table", d.Name)
	}
}

// multiple4K reads max_io.
func (t *table) multiple4K(name string) *uint64 {
	size, ok := t.size(name)
	if !ok {
		return nil
	}
	n := uint64(size)
	if n >= minMaxIO && n <= maxMaxIO && n%minMaxIO == 0 {
		return &n
	}
	t.limit(name, "use a multiple of 4KiB from 4KiB to 1MiB", "%s %s is out of range", name, size)
	return nil
}

const segmentHint = "a segment is a table [[device.NAME.segment]], with two brackets"

// readSegments reads every [[device.NAME.segment]].
func readSegments(r *report, v value, d *Device) {
	items, ok := list(v)
	if !ok {
		r.wrongType(v, "a list of tables", segmentHint)
		return
	}
	if len(items) == 0 {
		r.error(v.at, v.path, segmentHint, "device %q has no segments", d.Name)
		return
	}
	if len(items) > maxSegments {
		r.error(v.key, v.path, fmt.Sprintf("the most is %d", maxSegments), "device %q has %d segments", d.Name, len(items))
		return
	}
	start := uint64(0)
	for i, raw := range items {
		e := v.elem(i, raw)
		seg := Segment{Pos: e.at, Start: start}
		if t, ok := r.table(e, segmentHint); ok {
			readSegment(t, &seg)
		}
		if seg.Sectors > maxSectors-start {
			r.error(e.at, e.path, fmt.Sprintf("the longest device has %d sectors", uint64(maxSectors)), "device %q is longer than device-mapper can address, from segment %d on", d.Name, i+1)
			seg.Type, seg.Sectors = "", 0
		}
		start += seg.Sectors
		d.Segments = append(d.Segments, seg)
	}
}

// readSegment reads one segment. If anything is missing or unreadable it leaves Type empty.
func readSegment(t *table, seg *Segment) {
	kind := readType(t)
	alias := map[string]string{
		"start":   "segments follow one another in file order; the place on the disk is offset",
		"begin":   "segments follow one another in file order; the place on the disk is offset",
		"size":    "did you mean \"length\"?",
		"sectors": "did you mean \"length\"?",
		"target":  "did you mean \"type\"?",
		"stripes": "the number of stripes is the number of legs",
		"disks":   `write legs = [ { disk = "a", offset = "0s" }, ... ]`,
		"device":  "did you mean \"disk\"?",
		"segment": segmentHint,
	}
	ok := kind != ""
	length, hasLength := t.sectors("length")
	switch {
	case hasLength:
		seg.Sectors = length
	default:
		ok = false
		t.missing("length", `write length = "100MiB"`)
	}
	linear, striped := []string{"disk", "offset"}, []string{"chunk", "legs"}
	switch kind {
	case "linear":
		t.misplaced(striped, "striped", kind, "a linear segment has disk and offset")
		t.known(append([]string{"type", "length"}, append(linear, t.among(striped)...)...), alias)
		leg := readLeg(&table{value: value{node: t.node, path: t.path, at: seg.Pos, key: seg.Pos}, kids: t.kids, r: t.r})
		seg.Legs = []Leg{leg}
	case "striped":
		t.misplaced(linear, "linear", kind, `the disks of a striped segment are legs = [ { disk = "a", offset = "0s" }, ... ]`)
		t.known(append([]string{"type", "length"}, append(striped, t.among(linear)...)...), alias)
		ok = readStripe(t, seg) && ok
	default:
		t.known(append([]string{"type", "length"}, append(linear, striped...)...), alias)
	}
	if ok {
		seg.Type = kind
	}
}

// among lists those of keys that the table has.
func (t *table) among(keys []string) []string {
	var out []string
	for _, k := range keys {
		if t.has(k) {
			out = append(out, k)
		}
	}
	return out
}

// missing reports a key that must be there and is not; a key with a bad value has been reported.
func (t *table) missing(name, hint string) {
	if !t.has(name) {
		t.r.error(t.at, t.path, hint, "%s is missing", name)
	}
}

// misplaced reports keys that belong to another type of segment.
func (t *table) misplaced(keys []string, owner, kind, hint string) {
	for _, k := range t.among(keys) {
		v, _ := t.get(k)
		t.r.error(v.key, v.path, hint, "%s is for a %s segment, and this one is %s", k, owner, kind)
	}
}

// targetTypes are the types of segments.
func targetTypes() []string { return []string{"linear", "striped"} }

func readType(t *table) string {
	kind, ok := t.str("type")
	if !ok {
		t.missing("type", `write type = "linear" or type = "striped"`)
		return ""
	}
	if slices.Contains(targetTypes(), kind) {
		return kind
	}
	t.limit("type", suggestType(kind), "unknown target type %s", clip(kind))
	return ""
}

// suggestType is the hint for a target type that is not known.
func suggestType(kind string) string {
	switch kind {
	case "stripe", "raid0":
		return `did you mean "striped"?`
	case "concat", "append":
		return `did you mean "linear"?`
	}
	return suggest(kind, targetTypes())
}

// readStripe reads chunk and legs and reports whether they could be read.
func readStripe(t *table, seg *Segment) bool {
	chunk, ok := t.sectors("chunk")
	if !ok {
		t.missing("chunk", `write chunk = "64KiB"`)
	} else if chunk > math.MaxUint32 {
		t.limit("chunk", fmt.Sprintf("the largest is %ds", uint32(math.MaxUint32)), "chunk %s has more sectors than device-mapper can count", Size(chunk*SectorBytes))
		ok = false
	}
	seg.Chunk = uint32(chunk)
	const hint = `write legs = [ { disk = "a", offset = "0s" }, { disk = "b", offset = "0s" } ]`
	v, has := t.get("legs")
	if !has {
		t.missing("legs", hint)
		return false
	}
	items, isList := list(v)
	switch {
	case !isList:
		t.r.wrongType(v, "a list", hint)
		return false
	case len(items) == 0:
		t.r.error(v.at, v.path, hint, "legs is empty")
		return false
	case len(items) > maxDisks:
		t.r.error(v.at, v.path, fmt.Sprintf("the most is %d", maxDisks), "a segment has %d legs", len(items))
		return false
	}
	for i, raw := range items {
		e := v.elem(i, raw)
		lt, isTable := t.r.table(e, `write { disk = "a", offset = "0s" }`)
		if !isTable {
			ok = false
			seg.Legs = append(seg.Legs, Leg{Pos: e.at})
			continue
		}
		lt.known([]string{"disk", "offset"}, map[string]string{"start": "did you mean \"offset\"?", "length": "the length is of the whole segment"})
		seg.Legs = append(seg.Legs, readLeg(lt))
	}
	return ok
}

// readLeg reads disk and offset. Offset is 0 if it is not said. A leg whose disk could not be read
// has Disk "".
func readLeg(t *table) Leg {
	leg := Leg{Pos: t.at}
	if v, ok := t.get("disk"); ok {
		leg.Pos = v.at
	}
	name, ok := t.str("disk")
	if !ok {
		t.missing("disk", `write disk = "a", the NAME of a [disk.NAME]`)
	}
	leg.Disk = name
	if leg.Offset, ok = t.sectors("offset"); !ok && t.has("offset") {
		leg.Disk = "" // nothing can be said of where it lies
	}
	return leg
}

// readTable reads table = """...""".
func readTable(r *report, v value, d *Device, s *scanner) {
	d.FromTable = true
	text, ok := v.raw.(string)
	if !ok {
		r.wrongType(v, "a string", `write the lines of dmsetup table between """ and """`)
		return
	}
	place := func(int) Pos { return v.at }
	if v.node != nil && v.node.kind == nodeScalar {
		source := decodeString(s.text[v.node.start:v.node.end])
		if source.text == text {
			place = func(off int) Pos { return s.lines.pos(v.node.start + source.source(off)) }
		}
	}
	p := &tableParser{text: text, place: place}
	d.Segments = p.parse()
	for _, tp := range p.problems {
		r.error(Pos{tp.Line, tp.Col}, v.path, tp.Hint, "%s", tp.Message)
	}
}
