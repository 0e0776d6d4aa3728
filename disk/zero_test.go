package disk

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestZero(t *testing.T) {
	noLeak(t)
	const size = 1 << 18
	for _, d := range []*Disk{memoryDisk(t, size), fileDisk(t, t.TempDir(), "f", size)} {
		data, got := noise(pages(t, size), 1), pages(t, size)
		if _, err := d.Writev([][]byte{data}, 0, false); err != nil {
			t.Fatal(err)
		}
		for _, r := range [][2]uint64{{4096, 8192}, {0, 4096}, {size - 4096, 4096}, {65536 + 4096*2 - 512*uint64(d.Info().LogicalBlock/512), 4096}, {0, 0}} {
			if err := d.Zero(r[0], r[1]); errors.Is(err, ErrNoZero) {
				t.Skipf("%s: %v", d.Kind(), err)
			} else if err != nil {
				t.Errorf("%s: zero %v: %v", d.Kind(), r, err)
			}
			clear(data[r[0] : r[0]+r[1]])
		}
		if _, err := d.Readv([][]byte{got}, 0); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: other data, %v", d.Kind(), err)
		}
		if st, err := statFile(d.FD()); err != nil || st.Bytes != size {
			t.Errorf("%s: %d bytes, %v", d.Kind(), st.Bytes, err)
		}
	}
}

// Which mode guarantees zeroes without sending them, and what is an error.
func TestZeroModes(t *testing.T) {
	d := memoryDisk(t, 1<<16)
	const punch, zero = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
	for _, tt := range []struct {
		kind   Kind
		noZero bool
		want   uint32
	}{{Memory, true, punch}, {File, true, punch}, {File, false, zero}, {Block, false, punch}} {
		d.info.Kind, d.noZero = tt.kind, tt.noZero
		for _, answer := range []error{nil, unix.EOPNOTSUPP, unix.EIO, unix.EINTR} {
			n := 0
			d.calls.fallocate = func(_ int, mode uint32, at, length int64) error {
				if mode != tt.want || at != 512 || length != 1024 {
					t.Errorf("%s: fallocate(%#x, %d, %d)", tt.kind, mode, at, length)
				}
				if n++; n > 1 {
					return nil
				}
				return answer
			}
			want := answer
			if answer == unix.EINTR {
				want = nil
			}
			err := d.Zero(512, 1024)
			if !errors.Is(err, want) || errors.Is(err, ErrNoZero) != (answer == unix.EOPNOTSUPP) {
				t.Errorf("%s: %v for %v", tt.kind, err, answer)
			}
		}
	}
	d.calls.fallocate = func(int, uint32, int64, int64) error { t.Error("the kernel was asked"); return nil }
	for _, r := range [][2]uint64{{1 << 16, 512}, {1<<16 - 512, 1024}, {1<<64 - 512, 1024}, {512, 1<<64 - 512}, {1<<16 + 512, 0}} {
		if err := d.Zero(r[0], r[1]); !errors.Is(err, unix.EINVAL) {
			t.Errorf("zero %v: %v", r, err)
		}
	}
	if err := d.Zero(1<<16, 0); err != nil {
		t.Errorf("nothing at the end: %v", err)
	}
}

func TestNextData(t *testing.T) {
	noLeak(t)
	const size = 1 << 20
	for _, d := range []*Disk{memoryDisk(t, size), fileDisk(t, t.TempDir(), "f", size)} {
		model := make([]byte, size)
		for _, at := range []int{65536, 65536 + 4096, 3 * 65536, size - 4096} {
			b := noise(pages(t, 4096), uint64(at))
			copy(model[at:], b)
			if _, err := d.Writev([][]byte{b}, uint64(at), false); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for _, r := range [][2]uint64{{0, size}, {1024, size + 4096}, {65536 + 512, 3*65536 + 1024}, {4096, 8192}, {size, size}, {8192, 4096}} {
					at, limit := r[0], min(r[1], size)
					var found []uint64
					for {
						start, end, err := d.NextData(at, r[1])
						if err != nil || start < at && start != limit || end > limit || start > end {
							t.Errorf("%s: from %d below %d: %d, %d, %v", d.Kind(), at, r[1], start, end, err)
							return
						}
						if hole := model[min(at, size):max(min(at, size), start)]; len(bytes.Trim(hole, "\x00")) > 0 {
							t.Errorf("%s: data before %d", d.Kind(), start)
						}
						if start == limit {
							break
						}
						if end <= start {
							t.Errorf("%s: an empty range at %d", d.Kind(), start)
							return
						}
						found = append(found, start, end)
						at = end
					}
					if d.Kind() == Memory && r[0] == 0 && !slices.Equal(found, []uint64{65536, 65536 + 8192, 3 * 65536, 3*65536 + 4096, size - 4096, size}) {
						t.Errorf("data at %v", found)
					}
				}
			})
		}
		wg.Wait()
	}
}

// What the kernel may say, and what is made of it.
func TestNextDataAnswers(t *testing.T) {
	d := memoryDisk(t, 1<<16)
	d.info.LogicalBlock = 4096
	type answer struct {
		at  int64
		err error
	}
	for _, tt := range []struct {
		name       string
		data, hole answer
		start, end uint64
		err        error
	}{
		{"data and hole", answer{20480, nil}, answer{24576, nil}, 20480, 24576, nil},
		{"inside blocks", answer{20481, nil}, answer{24577, nil}, 20480, 28672, nil},
		{"no data", answer{0, unix.ENXIO}, answer{}, 32768, 32768, nil},
		{"data above", answer{40960, nil}, answer{45056, nil}, 32768, 32768, nil},
		{"a hole above", answer{20480, nil}, answer{45056, nil}, 20480, 32768, nil},
		{"data at once", answer{512, nil}, answer{4096, nil}, 512, 4096, nil},
		{"punched meanwhile", answer{20480, nil}, answer{20480, nil}, 20480, 32768, nil},
		{"shortened meanwhile", answer{20480, nil}, answer{0, unix.ENXIO}, 20480, 32768, nil},
		{"not known there", answer{0, unix.EINVAL}, answer{}, 512, 32768, nil},
		{"not supported", answer{0, unix.EOPNOTSUPP}, answer{}, 512, 32768, nil},
		{"trouble", answer{0, unix.EIO}, answer{}, 0, 0, unix.EIO},
	} {
		d.calls.seek = func(_ int, at int64, whence int) (int64, error) {
			if whence == unix.SEEK_DATA && at == 512 {
				return tt.data.at, tt.data.err
			}
			if whence != unix.SEEK_HOLE || at != tt.data.at {
				t.Errorf("%s: seek(%d, %d)", tt.name, at, whence)
			}
			return tt.hole.at, tt.hole.err
		}
		if start, end, err := d.NextData(512, 32768); start != tt.start || end != tt.end || !errors.Is(err, tt.err) {
			t.Errorf("%s: %d, %d, %v", tt.name, start, end, err)
		}
	}
	d.info.Kind = Block
	d.calls.seek = nil
	if start, end, err := d.NextData(512, 1<<20); start != 512 || end != 1<<16 || err != nil {
		t.Errorf("block device: %d, %d, %v", start, end, err)
	}
}
