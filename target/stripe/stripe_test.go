package stripe

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

func TestNewRefusesInDMsWords(t *testing.T) {
	legs := []Leg{{0, 0}, {1, 0}}
	for _, c := range []struct {
		length uint64
		chunk  uint32
		legs   []Leg
		want   error
	}{
		{100, 1, nil, ErrNoLegs},
		{100, 0, legs, ErrChunk},
		{0, 4, legs, target.ErrZeroLength},
		{1 << 62, 4, legs, target.ErrTooLong},
		{100, 1, []Leg{{0, 0}, {1, 0}, {2, 0}}, ErrNotByLegs},
		{100, 4, legs, ErrNotByChunks},
		{100, 50, []Leg{{0, 0}, {1, target.MaxSectors - 49}}, target.ErrTooLong},
	} {
		if _, err := New(c.length, c.chunk, c.legs); !errors.Is(err, c.want) {
			t.Errorf("%+v: got %v", c, err)
		}
	}
	if _, err := New(100, 1, legs); err != nil {
		t.Errorf("chunk 1: %v", err) // dm takes it, whatever its documentation says of PAGE_SIZE
	}
}

// The shift path and the dividing path are one arithmetic, and logical is at's inverse.
func TestAtIsOneArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunk := rapid.Uint32Range(1, 300).Draw(t, "chunk")
		n := rapid.IntRange(1, 9).Draw(t, "legs")
		rows := rapid.Uint64Range(1, 50).Draw(t, "rows")
		s, err := New(rows*uint64(chunk)*uint64(n), chunk, make([]Leg, n))
		if err != nil {
			t.Fatal(err)
		}
		sector := rapid.Uint64Range(0, rows*uint64(chunk)*uint64(n)-1).Draw(t, "sector")
		leg, row, off := s.at(sector)
		c := sector / uint64(chunk)
		if leg != c%uint64(n) || row != c/uint64(n)*uint64(chunk) || off != sector%uint64(chunk) {
			t.Fatalf("at(%d) = %d %d %d", sector, leg, row, off)
		}
		if back := s.logical(leg, row+off); back != sector {
			t.Fatalf("logical(at(%d)) = %d", sector, back)
		}
	})
}

// A ranged op maps nothing rather than half a target when there is no room for all legs.
func TestRangedNeedsRoom(t *testing.T) {
	s, _ := New(12, 2, make([]Leg, 3))
	if segs, n := s.Map(make([]target.Segment, 0, 2), target.Discard, target.Range{Start: 0, Len: 12}); n != 0 || len(segs) != 0 {
		t.Fatalf("%v %d", segs, n)
	}
}

// stripe_io_hints, with the values that a live kernel showed (discard of two legs on a loop device, three legs of 64 KiB).
func TestHints(t *testing.T) {
	s, _ := New(2048, 128, make([]Leg, 2))
	l := limits.Limits{MaxHWDiscardSectors: 8388607, MaxDiscardSectors: 8388607}
	s.Hints(&l)
	if l.ChunkSectors != 128 || l.IOMin != 65536 || l.IOOpt != 131072 || l.MaxHWDiscardSectors != 8589803520/512 {
		t.Errorf("two legs: %+v", l)
	}
	s, _ = New(1920, 128, make([]Leg, 3))
	l = limits.Limits{MaxHWDiscardSectors: 1<<32 - 1}
	s.Hints(&l)
	if l.IOOpt != 196608 || l.MaxHWDiscardSectors != (1<<32-1)>>9 {
		t.Errorf("three legs: %+v", l)
	}
	s, _ = New(1<<25, 1<<24, make([]Leg, 2))
	l = limits.Limits{IOMin: 512, MaxHWDiscardSectors: 8}
	s.Hints(&l)
	if l.IOMin != 512 || l.MaxHWDiscardSectors != 8 { // 8 GiB does not fit 32 bits; the discard is below a chunk
		t.Errorf("8 GiB chunk: %+v", l)
	}
}
