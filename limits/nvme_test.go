package limits

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// identify is what QEMU 10.0 says of an NVMe disk by default, but for NGUID and EUI64, which it leaves out.
func identify() (ns, ctrl []byte) {
	ns, ctrl = make([]byte, NVMeIdentifySize), make([]byte, NVMeIdentifySize)
	for i, lbads := range []byte{9, 9, 9, 9, 12, 12, 12, 12} {
		ns[128+4*i+2] = lbads
	}
	binary.LittleEndian.PutUint16(ns[74:], 128)
	binary.LittleEndian.PutUint32(ns[76:], 128)
	ns[80] = 127
	copy(ctrl[4:24], "cpa                 ")
	binary.LittleEndian.PutUint16(ctrl[520:], 0x75d)
	binary.LittleEndian.PutUint16(ctrl[534:], 0xf)
	return ns, ctrl
}

func TestParseNVMe(t *testing.T) {
	good := Copy{Method: NVMeCopy, MSSRL: 128, MCL: 128, MSRC: 127, Domain: "nvme-serial.cpa-1"}
	with := func(edit func(c *Copy)) Copy {
		c := good
		edit(&c)
		return c
	}
	no := func(reason string) Copy { return Copy{Method: NoCopy, Reason: reason} }
	tests := []struct {
		name  string
		edit  func(ns, ctrl []byte)
		nsid  uint32 // 0: 1
		block uint32 // 0: 512
		want  Copy
	}{
		{name: "QEMU's defaults", want: good},
		{name: "4096-byte blocks", block: 4096, edit: func(ns, _ []byte) {
			ns[26] = 4
			binary.LittleEndian.PutUint16(ns[74:], 16)
			binary.LittleEndian.PutUint32(ns[76:], 40)
			ns[80] = 3
		}, want: with(func(c *Copy) { c.MSSRL, c.MCL, c.MSRC = 16, 40, 3 })},
		{name: "one range", edit: func(ns, _ []byte) { ns[80] = 0 }, want: with(func(c *Copy) { c.MSRC = 0 })},
		{name: "the largest", edit: func(ns, _ []byte) {
			for i := range 7 {
				ns[74+i] = 0xff
			}
		}, want: with(func(c *Copy) { c.MSSRL, c.MCL, c.MSRC = 1<<16-1, 1<<32-1, 255 })},
		{name: "format 17 is in bits 6:5", block: 4096, edit: func(ns, _ []byte) {
			ns[26] = 0x21
			ns[128+4*17+2] = 12
		}, want: good},
		{name: "metadata of its own", edit: func(ns, _ []byte) { ns[26], ns[128] = 0x10, 8 }, want: good},
		{name: "NGUID", edit: func(ns, _ []byte) {
			ns[104], ns[119], ns[120] = 0xab, 1, 2
		}, want: with(func(c *Copy) { c.Domain = "nvme-nguid.ab000000000000000000000000000001" })},
		{name: "EUI64", edit: func(ns, _ []byte) {
			copy(ns[120:], "\x00\x25\x38\x5b\x21\x40\x4a\x30")
		}, want: with(func(c *Copy) { c.Domain = "nvme-eui.0025385b21404a30" })},
		{name: "erased NGUID", edit: func(ns, _ []byte) {
			for i := range 16 {
				ns[104+i] = 0xff
			}
			ns[127] = 1
		}, want: with(func(c *Copy) { c.Domain = "nvme-eui.0000000000000001" })},
		{name: "another namespace", nsid: 7, want: with(func(c *Copy) { c.Domain = "nvme-serial.cpa-7" })},
		{name: "serial with a space", edit: func(_, ctrl []byte) { copy(ctrl[4:], " S5 GXNG\x00") },
			want: with(func(c *Copy) { c.Domain = "nvme-serial.S5 GXNG-1" })},
		{name: "serial that is no text", edit: func(_, ctrl []byte) { ctrl[4] = 0xfe },
			want: with(func(c *Copy) { c.Domain = "nvme-serial.0xfe7061" + strings.Repeat("20", 17) + "-1" })},

		{name: "no Copy", edit: func(_, ctrl []byte) { ctrl[521] &^= 1 }, want: no("the controller has no Copy: ONCS bit 8 is clear")},
		{name: "no format", edit: func(_, ctrl []byte) { ctrl[534] = 0 },
			want: no("the controller has Copy, but not with format 0: OCFS is 0x0000")},
		{name: "formats 1 to 3", edit: func(_, ctrl []byte) { ctrl[534] = 0xe },
			want: no("the controller has Copy, but not with format 0: OCFS is 0x000e")},
		{name: "MCL 0", edit: func(ns, _ []byte) { ns[76] = 0 },
			want: no("the controller has Copy, but a command has no blocks: MCL is 0")},
		{name: "MSSRL 0", edit: func(ns, _ []byte) { ns[74] = 0 },
			want: no("the controller has Copy, but a source range has no blocks: MSSRL is 0")},
		{name: "MCL below MSSRL", edit: func(ns, _ []byte) { ns[76], ns[80] = 127, 0 },
			want: no("a command has fewer blocks than one of its source ranges: MCL is 127, MSSRL is 128")},
		{name: "protection information", edit: func(ns, _ []byte) { ns[29] = 1 },
			want: no("protection information is on, and copying it is not supported yet: DPS is 0x01")},
		{name: "blocks of another size", block: 4096,
			want: no("the namespace is formatted with blocks of 512 bytes, and used with blocks of 4096")},
		{name: "a format that is not there", edit: func(ns, _ []byte) { ns[26] = 9 },
			want: no("the namespace is formatted with blocks of 0 bytes, and used with blocks of 512")},
		{name: "nameless", edit: func(_, ctrl []byte) { clear(ctrl[4:24]) },
			want: no("the namespace cannot be told from others: no NGUID, EUI64 or serial number")},
		{name: "spaces for a serial", edit: func(_, ctrl []byte) { copy(ctrl[4:24], "                    ") },
			want: no("the namespace cannot be told from others: no NGUID, EUI64 or serial number")},
		{name: "every namespace", nsid: 1<<32 - 1,
			want: no("the namespace cannot be told from others: no NGUID, EUI64 or serial number")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ns, ctrl := identify()
			if tt.edit != nil {
				tt.edit(ns, ctrl)
			}
			got := ParseNVMe(ns, ctrl, max(tt.nsid, 1), max(tt.block, 512))
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestParseNVMeShort(t *testing.T) {
	ns, ctrl := identify()
	for _, n := range []int{0, 80, NVMeIdentifySize - 1} {
		for _, c := range []Copy{ParseNVMe(ns[:n], ctrl, 1, 512), ParseNVMe(ns, ctrl[:n], 1, 512)} {
			if c.Can() || !strings.HasPrefix(c.Reason, "identify: ") {
				t.Errorf("%d bytes: %+v", n, c)
			}
		}
	}
}

func TestNVMeForgetID(t *testing.T) {
	ns, ctrl := identify()
	ns[104], ns[120] = 1, 1
	NVMeForgetID(ns[:127]) // short: nothing
	if c := ParseNVMe(ns, ctrl, 1, 512); !strings.HasPrefix(c.Domain, "nvme-nguid.") {
		t.Errorf("before: %+v", c)
	}
	NVMeForgetID(ns)
	if c := ParseNVMe(ns, ctrl, 1, 512); c.Domain != "nvme-serial.cpa-1" {
		t.Errorf("after: %+v", c)
	}
}

// checkNVMe is what holds for every answer.
func checkNVMe(t interface{ Fatalf(string, ...any) }, ns, ctrl []byte, nsid, block uint32) {
	c := ParseNVMe(ns, ctrl, nsid, block)
	switch {
	case c.Can() && (c.MSSRL == 0 || c.MCL < c.MSSRL || c.MSRC > 255 || c.Domain == "" || c.Reason != "" || c.Method != NVMeCopy):
		t.Fatalf("can: %+v", c)
	case !c.Can() && (c.Reason == "" || c != Copy{Method: NoCopy, Reason: c.Reason}):
		t.Fatalf("cannot: %+v", c)
	}
	for _, rule := range CopyRules() {
		if l := c.Limits(rule, block); c.Can() != (l.MaxSectors != 0 && l.MaxRangeSectors != 0 && l.MaxRanges != 0) {
			t.Fatalf("%+v has limits %+v", c, l)
		}
	}
	for _, r := range c.Domain + c.Reason {
		if r < ' ' || r > '~' {
			t.Fatalf("not text: %+v", c)
		}
	}
}

// Bytes that nobody asked about, near the good ones, never make an ability out of nothing.
func TestParseNVMeAny(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns, ctrl := identify()
		for range rapid.IntRange(0, 6).Draw(t, "edits") {
			if rapid.Bool().Draw(t, "namespace") {
				at := rapid.SampledFrom([]int{26, 29, 74, 75, 76, 77, 78, 79, 80, 104, 120, 130, 146, 382}).Draw(t, "at")
				ns[at] = rapid.Byte().Draw(t, "byte")
			} else {
				at := rapid.SampledFrom([]int{4, 5, 23, 520, 521, 534, 535}).Draw(t, "at")
				ctrl[at] = rapid.Byte().Draw(t, "byte")
			}
		}
		cut := rapid.SampledFrom([]int{NVMeIdentifySize, NVMeIdentifySize, NVMeIdentifySize, 4095, 130, 0}).Draw(t, "cut")
		checkNVMe(t, ns[:cut], ctrl, rapid.Uint32().Draw(t, "nsid"), rapid.SampledFrom([]uint32{0, 512, 4096}).Draw(t, "block"))
	})
}

func FuzzParseNVMe(f *testing.F) {
	ns, ctrl := identify()
	f.Add(ns[:384], ctrl[:536], uint32(1), uint32(512)) // the rest is zeroes
	f.Add([]byte{}, []byte{}, uint32(0), uint32(0))
	f.Fuzz(func(t *testing.T, ns, ctrl []byte, nsid, block uint32) {
		checkNVMe(t, ns, ctrl, nsid, block)
		a, b := make([]byte, NVMeIdentifySize), make([]byte, NVMeIdentifySize)
		copy(a, ns)
		copy(b, ctrl)
		checkNVMe(t, a, b, nsid, block)
	})
}
