package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/copy"
	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/target"
)

// TestPattern: a block that is whole is recognized, and one of two halves, or of another seed, is not.
func TestPattern(t *testing.T) {
	for _, size := range []int{512, 4096} {
		a, b := make([]byte, size), make([]byte, size)
		newID(3, 7).fill(a, 1)
		newID(3, 8).fill(b, 1)
		if i, ok := holds(a, 1); !ok || i != newID(3, 7) {
			t.Error(i, ok)
		}
		if _, ok := holds(a, 2); ok {
			t.Error("of another seed")
		}
		for at := 8; at < size; at += 8 {
			torn := append(append([]byte{}, a[:at]...), b[at:]...)
			if _, ok := holds(torn, 1); ok {
				t.Fatalf("torn at %d", at)
			}
		}
		a[size-1] ^= 1
		if _, ok := holds(a, 1); ok {
			t.Error("a bit is wrong")
		}
	}
}

// TestSurroundings: a byte that changes anywhere around is seen, and what of it is near is found; the region itself may.
func TestSurroundings(t *testing.T) {
	const size, start, length = 40 << 20, 18<<20 + 4096, 1 << 20
	mem := make([]byte, size)
	for i := range mem {
		mem[i] = byte(i * 7 / 3)
	}
	read := func(p []byte, at uint64) error { copy(p, mem[at:]); return nil }
	s, err := Surround(t.Context(), read, 512, size, start, length)
	if err != nil {
		t.Fatal(err)
	}
	check := func() *Evidence {
		e, err := s.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	mem[start]++
	mem[start+length-1]++
	if e := check(); !e.Untouched || len(e.Parts) != 4 || !strings.HasPrefix(e.Words(), "untouched: ") {
		t.Errorf("%+v", e)
	}
	for _, c := range []struct {
		at    int
		block uint64 // 0: it is far
	}{{start - 1, start - 512}, {start + length, start + length}, {start - 1<<20, start - 1<<20}, {start + length + 1<<20 - 1, start + length + 1<<20 - 512},
		{start - 1<<20 - 1, 0}, {start + length + 1<<20, 0}, {start - 17<<20, 0}, {start + length + 17<<20 - 1, 0}} {
		mem[c.at] ^= 0x40
		e := check()
		if e.Untouched || (c.block != 0) != (len(e.Changed) == 1 && e.Changed[0] == EvidenceBlocks{c.block, 512}) || !strings.HasPrefix(e.Words(), "CHANGED: ") {
			t.Errorf("byte %d: %+v", c.at, e)
		}
		mem[c.at] ^= 0x40
	}
	for _, at := range []uint64{0, size - length} { // at the ends there is nothing on one side
		s, err := Surround(t.Context(), read, 512, size, at, length)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := s.Check(t.Context()); err != nil || !e.Untouched || len(e.Parts) != 2 {
			t.Error(e, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// modelIO is a model as the copy engine sees disks.
type modelIO struct{ *Model }

func (m modelIO) Readv(bufs [][]byte, at uint64) (moved uint64, err error) {
	for _, b := range bufs {
		if err := m.ReadAt(b, at+moved); err != nil {
			return moved, err
		}
		moved += uint64(len(b))
	}
	return moved, nil
}

func (m modelIO) Writev(bufs [][]byte, at uint64, _ bool) (moved uint64, err error) {
	for _, b := range bufs {
		if err := m.WriteAt(b, at+moved); err != nil {
			return moved, err
		}
		moved += uint64(len(b))
	}
	return moved, nil
}

func (m modelIO) Sync() error { return m.Flush() }

// method is the model's copy, with the disk room's errors.
type method struct{ m *Model }

func (m method) Copy(c *blkcopy.Command, p *blkcopy.Policy) (uint64, error) {
	var src []target.Range
	for _, s := range c.Sources {
		src = append(src, s.Range)
	}
	a := m.m.Copy(src, c.Dst.Start, p.FUA)
	if a.OK() {
		return c.Dst.Len, nil
	}
	return 0, fmt.Errorf("x: %w", &disk.NVMeError{Status: a.Status, Result: a.DW0})
}

// TestCommand: through the copy engine's interfaces the model still conforms, and all applies to it.
func TestCommand(t *testing.T) {
	m := NewModel(geometries[0], 4<<20)
	c := NewCommand(m.Geometry(), modelIO{m}, method{m})
	defer c.Close()
	r := run1(t, c, Options{Seed: 3, Rounds: 20})
	if r.Conform != len(Scenarios()) {
		t.Error(r.Summary())
		for _, res := range r.Results {
			t.Log(res.Name, res.Outcome, res.Happened)
		}
	}
	big := make([]byte, 3<<20)
	for i := range big {
		big[i] = byte(i >> 9)
	}
	got := make([]byte, len(big))
	if err := errors.Join(c.WriteAt(big, 512), c.ReadAt(got, 512)); err != nil || !bytes.Equal(got, big) {
		t.Error("more than a buffer:", err)
	}
}

// TestAnswers: errors of copies are told apart.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Answer
		sent bool
	}{
		{nil, Answer{}, true},
		{fmt.Errorf("x: %w", &disk.NVMeError{Status: 0x183, Result: 1}), Answer{Status: 0x183, DW0: 1}, true},
		{fmt.Errorf("x: %w", disk.ErrCopyRequest), Answer{}, false},
		{unix.EOPNOTSUPP, Answer{}, false},
	} {
		a := answer(c.err)
		if errors.Is(a.Err, ErrNotSent) == c.sent || c.sent && a != c.want {
			t.Errorf("%v: %+v", c.err, a)
		}
	}
	if a := answer(unix.EIO); !errors.Is(a.Err, unix.EIO) || errors.Is(a.Err, ErrNotSent) {
		t.Error(a)
	}
}

// TestFiles: copies between two files of one folder conform, and leave nothing behind. FICLONERANGE is not everywhere.
func TestFiles(t *testing.T) {
	for _, m := range []FileMethod{CopyFileRange, CloneRange} {
		dir := t.TempDir()
		f, err := NewFiles(dir, m)
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Log(err)
		} else if err != nil {
			t.Fatal(err)
		} else {
			r := run1(t, f, Options{Seed: 3, Rounds: 40})
			if r.Differ > 0 || r.Conform < 10 {
				t.Error(m, r.Summary())
			}
			for _, res := range r.Results {
				if res.Outcome == Differs {
					t.Log(res.Name, res.Happened)
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
			t.Errorf("%s left %v", m, left)
		}
	}
	if _, err := NewFiles(filepath.Join(t.TempDir(), "none"), CopyFileRange); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestHalves: what crosses from one file to the other is cut there, and nothing is left out or twice.
func TestHalves(t *testing.T) {
	f, err := NewFiles(t.TempDir(), CopyFileRange)
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := make([]byte, 2*filesBytes)
	for i := range want {
		want[i] = byte(i>>9) ^ byte(i>>17)
	}
	if err := f.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	const mid = filesBytes / 512
	for _, c := range []struct{ from, to, n uint64 }{{mid - 3, 10, 7}, {10, mid - 5, 9}, {mid - 30, mid - 2, 20}, {0, mid, 4}} {
		if a := f.Copy([]target.Range{{Start: c.from, Len: c.n}}, c.to, false); !a.OK() {
			t.Fatal(a)
		}
		copy(want[c.to*512:], append([]byte{}, want[c.from*512:(c.from+c.n)*512]...))
		got := make([]byte, len(want))
		if err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, a := range []Answer{f.Copy(nil, 0, false), f.Copy([]target.Range{{Len: 8}}, 2*mid-4, false), f.Copy([]target.Range{{Start: 1<<64 - 8, Len: 16}}, 0, false), f.Copy(make([]target.Range, 2), 0, false)} {
		if !errors.Is(a.Err, ErrNotSent) {
			t.Error(a)
		}
	}
}
