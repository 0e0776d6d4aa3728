package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
)

// scsiName is the kernel's name of a disk of its sd driver.
var scsiName = regexp.MustCompile(`^sd[a-z]+$`)

// isSCSI says whether the whole disk of that name is a SCSI disk.
func isSCSI(whole string) bool { return scsiName.MatchString(whole) }

// scsiAbility is what EXTENDED COPY to and from an open disk takes.
type scsiAbility struct {
	limits.XCopyPort
	turns chan struct{} // as many as the disk takes commands at a time
}

func newSCSIAbility(p limits.XCopyPort) *scsiAbility {
	return &scsiAbility{XCopyPort: p, turns: make(chan struct{}, max(1, p.Concurrent))}
}

const (
	scsiReadTimeout = 10_000 // milliseconds
	scsiCopyTimeout = 60_000

	scsiReadLength = 1024 // bytes that an answer has at most
)

// scsiCopy is the copy ability of a SCSI disk, or of a partition of one, open as fd. Nothing changes on the disk. A disk
// whose INQUIRY data have no 3PC is asked nothing more.
func scsiCopy(fd int, info *Info, call scsiCall) (limits.Copy, *scsiAbility) {
	s, err := readSCSI(fd, call)
	if err != nil {
		return noCopy("%v", err), nil
	}
	c, port := limits.ParseSCSI(&s, info.LogicalBlock)
	if !c.Can() {
		return c, nil
	}
	return c, newSCSIAbility(port)
}

// readSCSI asks what limits.ParseSCSI reads.
func readSCSI(fd int, call scsiCall) (s limits.SCSI, err error) {
	slot, err := scsiSlots.get()
	if err != nil {
		return s, err
	}
	defer scsiSlots.put(slot)
	ask := func(what string, n int, cdb ...byte) ([]byte, error) {
		var p []byte
		err := sendSCSI(func() error {
			clear(slot.data())
			slot.prepare(cdb, n, false, scsiReadTimeout)
			if err := call(fd, slot); err != nil {
				return err
			}
			if e := slot.failure(false); e != nil {
				return e
			}
			p = bytes.Clone(slot.data()[:min(n, slot.received())])
			return nil
		})
		switch {
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
			return nil, fmt.Errorf("%s: needs CAP_SYS_RAWIO: %w", what, err)
		case err != nil:
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		return p, nil
	}
	page := func(code byte) ([]byte, error) {
		return ask(fmt.Sprintf("VPD page %02xh", code), scsiReadLength, 0x12, 1, code, scsiReadLength>>8, scsiReadLength&0xff, 0)
	}
	if s.Inquiry, err = ask("inquiry", 36, 0x12, 0, 0, 0, 36, 0); err != nil || !s.ThreePC() {
		return s, err
	}
	if s.Capacity, err = ask("read capacity", 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0); err != nil {
		return s, err
	}
	if s.Designated, err = page(0x83); err != nil {
		return s, err
	}
	pages, err := page(0x00)
	if err != nil {
		return s, err
	}
	if n := 4; len(pages) > n && slices.Contains(pages[n:min(len(pages), n+int(binary.BigEndian.Uint16(pages[2:])))], 0x8f) {
		if s.ThirdParty, err = page(0x8f); err != nil {
			return s, err
		}
	}
	s.Parameters, err = ask("receive copy results", scsiReadLength, 0x84, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, scsiReadLength>>8, scsiReadLength&0xff, 0, 0)
	return s, err
}

// sendSCSI sends a command, and again where the device answered before it began: unit attention, busy. Nothing else is sent
// twice.
func sendSCSI(send func() error) error {
	var t tries
	for {
		err := send()
		if e, ok := errors.AsType[*SCSIError](err); !ok || !e.unstarted() || !t.again(unix.EAGAIN) {
			return err
		}
	}
}
