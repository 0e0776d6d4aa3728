package daemon

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/config"
	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/target"
)

// volumes is a linear run and a stripe on three files, and a device on one of them that is read-only.
const volumes = `version = 1
[disk.a]
file = "a.img"
create = "1MiB"
[disk.b]
file = "b.img"
create = "1MiB"
[disk.c]
file = "c.img"
create = "1MiB"
[disk.m]
memory = "1MiB"
[disk.n]
size = "1GiB"
[device.data]
table = """
0 200 linear a 8
200 1152 striped 3 24 a 400 b 16 c 0
"""
[device.side]
table = "0 512 linear b 1024"
[device.fixed]
read_only = true
table = "0 512 linear c 1024"
[device.mem]
table = "0 1024 linear m 0"
[device.none]
table = "0 1024 linear n 0"
`

// load parses a file in a folder of its own.
func load(t *testing.T, text string) *config.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "v.toml")
	writeFile(t, path, text)
	f, ps, err := config.Load(path)
	if err != nil || len(ps.Errors()) > 0 {
		t.Fatal(err, ps)
	}
	return f
}

// fill writes random bytes to the disks that are files.
func fill(t *testing.T, f *config.File, seed uint64) {
	t.Helper()
	r := rand.NewChaCha8([32]byte{byte(seed)})
	for _, d := range f.Disks {
		if d.Kind == config.KindFile {
			b := make([]byte, d.Create)
			_, _ = r.Read(b)
			writeFile(t, d.File, string(b))
		}
	}
}

// content is a device's bytes, put together from its disks.
func content(t *testing.T, f *config.File, name string) []byte {
	t.Helper()
	tables, err := Tables(f)
	if err != nil {
		t.Fatal(err)
	}
	for i, tab := range tables {
		if f.Devices[i].Name != name {
			continue
		}
		segs, _ := tab.Map(make([]target.Segment, 0, 4096), target.Read, target.Range{Len: tab.Sectors()})
		var out []byte
		for _, s := range segs {
			b, err := os.ReadFile(f.Disks[s.Disk].File)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, b[s.Sector*512:(s.Sector+s.Sectors)*512]...)
		}
		return out
	}
	t.Fatal("no device", name)
	return nil
}

func ask(src string, from []CopySegment, dst string, to ...CopySegment) *CopyRequest {
	return &CopyRequest{Source: CopySide{src, from}, Destination: CopySide{dst, to}, Policy: CopyPolicy{Flush: true, Window: 64 << 10, InFlight: 128 << 10}}
}

func one(pos, n uint64) []CopySegment { return []CopySegment{{pos * 512, n * 512}} }

// TestCopyOffline: bytes are memmove's, inside a device and to another, and no other byte changes.
func TestCopyOffline(t *testing.T) {
	for _, c := range []struct {
		name string
		r    *CopyRequest
	}{
		{"apart", ask("data", one(0, 500), "data", CopySegment{600 * 512, 500 * 512})},
		{"forward onto itself", ask("data", one(100, 700), "data", CopySegment{110 * 512, 700 * 512})},
		{"backward onto itself", ask("data", one(110, 700), "data", CopySegment{100 * 512, 700 * 512})},
		{"gather", ask("data", []CopySegment{{0, 512}, {1000 * 512, 100 * 512}, {512, 4096}}, "side", CopySegment{0, 109 * 512})},
		{"scatter", ask("side", one(0, 300), "data", CopySegment{1100 * 512, 100 * 512}, CopySegment{190 * 512, 200 * 512})},
		{"all", ask("side", one(0, 512), "data", CopySegment{0, 512 * 512})},
		{"from read-only", ask("fixed", one(0, 512), "side", CopySegment{0, 512 * 512})},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := load(t, volumes)
			fill(t, f, 1)
			want := map[string][]byte{}
			for _, d := range []string{"data", "side", "fixed"} {
				want[d] = content(t, f, d)
			}
			var moved []byte
			for _, s := range c.r.Source.Segments {
				moved = append(moved, want[c.r.Source.Device][s.Pos:s.Pos+s.Len]...)
			}
			at := 0
			for _, s := range c.r.Destination.Segments {
				at += copy(want[c.r.Destination.Device][s.Pos:s.Pos+s.Len], moved[at:])
			}
			var last CopyProgress
			res, err := CopyOffline(t.Context(), f, c.r, &CopyOptions{RunDir: runDir(t), Progress: func(p CopyProgress) { last = p }})
			if err != nil {
				t.Fatal(err)
			}
			if !res.Complete || res.Bytes != uint64(len(moved)) || res.Total != res.Bytes || res.Emulated != res.Bytes || res.Host < 2*res.Bytes || res.Error != "" || res.Commands == 0 || !res.Moved() {
				t.Errorf("%+v", res)
			}
			if last.Total != res.Total {
				t.Errorf("progress %+v", last)
			}
			for d, b := range want {
				if !bytes.Equal(content(t, f, d), b) {
					t.Errorf("%s differs", d)
				}
			}
		})
	}
}

// TestCopyOfflineRefused: nothing is begun, and why is said in a way that can be told apart.
func TestCopyOfflineRefused(t *testing.T) {
	good := func() *CopyRequest { return ask("data", one(0, 8), "side", CopySegment{0, 4096}) }
	for _, c := range []struct {
		name string
		r    func() *CopyRequest
		kind error
		want string
	}{
		{"no source", func() *CopyRequest { r := good(); r.Source.Device = "x"; return r }, fs.ErrNotExist, `no device "x"`},
		{"no destination", func() *CopyRequest { r := good(); r.Destination.Device = "x"; return r }, fs.ErrNotExist, `no device "x"`},
		{"read-only", func() *CopyRequest { r := good(); r.Destination.Device = "fixed"; return r }, unix.EPERM, "destination fixed is read-only"},
		{"past the end", func() *CopyRequest { r := good(); r.Source.Segments[0].Pos = 1400 * 512; return r }, blkcopy.ErrRequest, "ends past the device"},
		{"odd", func() *CopyRequest { r := good(); r.Source.Segments[0].Pos = 1; return r }, blkcopy.ErrRequest, "not a multiple of"},
		{"totals", func() *CopyRequest { r := good(); r.Source.Segments[0].Len = 512; return r }, blkcopy.ErrRequest, "the source has 512 bytes, the destination 4096"},
		{"word", func() *CopyRequest { r := good(); r.Policy.Overlap = "memcpy"; return r }, blkcopy.ErrRequest, `overlap "memcpy": memmove or refuse`},
		{"window", func() *CopyRequest { r := good(); r.Policy.Window = 1; return r }, blkcopy.ErrRequest, "window of 1 bytes"},
		{"offload", func() *CopyRequest { r := good(); r.Policy.Fallback = "fail"; return r }, blkcopy.ErrNoOffload, "disk a: "},
		{"boundary", func() *CopyRequest {
			r := ask("data", one(190, 20), "side", CopySegment{0, 20 * 512})
			r.Policy.AtBoundary = "refuse"
			return r
		}, blkcopy.ErrBoundary, "crosses the edge"},
		{"overlap", func() *CopyRequest {
			r := ask("data", one(0, 20), "data", CopySegment{512, 20 * 512})
			r.Policy.Overlap = "refuse"
			return r
		}, blkcopy.ErrOverlap, "overlap"},
		{"memory", func() *CopyRequest { return ask("mem", one(0, 8), "side", CopySegment{0, 4096}) }, ErrNotServed, "disk m, which is memory"},
		{"declared", func() *CopyRequest { return ask("none", one(0, 8), "side", CopySegment{0, 4096}) }, nil, "only declared"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := load(t, volumes)
			res, err := CopyOffline(t.Context(), f, c.r(), &CopyOptions{RunDir: runDir(t)})
			if res != nil || err == nil || !strings.Contains(err.Error(), c.want) || c.kind != nil && !errors.Is(err, c.kind) {
				t.Errorf("%+v %v", res, err)
			}
		})
	}
}

// TestCopyOfflineOther: a disk of another device is not looked at; a memory disk may be copied to.
func TestCopyOfflineOther(t *testing.T) {
	f := load(t, volumes)
	fill(t, f, 2)
	if err := os.Remove(f.Disk("a").File); err != nil {
		t.Fatal(err)
	}
	f.Disk("a").Create = 0 // it would be made
	res, err := CopyOffline(t.Context(), f, ask("side", one(0, 8), "mem", CopySegment{0, 4096}), &CopyOptions{RunDir: runDir(t)})
	if err != nil || !res.Complete {
		t.Error(res, err)
	}
	if _, err := CopyOffline(t.Context(), f, ask("data", one(0, 8), "mem", CopySegment{0, 4096}), &CopyOptions{RunDir: runDir(t)}); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a disk that is not there:", err)
	}
}

// TestCopyOfflineBusy: while a server or another copy has the file, or somebody a disk, there is no copy; while a copy has
// it, there is no server.
func TestCopyOfflineBusy(t *testing.T) {
	f, run := load(t, volumes), runDir(t)
	fill(t, f, 3)
	inst, err := NewInstance(f.Path, run)
	if err != nil {
		t.Fatal(err)
	}
	r := ask("data", one(0, 1000), "side", CopySegment{0, 1000 * 512})
	r.Source.Segments[0].Len = 512 * 512
	r.Destination.Segments[0].Len = 512 * 512
	lock, err := inst.Lock()
	if err != nil {
		t.Fatal(err)
	}
	_, err = CopyOffline(t.Context(), f, r, &CopyOptions{RunDir: run})
	if s := (*ServedError)(nil); !errors.As(err, &s) || s.Copying || s.PID != os.Getpid() || !errors.Is(err, unix.EBUSY) {
		t.Errorf("served: %v", err)
	}
	lock.Close()

	img, err := os.Open(f.Disk("b").File)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(img.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := CopyOffline(ctx, f, r, &CopyOptions{RunDir: run}); !errors.Is(err, unix.EBUSY) && !errors.Is(err, context.Canceled) {
		t.Error("a disk is held:", err)
	}
	img.Close()

	begun, end := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	told := false
	go func() {
		_, err := CopyOffline(t.Context(), f, r, &CopyOptions{RunDir: run, Progress: func(CopyProgress) {
			if !told {
				told = true
				close(begun)
				<-end
			}
		}})
		done <- err
	}()
	<-begun
	_, err = inst.Lock()
	if s := (*ServedError)(nil); !errors.As(err, &s) || !s.Copying || !strings.HasSuffix(err.Error(), "which copies") {
		t.Errorf("a copy is under way: %v", err)
	}
	close(end)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if lock, err := inst.Lock(); err != nil {
		t.Error("the copy has ended:", err)
	} else {
		lock.Close()
	}
}

// TestCopyOfflineCancelled: the result says what was done before.
func TestCopyOfflineCancelled(t *testing.T) {
	f := load(t, volumes)
	fill(t, f, 4)
	r := ask("data", one(0, 512), "side", CopySegment{0, 512 * 512})
	r.Policy.Rate = 64 << 10 // a window a second
	r.Policy.InFlight = r.Policy.Window
	before := content(t, f, "data")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	res, err := CopyOffline(ctx, f, r, &CopyOptions{RunDir: runDir(t), Progress: func(p CopyProgress) {
		if p.Bytes > 0 {
			cancel()
		}
	}})
	if err != nil || res.Complete {
		t.Fatalf("%+v %v", res, err)
	}
	if res.Error != "cancelled" || res.Bytes == 0 || !bytes.Equal(content(t, f, "side")[:res.Bytes], before[:res.Bytes]) {
		t.Errorf("%+v", res)
	}
}

// TestCopyOfflineFits: the disks are checked as for a server.
func TestCopyOfflineFits(t *testing.T) {
	f := load(t, strings.ReplaceAll(volumes, `create = "1MiB"`, ""))
	for _, d := range []string{"a", "b", "c"} {
		writeFile(t, f.Disk(d).File, strings.Repeat("x", 512<<10))
	}
	_, err := CopyOffline(t.Context(), f, ask("data", one(0, 8), "side", CopySegment{0, 4096}), &CopyOptions{RunDir: runDir(t)})
	if ps := (config.Problems)(nil); !errors.As(err, &ps) {
		t.Error(err)
	}
}
