package blkcopy

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
)

// fileIO is a file as an IO, without what disk.Disk has besides.
type fileIO struct{ fd int }

func (f fileIO) Readv(bufs [][]byte, at uint64) (uint64, error) {
	n, err := unix.Preadv(f.fd, bufs, int64(at))
	return uint64(max(n, 0)), err
}

func (f fileIO) Writev(bufs [][]byte, at uint64, _ bool) (uint64, error) {
	n, err := unix.Pwritev(f.fd, bufs, int64(at))
	return uint64(max(n, 0)), err
}

func (f fileIO) Sync() error { return unix.Fdatasync(f.fd) }

// nullIO is a disk that takes no time.
type nullIO struct{}

func (nullIO) Readv(bufs [][]byte, _ uint64) (uint64, error)          { return size(bufs), nil }
func (nullIO) Writev(bufs [][]byte, _ uint64, _ bool) (uint64, error) { return size(bufs), nil }
func (nullIO) Sync() error                                            { return nil }

// nullMethod is an offload that takes no time.
type nullMethod struct{}

func (nullMethod) Copy(c *Command, _ *Policy) (uint64, error) { return c.Dst.Len, nil }

// BenchmarkSmallCopy is what the engine costs beside the disks, the plan included.
func BenchmarkSmallCopy(b *testing.B) {
	for _, how := range []string{"nvme", "emulate"} {
		for _, n := range []uint64{4 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("%s/%dK", how, n>>10), func(b *testing.B) {
				c := pairCase(b, map[string]limits.Method{"nvme": "nvme"}[how], Policy{})
				c.o.Methods = map[limits.Method]Method{"nvme": nullMethod{}}
				e := NewEngine([]IO{nullIO{}, nullIO{}}, &c.o)
				c.req.SrcSegs, c.req.DstSegs = []Seg{{0, n}}, []Seg{{0, n}}
				p := c.plan(b)
				b.ReportAllocs()
				for b.Loop() {
					p.Rewind()
					if _, err := e.Run(b.Context(), p, nil, nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkEmulate is emulation of 64 MiB between files, and a plain loop beside it.
func BenchmarkEmulate(b *testing.B) {
	const n = 64 << 20
	var fds []int
	for _, name := range []string{"src", "dst"} {
		f, err := os.Create(filepath.Join(b.TempDir(), name))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = f.Close() })
		if _, err := f.Write(make([]byte, n)); err != nil {
			b.Fatal(err)
		}
		fds = append(fds, int(f.Fd()))
	}
	src, dst := fileIO{fds[0]}, fileIO{fds[1]}
	b.Run("engine", func(b *testing.B) {
		b.SetBytes(n)
		seg := []Seg{{0, n}}
		req := &Request{Src: line(b, "src", 512, n/512, 0), Dst: line(b, "dst", 512, n/512, 1), SrcSegs: seg, DstSegs: seg}
		p, err := NewPlan(req, []Disk{{Name: "a"}, {Name: "b"}})
		if err != nil {
			b.Fatal(err)
		}
		e := NewEngine([]IO{src, dst}, &Options{})
		for b.Loop() {
			p.Rewind()
			if _, err := e.Run(b.Context(), p, nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("loop", func(b *testing.B) {
		b.SetBytes(n)
		buf := [][]byte{make([]byte, 4<<20)}
		for b.Loop() {
			for at := uint64(0); at < n; at += 4 << 20 {
				if _, err := src.Readv(buf, at); err != nil {
					b.Fatal(err)
				}
				if _, err := dst.Writev(buf, at, false); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// TestAllocations: a window more costs nothing more.
func TestAllocations(t *testing.T) {
	for _, how := range []string{"nvme", "emulate"} {
		c := pairCase(t, map[string]limits.Method{"nvme": "nvme"}[how], Policy{})
		c.o.Methods = map[limits.Method]Method{"nvme": nullMethod{}}
		e := NewEngine([]IO{nullIO{}, nullIO{}}, &c.o)
		of := func(windows uint64) float64 {
			c.req.SrcSegs, c.req.DstSegs = []Seg{{0, windows * windowBytes}}, []Seg{{0, windows * windowBytes}}
			p := c.plan(t)
			return testing.AllocsPerRun(100, func() {
				p.Rewind()
				if _, err := e.Run(t.Context(), p, nil, nil); err != nil {
					t.Fatal(err)
				}
			})
		}
		one, eight := of(1), of(8)
		t.Logf("%s: %.0f allocations for one window, %.0f for eight", how, one, eight)
		if one > 40 || (eight-one)/7 > 8 {
			t.Errorf("%s: %.0f allocations for one window, %.0f for eight", how, one, eight)
		}
	}
}
