package disk

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
)

// twoFiles are disks of the same folder, the first full of noise, which is returned as well.
func twoFiles(t *testing.T, size int) (a, b *Disk, data []byte) {
	t.Helper()
	dir := t.TempDir()
	a, b = fileDisk(t, dir, "a", uint64(size)), fileDisk(t, dir, "b", uint64(size))
	data = noise(pages(t, size), 5)
	if _, err := a.Writev([][]byte{data}, 0, false); err != nil {
		t.Fatal(err)
	}
	return a, b, data
}

// content is all that a disk has.
func content(t *testing.T, d *Disk) []byte {
	t.Helper()
	b := pages(t, int(d.size()))
	if _, err := d.Readv([][]byte{b}, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// The kernel's own copy, between descriptors for direct I/O: what is read directly afterwards is the copy, and the rest is
// as it was.
func TestCopyRange(t *testing.T) {
	noLeak(t)
	const size = 4 << 20
	a, b, data := twoFiles(t, size)
	block := uint64(a.Info().LogicalBlock)
	for _, share := range []bool{false, true} {
		for _, r := range [][3]uint64{{0, 0, size}, {0, 8192, 1 << 20}, {block, 3 * block, 333 * block}, {4096, block, 5 * block}, {size - block, 0, block}, {0, size - block, block}, {0, size, 0}, {size, 0, 0}} {
			old := noise(pages(t, size), 6)
			if _, err := b.Writev([][]byte{old}, 0, false); err != nil {
				t.Fatal(err)
			}
			want := bytes.Clone(old)
			copy(want[r[1]:], data[r[0]:r[0]+r[2]])
			done, err := b.CopyRange(a, r[0], r[1], r[2], share)
			if !share && b.Copy().Can() {
				if done != 0 || !errors.Is(err, unix.EOPNOTSUPP) || !bytes.Equal(content(t, b), old) {
					t.Errorf("%v: a second copy where blocks are shared: %d, %v", r, done, err)
				}
				continue
			}
			if done != r[2] || err != nil || !bytes.Equal(content(t, b), want) {
				t.Errorf("%v, share %v: %d, %v, or other data", r, share, done, err)
			}
			// Writing to what was copied from does not change the copy.
			if _, err := a.Writev([][]byte{old}, 0, false); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(content(t, b), want) {
				t.Errorf("%v, share %v: the copy changed with its source", r, share)
			}
			if _, err := a.Writev([][]byte{data}, 0, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.Sync(); err != nil {
		t.Error(err)
	}
	copy(data[1<<20:], data[:65536])
	if done, err := a.CopyRange(a, 0, 1<<20, 65536, true); done != 65536 || err != nil || !bytes.Equal(content(t, a), data) {
		t.Errorf("inside a file: %d, %v", done, err)
	}
}

func TestCopyRangeRefused(t *testing.T) {
	noLeak(t)
	const size = 1 << 16
	a, b, _ := twoFiles(t, size)
	a.calls, b.calls = &calls{}, &calls{} // nothing is asked
	for _, tt := range []struct {
		name        string
		src         *Disk
		from, to, n uint64
	}{
		{"source past the end", a, size - 512, 0, 1024},
		{"destination past the end", a, 0, size - 512, 1024},
		{"source beyond", a, size + 512, 0, 0},
		{"source wraps", a, 1<<64 - 512, 0, 1024},
		{"destination wraps", a, 0, 1<<64 - 512, 1024},
		{"length wraps", a, 512, 512, 1<<64 - 512},
		{"onto itself", b, 0, 0, 512},
		{"overlap forward", b, 0, 4096 - 512, 4096},
		{"overlap backward", b, 4096 - 512, 0, 4096},
	} {
		for _, share := range []bool{false, true} {
			if done, err := b.CopyRange(tt.src, tt.from, tt.to, tt.n, share); done != 0 || !errors.Is(err, ErrCopyRequest) {
				t.Errorf("%s, share %v: %d, %v", tt.name, share, done, err)
			}
		}
	}
	m := memoryDisk(t, size)
	for _, pair := range [][2]*Disk{{b, m}, {m, b}, {m, m}} {
		if done, err := pair[0].CopyRange(pair[1], 0, 4096, 4096, true); done != 0 || !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("%s from %s: %d, %v", pair[0].Kind(), pair[1].Kind(), done, err)
		}
	}
	b.copy = limits.Copy{Method: limits.FileCopy, Domain: "fs-8:1"}
	if done, err := b.CopyRange(a, 0, 0, 4096, false); done != 0 || !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("a second copy on a file system that shares: %d, %v", done, err)
	}
}

// copy_file_range may stop anywhere, be interrupted, end, and fail; what it says is copied is.
func TestCopyRangeShort(t *testing.T) {
	const total = 1 << 14
	a, b, data := twoFiles(t, 1<<16)
	b.copy = limits.Copy{}
	real := b.calls.copyRange
	for stop := 512; stop < total; stop += 512 {
		for _, tt := range []struct {
			n    int
			then error
			want uint64
			err  error
		}{{-1, unix.EINTR, total, nil}, {-1, unix.EAGAIN, total, nil}, {-1, unix.EIO, uint64(stop), unix.EIO}, {-1, unix.ENOSPC, uint64(stop), unix.ENOSPC}, {0, nil, uint64(stop), unix.EIO}} {
			if err := b.Zero(0, 1<<16); err != nil {
				t.Skip(err)
			}
			calls, want := 0, tt.want
			b.calls.copyRange = func(dst, src int, from, to int64, n int) (int, error) {
				switch calls++; calls {
				case 1:
					n, err := real(dst, src, from, to, min(n, stop))
					if want == uint64(stop) {
						want = uint64(n) // a file system that shares stops at its own block
					}
					return n, err
				case 2:
					return tt.n, tt.then
				default:
					n = min(n, 1536)
				}
				return real(dst, src, from, to, n)
			}
			done, err := b.CopyRange(a, 4096, 8192, total, false)
			if done != want || !errors.Is(err, tt.err) {
				t.Fatalf("stop at %d, then %v: %d, %v", stop, tt.then, done, err)
			}
			if got := content(t, b); !bytes.Equal(got[8192:8192+done], data[4096:4096+done]) || len(bytes.Trim(got[8192+done:], "\x00")) > 0 {
				t.Fatalf("stop at %d, then %v: other data", stop, tt.then)
			}
		}
	}
	for _, errno := range []error{unix.EINTR, unix.EAGAIN} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			b.calls.copyRange = func(int, int, int64, int64, int) (int, error) { n++; return -1, errno }
			if done, err := b.CopyRange(a, 0, 0, 4096, false); done != 0 || !errors.Is(err, errno) || n != maxTries {
				t.Errorf("%v for ever: %d, %v after %d calls", errno, done, err, n)
			}
		})
	}
}

// Sharing comes first; what cannot be shared is copied, from where sharing stopped. Other errors are errors.
func TestCopyRangeShare(t *testing.T) {
	const size = 3 << 30 // sparse
	dir := t.TempDir()
	a, b := fileDisk(t, dir, "a", size), fileDisk(t, dir, "b", size)
	type part struct{ from, to, n uint64 }
	for _, tt := range []struct {
		name   string
		shared int // parts that are
		then   error
		want   uint64
		err    error
	}{
		{"all", 3, nil, size - 4096, nil},
		{"none: not aligned", 0, unix.EINVAL, size - 4096, nil},
		{"none: no such thing", 0, unix.EOPNOTSUPP, size - 4096, nil},
		{"none: no such ioctl", 0, unix.ENOTTY, size - 4096, nil},
		{"another file system", 0, unix.EXDEV, size - 4096, nil},
		{"the end is not aligned", 2, unix.EINVAL, size - 4096, nil},
		{"interrupted", 1, unix.EINTR, size - 4096, nil},
		{"full", 1, unix.ENOSPC, 1 << 30, unix.ENOSPC},
		{"trouble", 0, unix.EIO, 0, unix.EIO},
	} {
		var clones, copies []part
		failed := false
		b.calls.clone = func(dst, src int, from, to, n uint64) error {
			if dst != b.FD() || src != a.FD() {
				t.Error("the wrong way")
			}
			if len(clones) == tt.shared && !failed {
				failed = tt.then == unix.EINTR
				return tt.then
			}
			clones = append(clones, part{from, to, n})
			return nil
		}
		b.calls.copyRange = func(dst, src int, from, to int64, n int) (int, error) {
			if dst != b.FD() || src != a.FD() {
				t.Error("the wrong way")
			}
			copies = append(copies, part{uint64(from), uint64(to), uint64(n)})
			return n, nil
		}
		done, err := b.CopyRange(a, 0, 4096, size-4096, true)
		if done != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %d, %v", tt.name, done, err)
		}
		at := uint64(0)
		for _, p := range append(clones, copies...) {
			if p.from != at || p.to != at+4096 || p.n > maxCopyRange {
				t.Errorf("%s: %+v after %d bytes", tt.name, p, at)
			}
			at += p.n
		}
		if at != tt.want || tt.shared == 3 && len(copies) > 0 || tt.err != nil && len(copies) > 0 {
			t.Errorf("%s: shared %+v, copied %+v", tt.name, clones, copies)
		}
	}
}

// InspectCopy says of a file what Open does.
func TestInspectFileCopy(t *testing.T) {
	noLeak(t)
	a := fileDisk(t, t.TempDir(), "a", 1<<16)
	if got := InspectCopy(a.Info(), nil); got != a.Copy() {
		t.Errorf("%+v, not %+v", got, a.Copy())
	}
	gone := a.Info()
	gone.Node += ".gone"
	if got := InspectCopy(gone, nil); got != noCopy("open: no such file or directory") {
		t.Errorf("%+v", got)
	}
}
