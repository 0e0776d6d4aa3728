package ublk

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

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

func TestDataPathChosen(t *testing.T) {
	const all = Features(zeroCopyFlags)
	for _, c := range []struct {
		want DataPath
		f    Features
		got  DataPath
		err  bool
	}{
		{AutoPath, all, BufferPath, false}, {AutoPath, 0, BufferPath, false}, {AutoPath, uapi.UBLK_F_SUPPORT_ZERO_COPY, BufferPath, false},
		{BufferPath, all, BufferPath, false}, {ZeroCopyPath, all, ZeroCopyPath, false},
		{ZeroCopyPath, uapi.UBLK_F_SUPPORT_ZERO_COPY, 0, true}, {ZeroCopyPath, 0, 0, true},
	} {
		got, err := c.want.chosen(c.f)
		if (err != nil) != c.err || err == nil && got != c.got || err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("%v of %v: %v, %v", c.want, c.f, got, err)
		}
		if err == nil && got.Flags().DataPath() != got {
			t.Errorf("%v: flags %#x", got, got.Flags())
		}
	}
}
