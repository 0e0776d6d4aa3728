package remap

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/ublk-go/ublk-linear/target"
	"github.com/ublk-go/ublk-linear/target/linear"
	"github.com/ublk-go/ublk-linear/target/stripe"
)

// parseTable reads dmsetup's words with lines separated by '|' and disks A, B, C, ….
func parseTable(text string) (*Table, error) {
	num := func(s string) uint64 { n, _ := strconv.ParseUint(s, 10, 64); return n }
	var parts []Part
	for line := range strings.SplitSeq(text, "|") {
		f := strings.Fields(line)
		length, args := num(f[1]), f[3:]
		var t target.Target
		var err error
		if f[2] == "linear" {
			t, err = linear.New(target.Disk(args[0][0]-'A'), target.Range{Start: num(args[1]), Len: length})
		} else {
			var legs []stripe.Leg
			for i := 2; i < len(args); i += 2 {
				legs = append(legs, stripe.Leg{Disk: target.Disk(args[i][0] - 'A'), Start: num(args[i+1])})
			}
			t, err = stripe.New(length, uint32(num(args[1])), legs)
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, Part{length, t})
	}
	return NewTable(parts)
}

func letter(d target.Disk) string { return string(rune('A' + d)) }

func show(segs []target.Segment) string {
	var out []string
	for _, s := range segs {
		out = append(out, fmt.Sprintf("%s:%d+%d", letter(s.Disk), s.Sector, s.Sectors))
	}
	return strings.Join(out, " ")
}

// The vectors were verified byte for byte on a real dm; tests/ verifies them again on the served device.
func TestDMVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/dm-vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	tables, ran := map[string]*Table{}, 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		switch {
		case line == "" || line[0] == '#':
		case f[0] == "table":
			tb, err := parseTable(strings.Join(f[2:], " "))
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			tables[f[1]] = tb
			if got, want := strings.TrimSpace(strings.ReplaceAll(tb.Lines(letter), "\n", " | ")), strings.Join(f[2:], " ")+" |"; got != want {
				t.Errorf("%s prints as %q, want %q", f[1], got, want)
			}
		case f[0] == "F01":
			segs, _ := tables[strings.TrimSuffix(f[1], ":")].Map(make([]target.Segment, 0, 8), target.Flush, target.Range{})
			var got []string
			for _, s := range segs {
				got = append(got, letter(s.Disk))
			}
			if strings.Join(got, " ") != strings.Join(f[2:], " ") {
				t.Errorf("%s: flush goes to %v", line, got)
			}
			ran++
		default:
			head, want, _ := strings.Cut(line, ": ")
			f := strings.Fields(head)
			start, _ := strconv.ParseUint(f[3], 10, 64)
			length, _ := strconv.ParseUint(f[4], 10, 64)
			ops := []target.Op{target.Read, target.Write}
			if f[2] == "rng" {
				ops = []target.Op{target.Discard, target.WriteZeroes}
			}
			for _, op := range ops {
				segs, n := tables[f[1]].Map(make([]target.Segment, 0, 64), op, target.Range{Start: start, Len: length})
				if n != length || show(segs) != want {
					t.Errorf("%s %v: got %s (%d sectors)", line, op, show(segs), n)
				}
			}
			ran++
		}
	}
	if ran != 45 {
		t.Errorf("%d vectors ran, want 41 and 4 flushes", ran)
	}
}
