package blkcopy

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/remap"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
)

// line is a device on parts of disks of n sectors, each from its first on.
func line(t testing.TB, name string, block uint32, n uint64, disks ...int) *Device {
	t.Helper()
	var parts []remap.Part
	for _, d := range disks {
		l, err := linear.New(target.Disk(d), target.Range{Len: n})
		parts = append(parts, part(t, n, l, err))
	}
	tb, err := remap.NewTable(parts)
	if err != nil {
		t.Fatal(err)
	}
	return &Device{Name: name, LogicalBlock: block, Table: tb}
}

// pairCase copies all of disk 0 to disk 1: 8 windows of 4 commands of 32 sectors each, one after the other.
func pairCase(t testing.TB, m limits.Method, p Policy) *copyCase {
	t.Helper()
	const n = 1024
	c := &copyCase{w: newWorld(1, 2, n, 512)}
	p.Window = MinWindow
	if p.InFlight == 0 {
		p.InFlight = MinWindow
	}
	c.req = &Request{Src: line(t, "src", 512, n, 0), Dst: line(t, "dst", 512, n, 1), SrcSegs: []Seg{{0, n * 512}}, DstSegs: []Seg{{0, n * 512}}, Policy: p}
	c.w.copy = limits.Copy{Method: m, MSSRL: 32, MCL: 32, Domain: "all"}
	c.disks = []Disk{{Name: "a", Copy: c.w.copy}, {Name: "b", Copy: c.w.copy}}
	c.o.Depth = 1
	return c.ready()
}

const commandBytes, windowBytes, allBytes = 32 * 512, MinWindow, 1024 * 512

// caseOf is what a fault must lead to.
type caseOf struct {
	name    string
	method  limits.Method
	policy  Policy
	fault   fault
	more    func(*copyCase)
	bytes   uint64
	fell    uint64 // bytes of fallbacks
	lost    uint64 // bytes that failed
	side    string
	disk    target.Disk
	sector  uint64
	is      error
	oneSync bool
}

// TestCases are the execution's part of the list of tricky cases, by its numbers.
func TestCases(t *testing.T) {
	noMethods := func(c *copyCase) { c.o.Methods = nil }
	bad := func(op string, disk int, sector uint64) fault {
		return fault{op: op, disk: disk, area: target.Range{Start: sector, Len: 1}}
	}
	fail := Policy{AfterFailure: Fail}
	cases := []caseOf{
		{name: "13 no method, emulated", method: "nvme", more: noMethods, bytes: allBytes, fell: allBytes, is: ErrNoOffload, disk: 1},
		{name: "13 no method, refused", method: "nvme", policy: Policy{WithoutOffload: Fail}, more: noMethods, lost: windowBytes, is: ErrNoOffload, disk: 1},
		{name: "13 wrong namespace", method: "nvme", fault: fault{op: "nvme", disk: -1}, bytes: allBytes, fell: allBytes, disk: 1},
		{name: "15 failure in the middle", method: "nvme", policy: fail, fault: fault{op: "nvme", disk: 1, skip: 5, times: 1, done: 3},
			bytes: windowBytes + commandBytes + 3*512, lost: commandBytes - 3*512, disk: 1, sector: 128 + 32 + 3},
		{name: "15 failure in the middle, emulated", method: "nvme", fault: fault{op: "nvme", disk: 1, skip: 5, times: 1, done: 3},
			bytes: allBytes, fell: commandBytes - 3*512, disk: 1, sector: 128 + 32 + 3},
		{name: "15 nothing of the command done", method: "file", policy: fail, fault: fault{op: "file", disk: 1, skip: 6, times: 1},
			bytes: windowBytes + 2*commandBytes, lost: commandBytes, disk: 1, sector: 128 + 64},
		{name: "16 unreadable sector of an offload", method: "nvme", policy: fail, fault: fault{op: "nvme", disk: -1, skip: 5, times: 1, side: SourceSide, done: 3},
			bytes: windowBytes + commandBytes + 3*512, lost: commandBytes - 3*512, side: SourceSide, disk: 0, sector: 128 + 32 + 3},
		{name: "16 unreadable sector", fault: bad("read", 0, 300), bytes: 300 * 512, lost: 384*512 - 300*512, side: SourceSide, disk: 0, sector: 300},
		{name: "16 unwritable sector", fault: bad("write", 1, 300), bytes: 300 * 512, lost: 384*512 - 300*512, side: DestinationSide, disk: 1, sector: 300},
		{name: "16 unreadable, then offloaded in vain", method: "nvme", fault: fault{op: "nvme", disk: 1, skip: 2, times: 1}, more: func(c *copyCase) {
			c.w.faults = append(c.w.faults, &fault{op: "read", disk: 0, area: target.Range{Start: 70, Len: 1}})
		}, bytes: 70 * 512, fell: commandBytes, lost: commandBytes - 6*512, side: SourceSide, disk: 0, sector: 70},
		{name: "17 the first fails", method: "nvme", policy: fail, fault: fault{op: "nvme", disk: 1, times: 1}, lost: commandBytes, disk: 1},
		{name: "17 the last fails", method: "nvme", policy: fail, fault: fault{op: "nvme", disk: 1, skip: 31}, bytes: allBytes - commandBytes, lost: commandBytes, disk: 1, sector: 1024 - 32},
		{name: "17 all fail", method: "nvme", policy: fail, fault: fault{op: "nvme", disk: -1}, lost: windowBytes, disk: 1},
		{name: "17 it fails, and says that all is done", method: "nvme", policy: fail, fault: fault{op: "nvme", disk: 1, skip: 4, times: 1, all: true},
			bytes: windowBytes, lost: commandBytes, disk: 1, sector: 128},
		{name: "17 it does not fail, and is short", method: "file", policy: fail, fault: fault{op: "file", disk: 1, skip: 4, times: 1, quiet: true, done: 3},
			bytes: windowBytes + 3*512, lost: commandBytes - 3*512, disk: 1, sector: 128 + 3, is: errShort},
		{name: "17 a write fails, and says that all is done", fault: fault{op: "write", disk: 1, skip: 2, times: 1, all: true}, bytes: 2 * windowBytes, lost: windowBytes, side: DestinationSide, disk: 1, sector: 256},
		{name: "17 a read fails, and says that all is done", fault: fault{op: "read", disk: 0, skip: 2, all: true}, bytes: 2 * windowBytes, lost: windowBytes, side: SourceSide, disk: 0, sector: 256},
		{name: "17 a short read is gone on from", fault: fault{op: "read", disk: 0, skip: 2, times: 1, done: 50, quiet: true}, bytes: allBytes},
		{name: "17 a short write", fault: fault{op: "write", disk: 1, skip: 2, times: 1, done: 50, quiet: true}, bytes: 2*windowBytes + 50*512, lost: windowBytes - 50*512, side: DestinationSide, disk: 1, sector: 306, is: errShort},
		{name: "26 after a write that was acknowledged", bytes: allBytes, more: func(c *copyCase) { clear(c.w.disks[0].durable) }},
		{name: "27 failure of the flush", policy: Policy{Flush: true}, fault: fault{op: "sync", disk: 1}, lost: allBytes, side: DestinationSide, disk: 1, oneSync: true},
		{name: "27 flush", policy: Policy{Flush: true}, bytes: allBytes, oneSync: true},
		{name: "27 FUA", policy: Policy{FUA: true}, bytes: allBytes},
		{name: "27 FUA of an offload", method: "nvme", policy: Policy{FUA: true}, bytes: allBytes},
		{name: "27 what is done before a failure is flushed", policy: Policy{Flush: true}, fault: bad("read", 0, 300), bytes: 300 * 512, lost: 84 * 512, side: SourceSide, sector: 300, oneSync: true},
	}
	for _, f := range cases {
		t.Run(f.name, func(t *testing.T) {
			c := pairCase(t, f.method, f.policy)
			if f.fault.op != "" {
				c.w.faults = append(c.w.faults, &f.fault)
			}
			if f.more != nil {
				f.more(c)
			}
			r, err := c.run(t, t.Context(), nil)
			f.holds(t, c, r, err)
			c.survives(t, r)
		})
	}
}

func (f *caseOf) holds(t *testing.T, c *copyCase, r *Result, err error) {
	t.Helper()
	var fell uint64
	for _, x := range r.Fallbacks {
		fell += x.Bytes
	}
	if lost := c.failedBytes(r); r.Bytes != f.bytes || fell != f.fell || lost != f.lost {
		t.Errorf("%d bytes, %d fell back, %d failed; want %d, %d, %d (%v)", r.Bytes, fell, lost, f.bytes, f.fell, f.lost, err)
	}
	if f.oneSync != (len(c.w.synced) == 1) {
		t.Errorf("flushed %v", c.w.synced)
	}
	told := append(r.Failed, r.Fallbacks...)
	if (len(told) > 0) != (f.lost+f.fell > 0) {
		t.Fatalf("failures %v", told)
	}
	if len(told) > 0 {
		if x := told[0]; x.Side != f.side || x.Disk != f.disk || x.Sector != f.sector || f.is != nil && !errors.Is(x.Err, f.is) {
			t.Errorf("%v; want %q disk %d sector %d, %v", &x, f.side, f.disk, f.sector, f.is)
		}
	}
	if f.lost > 0 {
		x, ok := errors.AsType[*Failure](err)
		if _, injected := errors.AsType[*faultError](err); !ok || !injected && !errors.Is(err, f.is) || x.Err == nil {
			t.Errorf("error %v", err)
		}
	}
}

// TestReadFailureLeavesDestination (16): what could not be read is not written.
func TestReadFailureLeavesDestination(t *testing.T) {
	c := pairCase(t, "", Policy{})
	c.w.faults = []*fault{{op: "read", disk: 0, area: target.Range{Start: 300, Len: 1}}}
	if _, err := c.run(t, t.Context(), nil); err == nil {
		t.Fatal("no error")
	}
	if got := c.w.disks[1].data; !bytes.Equal(got[300*512:], c.before[1][300*512:]) {
		t.Error("the destination changed where nothing was read")
	}
}

// TestLastLook: a command that would write what it reads is not sent, and is emulated all the same.
func TestLastLook(t *testing.T) {
	c := pairCase(t, "nvme", Policy{})
	e := NewEngine(c.w.ios(), &c.o)
	x := execution{j: &job{e: e, pol: &c.req.Policy, block: 512}}
	ext := func(d target.Disk, at, n uint64) target.Extent {
		return target.Extent{Disk: d, Range: target.Range{Start: at, Len: n}}
	}
	for _, s := range []target.Extent{ext(1, 100, 8), ext(1, 93, 8), ext(1, 107, 8)} {
		_, err := x.copy(&Command{Method: "nvme", Sources: []target.Extent{ext(1, 50, 8), s}, Dst: ext(1, 100, 8)})
		if !errors.Is(err, ErrOverlap) || !errors.Is(err, unix.EINVAL) {
			t.Errorf("source %v: %v", s, err)
		}
	}
	if len(c.w.sent) > 0 {
		t.Errorf("sent %v", c.w.sent)
	}
}
