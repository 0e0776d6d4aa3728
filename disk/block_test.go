package disk

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const nvmePath = "/dev/disk/by-id/nvme-eui.0025385b21404a30"

// fakeKernel opens a memfd in place of /dev/nvme0n1, after the errors of fail.
type fakeKernel struct {
	t     *testing.T
	fail  func(try int) error
	state state
	tries int
	path  string
	flags int
}

func newFakeKernel(t *testing.T) *fakeKernel {
	return &fakeKernel{
		t:     t,
		fail:  func(int) error { return nil },
		state: state{Mode: unix.S_IFBLK | 0o660, Rdev: unix.Mkdev(259, 0), Bytes: 1 << 30},
	}
}

func (k *fakeKernel) kernel() *kernel {
	return &kernel{
		open: func(path string, flags int) (int, error) {
			k.path, k.flags = path, flags
			k.tries++
			if err := k.fail(k.tries); err != nil {
				return -1, err
			}
			return unix.MemfdCreate("fake", unix.MFD_CLOEXEC)
		},
		stat: func(int) (state, error) { return k.state, nil },
		lock: func(int) error { k.t.Error("block device locked"); return nil },
	}
}

func TestOpenBlock(t *testing.T) {
	noLeak(t)
	for _, ro := range []bool{false, true} {
		k := newFakeKernel(t)
		o := host(t)
		o.kernel = k.kernel()
		d, err := Open(t.Context(), Spec{Name: "a", Path: nvmePath, ReadOnly: ro}, o)
		if err != nil {
			t.Fatal(err)
		}
		mode := unix.O_RDWR
		if ro {
			mode = unix.O_RDONLY
		}
		if want := mode | unix.O_DIRECT | unix.O_EXCL | unix.O_CLOEXEC; k.flags != want || k.path != "/dev/nvme0n1" || k.tries != 1 {
			t.Errorf("opened %s with %#x, %d times; want flags %#x", k.path, k.flags, k.tries, want)
		}
		if d.Name() != "a" || d.Kind() != Block || d.Node() != "/dev/nvme0n1" || d.Rdev() != unix.Mkdev(259, 0) ||
			d.Sectors() != 2097152 || d.ReadOnly() != ro || d.Identity().WWID != "eui.0025385b21404a30" || d.FD() < 0 {
			t.Errorf("disk %+v", d.Info())
		}
		if l := d.Limits(); l.LogicalBlock != 4096 || l.ReadOnly != ro || l.MaxWriteZeroesSectors != 2048 {
			t.Errorf("limits %+v", l)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil || d.FD() != -1 {
			t.Errorf("second close: %v, fd %d", err, d.FD())
		}
	}
}

// TestQueueBytes: what a disk takes at once is known if its queue tells, and else the disk is opened all the same.
func TestQueueBytes(t *testing.T) {
	for requests, want := range map[string]uint64{"": 0, "2": 2 * 32 << 10, "much": 0} {
		k := newFakeKernel(t)
		o := host(t)
		o.kernel = k.kernel()
		const queue = "devices/nvme0/nvme0n1/queue/"
		sys := o.Sys.(fstest.MapFS)
		sys[queue+"max_sectors_kb"] = &fstest.MapFile{Data: []byte("32\n")}
		if requests != "" {
			sys[queue+"nr_requests"] = &fstest.MapFile{Data: []byte(requests + "\n")}
		}
		d, err := Open(t.Context(), Spec{Path: nvmePath}, o)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if got := d.QueueBytes(); got != want {
			t.Errorf("%q requests: %d bytes at once, want %d", requests, got, want)
		}
	}
}

func TestDiscardByCommand(t *testing.T) {
	k := newFakeKernel(t)
	o := host(t)
	o.kernel = k.kernel()
	d, err := Open(t.Context(), Spec{Path: nvmePath}, o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if l := d.Limits(); d.DiscardByCommand() || l.MaxDiscardSectors != 0 || l.MaxHWDiscardSectors != 0 || l.DiscardGranularity != 0 {
		t.Errorf("discard before anybody said so: %+v", l)
	}
	d.SetDiscardByCommand(true)
	if l := d.Limits(); !d.DiscardByCommand() || l.MaxDiscardSectors != 2048 || l.MaxHWDiscardSectors != 2048 || l.DiscardGranularity != 4096 {
		t.Errorf("no discard: %+v", l)
	}
}

func TestOpenBlockErrors(t *testing.T) {
	noLeak(t)
	tests := []struct {
		name string
		fail error
		edit func(*state)
		is   error
		says string
	}{
		{"not root", unix.EACCES, nil, unix.EACCES, "disk a: /dev/nvme0n1: open: needs root"},
		{"not permitted", unix.EPERM, nil, unix.EPERM, "needs root"},
		{"no node", unix.ENOENT, nil, unix.ENOENT, "/dev does not have it"},
		{"no device", unix.ENXIO, nil, unix.ENXIO, "went away"},
		{"no medium", unix.ENOMEDIUM, nil, unix.ENOMEDIUM, "nothing is in the drive"},
		{"read-only", unix.EROFS, nil, unix.EROFS, "read_only = true"},
		{"broken", unix.EIO, nil, unix.EIO, "open: input/output error"},
		{"another device", nil, func(s *state) { s.Rdev++ }, unix.ESTALE, "became another device"},
		{"another file", nil, func(s *state) { s.Mode = unix.S_IFREG }, unix.ESTALE, "became another device"},
		{"became read-only", nil, func(s *state) { s.ReadOnly = true }, unix.EROFS, "read-only"},
		{"became empty", nil, func(s *state) { s.Bytes = 0 }, unix.ENOMEDIUM, "no sectors"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newFakeKernel(t)
			k.fail = func(int) error { return tt.fail }
			if tt.edit != nil {
				tt.edit(&k.state)
			}
			o := host(t)
			o.Wait = time.Hour
			o.kernel = k.kernel()
			d, err := Open(t.Context(), Spec{Name: "a", Path: nvmePath}, o)
			if d != nil || !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}

// busyFor fails with EBUSY until the time is over.
func busyFor(d time.Duration) func(int) error {
	end := time.Now().Add(d)
	return func(int) error {
		if time.Now().Before(end) {
			return unix.EBUSY
		}
		return nil
	}
}

func TestOpenBusy(t *testing.T) {
	const nvme2 = "/dev/nvme0n2"
	tests := []struct {
		name    string
		spec    Spec
		busy    time.Duration
		wait    time.Duration
		took    time.Duration // at most; the least is where it is expected to end
		holders []Holder      // nil: it opens
	}{
		{"mount", Spec{Path: "/dev/sda", UnstablePath: true}, time.Hour, time.Minute, 0, []Holder{
			{"mount", "/", "/dev/sda1"}, {"mount", "/in one", "/dev/sda1"}, {"dm", "vg0-data", "/dev/sda2"}}},
		{"swap", Spec{Path: nvmePath}, time.Hour, time.Minute, 0, []Holder{{"swap", "/dev/nvme0n1p1", "/dev/nvme0n1p1"}}},
		{"ourselves", Spec{Path: "/dev/sdd", UnstablePath: true, ReadOnly: true}, time.Hour, time.Minute, 0, []Holder{
			{"ublk", "100 (ublk-linear), which serves ublkb3, this process", ""}}},
		// fio is given the time to be a passer-by; the loop device holds nothing.
		{"process", Spec{Path: "/dev/vda", UnstablePath: true}, time.Hour, time.Minute, time.Second, []Holder{
			{"loop", "loop0", ""}, {"process", "200 (fio)", ""}}},
		// A predecessor that is exiting, and udev looking on.
		{"killed", Spec{Path: nvme2, UnstablePath: true}, 5 * time.Second, time.Minute, 6 * time.Second, nil},
		{"killed, too long", Spec{Path: nvme2, UnstablePath: true}, time.Hour, time.Minute, time.Minute, []Holder{
			{"ublk", "300 (ublk-linear), which serves ublkb12, ublkb9, exiting", ""}, {"process", "400 ((udev-worker))", ""}}},
		{"killed, no patience", Spec{Path: nvme2, UnstablePath: true}, time.Hour, 0, 0, []Holder{
			{"ublk", "300 (ublk-linear), which serves ublkb12, ublkb9, exiting", ""}, {"process", "400 ((udev-worker))", ""}}},
		{"nobody", Spec{Path: "/dev/sdc", UnstablePath: true}, time.Hour, time.Second, time.Second, []Holder{
			{"exclusive", "another process, or I/O in flight of one that was killed", ""}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			noLeak(t)
			synctest.Test(t, func(t *testing.T) {
				o := host(t)
				info, err := Inspect(tt.spec, o)
				if err != nil {
					t.Fatal(err)
				}
				k := newFakeKernel(t)
				k.fail = busyFor(tt.busy)
				k.state.Rdev = info.Rdev
				o.kernel = k.kernel()
				o.Wait = tt.wait
				o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
				start := time.Now()
				d, err := Open(t.Context(), tt.spec, o)
				if took := time.Since(start); took > tt.took {
					t.Errorf("took %v, want at most %v", took, tt.took)
				}
				if tt.holders == nil {
					if err != nil {
						t.Fatal(err)
					}
					if err := d.Close(); err != nil {
						t.Error(err)
					}
					return
				}
				busy, ok := errors.AsType[*BusyError](err)
				if !ok || !errors.Is(err, unix.EBUSY) {
					t.Fatalf("got %v", err)
				}
				if d := cmp.Diff(tt.holders, busy.Holders); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
			})
		})
	}
}

func TestOpenBusyCancelled(t *testing.T) {
	noLeak(t)
	synctest.Test(t, func(t *testing.T) {
		k := newFakeKernel(t)
		k.fail = busyFor(time.Hour)
		o := host(t)
		o.kernel = k.kernel()
		o.Wait = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := Open(ctx, Spec{Path: "/dev/sdc", UnstablePath: true}, o)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, unix.EBUSY) {
			t.Errorf("got %v", err)
		}
		if k.tries > 15 {
			t.Errorf("%d tries in 2 s: no backoff", k.tries)
		}
	})
}

func TestBusyMessage(t *testing.T) {
	err := &BusyError{Node: "/dev/sda", Holders: []Holder{
		{"mount", "/", "/dev/sda1"}, {"dm", "vg0-data", "/dev/sda2"}, {"process", "200 (fio)", ""}, {"new", "thing", ""}}}
	want := "/dev/sda is in use: mounted at / (/dev/sda1); used by device-mapper vg0-data (/dev/sda2); open in process 200 (fio); new thing"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestHolders(t *testing.T) {
	tests := []struct {
		node string
		want []Holder
	}{
		{"/dev/sda1", []Holder{{"mount", "/", ""}, {"mount", "/in one", ""}}},
		{"sda2", []Holder{{"dm", "vg0-data", ""}}},
		{"/dev/vg0/data", []Holder{{"mount", "/srv", ""}}}, // btrfs: by its source
		{"dm-0", []Holder{{"mount", "/srv", ""}}},
		{"sdb", []Holder{{"bcache", "bcache0", ""}, {"md", "md127", ""}, {"device", "other0", ""}}},
		{"ublkb7", nil},
		{"nothing", nil},
		{"/dev/nvme0n1p1", []Holder{{"swap", "/dev/nvme0n1p1", ""}}},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, Holders(tt.node, host(t))); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.node, d)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{`a`: "a", `a\040b`: "a b", `\134`: `\`, `\04`: `\04`, `\999`: `\999`, `a\`: `a\`} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}
