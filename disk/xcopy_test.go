package disk

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// fakeSCSI takes the place of SG_IO. answers are given to commands in turn, the last one for ever.
type fakeSCSI struct {
	mu      sync.Mutex
	answers []scsiAnswer
	sent    []scsiSent
}

type scsiAnswer struct {
	status       byte
	host, driver uint16
	sense        []byte
	residual     int32
	err          error
}

// scsiSent is a command as it was in memory.
type scsiSent struct {
	fd        int
	cdb, data []byte // of the data as much as is sent or wanted
	timeout   uint32
	direction int32
}

// The offsets are of struct sg_io_hdr with pointers of 8 bytes, behind data, sense and command.
const hdrAt = 8192 + 96 + 16

func (f *fakeSCSI) call(fd int, s *scsiSlot) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := s.mem[hdrAt:]
	n := binary.NativeEndian.Uint32(h[12:])
	f.sent = append(f.sent, scsiSent{fd: fd, cdb: bytes.Clone(s.mem[8192+96:][:h[8]]), data: bytes.Clone(s.mem[:n]),
		timeout: binary.NativeEndian.Uint32(h[40:]), direction: int32(binary.NativeEndian.Uint32(h[4:]))})
	if len(f.answers) == 0 {
		return nil
	}
	a := f.answers[0]
	if len(f.answers) > 1 {
		f.answers = f.answers[1:]
	}
	h[64], h[67] = a.status, byte(copy(s.mem[8192:8192+96], a.sense))
	binary.NativeEndian.PutUint16(h[68:], a.host)
	binary.NativeEndian.PutUint16(h[70:], a.driver)
	binary.NativeEndian.PutUint32(h[72:], uint32(a.residual))
	return a.err
}

// check is CHECK CONDITION with fixed sense data.
func check(key, asc, ascq byte) scsiAnswer {
	b := make([]byte, 18)
	b[0], b[2], b[7], b[12], b[13] = 0x70, key, 10, asc, ascq
	return scsiAnswer{status: 2, sense: b}
}

// lunDisk is a disk of so many sectors that begins at start of a LUN.
func lunDisk(t interface{ Errorf(string, ...any) }, name, naa string, block uint32, start, sectors uint64) (*Disk, *fakeSCSI) {
	f := &fakeSCSI{}
	d := newDisk(42, Info{Name: name, Kind: Block, Sectors: sectors, LogicalBlock: block}, limits.Limits{})
	d.place = place{whole: 8<<8 | uint64(name[0]), start: start}
	d.copy = limits.Copy{Method: limits.XCopy, MSSRL: 65535, MCL: 65535}
	id, err := hex.DecodeString(naa)
	if err != nil {
		t.Errorf("%v", err)
	}
	d.scsi = newSCSIAbility(limits.XCopyPort{NAA: id, Concurrent: 1})
	d.calls = &calls{scsi: f.call, seek: func(fd int, at int64, whence int) (int64, error) { return int64(sectors * 512), nil }}
	return d, f
}

const (
	naaA = "60014051a1a1a1b2b2b2b2c3c3c3c3d0"
	naaB = "5000c500a1b2c3d4"
)

// unhexed is hexadecimal digits with anything between them.
func unhexed(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Map(func(r rune) rune {
		if strings.ContainsRune("0123456789abcdef", r) {
			return r
		}
		return -1
	}, s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes on the wire, written down by hand from SPC-4's tables of EXTENDED COPY (LID1).
func TestCopySCSIBytes(t *testing.T) {
	all := scsiSlots
	defer func() { scsiSlots = all }()
	const (
		cscdA  = "e4 00 00 00 01 03 00 10 60014051a1a1a1b2b2b2b2c3c3c3c3d0 00000000 00 000200 "
		cscdA4 = "e4 00 00 00 01 03 00 10 60014051a1a1a1b2b2b2b2c3c3c3c3d0 00000000 00 001000 "
		cscdB  = "e4 00 00 00 01 03 00 08 5000c500a1b2c3d4 000000000000000000000000 00 000200 "
	)
	for _, tt := range []struct {
		name           string
		block          uint32
		start, sectors uint64
		other          bool   // the sources are on another LUN
		part           uint64 // the sources are on another partition, which begins there
		listID         bool
		sources        []target.Range
		dst            uint64
		cdb, list      string
		total          uint64
	}{
		{name: "one segment", block: 512, sectors: 1 << 20, sources: []target.Range{{Start: 0x12345, Len: 8}}, dst: 0x54321, total: 8,
			cdb: "83 00 0000000000000000 0000006c 00 00",
			list: "00 18 0040 00000000 0000001c 00000000 " + cscdA + cscdA +
				"02 00 0018 0000 0001 0000 0008 0000000000012345 0000000000054321"},
		{name: "with an identifier", listID: true, block: 512, sectors: 1 << 20, sources: []target.Range{{Start: 0, Len: 1}}, dst: 1, total: 1,
			cdb: "83 00 0000000000000000 0000006c 00 00",
			list: "01 10 0040 00000000 0000001c 00000000 " + cscdA + cscdA +
				"02 00 0018 0000 0001 0000 0001 0000000000000000 0000000000000001"},
		{name: "the longest segment", block: 512, sectors: 1 << 20, sources: []target.Range{{Start: 65536, Len: 65535}}, total: 65535,
			cdb: "83 00 0000000000000000 0000006c 00 00",
			list: "00 18 0040 00000000 0000001c 00000000 " + cscdA + cscdA +
				"02 00 0018 0000 0001 0000 ffff 0000000000010000 0000000000000000"},
		{name: "three segments of a partition", block: 512, start: 2048, sectors: 1 << 20, dst: 6000, total: 6,
			sources: []target.Range{{Start: 100, Len: 2}, {Start: 0, Len: 3}, {Start: 100, Len: 1}},
			cdb:     "83 00 0000000000000000 000000a4 00 00",
			list: "00 18 0040 00000000 00000054 00000000 " + cscdA + cscdA +
				"02 00 0018 0000 0001 0000 0002 0000000000000864 0000000000001f70" +
				"02 00 0018 0000 0001 0000 0003 0000000000000800 0000000000001f72" +
				"02 00 0018 0000 0001 0000 0001 0000000000000864 0000000000001f75"},
		{name: "blocks of 4096, a partition", block: 4096, start: 2048, sectors: 1 << 20, sources: []target.Range{{Start: 8, Len: 16}, {Start: 800, Len: 8}}, dst: 80000, total: 24,
			cdb: "83 00 0000000000000000 00000088 00 00",
			list: "00 18 0040 00000000 00000038 00000000 " + cscdA4 + cscdA4 +
				"02 00 0018 0000 0001 0000 0002 0000000000000101 0000000000002810" +
				"02 00 0018 0000 0001 0000 0001 0000000000000164 0000000000002812"},
		{name: "from another partition", block: 512, start: 2048, part: 4096, sectors: 2000, sources: []target.Range{{Start: 16, Len: 4}}, dst: 32, total: 4,
			cdb: "83 00 0000000000000000 0000006c 00 00",
			list: "00 18 0040 00000000 0000001c 00000000 " + cscdA + cscdA +
				"02 00 0018 0000 0001 0000 0004 0000000000001010 0000000000000820"},
		{name: "from another LUN, above 2^32, at one place of both", other: true, block: 512, sectors: 1 << 34, sources: []target.Range{{Start: 1<<33 + 5, Len: 1}}, dst: 1<<33 + 5, total: 1,
			cdb: "83 00 0000000000000000 0000006c 00 00",
			list: "00 18 0040 00000000 0000001c 00000000 " + cscdB + cscdA +
				"02 00 0018 0000 0001 0000 0001 0000000200000005 0000000200000005"},
	} {
		d, f := lunDisk(t, "a", naaA, tt.block, tt.start, tt.sectors)
		d.scsi.ListID = tt.listID
		src := d
		if tt.part > 0 {
			src, _ = lunDisk(t, "a", naaA, tt.block, tt.part, tt.sectors)
		}
		if tt.other {
			src, _ = lunDisk(t, "b", naaB, tt.block, 0, tt.sectors)
			src.fd.Store(43)
		}
		scsiSlots = newSCSISlots(1) // what a command before left behind must not show
		s, err := scsiSlots.get()
		if err != nil {
			t.Fatal(err)
		}
		noise(s.mem, 9)
		scsiSlots.put(s)
		done, err := d.CopySCSI(src, tt.sources, tt.dst, false)
		if err != nil || done != tt.total || len(f.sent) != 1 {
			t.Errorf("%s: %d, %v, %d commands", tt.name, done, err, len(f.sent))
			continue
		}
		got := f.sent[0]
		if want := unhexed(t, tt.cdb); !bytes.Equal(got.cdb, want) {
			t.Errorf("%s: command\n% x, not\n% x", tt.name, got.cdb, want)
		}
		if want := unhexed(t, tt.list); !bytes.Equal(got.data, want) {
			t.Errorf("%s: list\n% x, not\n% x", tt.name, got.data, want)
		}
		if got.fd != 42 || got.timeout != 60_000 || got.direction != -2 {
			t.Errorf("%s: descriptor %d, %d ms, direction %d", tt.name, got.fd, got.timeout, got.direction)
		}
	}
}

// Everything that must not be sent.
func TestCopySCSIRefused(t *testing.T) {
	const end = 1 << 20
	many := make([]target.Range, 257)
	for i := range many {
		many[i] = target.Range{Start: 0, Len: 8}
	}
	one := func(start, n uint64) []target.Range { return []target.Range{{Start: start, Len: n}} }
	other := func(edit func(d, src *Disk)) func(d *Disk) *Disk {
		return func(d *Disk) *Disk {
			src, _ := lunDisk(t, "b", naaB, 512, 0, end)
			if edit != nil {
				edit(d, src)
			}
			return src
		}
	}
	for _, tt := range []struct {
		name    string
		block   uint32
		start   uint64
		sources []target.Range
		dst     uint64
		src     func(d *Disk) *Disk // nil: d itself
		want    error               // nil: ErrCopyRequest
		word    string
	}{
		{"nothing", 512, 0, nil, 0, nil, nil, "no source"},
		{"257 segments", 512, 0, many, 1000, nil, nil, "257 sources"},
		{"an empty segment", 512, 0, []target.Range{{Start: 0, Len: 8}, {Start: 8, Len: 0}}, 1000, nil, nil, "source 1 is empty"},
		{"65536 blocks", 512, 0, one(0, 65536), 1 << 19, nil, nil, "65536 blocks, 65535 are the most"},
		{"65536 blocks of 4096", 4096, 0, one(0, 65536*8), 1 << 19, nil, nil, "65536 blocks, 65535 are the most"},
		{"source inside a block", 4096, 0, one(4, 8), 800, nil, nil, "not of blocks"},
		{"destination inside a block", 4096, 0, one(8, 8), 804, nil, nil, "destination 804 is not a multiple"},
		{"source past the partition", 512, 2048, one(end-7, 8), 0, nil, nil, "past the end"},
		{"destination past the partition", 512, 2048, one(0, 8), end - 7, nil, nil, "past the end"},
		{"source wraps", 512, 0, one(1<<64-4, 8), 0, nil, nil, "past the end"},
		{"onto itself", 512, 0, one(1000, 8), 1000, nil, nil, "overlaps"},
		{"overlap forward", 512, 0, one(1000, 8), 1007, nil, nil, "overlaps"},
		{"overlap backward", 512, 0, one(1000, 8), 993, nil, nil, "overlaps"},
		{"the second overlaps what the first has written", 512, 0, []target.Range{{Start: 0, Len: 8}, {Start: 1000, Len: 1}}, 1000, nil, nil, "source 1"},
		{"read-only", 512, 0, one(0, 8), 1000, func(d *Disk) *Disk { d.info.ReadOnly = true; return d }, unix.EROFS, ""},
		{"closed", 512, 0, one(0, 8), 1000, func(d *Disk) *Disk { d.fd.Store(-1); return d }, unix.EBADF, ""},
		{"no ability", 512, 0, one(0, 8), 1000, func(d *Disk) *Disk { d.copy, d.scsi = noCopy("3PC"), nil; return d }, unix.EOPNOTSUPP, "not by SCSI: 3PC"},
		{"an ability of the file's", 512, 0, one(0, 8), 1000, func(d *Disk) *Disk { d.scsi = nil; return d }, unix.EOPNOTSUPP, "not by SCSI"},
		{"an NVMe disk", 512, 0, one(0, 8), 1000, func(d *Disk) *Disk { d.copy.Method = limits.NVMeCopy; return d }, unix.EOPNOTSUPP, "not by SCSI"},
		{"a source without", 512, 0, one(0, 8), 1000, other(func(_, s *Disk) { s.copy, s.scsi = noCopy("virtio"), nil }), unix.EOPNOTSUPP, "disk b: copy: not by SCSI"},
		{"a source that is closed", 512, 0, one(0, 8), 1000, other(func(_, s *Disk) { s.fd.Store(-1) }), unix.EBADF, "disk b"},
		{"another block", 512, 0, one(0, 8), 1000, other(func(_, s *Disk) { s.info.LogicalBlock = 4096 }), unix.EOPNOTSUPP, "blocks or places differ"},
		{"an unknown place", 512, 0, one(0, 8), 1000, other(func(d, s *Disk) { s.place.whole, d.place.whole = 0, 0 }), unix.EOPNOTSUPP, "blocks or places differ"},
		{"two paths to one LUN", 512, 0, one(0, 8), 1000, other(func(d, s *Disk) { s.scsi.NAA = d.scsi.NAA }), unix.EOPNOTSUPP, "do not tell them apart"},
		{"one disk with two names", 512, 0, one(0, 8), 1000, other(func(d, s *Disk) { s.place.whole = d.place.whole }), unix.EOPNOTSUPP, "do not tell them apart"},
		{"source past the end of another LUN", 512, 0, one(500, 8), 1000, other(func(_, s *Disk) { s.SetSectors(507) }), nil, "past the end"},
		{"another partition of the LUN, overlapping", 512, 0, one(0, 8), 1007, func(d *Disk) *Disk {
			s, _ := lunDisk(t, "a", naaA, 512, 1000, end)
			return s
		}, nil, "overlaps"},
	} {
		d, f := lunDisk(t, "a", naaA, tt.block, tt.start, end)
		src, want := d, tt.want
		if tt.src != nil {
			src = tt.src(d)
		}
		if want == nil {
			want = ErrCopyRequest
		}
		done, err := d.CopySCSI(src, tt.sources, tt.dst, false)
		if done != 0 || !errors.Is(err, want) || !strings.Contains(err.Error(), tt.word) || len(f.sent) > 0 {
			t.Errorf("%s: %d, %v, %d commands", tt.name, done, err, len(f.sent))
		}
		if src != d {
			continue
		}
		// For testing devices the same is refused, but for overlap.
		e, err := d.CopySCSIUnchecked(tt.sources, tt.dst)
		if tt.word == "overlaps" || tt.word == "source 1" {
			if e != nil || err != nil || len(f.sent) != 1 {
				t.Errorf("%s, unchecked: %v, %v", tt.name, e, err)
			}
		} else if !errors.Is(err, want) || len(f.sent) > 0 {
			t.Errorf("%s, unchecked: %v, %d commands", tt.name, err, len(f.sent))
		}
	}
}

// What came of a command: all is done, or nothing for certain; what the device answered before it began is sent again.
func TestCopySCSIDone(t *testing.T) {
	sources := []target.Range{{Start: 0, Len: 4}, {Start: 100, Len: 17}}
	aborted := check(0xa, 0x0d, 0x02)
	aborted.sense[11] = 1 // the second segment
	busy, full, attention := scsiAnswer{status: 8}, scsiAnswer{status: 0x28}, check(6, 0x29, 0)
	deferred := check(5, 0x20, 0)
	deferred.sense[0] = 0x71
	for _, tt := range []struct {
		name    string
		answers []scsiAnswer
		sent    int
		errno   error // nil: done
		word    string
		unable  bool
	}{
		{"good", []scsiAnswer{{}}, 1, nil, "", false},
		{"unit attention", []scsiAnswer{attention, attention, {}}, 3, nil, "", false},
		{"busy", []scsiAnswer{busy, full, {}}, 3, nil, "", false},
		{"busy for good", []scsiAnswer{busy}, maxTries, unix.EIO, "BUSY", false},
		{"aborted in the second segment", []scsiAnswer{aborted}, 1, unix.EREMOTEIO, "COPY ABORTED, 0dh/02h copy target device not reachable, segment 1", false},
		{"medium", []scsiAnswer{check(3, 0x11, 0)}, 1, unix.ENODATA, "MEDIUM ERROR, 11h/00h", false},
		{"protected", []scsiAnswer{check(7, 0x27, 0)}, 1, unix.EROFS, "write protected", false},
		{"recovered is not trusted", []scsiAnswer{check(1, 0x17, 0)}, 1, unix.EIO, "RECOVERED ERROR", false},
		{"past the end", []scsiAnswer{check(5, 0x21, 0)}, 1, unix.EREMOTEIO, "logical block address out of range", false},
		{"too many segments", []scsiAnswer{check(5, 0x26, 8)}, 1, unix.EOPNOTSUPP, "too many segment descriptors", false},
		{"a field of the list", []scsiAnswer{check(5, 0x26, 0)}, 1, unix.EOPNOTSUPP, "invalid field in parameter list", false},
		{"no such command", []scsiAnswer{check(5, 0x20, 0)}, 1, unix.EOPNOTSUPP, "invalid command operation code", true},
		{"no such service action", []scsiAnswer{check(5, 0x24, 0)}, 1, unix.EOPNOTSUPP, "invalid field in CDB", true},
		{"no such CSCD", []scsiAnswer{check(5, 0x26, 7)}, 1, unix.EOPNOTSUPP, "unsupported target descriptor type code", true},
		{"no such segment", []scsiAnswer{check(5, 0x26, 9)}, 1, unix.EOPNOTSUPP, "unsupported segment descriptor type code", true},
		{"of an earlier command", []scsiAnswer{deferred}, 1, unix.EIO, "of an earlier command", false},
		{"reservation", []scsiAnswer{{status: 0x18}}, 1, unix.EBADE, "RESERVATION CONFLICT", false},
		{"aborted task", []scsiAnswer{{status: 0x40}}, 1, unix.EIO, "TASK ABORTED", false},
		{"no answer", []scsiAnswer{{host: 3}}, 1, unix.ETIMEDOUT, "what it did is unknown", false},
		{"no answer, and attention", []scsiAnswer{{host: 3, status: 2, sense: attention.sense}}, 1, unix.ETIMEDOUT, "no answer in time", false},
		{"no path", []scsiAnswer{{host: 1}}, 1, unix.ENOLINK, "host status 0x1", false},
		{"adapter", []scsiAnswer{{host: 7}}, 1, unix.EIO, "host status 0x7", false},
		{"driver", []scsiAnswer{{driver: 6}}, 1, unix.EIO, "driver status 0x6", false},
		{"half of the list", []scsiAnswer{{residual: 28}}, 1, unix.EIO, "28 bytes of its list were not taken", false},
		{"no sense", []scsiAnswer{{status: 2}}, 1, unix.EIO, "CHECK CONDITION", false},
		{"no device", []scsiAnswer{{err: unix.ENODEV}}, 1, unix.ENODEV, "", false},
		{"interrupted is not sent again", []scsiAnswer{{err: unix.EINTR}}, 1, unix.EINTR, "", false},
	} {
		d, f := lunDisk(t, "a", naaA, 512, 0, 1<<20)
		f.answers = slices.Clone(tt.answers)
		done, err := d.CopySCSI(d, sources, 1000, false)
		if tt.errno == nil && (done != 21 || err != nil) || tt.errno != nil && (done != 0 || !errors.Is(err, tt.errno) || !strings.Contains(err.Error(), tt.word)) || len(f.sent) != tt.sent {
			t.Errorf("%s: %d, %v, %d commands", tt.name, done, err, len(f.sent))
		}
		for _, s := range f.sent {
			if !bytes.Equal(s.data, f.sent[0].data) || !bytes.Equal(s.cdb, f.sent[0].cdb) {
				t.Errorf("%s: another command was sent again", tt.name)
			}
		}
		// What the device will never do is not sent again, but by who tests it.
		f.answers, f.sent = nil, nil
		done, err = d.CopySCSI(d, sources, 1000, false)
		if tt.unable && (done != 0 || !errors.Is(err, ErrCopyUnable) || !strings.Contains(err.Error(), tt.word) || len(f.sent) > 0) || !tt.unable && (done != 21 || err != nil) {
			t.Errorf("%s, then: %d, %v, %d commands", tt.name, done, err, len(f.sent))
		}
		f.sent = nil
		if e, err := d.CopySCSIUnchecked(sources, 1000); e != nil || err != nil || len(f.sent) != 1 {
			t.Errorf("%s, unchecked: %v, %v", tt.name, e, err)
		}
	}
}

// With FUA a flush follows what succeeded, and nothing counts without it.
func TestCopySCSIFUA(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fua    bool
		answer scsiAnswer
		sync   error
		syncs  int
		done   uint64
		errno  error
	}{
		{"without", false, scsiAnswer{}, unix.EIO, 0, 8, nil},
		{"with", true, scsiAnswer{}, nil, 1, 8, nil},
		{"the flush fails", true, scsiAnswer{}, unix.EREMOTEIO, 1, 0, unix.EREMOTEIO},
		{"the copy fails", true, check(3, 0x11, 0), nil, 0, 0, unix.ENODATA},
	} {
		d, f := lunDisk(t, "a", naaA, 512, 0, 1<<20)
		f.answers = []scsiAnswer{tt.answer}
		syncs := 0
		d.calls.sync = func(fd int) error {
			if syncs++; fd != 42 || len(f.sent) != 1 {
				t.Errorf("%s: flush of %d after %d commands", tt.name, fd, len(f.sent))
			}
			return tt.sync
		}
		done, err := d.CopySCSI(d, []target.Range{{Start: 0, Len: 8}}, 1000, tt.fua)
		if done != tt.done || syncs != tt.syncs || !errors.Is(err, tt.errno) {
			t.Errorf("%s: %d, %v, %d flushes", tt.name, done, err, syncs)
		}
	}
}

// A disk is sent as many at a time as it takes, and those that waited behind the one that was refused are not sent.
func TestCopySCSITurns(t *testing.T) {
	for _, most := range []int{1, 3} {
		d, f := lunDisk(t, "a", naaA, 512, 0, 1<<20)
		d.scsi = newSCSIAbility(limits.XCopyPort{NAA: d.scsi.NAA, Concurrent: most})
		var mu sync.Mutex
		now, top := 0, 0
		reached := make(chan struct{})
		d.calls.scsi = func(fd int, s *scsiSlot) error {
			mu.Lock()
			if now++; now > top {
				if top = now; top == most {
					close(reached)
				}
			}
			mu.Unlock()
			<-reached
			for range 100 { // whoever else is let in comes in
				runtime.Gosched()
			}
			err := f.call(fd, s)
			mu.Lock()
			now--
			mu.Unlock()
			return err
		}
		var wg sync.WaitGroup
		for g := range uint64(8) {
			wg.Go(func() {
				for range 20 {
					if done, err := d.CopySCSI(d, []target.Range{{Start: g * 8, Len: 8}}, 1000+g*8, false); done != 8 || err != nil {
						t.Error(done, err)
					}
				}
			})
		}
		wg.Wait()
		if top != most || len(f.sent) != 160 {
			t.Errorf("%d at a time, not %d; %d commands", top, most, len(f.sent))
		}
		f.answers, f.sent = []scsiAnswer{check(5, 0x20, 0)}, nil
		for range 50 {
			wg.Go(func() {
				if done, err := d.CopySCSI(d, []target.Range{{Start: 0, Len: 8}}, 1000, false); done != 0 || !errors.Is(err, unix.EOPNOTSUPP) {
					t.Error(done, err)
				}
			})
		}
		wg.Wait()
		if len(f.sent) == 0 || len(f.sent) > most {
			t.Errorf("%d commands were sent to a disk that refuses them", len(f.sent))
		}
	}
}

// Reading the ability: which commands are sent, and what stops it.
func TestReadSCSI(t *testing.T) {
	inquiry := make([]byte, 36)
	inquiry[5] = 8
	capacity := make([]byte, 32)
	binary.BigEndian.PutUint32(capacity[8:], 512)
	page83 := append(unhexed(t, "00 83 0014 01 03 00 10"), unhexed(t, naaA)...)
	params := make([]byte, 46)
	copy(params, unhexed(t, "0000002a 01000000 0002 0001 00000400 00100000"))
	copy(params[34:], unhexed(t, "0001 01 09 00 00 000000 02 02e4"))
	answers := map[string][]byte{
		"12 00 00 00 24 00": inquiry,
		"9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00": capacity,
		"12 01 83 04 00 00": page83,
		"12 01 00 04 00 00": unhexed(t, "00 00 0003 00 80 83"),
		"12 01 8f 04 00 00": unhexed(t, "00 8f 0014 0004 0010 00000000 0002 0001 00000400 00000000"),
		"84 03 00 00 00 00 00 00 00 00 00 00 04 00 00 00": params,
	}
	var sent []string
	var failing string
	var why scsiAnswer
	call := func(fd int, s *scsiSlot) error {
		h := s.mem[hdrAt:]
		cdb := hex.EncodeToString(s.mem[8192+96:][:h[8]])
		for k, b := range answers {
			if strings.ReplaceAll(k, " ", "") != cdb {
				continue
			}
			sent = append(sent, k[:8])
			if fd != 7 || int32(binary.NativeEndian.Uint32(h[4:])) != -3 || binary.NativeEndian.Uint32(h[40:]) != 10_000 {
				t.Errorf("%s: descriptor %d, header % x", k, fd, h[:44])
			}
			if strings.HasPrefix(k, failing) && failing != "" {
				h[64], h[67] = why.status, byte(copy(s.mem[8192:], why.sense))
				if why.status == 0 && why.err == nil || why.status == 2 && why.sense[2] == 6 {
					failing = "" // once
				}
				return why.err
			}
			copy(s.mem, b)
			binary.NativeEndian.PutUint32(h[72:], binary.NativeEndian.Uint32(h[12:])-uint32(len(b)))
			return nil
		}
		t.Errorf("command %s", cdb)
		return unix.EIO
	}
	info := &Info{LogicalBlock: 512}
	want := limits.Copy{Method: limits.XCopy, MSSRL: 2048, MCL: 2048, Domain: "scsi-naa." + naaA}
	plain := []string{"12 00 00", "9e 10 00", "12 01 83", "12 01 00", "84 03 00"}
	c, port := scsiCopy(7, info, call)
	if c != want || port == nil || hex.EncodeToString(port.NAA) != naaA || port.ListID || cap(port.turns) != 1 || !slices.Equal(sent, plain) {
		t.Errorf("%+v %+v, sent %q", c, port, sent)
	}
	// A unit attention is not the answer.
	sent, failing, why = nil, "12 01 83", check(6, 0x29, 0)
	if c, _ := scsiCopy(7, info, call); c != want || len(sent) != len(plain)+1 {
		t.Errorf("%+v, sent %q", c, sent)
	}
	// What fails, by each command; nothing is asked behind it.
	for i, k := range plain {
		sent, failing, why = nil, k, check(5, 0x20, 0)
		if c, port := scsiCopy(7, info, call); c.Can() || port != nil || !strings.Contains(c.Reason, "invalid command operation code") || len(sent) != i+1 {
			t.Errorf("%s: %+v, sent %q", k, c, sent)
		}
	}
	sent, failing, why = nil, "12 00 00", scsiAnswer{err: unix.EPERM}
	if c, _ := scsiCopy(7, info, call); c.Can() || !strings.Contains(c.Reason, "CAP_SYS_RAWIO") {
		t.Errorf("%+v", c)
	}
	// An answer that is cut short is not taken for one with zeroes.
	rc := "9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00"
	failing, answers[rc] = "", capacity[:12]
	if c, _ := scsiCopy(7, info, call); c.Can() || !strings.Contains(c.Reason, "read capacity: 12 bytes") {
		t.Errorf("%+v", c)
	}
	answers[rc] = capacity
	// Page 8Fh is asked for where it is.
	failing, sent = "", nil
	answers["12 01 00 04 00 00"] = unhexed(t, "00 00 0004 00 80 83 8f")
	if c, _ := scsiCopy(7, info, call); c != want || !slices.Contains(sent, "12 01 8f") || len(sent) != len(plain)+1 {
		t.Errorf("%+v, sent %q", c, sent)
	}
	// Without 3PC nothing more is asked.
	sent = nil
	inquiry[5] = 0
	if c, port := scsiCopy(7, info, call); c.Can() || port != nil || !slices.Equal(sent, plain[:1]) {
		t.Errorf("%+v, sent %q", c, sent)
	}
}

func TestSense(t *testing.T) {
	for _, tt := range []struct {
		sense string
		want  string
	}{
		{"70 00 0a 00000000 0a 00000003 0d 02 00 000000", "COPY ABORTED, 0dh/02h copy target device not reachable, segment 3"},
		{"f0 00 05 00000000 0a 00000003 26 00 00 000000", "ILLEGAL REQUEST, 26h/00h invalid field in parameter list"},
		{"72 0a 0d 04 000000 0c 01 0a 0000 0000 0102 00000000", "COPY ABORTED, 0dh/04h copy target device data underrun, segment 258"},
		{"72 0a 0d 01 000000 18 00 0a 0000 0000000000000009 01 0a 0000 0000 0005 00000000", "COPY ABORTED, 0dh/01h third party device failure, segment 5"},
		{"73 05 20 00 000000 00", "ILLEGAL REQUEST, 20h/00h invalid command operation code, of an earlier command"},
		{"70 00 0c 00000000 06 00000003 0d 02", "sense key Ch, 0dh/02h copy target device not reachable"},
		{"70 00 0a 00000000 05 00000003 0d 02", ""}, // it says that it ends before ASC
		{"70 00 0a", ""},
		{"7f 00 0a 00000000 0a 00000003 0d 02", ""},
		{"", ""},
	} {
		e := &SCSIError{Status: 2}
		e.sense(unhexed(t, tt.sense))
		want := "SCSI status 0x02, CHECK CONDITION"
		if tt.want != "" {
			want += ", " + tt.want
		}
		if e.Error() != want || e.Sensed != (tt.want != "") {
			t.Errorf("%s: %q, not %q", tt.sense, e, want)
		}
	}
}

func FuzzSense(f *testing.F) {
	f.Add(byte(2), []byte{0x70, 0, 0x0a, 0, 0, 0, 0, 10, 0, 0, 0, 3, 0x0d, 2})
	f.Add(byte(2), []byte{0x72, 0x0a, 0x0d, 4, 0, 0, 0, 12, 1, 10, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, status byte, sense []byte) {
		e := &SCSIError{Status: status}
		e.sense(sense)
		if e.Error() == "" || e.Unwrap() == nil || e.Segment < -1 || e.Segment > 65535 || e.Unable() && !errors.Is(e, unix.EOPNOTSUPP) || e.Unable() && e.unstarted() {
			t.Errorf("%+v: %v, %v", e, e, e.Unwrap())
		}
	})
}

// Whatever is asked for: what is sent stays inside the disk, says the same as what was asked for, and writes nothing that it
// reads.
func TestCopySCSIAny(t *testing.T) {
	sentSome, refused := 0, 0
	for sentSome < 50 || refused < 50 { // until there were some of both
		rapid.Check(t, func(t *rapid.T) {
			block := rapid.SampledFrom([]uint32{512, 4096}).Draw(t, "block")
			unit := uint64(block / 512)
			start, sectors := rapid.Uint64Range(0, 50).Draw(t, "start")*unit, rapid.Uint64Range(1, 200).Draw(t, "sectors")*unit
			d, f := lunDisk(t, "a", naaA, block, start, sectors)
			n := rapid.IntRange(0, 4).Draw(t, "n")
			var sources []target.Range
			for range n {
				r := target.Range{Start: rapid.Uint64Range(0, 210).Draw(t, "at") * unit, Len: rapid.Uint64Range(0, 40).Draw(t, "len") * unit}
				if rapid.IntRange(0, 30).Draw(t, "odd") == 0 {
					r.Start += 1
				}
				sources = append(sources, r)
			}
			dst := rapid.Uint64Range(0, 210).Draw(t, "dst") * unit
			done, err := d.CopySCSI(d, sources, dst, false)
			if err != nil {
				refused++
				if done != 0 || len(f.sent) != 0 {
					t.Fatalf("%d, %v, %d sent", done, err, len(f.sent))
				}
				return
			}
			sentSome++
			p := f.sent[0].data
			if len(p) != 80+28*len(sources) || int(binary.BigEndian.Uint32(f.sent[0].cdb[10:])) != len(p) {
				t.Fatalf("% x", p)
			}
			at := (start + dst) / unit
			total := uint64(0)
			for i, r := range sources {
				g := p[80+28*i:]
				blocks, from, to := uint64(binary.BigEndian.Uint16(g[10:])), binary.BigEndian.Uint64(g[12:]), binary.BigEndian.Uint64(g[20:])
				if blocks*unit != r.Len || from*unit != start+r.Start || to != at || from+blocks > (start+sectors)/unit || to+blocks > (start+sectors)/unit {
					t.Fatalf("segment %d: %d from %d to %d of %+v", i, blocks, from, to, r)
				}
				at += blocks
				total += r.Len
			}
			for _, r := range sources {
				if r.Start < dst+total && dst < r.Start+r.Len {
					t.Fatalf("%+v to %d overlaps", sources, dst)
				}
			}
			if done != total {
				t.Fatalf("%d of %d", done, total)
			}
		})
	}
}
