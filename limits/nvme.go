package limits

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// NVMeIdentifySize is the length of every answer to NVMe Identify.
const NVMeIdentifySize = 4096

// Bytes of Identify Namespace (CNS 00h) and Identify Controller (CNS 01h), where the fields begin.
const (
	nsFLBAS = 26
	nsDPS   = 29
	nsMSSRL = 74
	nsMCL   = 76
	nsMSRC  = 80
	nsNGUID = 104
	nsEUI64 = 120
	nsLBAF  = 128

	ctrlSerial = 4
	ctrlONCS   = 520
	ctrlOCFS   = 534
)

// ParseNVMe is the copy ability that a namespace and its controller report of themselves: the data of Identify Namespace
// and Identify Controller, the namespace's number, and the logical block in bytes that the kernel uses it with.
//
// The ability is that of format 0, which copies inside one namespace: the Domain is the namespace's NGUID, else its
// EUI64, else the controller's serial number with the namespace's number. What contradicts itself is not to be trusted
// with a copy: it has no ability, and the Reason is the contradiction.
func ParseNVMe(ns, ctrl []byte, nsid, logicalBlock uint32) Copy {
	no := func(format string, a ...any) Copy { return Copy{Method: NoCopy, Reason: fmt.Sprintf(format, a...)} }
	if len(ns) < NVMeIdentifySize || len(ctrl) < NVMeIdentifySize {
		return no("identify: %d bytes of namespace and %d of controller, %d each expected", len(ns), len(ctrl), NVMeIdentifySize)
	}
	if oncs := binary.LittleEndian.Uint16(ctrl[ctrlONCS:]); oncs&(1<<8) == 0 {
		return no("the controller has no Copy: ONCS bit 8 is clear")
	}
	if ocfs := binary.LittleEndian.Uint16(ctrl[ctrlOCFS:]); ocfs&1 == 0 {
		return no("the controller has Copy, but not with format 0: OCFS is 0x%04x", ocfs)
	}
	if dps := ns[nsDPS]; dps&7 != 0 {
		return no("protection information is on, and copying it is not supported yet: DPS is 0x%02x", dps)
	}
	if block := nvmeBlock(ns); block != uint64(logicalBlock) {
		return no("the namespace is formatted with blocks of %d bytes, and used with blocks of %d", block, logicalBlock)
	}
	c := Copy{
		Method: NVMeCopy,
		MSSRL:  uint32(binary.LittleEndian.Uint16(ns[nsMSSRL:])),
		MCL:    binary.LittleEndian.Uint32(ns[nsMCL:]),
		MSRC:   uint32(ns[nsMSRC]),
		Domain: nvmeDomain(ns, ctrl, nsid),
	}
	switch {
	case c.MCL == 0:
		return no("the controller has Copy, but a command has no blocks: MCL is 0")
	case c.MSSRL == 0:
		return no("the controller has Copy, but a source range has no blocks: MSSRL is 0")
	case c.MCL < c.MSSRL:
		return no("a command has fewer blocks than one of its source ranges: MCL is %d, MSSRL is %d", c.MCL, c.MSSRL)
	case c.Domain == "":
		return no("the namespace cannot be told from others: no NGUID, EUI64 or serial number")
	}
	return c
}

// nvmeBlock is the logical block of the format in use, in bytes; 0 for one that NVMe does not have. FLBAS has the number
// of the format in bits 3:0 and, above them, 6:5.
func nvmeBlock(ns []byte) uint64 {
	flbas := ns[nsFLBAS]
	format := int(flbas&0x0f | flbas&0x60>>1)
	if lbads := ns[nsLBAF+4*format+2]; lbads >= 9 && lbads < 32 {
		return 1 << lbads
	}
	return 0
}

// nvmeDomain is what tells the namespace from every other; "" if nothing does.
func nvmeDomain(ns, ctrl []byte, nsid uint32) string {
	if id := ns[nsNGUID : nsNGUID+16]; !blank(id) {
		return "nvme-nguid." + hex.EncodeToString(id)
	}
	if id := ns[nsEUI64 : nsEUI64+8]; !blank(id) {
		return "nvme-eui." + hex.EncodeToString(id)
	}
	raw := ctrl[ctrlSerial : ctrlSerial+20]
	if blank(raw) || nsid == 0 || nsid == 1<<32-1 { // no namespace, all namespaces
		return ""
	}
	serial := strings.Trim(string(raw), " \x00")
	if serial == "" {
		return ""
	}
	if strings.ContainsFunc(serial, func(r rune) bool { return r < ' ' || r > '~' }) { // not the ASCII that it must be
		serial = "0x" + hex.EncodeToString(raw)
	}
	return fmt.Sprintf("nvme-serial.%s-%d", serial, nsid)
}

// NVMeForgetID takes NGUID and EUI64 out of the data of Identify Namespace, for a disk of which it is known that they are
// not its own.
func NVMeForgetID(ns []byte) {
	if len(ns) >= nsLBAF {
		clear(ns[nsNGUID:nsLBAF])
	}
}

// blank is an identity that nobody filled in.
func blank(id []byte) bool {
	return len(bytes.Trim(id, "\x00")) == 0 || len(bytes.Trim(id, "\xff")) == 0
}
