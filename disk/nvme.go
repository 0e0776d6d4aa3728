package disk

import (
	"regexp"
	"strings"

	"github.com/ublk-go/ublk-linear/limits"
)

// nvmeName is the kernel's name of a namespace. Those of its paths, nvme0c0n1, are hidden: they have no node.
var nvmeName = regexp.MustCompile(`^nvme[0-9]+n[0-9]+$`)

// isNVMe says whether the whole disk of that name is an NVMe namespace.
func isNVMe(whole string) bool { return nvmeName.MatchString(whole) }

// identified is what an NVMe namespace and its controller say of themselves.
type identified struct {
	nsid     uint32
	ns, ctrl []byte // Identify, CNS 00h and 01h
}

// nvmeCopy is the copy ability of an NVMe namespace, or of a partition of it, open as fd.
//
// A kernel whose wwid of the namespace is made of serial number and model knows of no NGUID, EUI64 or UUID, or knows that
// they are not the disk's own (NVME_QUIRK_BOGUS_NID, or another disk has them): they must not be the domain, or two
// disks would be taken for one.
func nvmeCopy(fd int, info *Info, o *Options, identify func(fd int) (identified, error)) limits.Copy {
	id, err := identify(fd)
	if err != nil {
		return noCopy("identify: %v", err)
	}
	if strings.HasPrefix(attr(o.Sys, info.dev.whole, "wwid"), "nvme.") {
		limits.NVMeForgetID(id.ns)
	}
	return limits.ParseNVMe(id.ns, id.ctrl, id.nsid, info.LogicalBlock)
}
