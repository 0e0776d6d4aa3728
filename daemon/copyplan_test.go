package daemon

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/limits"
)

// TestCopyPolicy: every word, nothing for the default, and what is no word with those that are.
func TestCopyPolicy(t *testing.T) {
	p := CopyPolicy{"refuse", "fail", "fail", "refuse", true, true, true, true, 1, 2, 3}
	got, problems := p.policy()
	want := blkcopy.Policy{AtBoundary: blkcopy.RefuseBoundary, WithoutOffload: blkcopy.Fail, AfterFailure: blkcopy.Fail, Overlap: blkcopy.RefuseOverlap,
		FUA: true, Flush: true, ShareExtents: true, Zeroes: true, Window: 1, InFlight: 2, Rate: 3}
	if d := cmp.Diff(want, got); d != "" || problems != nil {
		t.Error(d, problems)
	}
	for _, p := range []CopyPolicy{{}, {AtBoundary: "split", Fallback: "emulate", OnFailure: "emulate", Overlap: "memmove"}} {
		if got, problems := p.policy(); got != (blkcopy.Policy{}) || problems != nil || p.Validate() != nil {
			t.Error(got, problems)
		}
	}
	p = CopyPolicy{AtBoundary: "cut", Fallback: "no", OnFailure: "Fail", Overlap: "memcpy"}
	const all = `at_boundary "cut": split or refuse
fallback "no": emulate or fail
on_failure "Fail": emulate or fail
overlap "memcpy": memmove or refuse`
	if err := p.Validate(); err == nil || err.Error() != all || !errors.Is(err, blkcopy.ErrRequest) {
		t.Error(err)
	}
}

// TestUsable: a plan says no more than the disk will do; what the file says goes over it.
func TestUsable(t *testing.T) {
	file, nvme := limits.Copy{Method: limits.FileCopy, Domain: "fs"}, limits.Copy{Method: limits.NVMeCopy, Domain: "ns", MSSRL: 8}
	if got := usable(file, true); got != file {
		t.Error(got)
	}
	if got := usable(file, false); got.Can() || !strings.Contains(got.Reason, "share_extents") {
		t.Error(got)
	}
	if got := usable(nvme, false); got != nvme {
		t.Error(got)
	}
	f := load(t, strings.Replace(volumes, "[disk.b]", "[disk.a.copy]\nmethod = \"nvme\"\ndomain = \"x\"\n[disk.b]", 1))
	w := &copyWorld{file: f, blocks: make([]uint32, len(f.Disks)), real: []limits.Copy{file, nvme, {}, {}, {}}, queues: make([]uint64, len(f.Disks))}
	ds := w.disks(false)
	if ds[0].Copy.Method != limits.NVMeCopy || ds[0].Copy.Domain != "x" || ds[1].Copy.Domain != "ns" || ds[2].Copy.Can() {
		t.Errorf("%+v", ds)
	}
}

// TestPlanCopy: files that are not there yet can be planned with, in any user's name, and nothing is made.
func TestPlanCopy(t *testing.T) {
	f := load(t, volumes)
	p, err := PlanCopy(f, ask("data", one(190, 20), "side", CopySegment{0, 20 * 512}))
	if err != nil {
		t.Fatal(err)
	}
	var w blkcopy.Window
	if !p.Next(&w) || len(w.Pieces) != 2 || p.Bytes() != 20*512 {
		t.Errorf("%+v", w)
	}
	if _, err := PlanCopy(f, ask("none", one(0, 8), "none", CopySegment{8192, 4096})); err != nil {
		t.Error("declared:", err)
	}
	for _, c := range []struct {
		r    *CopyRequest
		kind error
	}{
		{ask("x", one(0, 8), "side", CopySegment{0, 4096}), fs.ErrNotExist},
		{ask("data", one(0, 8), "x", CopySegment{0, 4096}), fs.ErrNotExist},
		{ask("data", one(0, 8), "fixed", CopySegment{0, 4096}), unix.EPERM},
		{ask("data", one(0, 0), "side", CopySegment{0, 0}), blkcopy.ErrRequest},
	} {
		if _, err := PlanCopy(f, c.r); !errors.Is(err, c.kind) {
			t.Errorf("%+v: %v", c.r, err)
		}
	}
	if _, err := os.Stat(f.Disk("a").File); err == nil {
		t.Error("a file was made")
	}
}

// TestCopyResultWords: disks by name, methods counted, every cause told.
func TestCopyResultWords(t *testing.T) {
	f := load(t, volumes)
	w := &copyWorld{file: f}
	fail := blkcopy.Failure{Offset: 512, Bytes: 1024, Method: limits.NVMeCopy, Side: blkcopy.SourceSide, Disk: 1, Sector: 9, Err: unix.EIO}
	res := &blkcopy.Result{Bytes: 512, Total: 4096, Offloaded: 512, HostRead: 1, HostWritten: 2, Commands: map[limits.Method]uint64{limits.NVMeCopy: 3, blkcopy.Emulated: 4},
		Failed: []blkcopy.Failure{fail}, More: 5}
	got := w.result(res, errors.Join(&fail, errors.New("flush")))
	want := &CopyResult{Schema: 1, Bytes: 512, Total: 4096, Offloaded: 512, Host: 3, HostRead: 1, HostWritten: 2, Commands: 7,
		CommandsByMethod: map[string]uint64{"nvme": 3, "emulate": 4}, MoreFailures: 5, Fallbacks: []CopyFailure{},
		Failed: []CopyFailure{{512, 1024, "nvme", "source", "b", 9, "input/output error"}},
		Error:  "nvme of bytes 512+1024 of the request: source disk b at sector 9: input/output error\nflush"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := w.result(&blkcopy.Result{Total: 5}, nil); got.Complete || got.Error != "" {
		t.Error("a prefix is not all:", got)
	}
}
