package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// TableProblem is one thing that is wrong with a dm table. Line and Col count from 1 in the text.
type TableProblem struct {
	Line, Col int
	Message   string // begins with the words dm or dmsetup uses
	Hint      string
}

// ParseTable reads a table in dmsetup's words, one target per line:
//
//	START LENGTH linear DISK OFFSET
//	START LENGTH striped LEGS CHUNK DISK OFFSET [DISK OFFSET]...
//
// Numbers are 512-byte sectors, disks are names. Blank lines and lines that begin with # are
// skipped. It checks what dm checks without looking at a disk. A line with a problem gives a
// segment with Type "", or none; the segments may be used only if there are no problems.
func ParseTable(text string) ([]Segment, []TableProblem) {
	p := &tableParser{text: text, place: newLines(text).pos}
	return p.parse(), p.problems
}

// tableParser reads a table; place says where a byte of it stands.
type tableParser struct {
	text     string
	place    func(off int) Pos
	problems []TableProblem
}

// word is one word of a line and its offset in the text.
type word struct {
	text string
	off  int
}

func (p *tableParser) fail(off int, hint, format string, args ...any) {
	at := p.place(off)
	p.problems = append(p.problems, TableProblem{at.Line, at.Col, fmt.Sprintf(format, args...), hint})
}

func (p *tableParser) parse() []Segment {
	var segs []Segment
	// next is where the next line must start; unknown after a line without a readable length.
	next, known := uint64(0), true
	for off := 0; off < len(p.text); {
		end := len(p.text)
		if nl := strings.IndexByte(p.text[off:], '\n'); nl >= 0 {
			end = off + nl
		}
		words := splitWords(p.text[off:end], off)
		off = end + 1
		if len(words) == 0 || words[0].text[0] == '#' {
			continue
		}
		if len(segs) == maxSegments {
			p.fail(words[0].off, "", "too many targets: the most is %d", maxSegments)
			return segs
		}
		seg, readable := p.line(words, len(segs) == 0, next, known)
		if known = readable; known {
			next = seg.Start + seg.Sectors
		}
		segs = append(segs, seg)
	}
	if len(segs) == 0 {
		p.fail(0, `write lines as "0 2048 linear a 0"`, "table is empty")
	}
	return segs
}

// splitWords splits a line at white space as isspace knows it.
func splitWords(line string, off int) []word {
	var words []word
	for i := 0; i < len(line); {
		if isSpace(line[i]) {
			i++
			continue
		}
		start := i
		for i < len(line) && !isSpace(line[i]) {
			i++
		}
		words = append(words, word{line[start:i], off + start})
	}
	return words
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// number reads an unsigned decimal up to high.
func number(s string, high uint64) (uint64, bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n <= high
}

// line reads one target. readable says that its start and length could be read.
func (p *tableParser) line(words []word, first bool, next uint64, known bool) (seg Segment, readable bool) {
	seg.Pos = p.place(words[0].off)
	if len(words) < 3 {
		p.fail(words[0].off, "a line is START LENGTH TYPE PARAMETERS", "invalid format: the line has %s", plural(len(words), "word"))
		return seg, false
	}
	start, ok := number(words[0].text, math.MaxUint64)
	if !ok {
		p.fail(words[0].off, "the start is a number of 512-byte sectors", "invalid format: start %s is not a number", clip(words[0].text))
	}
	length, ok2 := number(words[1].text, math.MaxUint64)
	if !ok2 {
		p.fail(words[1].off, "the length is a number of 512-byte sectors", "invalid format: length %s is not a number", clip(words[1].text))
	}
	if !ok || !ok2 {
		return seg, false
	}
	good := true
	switch {
	case first && start != 0:
		p.fail(words[0].off, "begin the table at sector 0", "gap in table: the first line starts at sector %d", start)
		good = false
	case known && start > next:
		p.fail(words[0].off, fmt.Sprintf("start at %d", next), "gap in table: the line before ends at sector %d, this one starts at %d", next, start)
		good = false
	case known && start < next:
		p.fail(words[0].off, fmt.Sprintf("start at %d", next), "gap in table: the line before ends at sector %d, this one starts at %d, inside it", next, start)
		good = false
	}
	if length == 0 {
		p.fail(words[1].off, "give it a length in 512-byte sectors", "zero-length target")
		good = false
	}
	if start > maxSectors || length > maxSectors-start {
		p.fail(words[1].off, fmt.Sprintf("the last sector is %d", uint64(maxSectors)), "too large: sector %d + %d is more than device-mapper can address", start, length)
		return seg, false
	}
	seg.Start, seg.Sectors = start, length
	kind, args := words[2], words[3:]
	switch kind.text {
	case "linear":
		good = p.linear(&seg, kind, args) && good
	case "striped":
		good = p.striped(&seg, kind, args) && good
	default:
		p.fail(kind.off, suggestType(kind.text), "unknown target type %s", clip(kind.text))
		good = false
	}
	if good {
		seg.Type = kind.text
	}
	return seg, true
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// linear reads DISK OFFSET.
func (p *tableParser) linear(seg *Segment, kind word, args []word) bool {
	if len(args) != 2 {
		at := kind.off
		if len(args) > 2 {
			at = args[2].off
		}
		p.fail(at, "linear takes DISK OFFSET", "invalid argument count: linear has %s", plural(len(args), "argument"))
		return false
	}
	offset, ok := number(args[1].text, math.MaxUint64)
	if !ok {
		p.fail(args[1].off, "the offset is a number of 512-byte sectors", "invalid device sector %s", clip(args[1].text))
		return false
	}
	seg.Legs = []Leg{{Disk: args[0].text, Offset: offset, Pos: p.place(args[0].off)}}
	return p.inReach(args[1], offset, seg.Sectors)
}

// inReach reports an extent whose end cannot be addressed.
func (p *tableParser) inReach(w word, offset, sectors uint64) bool {
	if offset <= maxSectors && sectors <= maxSectors-offset {
		return true
	}
	p.fail(w.off, fmt.Sprintf("the last sector is %d", uint64(maxSectors)), "invalid device sector %d: the extent ends past what device-mapper can address", offset)
	return false
}

// striped reads LEGS CHUNK and a DISK OFFSET per leg.
func (p *tableParser) striped(seg *Segment, kind word, args []word) bool {
	const usage = "striped takes LEGS CHUNK and a DISK OFFSET per leg"
	if len(args) < 2 {
		p.fail(kind.off, usage, "not enough arguments: striped has %s", plural(len(args), "argument"))
		return false
	}
	n, ok := number(args[0].text, math.MaxUint32)
	if !ok || n == 0 {
		p.fail(args[0].off, "the number of legs comes first, from 1", "invalid stripe count %s", clip(args[0].text))
		return false
	}
	chunk, ok := number(args[1].text, math.MaxUint32)
	if !ok || chunk == 0 {
		p.fail(args[1].off, "the chunk is a number of 512-byte sectors, from 1 to 4294967295", "invalid chunk_size %s", clip(args[1].text))
		return false
	}
	seg.Chunk = uint32(chunk)
	good := true
	if hint := nearestStripe(seg.Sectors, chunk, n, func(s uint64) string { return strconv.FormatUint(s, 10) }); seg.Sectors%n != 0 {
		p.fail(kind.off, hint, "target length not divisible by number of stripes: %d / %d", seg.Sectors, n)
		good = false
	} else if seg.Sectors/n%chunk != 0 {
		p.fail(kind.off, hint, "target length not divisible by chunk size: %d / %d legs = %d, chunk %d", seg.Sectors, n, seg.Sectors/n, chunk)
		good = false
	}
	legs := args[2:]
	if uint64(len(legs)) != 2*n {
		at, what := kind.off, "not enough destinations specified"
		if uint64(len(legs)) > 2*n {
			at, what = legs[2*n].off, "too many destinations specified (dm says: not enough destinations specified)"
		}
		p.fail(at, usage, "%s: %s take %s, the line has %d", what, plural(int(n), "leg"), plural(int(2*n), "word"), len(legs))
		return false
	}
	for pair := range slices.Chunk(legs, 2) {
		offset, ok := number(pair[1].text, math.MaxUint64)
		if !ok {
			p.fail(pair[1].off, "the offset is a number of 512-byte sectors", "couldn't parse stripe destination: offset %s", clip(pair[1].text))
			good = false
			continue
		}
		good = p.inReach(pair[1], offset, seg.Sectors/n) && good
		seg.Legs = append(seg.Legs, Leg{Disk: pair[0].text, Offset: offset, Pos: p.place(pair[0].off)})
	}
	return good
}

// nearestStripe is a hint that names the lengths next to sectors that fit chunk × legs.
func nearestStripe(sectors, chunk, legs uint64, show func(sectors uint64) string) string {
	if chunk > maxSectors/legs {
		return "chunk × legs is more than a device can hold"
	}
	row := chunk * legs
	down := sectors / row * row
	switch {
	case down == 0:
		return "use " + show(row)
	case down > maxSectors-row:
		return "use " + show(down)
	}
	return fmt.Sprintf("use %s or %s", show(down), show(down+row))
}
