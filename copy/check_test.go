package blkcopy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// checked is a good request between two devices of a megabyte, one of them 4Kn, for a case to spoil.
func checked(t *testing.T) *Request {
	r := whole(linearOf(t, 2048, 0, 0), linearOf(t, 2048, 1, 0), 0, 0, 64)
	r.Dst.LogicalBlock = 4096
	return r
}

// Every refusal by its name, and what is just good enough beside it.
func TestRequestCheck(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name  string
		spoil func(*Request)
		want  []string // parts of each problem, in order; none: it is good
	}{
		{"good", func(*Request) {}, nil},
		{"no segments", func(r *Request) { r.SrcSegs, r.DstSegs = nil, nil }, []string{"source: no segments", "destination: no segments"}},
		{"no source", func(r *Request) { r.SrcSegs = nil }, []string{"source: no segments"}},
		{"zero length", func(r *Request) { r.SrcSegs, r.DstSegs = []Seg{{0, 0}}, []Seg{{0, 0}} },
			[]string{"source s:0+0: zero length", "destination d:0+0: zero length"}},
		{"zero length among others", func(r *Request) { r.SrcSegs = []Seg{{0, 16384}, {8192, 0}, {16384, 16384}} }, []string{"source s:8192+0: zero length"}},
		{"source unaligned", func(r *Request) { r.SrcSegs[0].Pos = 100 }, []string{"source s:100+32768: not a multiple of 4096"}},
		{"destination unaligned", func(r *Request) { r.DstSegs[0].Pos = 100 }, []string{"destination d:100+32768: not a multiple of 4096"}},
		{"length unaligned", func(r *Request) { r.SrcSegs[0].Len, r.DstSegs[0].Len = 4100, 4100 },
			[]string{"source s:0+4100: not a multiple", "destination d:0+4100: not a multiple"}},
		{"the larger block is the other device's", func(r *Request) { r.SrcSegs[0].Pos = 512 }, []string{"source s:512+32768: not a multiple of 4096 bytes, the larger logical block of s and d"}},
		{"the larger block is the source's", func(r *Request) {
			r.Src.LogicalBlock, r.Dst.LogicalBlock = 4096, 512
			r.DstSegs[0].Pos = 512
		}, []string{"destination d:512+32768: not a multiple of 4096"}},
		{"blocks of 512 both", func(r *Request) { r.Dst.LogicalBlock, r.SrcSegs[0].Pos = 0, 512 }, nil},
		{"address wraps", func(r *Request) { r.SrcSegs[0].Pos = 1<<64 - 4096 }, []string{"s:18446744073709547520+32768: ends past 2^64"}},
		{"past the end", func(r *Request) { r.DstSegs[0].Pos = mib - 32768 + 4096 }, []string{"destination d:1019904+32768: ends past the device, which has 1048576 bytes"}},
		{"begins past the end", func(r *Request) { r.SrcSegs[0].Pos = mib }, []string{"ends past the device"}},
		{"ends at the last sector", func(r *Request) { r.SrcSegs[0].Pos, r.DstSegs[0].Pos = mib-32768, mib-32768 }, nil},
		{"the third source is past the end", func(r *Request) {
			r.SrcSegs = []Seg{{0, 8192}, {0, 8192}, {mib - 8192, 16384}}
		}, []string{"source s:1040384+16384: ends past the device"}},
		{"the second destination wraps", func(r *Request) {
			r.DstSegs = []Seg{{0, 16384}, {1<<64 - 8192, 16384}}
		}, []string{"destination d:18446744073709543424+16384: ends past 2^64"}},
		{"totals differ", func(r *Request) { r.DstSegs[0].Len += 4096 }, []string{"the source has 32768 bytes, the destination 36864"}},
		{"totals overflow to equal", func(r *Request) {
			r.SrcSegs = []Seg{{0, 1 << 63}, {0, 1 << 63}, {0, 32768}}
		}, []string{"s:0+9223372036854775808: ends past the device", "s:0+9223372036854775808: ends past the device", "source: the segments have 2^64 bytes and more"}},
		{"too many segments", func(r *Request) { r.SrcSegs = make([]Seg, MaxSegs+1) }, []string{"source: 65537 segments, at most 65536"}},
		{"zoned", func(r *Request) { r.Dst.Zoned = true }, []string{"destination d is zoned"}},
		{"zoned source", func(r *Request) { r.Src.Zoned = true }, nil},
		{"read-only", func(r *Request) { r.Dst.ReadOnly = true }, []string{"destination d is read-only"}},
		{"read-only source", func(r *Request) { r.Src.ReadOnly = true }, nil},
		{"window too small", func(r *Request) { r.Window = MinWindow - 4096 }, []string{"window of 61440 bytes"}},
		{"smallest window", func(r *Request) { r.Window = MinWindow }, nil},
		{"largest window", func(r *Request) { r.Window = MaxWindow }, nil},
		{"window too large", func(r *Request) { r.Window, r.InFlight = MaxWindow+4096, MaxInFlight }, []string{"window of 33558528 bytes"}},
		{"window unaligned", func(r *Request) { r.Window = MinWindow + 512 }, []string{"window of 66048 bytes: a multiple of 4096"}},
		{"less in flight than a window", func(r *Request) { r.Window, r.InFlight = DefaultWindow, DefaultWindow-4096 }, []string{"4190208 bytes in flight: from one window (4194304)"}},
		{"less in flight than the smallest window", func(r *Request) { r.InFlight = MinWindow - 4096 }, []string{"61440 bytes in flight: from one window (65536)"}},
		{"the smallest window in flight", func(r *Request) { r.InFlight = MinWindow }, nil},
		{"one window in flight", func(r *Request) { r.Window, r.InFlight = DefaultWindow, DefaultWindow }, nil},
		{"most in flight", func(r *Request) { r.InFlight = MaxInFlight }, nil},
		{"too much in flight", func(r *Request) { r.InFlight = MaxInFlight + 1 }, []string{"268435457 bytes in flight"}},
		{"everything at once", func(r *Request) {
			r.Dst.ReadOnly, r.Dst.Zoned = true, true
			r.Window, r.InFlight = 1, MaxInFlight+1
			r.SrcSegs = []Seg{{1, 512}, {2 * mib, 0}}
		}, []string{"read-only", "zoned", "window of 1 bytes", "in flight", "s:1+512: not a multiple", "s:2097152+0: zero length", "s:2097152+0: ends past the device", "the source has 512 bytes, the destination 32768"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := checked(t)
			c.spoil(r)
			_, err := NewPlan(r, make([]Disk, 2))
			if len(c.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			re, ok := errors.AsType[*RequestError](err)
			if !ok || !errors.Is(err, ErrRequest) || !errors.Is(err, unix.EINVAL) {
				t.Fatalf("got %v", err)
			}
			if len(re.Problems) != len(c.want) {
				t.Fatalf("got %d problems, want %d:\n%v", len(re.Problems), len(c.want), err)
			}
			for i, w := range c.want {
				if !strings.Contains(re.Problems[i].Error(), w) {
					t.Errorf("got %q, want %q", re.Problems[i], w)
				}
			}
			if errors.Is(err, unix.EPERM) != r.Dst.ReadOnly {
				t.Errorf("EPERM: %v", errors.Is(err, unix.EPERM))
			}
		})
	}
}

// A request with many problems has a list that ends; the read-only destination is on it.
func TestRequestCheckBounded(t *testing.T) {
	r := checked(t)
	r.Dst.ReadOnly = true
	r.SrcSegs = make([]Seg, MaxSegs)
	_, err := NewPlan(r, make([]Disk, 2))
	re, ok := errors.AsType[*RequestError](err)
	if !ok || len(re.Problems) != maxProblems+1 || !errors.Is(err, unix.EPERM) {
		t.Fatalf("%d problems", len(re.Problems))
	}
	// The read-only destination, then one problem per segment, then the totals.
	if got, want := re.Problems[maxProblems].Error(), fmt.Sprintf("and %d problems more", 1+MaxSegs+1-maxProblems); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// RefuseBoundary: a segment that one target and one chunk have is good, any other is EIO.
func TestRefuseBoundary(t *testing.T) {
	striped := stripeOf(t, 1024, 64, 0, 2, 0)
	flat := linearOf(t, 1024, 2, 0)
	for _, c := range []struct {
		name           string
		src, dst, n    uint64
		back           bool // the stripe is the destination
		side, crossing string
	}{
		{name: "one chunk", src: 64, n: 64},
		{name: "inside a chunk", src: 70, n: 10},
		{name: "source", src: 60, n: 10, side: "source", crossing: "32768"},
		{name: "destination", src: 60, n: 10, back: true, side: "destination", crossing: "32768"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := whole(striped, flat, c.src, c.src, c.n)
			if c.back {
				r = whole(flat, striped, c.src, c.src, c.n)
			}
			r.AtBoundary = RefuseBoundary
			_, err := NewPlan(r, make([]Disk, 3))
			if c.side == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, ErrBoundary) || !errors.Is(err, unix.EIO) || errors.Is(err, unix.EINVAL) {
				t.Fatalf("got %v", err)
			}
			if !strings.HasPrefix(err.Error(), c.side+" ") || !strings.HasSuffix(err.Error(), "edge at "+c.crossing) {
				t.Errorf("got %v", err)
			}
			r.AtBoundary = Split
			if _, err := NewPlan(r, make([]Disk, 3)); err != nil {
				t.Error(err)
			}
		})
	}
	// The second segment, and a segment in the middle of a device.
	r := whole(striped, flat, 0, 0, 64)
	r.AtBoundary = RefuseBoundary
	r.SrcSegs = []Seg{{0, 64 * 512}, {100 * 512, 64 * 512}}
	r.DstSegs[0].Len *= 2
	if _, err := NewPlan(r, make([]Disk, 3)); !errors.Is(err, ErrBoundary) || !strings.Contains(err.Error(), "edge at 65536") {
		t.Errorf("got %v", err)
	}
}
