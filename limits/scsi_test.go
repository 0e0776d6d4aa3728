package limits

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// lio is what Linux's own target says of a disk of 512-byte blocks.
func lio() *SCSI {
	s := &SCSI{Inquiry: make([]byte, 36), Capacity: make([]byte, 32), Parameters: make([]byte, 46)}
	s.Inquiry[2], s.Inquiry[5] = 6, 0x08
	binary.BigEndian.PutUint64(s.Capacity, 1<<20-1)
	binary.BigEndian.PutUint32(s.Capacity[8:], 512)
	s.Designated = page(0x83,
		designator(0x02, 0x01, []byte("LIO-ORG xa:a1a1")), // T10 vendor
		designator(0x01, 0x03, unhex("60014051a1a1a1b2b2b2b2c3c3c3c3d0")),
		designator(0x01, 0x94, []byte{0, 0, 0, 1}), // of the port
	)
	p := s.Parameters
	binary.BigEndian.PutUint32(p, 42)
	p[4], p[9], p[11] = 1, 2, 1
	binary.BigEndian.PutUint32(p[12:], 1024)
	binary.BigEndian.PutUint32(p[16:], 256<<20)
	p[35], p[36], p[37] = 1, 1, 9
	p[43], p[44], p[45] = 2, 0x02, 0xe4
	return s
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func designator(set, kind byte, id []byte) []byte {
	return append([]byte{set, kind, 0, byte(len(id))}, id...)
}

func page(code byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	return append([]byte{0, code, byte(len(body) >> 8), byte(len(body))}, body...)
}

// thirdParty is a descriptor of VPD page 8Fh.
func thirdParty(kind uint16, body ...byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	return append([]byte{byte(kind >> 8), byte(kind), byte(len(body) >> 8), byte(len(body))}, body...)
}

func TestParseSCSI(t *testing.T) {
	good := Copy{Method: XCopy, MSSRL: 65535, MCL: 65535, MSRC: 0, Domain: "scsi-naa.60014051a1a1a1b2b2b2b2c3c3c3c3d0"}
	long := unhex("60014051a1a1a1b2b2b2b2c3c3c3c3d0")
	short := unhex("5000c500a1b2c3d4")
	set16 := func(p []byte, at int, v uint16) { binary.BigEndian.PutUint16(p[at:], v) }
	set32 := func(p []byte, at int, v uint32) { binary.BigEndian.PutUint32(p[at:], v) }
	params := thirdParty(0x0004, 0, 0, 0, 0, 0, 2, 0, 9, 0, 0, 4, 0, 0, 0, 0, 0)
	general := thirdParty(0x8001, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 9, 9)
	for _, tt := range []struct {
		name  string
		block uint32 // 0: 512
		edit  func(s *SCSI)
		want  func(c *Copy, p *XCopyPort)
		no    string
	}{
		{name: "LIO"},
		{name: "4096-byte blocks", block: 4096, edit: func(s *SCSI) { set32(s.Capacity, 8, 4096) }},
		{name: "segments of 1 MiB", edit: func(s *SCSI) { set32(s.Parameters, 16, 1<<20) }, want: func(c *Copy, _ *XCopyPort) { c.MSSRL, c.MCL = 2048, 2048 }},
		{name: "segments without a bound", edit: func(s *SCSI) { set32(s.Parameters, 16, 0) }},
		{name: "a segment that is no multiple of a block", edit: func(s *SCSI) { set32(s.Parameters, 16, 1535) }, want: func(c *Copy, _ *XCopyPort) { c.MSSRL, c.MCL = 2, 2 }},
		{name: "as many segments as the list holds", edit: func(s *SCSI) { set16(s.Parameters, 10, 100); set32(s.Parameters, 16, 1<<20) },
			want: func(c *Copy, _ *XCopyPort) { c.MSSRL, c.MCL, c.MSRC = 2048, 34*2048, 33 }}, // (1024 - 64) / 28
		{name: "as many segments as ours", edit: func(s *SCSI) {
			set16(s.Parameters, 10, 65535)
			set32(s.Parameters, 12, 1<<32-1)
			set32(s.Parameters, 16, 8192)
		},
			want: func(c *Copy, _ *XCopyPort) { c.MSSRL, c.MCL, c.MSRC = 16, 16*256, 255 }},
		{name: "as many bytes as ours", edit: func(s *SCSI) { set16(s.Parameters, 10, 65535); set32(s.Parameters, 12, 1<<32-1) },
			want: func(c *Copy, _ *XCopyPort) { c.MCL, c.MSRC = 524288, 255 }},
		{name: "the least list", edit: func(s *SCSI) { set32(s.Parameters, 12, 92) }},
		{name: "list identifiers", edit: func(s *SCSI) { s.Parameters[4] = 0xfe }, want: func(_ *Copy, p *XCopyPort) { p.ListID = true }},
		{name: "five at a time", edit: func(s *SCSI) { s.Parameters[35], s.Parameters[36] = 9, 5 }, want: func(_ *Copy, p *XCopyPort) { p.Concurrent = 5 }},
		{name: "nine at a time, of which three", edit: func(s *SCSI) { s.Parameters[35], s.Parameters[36] = 3, 9 }, want: func(_ *Copy, p *XCopyPort) { p.Concurrent = 3 }},
		{name: "of concurrency nothing", edit: func(s *SCSI) { s.Parameters[35], s.Parameters[36] = 0, 0 }},
		{name: "more data than is said", edit: func(s *SCSI) { s.Parameters = append(s.Parameters, 9, 9) }},
		{name: "NAA 5", edit: func(s *SCSI) { s.Designated = page(0x83, designator(0x61, 0x03, short)) },
			want: func(c *Copy, p *XCopyPort) { c.Domain, p.NAA = "scsi-naa.5000c500a1b2c3d4", short }},
		{name: "NAA 5 before 6", edit: func(s *SCSI) { s.Designated = page(0x83, designator(1, 3, short), designator(1, 3, long)) }},
		{name: "NAA 6 before 5", edit: func(s *SCSI) { s.Designated = page(0x83, designator(1, 3, long), designator(1, 3, short)) }},
		{name: "page 8Fh that says nothing", edit: func(s *SCSI) { s.ThirdParty = page(0x8f) }},
		{name: "page 8Fh", edit: func(s *SCSI) {
			set16(s.Parameters, 10, 100)
			s.ThirdParty = page(0x8f, thirdParty(0x0001, 7, 0x83, 2, 0x10, 0x00, 0x84, 1, 0x03), params, thirdParty(0x0008, 3, 0xe4, 0x0a, 0x02), general, thirdParty(0x1234, 9, 9))
		}, want: func(c *Copy, _ *XCopyPort) { c.MSSRL, c.MCL, c.MSRC = 128, 9*128, 8 }},

		{name: "no 3PC", edit: func(s *SCSI) { s.Inquiry[5] = 0xf7 }, no: "3PC is clear"},
		{name: "a short INQUIRY", edit: func(s *SCSI) { s.Inquiry = s.Inquiry[:35] }, no: "3PC is clear"},
		{name: "protection information", edit: func(s *SCSI) { s.Capacity[12] = 1 }, no: "PROT_EN is set"},
		{name: "another block", block: 4096, no: "blocks of 512 bytes, and used with blocks of 4096"},
		{name: "no capacity", edit: func(s *SCSI) { s.Capacity = nil }, no: "read capacity: 0 bytes"},
		{name: "no page 83h", edit: func(s *SCSI) { s.Designated = nil }, no: "it is no page 83h"},
		{name: "a page 83h cut short", edit: func(s *SCSI) { s.Designated = s.Designated[:20] }, no: "16 bytes of 47"},
		{name: "no NAA", edit: func(s *SCSI) { s.Designated = page(0x83, designator(2, 1, []byte("LIO-ORG x"))) }, no: "no NAA designator"},
		{name: "an NAA of the port", edit: func(s *SCSI) { s.Designated = page(0x83, designator(1, 0x93, long)) }, no: "no NAA designator"},
		{name: "an NAA in ASCII", edit: func(s *SCSI) { s.Designated = page(0x83, designator(2, 3, long)) }, no: "no NAA designator"},
		{name: "a local NAA", edit: func(s *SCSI) { s.Designated = page(0x83, designator(1, 3, unhex("3000c500a1b2c3d4"))) }, no: "no NAA designator"},
		{name: "an NAA that nobody filled in", edit: func(s *SCSI) { s.Designated = page(0x83, designator(1, 3, unhex("60000000000000000000000000000000"))) }, no: "no NAA designator"},
		{name: "an NAA 6 of 8 bytes", edit: func(s *SCSI) { s.Designated = page(0x83, designator(1, 3, long[:8])) }, no: "no NAA designator"},
		{name: "a designator past the page", edit: func(s *SCSI) { s.Designated = page(0x83, []byte{1, 3, 0, 16, 0x60, 1, 2, 3}) }, no: "no NAA designator"},
		{name: "short parameters", edit: func(s *SCSI) { s.Parameters = s.Parameters[:43] }, no: "operating parameters: 43 bytes"},
		{name: "parameters that say less", edit: func(s *SCSI) { s.Parameters[3] = 39 }, no: "operating parameters: 43 bytes"},
		{name: "one target", edit: func(s *SCSI) { s.Parameters[9] = 1 }, no: "1 CSCD descriptors"},
		{name: "no segment", edit: func(s *SCSI) { s.Parameters[11] = 0 }, no: "no segment descriptor"},
		{name: "a list without a segment", edit: func(s *SCSI) { set32(s.Parameters, 12, 91) }, no: "91 bytes of descriptors"},
		{name: "segments below a block", edit: func(s *SCSI) { set32(s.Parameters, 16, 511) }, no: "511 bytes, less than a block"},
		{name: "a coarse granularity", edit: func(s *SCSI) { s.Parameters[37] = 12 }, no: "2^12 bytes"},
		{name: "no granularity there is", edit: func(s *SCSI) { s.Parameters[37] = 64 }, no: "2^64 bytes"},
		{name: "no block to block", edit: func(s *SCSI) { s.Parameters[44] = 3 }, no: "type 02h"},
		{name: "no identification descriptor", edit: func(s *SCSI) { s.Parameters[43] = 1 }, no: "type e4h"},
		{name: "page 8Fh without LID1", edit: func(s *SCSI) { s.ThirdParty = page(0x8f, thirdParty(0x0001, 4, 0x83, 2, 0x10, 0x11)) }, no: "VPD page 8Fh: EXTENDED COPY (LID1)"},
		{name: "page 8Fh without block to block", edit: func(s *SCSI) { s.ThirdParty = page(0x8f, thirdParty(0x0008, 1, 0xe4)) }, no: "type 02h"},
		{name: "page 8Fh cut short", edit: func(s *SCSI) { s.ThirdParty = page(0x8f, params)[:10] }, no: "VPD page 8Fh: 6 bytes of 20"},
		{name: "page 8Fh with a long descriptor", edit: func(s *SCSI) { s.ThirdParty = page(0x8f, params[:12]) }, no: "a descriptor of 20 bytes, 12 are left"},
		{name: "another page for 8Fh", edit: func(s *SCSI) { s.ThirdParty = page(0x83) }, no: "it is no page 8fh"},
	} {
		s, block := lio(), tt.block
		if block == 0 {
			block = 512
		}
		if tt.edit != nil {
			tt.edit(s)
		}
		c, p := ParseSCSI(s, block)
		if tt.no != "" {
			if c.Can() || !strings.Contains(c.Reason, tt.no) || p.NAA != nil {
				t.Errorf("%s: %+v", tt.name, c)
			}
			continue
		}
		want, port := good, XCopyPort{NAA: long, Concurrent: 1}
		if tt.want != nil {
			tt.want(&want, &port)
		}
		if c != want || !bytes.Equal(p.NAA, port.NAA) || p.ListID != port.ListID || p.Concurrent != port.Concurrent {
			t.Errorf("%s: %+v %+v, not %+v %+v", tt.name, c, p, want, port)
		}
	}
}

// Whatever the bytes are: an ability that is given has bounds that can be sent, and it is the one of the first bytes that
// the disk said it sent.
func checkSCSI(t interface{ Errorf(string, ...any) }, s *SCSI, block uint32) (can bool) {
	c, p := ParseSCSI(s, block)
	if !c.Can() {
		if c.Reason == "" || c.Method != NoCopy {
			t.Errorf("%+v", c)
		}
		return false
	}
	list := binary.BigEndian.Uint32(s.Parameters[12:])
	segments := uint32(binary.BigEndian.Uint16(s.Parameters[10:]))
	longest := binary.BigEndian.Uint32(s.Parameters[16:])
	switch {
	case c.MSSRL == 0 || c.MSSRL > XCopyBlocks || c.MCL < c.MSSRL || uint64(c.MCL) > uint64(c.MSSRL)*uint64(c.MSRC+1):
		t.Errorf("bounds contradict themselves: %+v", c)
	case uint64(c.MCL)*uint64(block) > XCopyBytes || c.MSRC >= XCopySegments || c.MSRC+1 > segments:
		t.Errorf("over ours: %+v", c)
	case uint64(2*XCopyCSCD+(c.MSRC+1)*XCopySegment) > uint64(list) || longest != 0 && uint64(c.MSSRL)*uint64(block) > uint64(longest):
		t.Errorf("over the disk's: %+v", c)
	case len(p.NAA) != 8 && len(p.NAA) != 16, p.Concurrent < 1, c.Domain != "scsi-naa."+hex.EncodeToString(p.NAA):
		t.Errorf("%+v %+v", c, p)
	}
	return true
}

func TestParseSCSIAny(t *testing.T) {
	able := 0
	for able < 50 { // until there were some that can
		rapid.Check(t, func(t *rapid.T) {
			s := lio()
			p := s.Parameters
			binary.BigEndian.PutUint16(p[10:], rapid.Uint16().Draw(t, "segments"))
			binary.BigEndian.PutUint32(p[12:], rapid.Uint32().Draw(t, "list"))
			binary.BigEndian.PutUint32(p[16:], rapid.Uint32().Draw(t, "length"))
			block := rapid.SampledFrom([]uint32{512, 4096}).Draw(t, "block")
			binary.BigEndian.PutUint32(s.Capacity[8:], block)
			if rapid.Bool().Draw(t, "third party") {
				s.ThirdParty = page(0x8f, thirdParty(0x0004, rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "8f")...))
			}
			if rapid.Bool().Draw(t, "noise") {
				for _, b := range [][]byte{p, s.Designated, s.ThirdParty} {
					if len(b) > 0 {
						b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(1 << rapid.IntRange(0, 7).Draw(t, "bit"))
					}
				}
			}
			if checkSCSI(t, s, block) {
				able++
			}
		})
	}
}

func FuzzParseSCSI(f *testing.F) {
	s := lio()
	f.Add(s.Designated, s.Parameters, page(0x8f, thirdParty(0x0001, 2, 0x83, 0), thirdParty(0x0008, 2, 0x02, 0xe4)), uint32(512))
	f.Add(s.Designated, s.Parameters, []byte(nil), uint32(4096))
	f.Fuzz(func(t *testing.T, designated, parameters, third []byte, block uint32) {
		s := lio()
		s.Designated, s.Parameters, s.ThirdParty = designated, parameters, third
		binary.BigEndian.PutUint32(s.Capacity[8:], block)
		if len(third) == 0 {
			s.ThirdParty = nil
		}
		checkSCSI(t, s, block)
	})
}
