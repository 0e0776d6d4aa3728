package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// fakeNVMe takes the place of the ioctls of a namespace 7. answers are given to commands in turn, the last one for ever.
type fakeNVMe struct {
	t        *testing.T
	mu       sync.Mutex
	answers  []nvmeAnswer
	requests []uint
	list     []byte // of the last command
	cmd      []byte
}

type nvmeAnswer struct {
	status uint32
	result uint64
	err    error
}

func (f *fakeNVMe) call(_ int, request uint, s *nvmeSlot) (uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, request)
	if request == 0x4e40 {
		if s != nil {
			f.t.Error("NVME_IOCTL_ID with a command")
		}
		return 7, nil
	}
	f.list, f.cmd = bytes.Clone(s.mem[:8192]), bytes.Clone(s.mem[8192:])
	if len(f.answers) == 0 {
		return 0, nil
	}
	a := f.answers[0]
	if len(f.answers) > 1 {
		f.answers = f.answers[1:]
	}
	result := s.mem[8192+72:]
	if request == 0xc0484e43 {
		binary.LittleEndian.PutUint32(s.mem[8192+68:], uint32(a.result))
	} else {
		binary.LittleEndian.PutUint64(result, a.result)
	}
	return a.status, a.err
}

// namespaceDisk is a disk of so many sectors that begins at start of a namespace.
func namespaceDisk(t *testing.T, block uint32, start, sectors uint64) (*Disk, *fakeNVMe) {
	t.Helper()
	f := &fakeNVMe{t: t}
	d := newDisk(42, Info{Name: "n", Kind: Block, Sectors: sectors, LogicalBlock: block}, limits.Limits{})
	d.place.start = start
	d.copy = limits.Copy{Method: limits.NVMeCopy, MSSRL: 128, MCL: 128, MSRC: 127}
	d.calls = &calls{nvme: f.call, seek: func(fd int, at int64, whence int) (int64, error) {
		if fd != 42 || at != 0 || whence != unix.SEEK_END {
			t.Errorf("seek(%d, %d, %d)", fd, at, whence)
		}
		return int64(sectors * 512), nil
	}}
	return d, f
}

// words are little-endian dwords.
func words(v ...uint32) (b []byte) {
	for _, w := range v {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// The bytes on the wire: dwords of the ranges, SLBA in 2 and 3 and NLB in 4, and of struct nvme_passthru_cmd64, of which 10
// to 15 are the command's own.
func TestCopyNVMeBytes(t *testing.T) {
	all := nvmeSlots
	defer func() { nvmeSlots = all }()
	for _, tt := range []struct {
		name           string
		block          uint32
		start, sectors uint64
		sources        []target.Range
		dst            uint64
		fua            bool
		list, cdw      []byte
		total          uint64
	}{
		{"one range", 512, 0, 1 << 20, []target.Range{{Start: 0x12345, Len: 8}}, 0x54321, false,
			words(0, 0, 0x12345, 0, 7, 0, 0, 0), words(0x54321, 0, 0, 0, 0, 0), 8},
		{"one sector, FUA", 512, 0, 1 << 20, []target.Range{{Start: 0, Len: 1}}, 1, true,
			words(0, 0, 0, 0, 0, 0, 0, 0), words(1, 0, 0x40000000, 0, 0, 0), 1},
		{"the largest range", 512, 0, 1 << 20, []target.Range{{Start: 65536, Len: 65536}}, 0, false,
			words(0, 0, 65536, 0, 0xffff, 0, 0, 0), words(0, 0, 0, 0, 0, 0), 65536},
		{"three ranges of a partition", 512, 2048, 1 << 20, []target.Range{{Start: 100, Len: 2}, {Start: 0, Len: 3}, {Start: 100, Len: 1}}, 6000, true,
			words(0, 0, 2148, 0, 1, 0, 0, 0, 0, 0, 2048, 0, 2, 0, 0, 0, 0, 0, 2148, 0, 0, 0, 0, 0), words(8048, 0, 0x40000002, 0, 0, 0), 6},
		{"4Kn, a partition", 4096, 2048, 1 << 20, []target.Range{{Start: 8, Len: 16}, {Start: 800, Len: 8}}, 80000, false,
			words(0, 0, 257, 0, 1, 0, 0, 0, 0, 0, 356, 0, 0, 0, 0, 0), words(10256, 0, 1, 0, 0, 0), 24},
		{"above 2^32", 512, 1 << 33, 1 << 34, []target.Range{{Start: 1<<33 + 5, Len: 1}}, 1 << 32, false,
			words(0, 0, 5, 4, 0, 0, 0, 0), words(0, 3, 0, 0, 0, 0), 1},
	} {
		d, f := namespaceDisk(t, tt.block, tt.start, tt.sectors)
		nvmeSlots = newSlots(1) // what a command before left behind must not show
		s, err := nvmeSlots.get()
		if err != nil {
			t.Fatal(err)
		}
		noise(s.mem, 9)
		nvmeSlots.put(s)
		done, err := d.CopyNVMe(tt.sources, tt.dst, tt.fua)
		if err != nil || done != tt.total {
			t.Errorf("%s: %d, %v", tt.name, done, err)
			continue
		}
		if got := f.list[:len(tt.list)]; !bytes.Equal(got, tt.list) {
			t.Errorf("%s: list\n% x, not\n% x", tt.name, got, tt.list)
		}
		n := uint32(len(tt.list))
		head := append([]byte{0x19, 0, 0, 0}, words(7, 0, 0, 0, 0)...) // up to and with Metadata
		if !bytes.Equal(f.cmd[:24], head) || !bytes.Equal(f.cmd[32:40], words(0, n)) || !bytes.Equal(f.cmd[40:64], tt.cdw) || !bytes.Equal(f.cmd[64:80], make([]byte, 16)) {
			t.Errorf("%s: command % x", tt.name, f.cmd)
		}
	}
}

// Everything that must not be sent.
func TestCopyNVMeRefused(t *testing.T) {
	const end = 1 << 20
	many := make([]target.Range, 257)
	for i := range many {
		many[i] = target.Range{Start: 0, Len: 8}
	}
	one := func(start, n uint64) []target.Range { return []target.Range{{Start: start, Len: n}} }
	for _, tt := range []struct {
		name    string
		block   uint32
		start   uint64
		sources []target.Range
		dst     uint64
		word    string
	}{
		{"nothing", 512, 0, nil, 0, "no source"},
		{"257 ranges", 512, 0, many, 1000, "257 sources"},
		{"an empty range", 512, 0, []target.Range{{Start: 0, Len: 8}, {Start: 8, Len: 0}}, 1000, "source 1 is empty"},
		{"65537 blocks", 512, 0, one(0, 65537), 1 << 19, "65537 blocks"},
		{"65537 blocks of 4096", 4096, 0, one(0, 65537*8), 0, "65537 blocks"},
		{"source inside a block", 4096, 0, one(4, 8), 800, "not of blocks"},
		{"part of a block", 4096, 0, one(8, 12), 800, "not of blocks"},
		{"destination inside a block", 4096, 0, one(8, 8), 804, "destination 804 is not a multiple"},
		{"partition inside a block", 4096, 2047, one(8, 8), 800, "inside a block"},
		{"source past the end", 512, 0, one(end-7, 8), 0, "past the end"},
		{"source past the partition", 512, 2048, one(end-7, 8), 0, "past the end"},
		{"second source past the end", 512, 0, []target.Range{{Start: 0, Len: 8}, {Start: end, Len: 1}}, 1000, "source 1"},
		{"source beyond", 512, 0, one(end+1, 1), 0, "past the end"},
		{"source wraps", 512, 0, one(1<<64-4, 8), 0, "past the end"},
		{"destination past the end", 512, 0, one(0, 8), end - 7, "past the end"},
		{"destination past the partition", 512, 2048, one(0, 8), end - 7, "past the end"},
		{"destination of the sum past the end", 512, 0, []target.Range{{Start: 0, Len: 4}, {Start: 0, Len: 5}}, end - 8, "past the end"},
		{"destination beyond", 512, 0, one(0, 8), 1<<64 - 4, "past the end"},
		{"onto itself", 512, 0, one(1000, 8), 1000, "overlaps"},
		{"overlap forward", 512, 0, one(1000, 8), 1007, "overlaps"},
		{"overlap backward", 512, 0, one(1000, 8), 993, "overlaps"},
		{"the second overlaps what the first has written", 512, 0, []target.Range{{Start: 0, Len: 8}, {Start: 1000, Len: 1}}, 1000, "source 1"},
		{"the first overlaps what the second has written", 512, 0, []target.Range{{Start: 1008, Len: 8}, {Start: 0, Len: 8}}, 1000, "source 0"},
		{"a partition past all numbers", 512, 1<<64/512 - 8, one(0, 1), 8, "the partition begins"},
	} {
		d, f := namespaceDisk(t, tt.block, tt.start, end)
		done, err := d.CopyNVMe(tt.sources, tt.dst, false)
		if done != 0 || !errors.Is(err, ErrCopyRequest) || !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), tt.word) {
			t.Errorf("%s: %d, %v", tt.name, done, err)
		}
		if len(f.requests) > 0 {
			t.Errorf("%s: was sent", tt.name)
		}
	}
	// The same, by one sector, is right.
	for _, tt := range []struct {
		sources []target.Range
		dst     uint64
	}{{many[:256], 8}, {one(0, 65536), 65536}, {one(end-8, 8), 0}, {one(0, 8), end - 8}, {one(1000, 8), 1008}, {one(1000, 8), 992}} {
		d, _ := namespaceDisk(t, 512, 0, end)
		if done, err := d.CopyNVMe(tt.sources, tt.dst, false); err != nil || done == 0 {
			t.Errorf("%d of %+v to %d: %d, %v", len(tt.sources), tt.sources[0], tt.dst, done, err)
		}
	}
}

// A disk that does not copy so, a read-only one, and a partition that was made smaller.
func TestCopyNVMeCannot(t *testing.T) {
	sources := []target.Range{{Start: 0, Len: 8}}
	for name, tt := range map[string]struct {
		set  func(*Disk)
		want error
	}{
		"none":      {func(d *Disk) { d.copy = noCopy("protection information") }, unix.EOPNOTSUPP},
		"file":      {func(d *Disk) { d.copy.Method = limits.FileCopy }, unix.EOPNOTSUPP},
		"read-only": {func(d *Disk) { d.info.ReadOnly = true }, unix.EROFS},
		"closed":    {func(d *Disk) { d.fd.Store(-1) }, unix.EBADF},
		"smaller":   {func(d *Disk) { d.calls.seek = func(int, int64, int) (int64, error) { return 1007 * 512, nil } }, ErrCopyRequest},
		"gone":      {func(d *Disk) { d.calls.seek = func(int, int64, int) (int64, error) { return 0, unix.ENODEV } }, unix.ENODEV},
	} {
		d, f := namespaceDisk(t, 512, 0, 1<<20)
		tt.set(d)
		if done, err := d.CopyNVMe(sources, 1000, false); done != 0 || !errors.Is(err, tt.want) || len(f.requests) > 0 {
			t.Errorf("%s: %d, %v, %d requests", name, done, err, len(f.requests))
		}
	}
}

// What is certainly copied, by status and dword 0.
func TestCopyNVMeDone(t *testing.T) {
	sources := []target.Range{{Start: 0, Len: 4}, {Start: 100, Len: 17}, {Start: 50, Len: 1}}
	for _, tt := range []struct {
		name   string
		answer nvmeAnswer
		want   uint64
		status uint16 // 0: no error
	}{
		{"success", nvmeAnswer{0, 0, nil}, 22, 0},
		{"success, with a result", nvmeAnswer{0, 1, nil}, 22, 0},
		{"success, with bits above", nvmeAnswer{0x2000, 0, nil}, 22, 0},
		{"the first failed", nvmeAnswer{0x4183, 0, nil}, 0, 0x183},
		{"the second failed", nvmeAnswer{0x4183, 1, nil}, 4, 0x183},
		{"the third failed", nvmeAnswer{0x4080, 2, nil}, 21, 0x80},
		{"one past the last", nvmeAnswer{0x4080, 3, nil}, 0, 0x80},
		{"far past", nvmeAnswer{0x280, 0xffffffff, nil}, 0, 0x280},
		{"only 32 bits count", nvmeAnswer{0x280, 0xdeadbeef00000002, nil}, 21, 0x280},
		{"medium", nvmeAnswer{0x281, 2, nil}, 21, 0x281},
		{"the command as a whole", nvmeAnswer{0x4002, 2, nil}, 0, 0x02},
		{"the format", nvmeAnswer{0x410a, 1, nil}, 0, 0x10a},
		{"aborted by the host, the result is another's", nvmeAnswer{0x371, 2, nil}, 0, 0x371},
		{"path", nvmeAnswer{0x370, 1, nil}, 0, 0x370},
		{"unknown", nvmeAnswer{0x1f0, 2, nil}, 0, 0x1f0},
	} {
		for _, old := range []bool{false, true} {
			d, f := namespaceDisk(t, 512, 0, 1<<20)
			d.cmd32.Store(old)
			f.answers = []nvmeAnswer{tt.answer}
			done, err := d.CopyNVMe(sources, 1000, false)
			e, failed := errors.AsType[*NVMeError](err)
			if done != tt.want || failed != (tt.status != 0) || (err != nil) != failed {
				t.Errorf("%s, IO_CMD %v: %d, %v", tt.name, old, done, err)
			} else if failed && (e.Status != tt.status || e.Raw != uint16(tt.answer.status) || e.Result != uint32(tt.answer.result)) {
				t.Errorf("%s, IO_CMD %v: %+v", tt.name, old, e)
			}
		}
	}
	d, f := namespaceDisk(t, 512, 0, 1<<20)
	f.answers = []nvmeAnswer{{0, 0, unix.ENODEV}}
	if done, err := d.CopyNVMe(sources, 1000, false); done != 0 || !errors.Is(err, unix.ENODEV) {
		t.Errorf("no device: %d, %v", done, err)
	}
}

// The number of the namespace is asked for once, and a kernel without 64-bit results is asked once for them.
func TestCopyNVMeRequests(t *testing.T) {
	d, f := namespaceDisk(t, 512, 0, 1<<20)
	f.answers = []nvmeAnswer{{}, {err: unix.ENOTTY}, {}}
	for range 3 {
		if done, err := d.CopyNVMe([]target.Range{{Start: 0, Len: 8}}, 1000, false); done != 8 || err != nil {
			t.Errorf("%d, %v", done, err)
		}
	}
	const id, io32, io64 = 0x4e40, 0xc0484e43, 0xc0504e48
	want := []uint{id, io64, io64, io32, io32}
	if len(f.requests) != len(want) {
		t.Fatalf("%#x", f.requests)
	}
	for i := range want {
		if f.requests[i] != want[i] {
			t.Errorf("%#x, not %#x", f.requests, want)
			break
		}
	}
	for name, call := range map[string]nvmeCall{
		"zero":    func(int, uint, *nvmeSlot) (uint32, error) { return 0, nil },
		"refused": func(int, uint, *nvmeSlot) (uint32, error) { return 0, unix.EIO },
	} {
		d, f := namespaceDisk(t, 512, 0, 1<<20)
		d.calls.nvme = call
		if done, err := d.CopyNVMe([]target.Range{{Start: 0, Len: 8}}, 1000, false); done != 0 || !errors.Is(err, unix.EIO) || len(f.requests) > 0 {
			t.Errorf("number %s: %d, %v", name, done, err)
		}
	}
}

// Many at once: each has its own list, no more than there are slots, and no more memory than slots.
func TestCopyNVMeMany(t *testing.T) {
	d, _ := namespaceDisk(t, 512, 0, 1<<20)
	var mu sync.Mutex
	busy, most := map[*byte]bool{}, 0
	full := make(chan struct{}) // closed when all slots are in use: until then no command ends
	d.calls.nvme = func(_ int, request uint, s *nvmeSlot) (uint32, error) {
		if s == nil {
			return 7, nil
		}
		mu.Lock()
		if busy[&s.mem[0]] {
			t.Error("two commands in one slot")
		}
		busy[&s.mem[0]] = true
		n := 0
		for _, b := range busy {
			if b {
				n++
			}
		}
		if most = max(most, n); n == cap(nvmeSlots) && len(nvmeSlots) == 0 {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		mu.Unlock()
		<-full
		slba, lba := binary.LittleEndian.Uint64(s.mem[8:]), binary.LittleEndian.Uint32(s.mem[8192+40:])
		if slba+1000 != uint64(lba) {
			t.Errorf("from %d to %d", slba, lba)
		}
		mu.Lock()
		busy[&s.mem[0]] = false
		mu.Unlock()
		return 0, nil
	}
	var wg sync.WaitGroup
	for g := range 3 * cap(nvmeSlots) {
		wg.Go(func() {
			for range 20 {
				if _, err := d.CopyNVMe([]target.Range{{Start: uint64(g), Len: 1}}, uint64(g)+1000, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(busy) != cap(nvmeSlots) || most != cap(nvmeSlots) || len(nvmeSlots) != cap(nvmeSlots) {
		t.Errorf("%d slots were used, %d at once, %d are free of %d", len(busy), most, len(nvmeSlots), cap(nvmeSlots))
	}
}

func TestNVMeError(t *testing.T) {
	for _, tt := range []struct {
		status uint16
		text   string
		errno  error
		side   string
	}{
		{0x183, "NVMe status 0x183, Command Size Limit Exceeded, source range 2", unix.EOPNOTSUPP, ""},
		{0x187, "NVMe status 0x187, Overlapping I/O Range, source range 2", unix.EINVAL, ""},
		{0x185, "NVMe status 0x185, Incompatible Namespace or Format", unix.EOPNOTSUPP, ""},
		{0x10a, "NVMe status 0x10a, Invalid Format", unix.EOPNOTSUPP, ""},
		{0x002, "NVMe status 0x2, Invalid Field in Command", unix.EOPNOTSUPP, ""},
		{0x00b, "NVMe status 0xb, Invalid Namespace or Format", unix.EOPNOTSUPP, ""},
		{0x00f, "NVMe status 0xf, Data SGL Length Invalid", unix.EIO, ""},
		{0x080, "NVMe status 0x80, LBA Out of Range, source range 2", unix.EREMOTEIO, ""},
		{0x081, "NVMe status 0x81, Capacity Exceeded, source range 2", unix.ENOSPC, "destination"},
		{0x182, "NVMe status 0x182, Attempted Write to Read Only Range, source range 2", unix.EROFS, "destination"},
		{0x020, "NVMe status 0x20, Namespace is Write Protected, source range 2", unix.EROFS, "destination"},
		{0x1b9, "NVMe status 0x1b9, Zone Is Full, source range 2", unix.EIO, "destination"},
		{0x1bc, "NVMe status 0x1bc, Zone Invalid Write, source range 2", unix.EIO, "destination"},
		{0x1bd, "NVMe status 0x1bd, Too Many Active Zones, source range 2", unix.EOVERFLOW, "destination"},
		{0x280, "NVMe status 0x280, Write Fault, source range 2", unix.ENODATA, "destination"},
		{0x281, "NVMe status 0x281, Unrecovered Read Error, source range 2", unix.ENODATA, "source"},
		{0x286, "NVMe status 0x286, Access Denied, source range 2", unix.ENODATA, ""},
		{0x083, "NVMe status 0x83, Reservation Conflict", unix.EBADE, ""},
		{0x370, "NVMe status 0x370, Host Pathing Error", unix.ENOLINK, ""},
		{0x1f0, "NVMe status 0x1f0, unknown", unix.EIO, ""},
	} {
		e := &NVMeError{Status: tt.status, Result: 2}
		if e.Error() != tt.text || !errors.Is(e, tt.errno) || e.Side() != tt.side {
			t.Errorf("%q, %v, %q; not %q, %v, %q", e, e.Unwrap(), e.Side(), tt.text, tt.errno, tt.side)
		}
	}
}
