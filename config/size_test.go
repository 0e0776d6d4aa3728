package config

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseSize(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Size
		text string // of the result; "" if in
	}{
		{"0B", 0, ""},
		{"0", 0, "0B"},
		{"0s", 0, "0B"},
		{"4096", 4096, "4KiB"},
		{"513B", 513, ""},
		{"64KiB", 64 << 10, ""},
		{"2048s", 1 << 20, "1MiB"},
		{"1s", 512, "512B"},
		{"1.5GiB", 3 << 29, "1536MiB"},
		{"0.5KiB", 512, "512B"},
		{"1.0B", 1, "1B"},
		{"00012MiB", 12 << 20, "12MiB"},
		{"1.50000MiB", 3 << 19, "1536KiB"},
		{"0.0009765625KiB", 1, "1B"},
		{"7PiB", 7 << 50, ""},
		{"16383PiB", 16383 << 50, ""},
		{"18446744073709551615B", math.MaxUint64, ""},
		{"18446744073709551615", math.MaxUint64, "18446744073709551615B"},
		{"36028797018963967s", math.MaxUint64 - 511, "18014398509481983.5KiB"},
	} {
		got, err := ParseSize(tc.in)
		if err != nil || got != tc.want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", tc.in, got, err, tc.want)
		}
		text := tc.text
		if text == "" {
			text = tc.in
		}
		if tc.in != "36028797018963967s" && got.String() != text {
			t.Errorf("Size(%d).String() = %s, want %s", got, got, text)
		}
	}
}

func TestParseSizeErrors(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", "empty"},
		{"-1", "negative"},
		{"-1MiB", "negative"},
		{"MiB", "not a size"},
		{".5GiB", "not a size"},
		{"5.GiB", "not a size"},
		{"1.2.3GiB", "not a size"},
		{"0x10", "unknown unit"},
		{"1_000", "unknown unit"},
		{"+5", "not a size"},
		{"1.5", "no unit"},
		{"1.5B", "not a whole number of bytes: use 1B or 2B"},
		{"0.3KiB", "use 307B or 308B"},
		{"1MB", "write 1000000B, or 1MiB which is 1048576B"},
		{"1M", "M is 1000000 or 1048576 bytes"},
		{"64k", "write 64000B, or 64KiB which is 65536B"},
		{"64kB", "two readings"},
		{"64K", "two readings"},
		{"3G", "two readings"},
		{"3gb", "two readings"},
		{"3T", "two readings"},
		{"3P", "two readings"},
		{"1.5G", "1.5GiB"},
		{"64kib", "written KiB"},
		{"64b", "written B"},
		{"64S", "written s"},
		{"64 KiB", `as "64KiB"`},
		{"64KiB ", `as "64KiB"`},
		{"64 MB", "two readings"},
		{"64 ", "unknown unit"},
		{"3EiB", "unknown unit"},
		{"3MiBs", "unknown unit"},
		{"16384PiB", "too large"},
		{"18446744073709551616", "too large"},
		{"36028797018963968s", "too large"},
		{strings.Repeat("9", 1000) + "B", "too large"},
		{"0." + strings.Repeat("3", 1000) + "KiB", "not a whole number"},
		{"99999999999999999999M", "two readings"},
		{"٣B", "not a size"},
	} {
		got, err := ParseSize(tc.in)
		if err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", tc.in, got)
			continue
		}
		if !strings.Contains(err.Error(), tc.want) {
			t.Errorf("ParseSize(%q): %v, want %q in it", tc.in, err, tc.want)
		}
		if len(err.Error()) > 300 {
			t.Errorf("ParseSize(%q): error of %d characters", tc.in, len(err.Error()))
		}
	}
}

func TestSizeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Size(rapid.Uint64().Draw(t, "bytes"))
		if rapid.Bool().Draw(t, "round") {
			s = s >> rapid.IntRange(0, 63).Draw(t, "down") << rapid.IntRange(0, 50).Draw(t, "up")
		}
		got, err := ParseSize(s.String())
		if err != nil || got != s {
			t.Fatalf("%d is written %s and read as %d, %v", uint64(s), s, got, err)
		}
	})
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"64KiB", "2048s", "1.5GiB", "1MB", "-1", "9 k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		size, err := ParseSize(s)
		if err != nil {
			return
		}
		again, err := ParseSize(size.String())
		if err != nil || again != size {
			t.Errorf("%q is %d, written %s, read %d, %v", s, uint64(size), size, again, err)
		}
	})
}
