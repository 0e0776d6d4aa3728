package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
	"golang.org/x/sys/unix"
)

// ErrCopyRequest is a copy that was refused before anything was sent or changed, because of what was asked for. It is
// EINVAL, and the words say what is wrong.
var ErrCopyRequest = fmt.Errorf("copy request: %w", unix.EINVAL)

// Of the NVMe Copy command.
const (
	nvmeCopyRanges = 256     // NR has 8 bits and counts from 0
	nvmeCopyBlocks = 1 << 16 // NLB has 16 bits and counts from 0
	nvmeCopyEntry  = 32      // bytes of a source range, format 0
	nvmeCopyList   = nvmeCopyRanges * nvmeCopyEntry
)

// CopyNVMe sends one NVMe Copy command (opcode 19h, descriptor format 0): the sources, in order, go to the sectors from
// dst. Both are 512-byte sectors of this disk; of a partition they become the namespace's here, and are held to the
// partition here, since the kernel looks at neither. The call returns when the command has ended, and the hold of the disk
// lasts as long, also when the process is killed.
//
// done is how many sectors from dst are copied for certain: all, or beside an *NVMeError the sources before the range that
// the device names. Behind them the destination is old, new or a mix of both. It is durable after Sync, or at once with fua.
//
// The command is not atomic, and not ordered. MSSRL, MCL and MSRC (Copy) are the device's to refuse. Errors before
// anything is sent:
//   - ErrCopyRequest: no source, or over 256; a source that is empty, over 65536 logical blocks or overlaps the
//     destination; anything not aligned to the logical block, or past the end of the disk;
//   - EOPNOTSUPP: the disk's Copy is not of NVMe; EROFS: it is read-only; EBADF: it is closed.
func (d *Disk) CopyNVMe(sources []target.Range, dst uint64, fua bool) (done uint64, err error) {
	return d.CopyNVMeFrom(d, sources, dst, fua)
}

// CopyNVMeFrom is CopyNVMe with sources of another disk of the same namespace: another partition. That it is one is asked
// of the kernel (Whole), whatever identities say; where it is not, EOPNOTSUPP, and nothing is sent.
func (d *Disk) CopyNVMeFrom(src *Disk, sources []target.Range, dst uint64, fua bool) (done uint64, err error) {
	fd, err := d.openWrite("copy")
	if err != nil {
		return 0, err
	}
	if src != d && (src.Whole() == 0 || src.Whole() != d.Whole() || src.info.LogicalBlock != d.info.LogicalBlock) {
		return 0, fmt.Errorf("disks %s and %s are not one namespace: %w", src.info.Name, d.info.Name, unix.EOPNOTSUPP)
	}
	if d.copy.Method != limits.NVMeCopy {
		return 0, fmt.Errorf("disk %s: copy: not by NVMe: %s: %w", d.info.Name, d.copy.Reason, unix.EOPNOTSUPP)
	}
	total, err := d.checkCopy(fd, src, sources, dst)
	if err != nil {
		return 0, fmt.Errorf("disk %s: %w", d.info.Name, err)
	}
	status, result, err := d.sendCopy(fd, src, sources, dst, fua)
	if err != nil {
		return 0, fmt.Errorf("disk %s: nvme copy: %w", d.info.Name, err)
	}
	if status&nvmeStatusMask == 0 {
		return total, nil
	}
	failure := &NVMeError{Status: uint16(status & nvmeStatusMask), Raw: uint16(status), Result: result}
	if failure.ranged() && uint64(result) < uint64(len(sources)) {
		for _, r := range sources[:result] {
			done += r.Len
		}
	}
	return done, fmt.Errorf("disk %s: copy to sector %d: %w", d.info.Name, dst, failure)
}

// checkCopy refuses what must not be sent, and says how many sectors the copy has.
func (d *Disk) checkCopy(fd int, src *Disk, sources []target.Range, dst uint64) (total uint64, err error) {
	if total, err = d.checkPlaces(fd, src, sources, dst); err != nil {
		return 0, err
	}
	to := d.place.start + dst
	for i, r := range sources {
		if at := src.place.start + r.Start; at < to+total && to < at+r.Len {
			return 0, fmt.Errorf("%w: source %d, %d sectors at %d, overlaps the destination, %d at %d", ErrCopyRequest, i, r.Len, r.Start, total, dst)
		}
	}
	return total, nil
}

// checkPlaces is checkCopy without the overlap. Ends are the present ones: a partition can be made smaller while it is held.
func (d *Disk) checkPlaces(fd int, src *Disk, sources []target.Range, dst uint64) (total uint64, err error) {
	end, err := d.present(fd)
	if err != nil {
		return 0, err
	}
	from := end // the source's end
	if src != d {
		if from, err = src.present(src.FD()); err != nil {
			return 0, err
		}
	}
	block := uint64(max(d.info.LogicalBlock, 512)) / 512
	no := func(format string, a ...any) (uint64, error) {
		return 0, fmt.Errorf("%w: "+format, append([]any{ErrCopyRequest}, a...)...)
	}
	switch {
	case len(sources) == 0:
		return no("no source")
	case len(sources) > nvmeCopyRanges:
		return no("%d sources, %d are the most", len(sources), nvmeCopyRanges)
	case (d.place.start|src.place.start)%block != 0:
		return no("the partition begins at sector %d (of the source: %d), inside a block of %d", d.place.start, src.place.start, block)
	case dst%block != 0:
		return no("destination %d is not a multiple of the block of %d sectors", dst, block)
	}
	for i, r := range sources {
		switch {
		case r.Len == 0:
			return no("source %d is empty", i)
		case r.Start%block != 0 || r.Len%block != 0:
			return no("source %d, %d sectors at %d, is not of blocks of %d", i, r.Len, r.Start, block)
		case r.Len/block > nvmeCopyBlocks:
			return no("source %d has %d blocks, %d are the most", i, r.Len/block, nvmeCopyBlocks)
		case r.Start > from || r.Len > from-r.Start:
			return no("source %d, %d sectors at %d, is past the end at %d", i, r.Len, r.Start, from)
		}
		total += r.Len // no wrap: 256 times 65536 blocks
	}
	if dst > end || total > end-dst {
		return no("destination, %d sectors at %d, is past the end at %d", total, dst, end)
	}
	if d.place.start > math.MaxUint64/512-end || src.place.start > math.MaxUint64/512-from { // what is added does not wrap
		return no("the partition begins at sector %d (of the source: %d)", d.place.start, src.place.start)
	}
	return total, nil
}

// present is the end that the kernel has now, in sectors, if that is less than when the disk was opened.
func (d *Disk) present(fd int) (uint64, error) {
	size, err := d.calls.seek(fd, 0, unix.SEEK_END)
	if err != nil {
		return 0, fmt.Errorf("length: %w", err)
	}
	return min(d.Sectors(), uint64(size)/512), nil
}

// sendCopy sends a command that checkCopy let through. A kernel without 64-bit results is remembered.
func (d *Disk) sendCopy(fd int, src *Disk, sources []target.Range, dst uint64, fua bool) (status, result uint32, err error) {
	nsid, err := d.namespace(fd)
	if err != nil {
		return 0, 0, fmt.Errorf("namespace number: %w", err)
	}
	s, err := nvmeSlots.get()
	if err != nil {
		return 0, 0, err
	}
	defer nvmeSlots.put(s)
	block := uint64(max(d.info.LogicalBlock, 512)) / 512
	list := s.list()[:len(sources)*nvmeCopyEntry]
	clear(list)
	for i, r := range sources {
		entry := list[i*nvmeCopyEntry:]
		binary.LittleEndian.PutUint64(entry[8:], (src.place.start+r.Start)/block) // SLBA
		binary.LittleEndian.PutUint16(entry[16:], uint16(r.Len/block-1))          // NLB
	}
	lba := (d.place.start + dst) / block
	if !d.cmd32.Load() {
		status, result, err = s.send(d.calls.nvme, fd, nvmeIoctlIO64Cmd, nsid, lba, len(sources), fua)
		if !errors.Is(err, unix.ENOTTY) {
			return status, result, err
		}
		d.cmd32.Store(true)
	}
	return s.send(d.calls.nvme, fd, nvmeIoctlIOCmd, nsid, lba, len(sources), fua)
}

// namespace is the number of the namespace, which is asked for once: it stays while the disk is open, and is never 0.
func (d *Disk) namespace(fd int) (uint32, error) {
	if nsid := d.nsid.Load(); nsid != 0 {
		return nsid, nil
	}
	nsid, err := d.calls.nvme(fd, nvmeIoctlID, nil)
	if err == nil && nsid == 0 {
		err = unix.EIO
	}
	if err != nil {
		return 0, err
	}
	d.nsid.Store(nsid)
	return nsid, nil
}
