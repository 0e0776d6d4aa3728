package conform

import (
	"errors"
	"regexp"
	"strings"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
)

// limited says whether the target is a device with limits of its own, which a file system is not.
func (g *Geometry) limited() bool { return g.Method == limits.NVMeCopy || g.Method == limits.XCopy }

// unanswered says whether an error is not the target's answer to a command: that is a status of NVMe, CHECK CONDITION of SCSI,
// and any errno of a file system.
func (x *trial) unanswered(a Answer) bool {
	scsi, ok := errors.AsType[*disk.SCSIError](a.Err)
	switch {
	case a.Err == nil:
		return false
	case x.g.Method == limits.XCopy:
		return !ok || !scsi.Sensed || scsi.Host != 0
	}
	return x.g.Method == limits.NVMeCopy
}

const (
	refXCopy     = "SPC-4, EXTENDED COPY (LID1)"
	noTotal      = "SPC-4 does not bound a command as a whole: MCL is what this project sends at most"
	noPrefix     = "a failed EXTENDED COPY has no dw0: this project takes none of its segments as done"
	noFUA        = "EXTENDED COPY has no FUA: a flush follows it, as after any write"
	whySCSIBlock = "every file system and database takes it for given, whatever the device promises: a block of two halves is a torn page"
	scsiCheck    = " is refused with CHECK CONDITION, and nothing is copied"
)

// scsiWords are scenarios as a SCSI target has them: what is expected and why, where that differs, or why it is none.
var scsiWords = map[string]struct{ expect, why, none string }{
	"identify-sane": {expect: "a segment has at least one block, a command no fewer than a segment, and at least one segment"},
	"ranges-most":   {expect: "a command of as many segments as the device has said (MAXIMUM SEGMENT DESCRIPTOR COUNT, MAXIMUM DESCRIPTOR LIST LENGTH) is copied"},
	"ranges-over":   {expect: "a command of one segment more" + scsiCheck},
	"range-longest": {expect: "one segment of as many blocks as the device has said (MAXIMUM SEGMENT LENGTH, and 65535) is copied"},
	"range-over":    {expect: "one segment of one block more" + scsiCheck},

	"unaligned-refused":     {why: "segments count in blocks: what is rounded on the way copies other data"},
	"empty-refused":         {why: "a segment of 0 blocks is done at once, and the mistake is not seen"},
	"race-write-source":     {why: whySCSIBlock},
	"race-read-destination": {why: whySCSIBlock},

	"total-most": {none: noTotal}, "total-over": {none: noTotal}, "random-limits": {none: noTotal},
	"range-over-second": {none: noPrefix}, "range-over-second-dw0": {none: noPrefix},
	"lba-first-out": {none: noPrefix}, "lba-second-out": {none: noPrefix}, "lba-last-out": {none: noPrefix},
	"source-unreadable": {none: noPrefix},
	"fua-read-back":     {none: noFUA}, "fua-durable": {none: noFUA},
}

// nvmeStatus is how NVMe's scenarios say which status they expect.
var nvmeStatus = regexp.MustCompile(`refused with 0x[0-9a-f]+( and dw0 0)?`)

// worded is a scenario in the words of the target's protocol, which a report has; and not applicable where it has no meaning
// there. Of NVMe's statuses a SCSI target has none: a refusal is an error that is no success.
func (g *Geometry) worded(s Scenario) Scenario {
	if g.Method != limits.XCopy {
		return s
	}
	w := scsiWords[s.Name]
	if w.expect != "" {
		s.Expect = w.expect
	}
	if w.why != "" {
		s.Why = w.why
	}
	s.Expect = nvmeStatus.ReplaceAllString(s.Expect, "refused")
	if rest, ok := strings.CutPrefix(s.Ref, refLimit); ok {
		s.Ref = refXCopy + "; RECEIVE COPY RESULTS, operating parameters" + rest
	} else if rest, ok := strings.CutPrefix(s.Ref, refCopy); ok {
		s.Ref = refXCopy + strings.TrimPrefix(strings.TrimPrefix(rest, ", Overlapping I/O Range"), ", completion dword 0")
	}
	if w.none != "" {
		s.run = func(*trial) error { return skip("%s", w.none) }
	}
	return s
}
