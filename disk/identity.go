package disk

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Identity is what a block device calls itself. Each is empty where the device does not say. A partition
// has its own PartUUID and the rest of its disk.
type Identity struct {
	Serial   string
	WWID     string // "eui.…", "naa.…", "t10.…"
	PartUUID string
	Model    string
}

// String is what is known, for messages.
func (id Identity) String() string {
	var s []string
	for _, key := range matchKeys() {
		if v := id.value(key); v != "" {
			s = append(s, fmt.Sprintf("%s %q", key, v))
		}
	}
	return strings.Join(s, ", ")
}

// matchKeys are the words of Spec.Match.
func matchKeys() []string { return []string{"serial", "wwid", "partuuid", "model"} }

func (id Identity) value(key string) string {
	switch key {
	case "serial":
		return id.Serial
	case "wwid":
		return id.WWID
	case "partuuid":
		return id.PartUUID
	case "model":
		return id.Model
	}
	return ""
}

// readIdentity reads sysfs, and the by-partuuid links where the kernel does not say PARTUUID in uevent.
func readIdentity(n node, o *Options) Identity {
	id := Identity{
		// NVMe, MMC; virtio; SCSI.
		Serial: firstOf(text(o.Sys, n.whole, "device/serial"), text(o.Sys, n.whole, "serial"), vpdSerial(o.Sys, n.whole)),
		// NVMe; SCSI.
		WWID: firstOf(text(o.Sys, n.whole, "wwid"), text(o.Sys, n.whole, "device/wwid")),
		// NVMe and SCSI; MMC.
		Model: firstOf(text(o.Sys, n.whole, "device/model"), text(o.Sys, n.whole, "device/name")),
	}
	if n.name != n.whole {
		id.PartUUID = uevent(o.Sys, n.name, "PARTUUID")
		if id.PartUUID == "" {
			id.PartUUID = firstOf(linksTo(n.name, "disk/by-partuuid", o)...)
		}
	}
	return id
}

// vpdSerial is the serial number of a SCSI device: vital product data page 80h, which is a header of four
// bytes, the last two of them the length, and text.
func vpdSerial(sys fs.FS, dev string) string {
	b, err := fs.ReadFile(sys, path.Join("class/block", dev, "device/vpd_pg80"))
	if err != nil || len(b) < 4 || b[1] != 0x80 {
		return ""
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	return clean(string(b[4:min(4+n, len(b))]))
}

// uevent is one value of a device's uevent file.
func uevent(sys fs.FS, dev, key string) string {
	for line := range strings.Lines(attr(sys, dev, "uevent")) {
		if v, ok := strings.CutPrefix(line, key+"="); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func text(sys fs.FS, dev, name string) string { return clean(attr(sys, dev, name)) }

// clean joins runs of space, with which SCSI and ATA pad their fields, and drops a terminating NUL.
func clean(s string) string { return strings.Join(strings.Fields(strings.Trim(s, "\x00 ")), " ") }

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
