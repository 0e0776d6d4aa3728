package ublk

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/ublk/internal/uapi"
)

// Without buffers commands name the tag's pages and a position in the request: one entry for what is side by side, a vector of
// positions per leg where a stripe's rows lie apart.
func TestZeroCopyNamesPages(t *testing.T) {
	k := boot(t, setup{shape: mixed, maxIO: 2048, fixed: true})
	k.serve(write(k, 0, k.bounds.sectors), read(k, 3, 70))
	one, many := 0, 0
	for _, s := range k.log {
		if len(s.iov) == 1 {
			one++
		} else {
			many++
		}
	}
	if one == 0 || many == 0 {
		t.Errorf("%d commands of one piece, %d vectors: %v", one, many, k.log)
	}
	if len(k.log) != 6+3 {
		t.Errorf("%d commands", len(k.log))
	}
}

// A request whose pages the driver could not register has them registered by the queue, and taken out before the commit.
func TestZeroCopyRegisters(t *testing.T) {
	for seed := range uint64(40) {
		k := boot(t, setup{shape: mixed, maxIO: 128, seed: seed, fixed: true, bare: 1})
		asks := []*ask{write(k, 0, 128), read(k, 64, 100), flush(k), discard(k, 8, 100), zeroes(k, 0, 9)}
		k.serve(asks...)
		for _, a := range asks {
			if a.res < 0 {
				t.Fatalf("%v failed", a)
			}
		}
	}
}

// When that fails as well, the request fails with what the driver says, and nothing is sent to a disk.
func TestZeroCopyWithoutPages(t *testing.T) {
	k := boot(t, setup{shape: mixed, maxIO: 128, fixed: true, bare: 1})
	k.noPages = unix.ENOMEM
	w, r, f := write(k, 0, 128), read(k, 64, 100), flush(k)
	k.serve(w, r, f)
	if w.res != -int32(unix.ENOMEM) || r.res != w.res || f.res != 0 || slices.ContainsFunc(k.log, func(s sent) bool { return s.op != uapi.IORING_OP_FSYNC }) {
		t.Errorf("%v, %v, %v, %v", w, r, f, k.log)
	}
}

// A held request keeps its pages, and is sent when it is let go.
func TestZeroCopyHeld(t *testing.T) {
	hs := newHolds()
	h, _ := hs.take([]Hold{{Range: target.Range{Len: 64}, Reads: true}})
	k := boot(t, setup{shape: mixed, maxIO: 128, seed: 1, fixed: true, bare: 2, holds: hs})
	let := false
	k.idle = func() bool {
		if let {
			return false
		}
		let = true
		hs.drop(h)
		return true
	}
	a, b := write(k, 0, 64), read(k, 72, 8)
	k.serve(a, b)
	if !let || a.res < 0 || b.res < 0 {
		t.Errorf("%v, %v, released %v", a, b, let)
	}
}

// What auto is: zero copy where the driver has all of it and can be told how the disks want their memory aligned.
func TestDataPathChosen(t *testing.T) {
	const all = Features(zeroCopyFlags)
	page := uint32(os.Getpagesize())
	for _, c := range []struct {
		want DataPath
		f    Features
		mask uint32
		got  DataPath
		err  bool
	}{
		{AutoPath, all, 511, ZeroCopyPath, false}, {AutoPath, all, 0, ZeroCopyPath, false}, {AutoPath, all, page/2 - 1, ZeroCopyPath, false},
		{AutoPath, all, 2*page - 1, BufferPath, false}, {AutoPath, all, page, BufferPath, false}, {AutoPath, all, 5, BufferPath, false},
		{AutoPath, 0, 511, BufferPath, false}, {AutoPath, uapi.UBLK_F_SUPPORT_ZERO_COPY, 511, BufferPath, false}, {AutoPath, uapi.UBLK_F_AUTO_BUF_REG, 511, BufferPath, false},
		{BufferPath, all, 511, BufferPath, false}, {ZeroCopyPath, all, 511, ZeroCopyPath, false}, {ZeroCopyPath, all, 5, ZeroCopyPath, false},
		{ZeroCopyPath, uapi.UBLK_F_SUPPORT_ZERO_COPY, 511, 0, true}, {ZeroCopyPath, 0, 511, 0, true},
	} {
		s := Spec{DataPath: c.want, Limits: limits.Limits{DMAAlignment: c.mask}}
		got, err := s.path(c.f)
		if (err != nil) != c.err || err == nil && got != c.got || err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("%v of %v, mask %d: %v, %v", c.want, c.f, c.mask, got, err)
		}
		if err == nil && got.Flags().DataPath() != got {
			t.Errorf("%v: flags %#x", got, got.Flags())
		}
	}
}
