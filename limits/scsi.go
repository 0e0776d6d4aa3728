package limits

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// SCSI is what a SCSI disk says of itself, as it answered.
type SCSI struct {
	Inquiry    []byte // standard INQUIRY data
	Capacity   []byte // READ CAPACITY (16)
	Designated []byte // VPD page 83h
	Parameters []byte // RECEIVE COPY RESULTS, operating parameters
	ThirdParty []byte // VPD page 8Fh; nil: the disk has no such page
}

// XCopyPort is what EXTENDED COPY to or from a SCSI disk takes, besides its Copy.
type XCopyPort struct {
	NAA        []byte // the designator of the logical unit, 8 or 16 bytes
	ListID     bool   // every command needs an identifier of its own; else none has one
	Concurrent int    // commands at a time, at least 1
}

// Of EXTENDED COPY (LID1), SPC-4.
const (
	XCopyBlocks   = 1<<16 - 1 // blocks of a segment: the field has 16 bits, and 0 is 0
	XCopySegments = 256       // segments that a command of ours has at most: its list is in memory of a fixed size
	XCopyBytes    = 256 << 20 // bytes that a command of ours copies at most: it must come to its end within its timeout

	XCopyCSCD    = 32 // bytes of an identification descriptor (E4h)
	XCopySegment = 28 // bytes of a segment descriptor, block to block (02h)
)

// Three-party-copy bits and bytes, by their places in the data.
const (
	inquiry3PC    = 1 << 3 // of byte 5
	inquiryLength = 36

	capacityLength = 32
	capacityProt   = 1 // of byte 12: PROT_EN

	opSNLID    = 1 // of byte 4: list identifiers are not needed
	opTargets  = 8
	opSegments = 10
	opList     = 12
	opSegment  = 16
	opTotal    = 34
	opMost     = 36
	opGranule  = 37
	opTypes    = 43
)

// ParseSCSI is the copy ability that a SCSI disk reports of itself, as one command EXTENDED COPY (LID1) with two
// identification descriptors (E4h) and block-to-block segments (02h) has it. logicalBlock is what the kernel uses the disk
// with, in bytes. A segment is a source range: MSRC+1 is how many a command has, MSSRL how many blocks one has, and MCL how
// many they have together, which SPC-4 does not bound, but the time a command may take does (XCopyBytes).
//
// The Domain is the disk's NAA designator: two disks of one target may or may not copy to each other, and no command says
// which; only who configures them knows. What contradicts itself has no ability, and the Reason is the contradiction.
func ParseSCSI(s *SCSI, logicalBlock uint32) (Copy, XCopyPort) {
	no := func(format string, a ...any) (Copy, XCopyPort) {
		return Copy{Method: NoCopy, Reason: fmt.Sprintf(format, a...)}, XCopyPort{}
	}
	if !s.ThreePC() {
		return no("the disk has no third-party copy: 3PC is clear in its INQUIRY data")
	}
	if len(s.Capacity) < capacityLength {
		return no("read capacity: %d bytes, %d expected", len(s.Capacity), capacityLength)
	}
	if block := binary.BigEndian.Uint32(s.Capacity[8:]); block != logicalBlock || block == 0 {
		return no("the disk is formatted with blocks of %d bytes, and used with blocks of %d", block, logicalBlock)
	}
	if s.Capacity[12]&capacityProt != 0 {
		return no("protection information is on, and copying it is not supported yet: PROT_EN is set")
	}
	naa, err := scsiNAA(s.Designated)
	if err != nil {
		return no("the disk cannot be told from others: %v", err)
	}
	b, port, err := parseParameters(s.Parameters)
	if err != nil {
		return no("operating parameters: %v", err)
	}
	if s.ThirdParty != nil {
		if err := b.thirdParty(s.ThirdParty); err != nil {
			return no("VPD page 8Fh: %v", err)
		}
	}
	port.NAA = naa
	c := Copy{Method: XCopy, Domain: "scsi-naa." + hex.EncodeToString(naa)}
	if err := b.fill(&c, logicalBlock); err != nil {
		return no("%v", err)
	}
	return c, port
}

// ThreePC says whether the standard INQUIRY data claim any third-party copy. Without it nothing else needs to be asked.
func (s *SCSI) ThreePC() bool {
	return len(s.Inquiry) >= inquiryLength && s.Inquiry[5]&inquiry3PC != 0
}

// scsiBounds is what bounds a command, as the disk said it.
type scsiBounds struct {
	targets, segments uint32
	list              uint32 // bytes of all descriptors
	segment           uint32 // bytes; 0: no bound
	granule           uint8  // log2 of the bytes of which a segment is a multiple
}

// fill sets the bounds of c.
func (b *scsiBounds) fill(c *Copy, block uint32) error {
	switch {
	case b.targets < 2:
		return fmt.Errorf("a command has %d CSCD descriptors, and 2 are needed", b.targets)
	case b.list < 2*XCopyCSCD+XCopySegment:
		return fmt.Errorf("a command has %d bytes of descriptors, and two CSCDs and a segment have %d", b.list, 2*XCopyCSCD+XCopySegment)
	case b.segments == 0:
		return fmt.Errorf("a command has no segment descriptor")
	case b.granule > 63 || 1<<b.granule > uint64(block):
		return fmt.Errorf("segments are of 2^%d bytes, and blocks of %d", b.granule, block)
	}
	segments := min(b.segments, (b.list-2*XCopyCSCD)/XCopySegment, XCopySegments)
	length := uint32(XCopyBlocks)
	if b.segment != 0 {
		length = min(length, b.segment/block)
	}
	total := min(uint64(length)*uint64(segments), XCopyBytes/uint64(block))
	if length == 0 || total == 0 {
		return fmt.Errorf("a segment has at most %d bytes, less than a block of %d", b.segment, block)
	}
	c.MSSRL, c.MCL, c.MSRC = uint32(min(uint64(length), total)), uint32(total), segments-1
	return nil
}

// parseParameters reads the answer to RECEIVE COPY RESULTS, OPERATING PARAMETERS (SPC-4).
func parseParameters(p []byte) (b scsiBounds, port XCopyPort, err error) {
	if len(p) >= 4 {
		p = p[:min(uint64(len(p)), uint64(binary.BigEndian.Uint32(p))+4)]
	}
	if len(p) < opTypes+1 {
		return b, port, fmt.Errorf("%d bytes, %d at least", len(p), opTypes+1)
	}
	b = scsiBounds{
		targets: uint32(binary.BigEndian.Uint16(p[opTargets:])), segments: uint32(binary.BigEndian.Uint16(p[opSegments:])),
		list: binary.BigEndian.Uint32(p[opList:]), segment: binary.BigEndian.Uint32(p[opSegment:]), granule: p[opGranule],
	}
	types := p[opTypes+1:]
	types = types[:min(len(types), int(p[opTypes]))]
	if err := hasTypes(types); err != nil {
		return b, port, err
	}
	port.ListID, port.Concurrent = p[4]&opSNLID == 0, 1
	total, most := int(binary.BigEndian.Uint16(p[opTotal:])), int(p[opMost])
	if total == 0 || total > most { // the one of the whole copy manager may be left out
		total = most
	}
	port.Concurrent = max(1, total)
	return b, port, nil
}

func hasTypes(types []byte) error {
	for _, want := range []byte{0x02, 0xe4} {
		found := false
		for _, t := range types {
			found = found || t == want
		}
		if !found {
			return fmt.Errorf("descriptor type %02xh is not among those implemented, % x", want, types)
		}
	}
	return nil
}

// thirdParty lowers the bounds to what VPD page 8Fh says, where that says anything of them. What it says of service actions
// is of all third-party copy, so a page without EXTENDED COPY (LID1) is one of a disk that has only other ones.
func (b *scsiBounds) thirdParty(p []byte) error {
	page, err := vpd(p, 0x8f)
	if err != nil {
		return err
	}
	for len(page) > 0 {
		if len(page) < 4 {
			return fmt.Errorf("%d bytes behind the last descriptor", len(page))
		}
		n := int(binary.BigEndian.Uint16(page[2:])) + 4
		if n > len(page) {
			return fmt.Errorf("a descriptor of %d bytes, %d are left", n, len(page))
		}
		d := page[:n]
		page = page[n:]
		switch binary.BigEndian.Uint16(d) {
		case 0x0001:
			if !hasLID1(d) {
				return fmt.Errorf("EXTENDED COPY (LID1) is not among the supported commands")
			}
		case 0x0004:
			if n >= 16 {
				b.targets = min(b.targets, uint32(binary.BigEndian.Uint16(d[8:])))
				b.segments = min(b.segments, uint32(binary.BigEndian.Uint16(d[10:])))
				b.list = min(b.list, binary.BigEndian.Uint32(d[12:]))
			}
		case 0x0008:
			if n > 5 {
				if err := hasTypes(d[5:min(n, 5+int(d[4]))]); err != nil {
					return err
				}
			}
		case 0x8001:
			if n >= 17 {
				if most := binary.BigEndian.Uint32(d[12:]); most != 0 && (b.segment == 0 || most < b.segment) {
					b.segment = most
				}
				b.granule = max(b.granule, d[16])
			}
		}
	}
	return nil
}

// hasLID1 looks for EXTENDED COPY (83h), service action 00h, in a descriptor of supported commands.
func hasLID1(d []byte) bool {
	if len(d) < 5 {
		return false
	}
	list := d[5:min(len(d), 5+int(d[4]))]
	for len(list) >= 2 {
		n := min(2+int(list[1]), len(list))
		if list[0] == 0x83 {
			for _, action := range list[2:n] {
				if action == 0 {
					return true
				}
			}
		}
		list = list[n:]
	}
	return false
}

// vpd is a page without its header.
func vpd(p []byte, code byte) ([]byte, error) {
	if len(p) < 4 || p[1] != code {
		return nil, fmt.Errorf("it is no page %02xh", code)
	}
	n := int(binary.BigEndian.Uint16(p[2:]))
	if n > len(p)-4 {
		return nil, fmt.Errorf("%d bytes of %d", len(p)-4, n)
	}
	return p[4 : 4+n], nil
}

// scsiNAA finds the logical unit's NAA designator in VPD page 83h: one of 16 bytes before one of 8. A locally assigned one
// (NAA 3h) may be another disk's too, and is none.
func scsiNAA(p []byte) ([]byte, error) {
	page, err := vpd(p, 0x83)
	if err != nil {
		return nil, err
	}
	var best []byte
	for len(page) >= 4 {
		n := int(page[3])
		if 4+n > len(page) {
			break
		}
		id := page[4 : 4+n]
		// Code set binary, association logical unit, type NAA.
		if page[0]&0xf == 1 && page[1]&0x3f == 3 && n > 0 {
			long := id[0]>>4 == 6 && n == 16
			short := (id[0]>>4 == 5 || id[0]>>4 == 2) && n == 8
			if (long || short) && n > len(best) && !blank(id[1:]) {
				best = append([]byte(nil), id...)
			}
		}
		page = page[4+n:]
	}
	if best == nil {
		return nil, fmt.Errorf("VPD page 83h has no NAA designator of the logical unit")
	}
	return best, nil
}
