package disk

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

// memoryDisk is a disk of memory whose calls a test may replace.
func memoryDisk(t *testing.T, bytes uint64) *Disk {
	t.Helper()
	d, err := Open(t.Context(), Spec{Name: "m", Memory: bytes}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// fileDisk is a disk in a folder.
func fileDisk(t *testing.T, dir, name string, bytes uint64) *Disk {
	t.Helper()
	d, err := Open(t.Context(), Spec{Name: name, File: filepath.Join(dir, name), Create: bytes}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// pages is memory as direct I/O wants it.
func pages(t *testing.T, n int) []byte {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	return mem
}

// noise fills b with what is different for every seed.
func noise(b []byte, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// split cuts b at random multiples of unit, with empty pieces among them.
func split(r *rand.Rand, b []byte, unit int) (out [][]byte) {
	for len(b) > 0 {
		n := min(len(b), r.IntN(6)*unit)
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return out
}

// Random writes and reads, cut at random, are those of a byte slice.
func TestReadvWritev(t *testing.T) {
	noLeak(t)
	const size = 1 << 18
	file := fileDisk(t, t.TempDir(), "f", size)
	for _, tt := range []struct {
		d    *Disk
		unit int
	}{{memoryDisk(t, size), 37}, {file, int(file.Info().LogicalBlock)}} {
		t.Run(string(tt.d.Kind()), func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, 7))
			model, buf := make([]byte, size), pages(t, size)
			for i := range 300 {
				n := min(1+r.IntN(40), size/tt.unit) * tt.unit
				at := r.IntN((size-n)/tt.unit+1) * tt.unit
				if i%2 == 0 {
					noise(buf[:n], uint64(i))
					copy(model[at:], buf[:n])
					bufs := split(r, buf[:n], tt.unit)
					before := slices.Clone(bufs)
					if moved, err := tt.d.Writev(bufs, uint64(at), i%4 == 0); err != nil || moved != uint64(n) {
						t.Fatalf("write %d at %d: %d, %v", n, at, moved, err)
					}
					for k := range bufs {
						if len(bufs[k]) != len(before[k]) {
							t.Fatal("the caller's buffers were changed")
						}
					}
					continue
				}
				clear(buf[:n])
				if moved, err := tt.d.Readv(split(r, buf[:n], tt.unit), uint64(at)); err != nil || moved != uint64(n) {
					t.Fatalf("read %d at %d: %d, %v", n, at, moved, err)
				}
				if !bytes.Equal(buf[:n], model[at:at+n]) {
					t.Fatalf("read %d at %d: other data", n, at)
				}
			}
			if err := tt.d.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
}

// first is at most the first n bytes of bufs.
func first(bufs [][]byte, n int) [][]byte {
	out, _ := fit(bufs, uint64(n))
	return out
}

// A call may stop anywhere, be interrupted before it goes on, and fail.
func TestShortTransfer(t *testing.T) {
	const total = 700
	d := memoryDisk(t, 1<<16)
	real := *d.calls
	for stop := 1; stop < total; stop++ {
		for _, then := range []error{nil, unix.EINTR, unix.EAGAIN, unix.EIO, unix.ENOSPC} {
			step := func(n *int, call func(limit int) (int, error)) (int, error) {
				switch *n++; {
				case *n == 1:
					return call(stop)
				case *n == 2 && then != nil:
					return -1, then
				}
				return call(97) // and short ones after that
			}
			writes, reads := 0, 0
			d.calls.writev = func(fd int, bufs [][]byte, at int64, flags int) (int, error) {
				return step(&writes, func(n int) (int, error) { return real.writev(fd, first(bufs, n), at, flags) })
			}
			d.calls.readv = func(fd int, bufs [][]byte, at int64) (int, error) {
				return step(&reads, func(n int) (int, error) { return real.readv(fd, first(bufs, n), at) })
			}
			want, wantErr := uint64(total), error(nil)
			if then == unix.EIO || then == unix.ENOSPC {
				want, wantErr = uint64(stop), then
			}
			data, got := noise(make([]byte, total), uint64(stop)), make([]byte, total)
			at := uint64(stop * 3)
			moved, err := d.Writev([][]byte{data[:100], data[100:101], data[101:600], data[600:]}, at, false)
			if moved != want || !errors.Is(err, wantErr) {
				t.Fatalf("write, stop at %d, then %v: %d, %v", stop, then, moved, err)
			}
			moved, err = d.Readv([][]byte{got[:1], got[1:350], got[350:]}, at)
			if moved != want || !errors.Is(err, wantErr) {
				t.Fatalf("read, stop at %d, then %v: %d, %v", stop, then, moved, err)
			}
			if !bytes.Equal(got[:want], data[:want]) || !bytes.Equal(got[want:], make([]byte, total-want)) {
				t.Fatalf("stop at %d, then %v: other data", stop, then)
			}
		}
	}
}

// EINTR and EAGAIN for ever are errors, after a bounded number of calls.
func TestPatience(t *testing.T) {
	for _, errno := range []error{unix.EINTR, unix.EAGAIN} {
		synctest.Test(t, func(t *testing.T) {
			d := memoryDisk(t, 1<<16)
			n := 0
			fail := func() (int, error) { n++; return -1, errno }
			d.calls.readv = func(int, [][]byte, int64) (int, error) { return fail() }
			d.calls.writev = func(int, [][]byte, int64, int) (int, error) { return fail() }
			d.calls.sync = func(int) error { _, err := fail(); return err }
			d.calls.fallocate = func(int, uint32, int64, int64) error { _, err := fail(); return err }
			buf := [][]byte{make([]byte, 512)}
			for name, call := range map[string]func() error{
				"read":  func() error { _, err := d.Readv(buf, 0); return err },
				"write": func() error { _, err := d.Writev(buf, 0, false); return err },
				"sync":  d.Sync,
				"zero":  func() error { return d.Zero(0, 512) },
			} {
				n = 0
				if err := call(); !errors.Is(err, errno) || n != maxTries {
					t.Errorf("%s: %v after %d calls", name, err, n)
				}
			}
		})
	}
}

func TestEnd(t *testing.T) {
	noLeak(t)
	d := memoryDisk(t, 8192)
	b := noise(make([]byte, 4096), 1)
	if _, err := d.Writev([][]byte{b}, 4096, false); err != nil {
		t.Fatal(err)
	}
	isEnd := func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) && errors.Is(err, unix.EIO) }
	for _, tt := range []struct {
		at   uint64
		bufs []int
		want uint64
	}{{4096, []int{4096, 1}, 4096}, {4096, []int{4097}, 4096}, {8000, []int{100, 500}, 192}, {8191, []int{1, 1}, 1}, {8192, []int{1}, 0}, {1 << 63, []int{5}, 0}, {1<<64 - 1, []int{5}, 0}} {
		var bufs [][]byte
		for _, n := range tt.bufs {
			bufs = append(bufs, make([]byte, n))
		}
		moved, err := d.Readv(bufs, tt.at)
		if got := slices.Concat(bufs...)[:tt.want]; moved != tt.want || !isEnd(err) || tt.want > 0 && !bytes.Equal(got, b[tt.at-4096:][:tt.want]) {
			t.Errorf("read %v at %d: %d, %v", tt.bufs, tt.at, moved, err)
		}
		if moved, err := d.Writev(bufs, tt.at, false); moved != 0 || !isEnd(err) {
			t.Errorf("write %v at %d: %d, %v", tt.bufs, tt.at, moved, err)
		}
	}
	if st, err := statFile(d.FD()); err != nil || st.Bytes != 8192 {
		t.Errorf("it has %d bytes now: %v", st.Bytes, err)
	}
	got := make([]byte, 4096)
	if _, err := d.Readv([][]byte{got}, 4096); err != nil || !bytes.Equal(got, b) {
		t.Errorf("a refused write has written: %v", err)
	}
	if err := unix.Ftruncate(d.FD(), 5000); err != nil {
		t.Fatal(err)
	}
	if moved, err := d.Readv([][]byte{got}, 4096); moved != 904 || !isEnd(err) {
		t.Errorf("a file that became shorter: %d, %v", moved, err)
	}
	if moved, err := d.Readv([][]byte{{}, nil}, 8192); moved != 0 || err != nil {
		t.Errorf("nothing, at the end: %d, %v", moved, err)
	}
}

func TestManyVectors(t *testing.T) {
	d := memoryDisk(t, 1<<16)
	data, got := noise(make([]byte, 3000), 3), make([]byte, 3000)
	each := func(b []byte) (out [][]byte) {
		for i := range b {
			out = append(out, b[i:i+1])
		}
		return out
	}
	if moved, err := d.Writev(each(data), 11, false); moved != 3000 || err != nil {
		t.Fatal(moved, err)
	}
	if moved, err := d.Readv(each(got), 11); moved != 3000 || err != nil || !bytes.Equal(got, data) {
		t.Fatal(moved, err)
	}
}

// FUA is on every call, and on none without it.
func TestFUA(t *testing.T) {
	d := memoryDisk(t, 1<<16)
	real := d.calls.writev
	var flags []int
	d.calls.writev = func(fd int, bufs [][]byte, at int64, f int) (int, error) {
		flags = append(flags, f)
		return real(fd, first(bufs, 300), at, f)
	}
	for fua, want := range map[bool][]int{false: {0, 0}, true: {unix.RWF_DSYNC, unix.RWF_DSYNC}} {
		flags = nil
		if _, err := d.Writev([][]byte{make([]byte, 512)}, 0, fua); err != nil || !slices.Equal(flags, want) {
			t.Errorf("fua %v: flags %v, %v", fua, flags, err)
		}
	}
}

func TestSync(t *testing.T) {
	d := memoryDisk(t, 1<<16)
	for _, tt := range []struct {
		errs []error
		want error
	}{{nil, nil}, {[]error{unix.EINTR, unix.EINTR}, nil}, {[]error{unix.EIO}, unix.EIO}} {
		n := 0
		d.calls.sync = func(int) error {
			if n++; n <= len(tt.errs) {
				return tt.errs[n-1]
			}
			return nil
		}
		if err := d.Sync(); !errors.Is(err, tt.want) || tt.want != nil && n != len(tt.errs) || tt.want == nil && n != len(tt.errs)+1 {
			t.Errorf("%v: %v after %d calls", tt.errs, err, n)
		}
	}
}

// A closed disk does nothing, a read-only one changes nothing, and neither asks the kernel.
func TestRefused(t *testing.T) {
	noLeak(t)
	dir := t.TempDir()
	name := filepath.Join(dir, "ro")
	if err := os.WriteFile(name, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	ro, err := Open(t.Context(), Spec{Name: "ro", File: name, ReadOnly: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := fileDisk(t, dir, "other", 8192)
	changes := map[string]func() error{
		"write": func() error { _, err := ro.Writev([][]byte{make([]byte, 512)}, 0, false); return err },
		"zero":  func() error { return ro.Zero(0, 512) },
		"copy":  func() error { _, err := ro.CopyRange(other, 0, 0, 512, true); return err },
		"nvme":  func() error { _, err := ro.CopyNVMe(nil, 0, false); return err },
	}
	ro.calls = &calls{}
	for what, call := range changes {
		if err := call(); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s on a read-only disk: %v", what, err)
		}
	}
	if err := ro.Close(); err != nil {
		t.Error(err)
	}
	ro.info.ReadOnly = false
	changes["read"] = func() error { _, err := ro.Readv([][]byte{make([]byte, 512)}, 0); return err }
	changes["sync"] = ro.Sync
	changes["look"] = func() error { _, _, err := ro.NextData(0, 512); return err }
	changes["copy from"] = func() error { _, err := other.CopyRange(ro, 0, 0, 512, true); return err }
	for what, call := range changes {
		if err := call(); !errors.Is(err, unix.EBADF) {
			t.Errorf("%s on a closed disk: %v", what, err)
		}
	}
}
