package config

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// SectorBytes is the unit of a device-mapper table.
const SectorBytes = 512

// Size is a number of bytes.
type Size uint64

// unit is one suffix of a size.
type unit struct {
	name  string
	bytes uint64
}

// binaryUnits lists the suffixes from the largest down.
func binaryUnits() []unit {
	return []unit{
		{"PiB", 1 << 50},
		{"TiB", 1 << 40},
		{"GiB", 1 << 30},
		{"MiB", 1 << 20},
		{"KiB", 1 << 10},
		{"B", 1},
	}
}

// sizeError says what is wrong with a size and what would be right.
type sizeError struct {
	msg  string
	hint string // may be empty
}

func (e *sizeError) Error() string {
	if e.hint == "" {
		return e.msg
	}
	return e.msg + ": " + e.hint
}

const sizeUnitsHint = `write a number and one of B, KiB, MiB, GiB, TiB, PiB or s (512-byte sectors), as "64KiB" or "2048s"`

// ParseSize reads a size: a number directly followed by B, KiB, MiB, GiB, TiB, PiB or s (512-byte
// sectors); a bare integer is bytes. A decimal fraction is allowed if the whole comes to an integral
// number of bytes. Units with two readings (MB, M, k) are refused, and the error names both. So are
// negative sizes and sizes above 2^64-1 bytes.
func ParseSize(s string) (Size, error) {
	if s == "" {
		return 0, &sizeError{"size is empty", sizeUnitsHint}
	}
	if s[0] == '-' {
		return 0, &sizeError{fmt.Sprintf("size %s is negative", clip(s)), "sizes start at 0"}
	}
	n := 0
	for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '.') {
		n++
	}
	number, suffix := s[:n], s[n:]
	whole, frac, dotted := strings.Cut(number, ".")
	if whole == "" || dotted && frac == "" || strings.Contains(frac, ".") {
		return 0, &sizeError{fmt.Sprintf("%s is not a size", clip(s)), sizeUnitsHint}
	}
	mult, err := unitBytes(s, number, suffix)
	if err != nil {
		return 0, err
	}
	whole = strings.TrimLeft(whole, "0")
	frac = strings.TrimRight(frac, "0")
	if len(whole) > 20 {
		return 0, tooLarge(s)
	}
	// A fraction in lowest terms over 2^50 has at most 50 digits.
	if len(frac) > 50 {
		return 0, notWhole(s, "")
	}
	v, _ := new(big.Int).SetString("0"+whole+frac, 10)
	v.Mul(v, new(big.Int).SetUint64(mult))
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(len(frac))), nil)
	v, rest := v.QuoRem(v, scale, new(big.Int))
	if !v.IsUint64() {
		return 0, tooLarge(s)
	}
	if rest.Sign() != 0 {
		near := ""
		if v.Uint64() < math.MaxUint64 {
			near = fmt.Sprintf("use %dB or %dB", v.Uint64(), v.Uint64()+1)
		}
		return 0, notWhole(s, near)
	}
	return Size(v.Uint64()), nil
}

func tooLarge(s string) error {
	return &sizeError{fmt.Sprintf("size %s is too large", clip(s)), "the largest is 18446744073709551615B, one byte less than 16384PiB"}
}

func notWhole(s, hint string) error {
	return &sizeError{fmt.Sprintf("size %s is not a whole number of bytes", clip(s)), hint}
}

// unitBytes is what one of suffix is in bytes.
func unitBytes(s, number, suffix string) (uint64, error) {
	switch suffix {
	case "":
		if strings.Contains(number, ".") {
			return 0, &sizeError{fmt.Sprintf("size %s has no unit", clip(s)), sizeUnitsHint}
		}
		return 1, nil
	case "s":
		return SectorBytes, nil
	}
	for _, u := range binaryUnits() {
		if suffix == u.name {
			return u.bytes, nil
		}
	}
	trimmed := strings.TrimSpace(suffix)
	if trimmed != suffix && trimmed != "" {
		if _, err := unitBytes(s, number, trimmed); err != nil {
			return 0, err
		}
		return 0, &sizeError{fmt.Sprintf("size %s has a space in it", clip(s)), fmt.Sprintf("write the unit next to the number, as %q", clipTo(number+trimmed, 40))}
	}
	lower := strings.ToLower(suffix)
	for i, u := range binaryUnits() {
		if u.name != "B" && lower == strings.ToLower(u.name) {
			return 0, &sizeError{fmt.Sprintf("size %s has an unknown unit %q", clip(s), suffix), fmt.Sprintf("the unit is written %s", u.name)}
		}
		if u.name == "B" {
			continue
		}
		letter := strings.ToLower(u.name[:1])
		if lower == letter || lower == letter+"b" {
			power := len(binaryUnits()) - 1 - i
			return 0, twoReadings(s, number, suffix, u, power)
		}
	}
	switch lower {
	case "b":
		return 0, &sizeError{fmt.Sprintf("size %s has an unknown unit %q", clip(s), suffix), "bytes are written B"}
	case "s", "sector", "sectors":
		return 0, &sizeError{fmt.Sprintf("size %s has an unknown unit %q", clip(s), suffix), "512-byte sectors are written s"}
	}
	return 0, &sizeError{fmt.Sprintf("size %s has an unknown unit %s", clip(s), clip(suffix)), sizeUnitsHint}
}

// twoReadings is the refusal of a unit that some read as a power of 1000 and some as one of 1024.
func twoReadings(s, number, suffix string, u unit, power int) error {
	decimal := uint64(1)
	for range power {
		decimal *= 1000
	}
	hint := fmt.Sprintf("write the number of bytes with B, or %s%s", clipTo(number, 20), u.name)
	n, err := strconv.ParseUint(number, 10, 64)
	if err == nil && (n == 0 || n <= math.MaxUint64/u.bytes) {
		hint = fmt.Sprintf("write %dB, or %d%s which is %dB", n*decimal, n, u.name, n*u.bytes)
	}
	return &sizeError{fmt.Sprintf("size %s has two readings: %s is %d or %d bytes", clip(s), suffix, decimal, u.bytes), hint}
}

// String writes the size in the largest unit that divides it, as "64KiB" or "513B". ParseSize reads
// it back.
func (s Size) String() string {
	for _, u := range binaryUnits() {
		if s != 0 && uint64(s)%u.bytes == 0 {
			return strconv.FormatUint(uint64(s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// Sectors is the size in 512-byte sectors, rounded down.
func (s Size) Sectors() uint64 { return uint64(s) / SectorBytes }

// sectorsSize writes a number of sectors as a size, and as sectors where the size alone is hard to read.
func sectorsSize(n uint64) string {
	if n > maxSectors {
		return strconv.FormatUint(n, 10) + "s"
	}
	return exact(n * SectorBytes)
}

// exact writes a number of bytes as a size; if that is a long number, also in sectors and about how
// much it is.
func exact(bytes uint64) string {
	text := Size(bytes).String()
	digits := strings.TrimRight(text, "BKMGTPi")
	if len(digits) <= 5 {
		return text
	}
	var more []string
	if bytes%SectorBytes == 0 {
		more = append(more, strconv.FormatUint(bytes/SectorBytes, 10)+"s")
	}
	for _, u := range binaryUnits() {
		if bytes >= u.bytes && u.bytes > 1 && !strings.HasSuffix(text, u.name) {
			about := strconv.FormatFloat(float64(bytes)/float64(u.bytes), 'f', 2, 64)
			more = append(more, "about "+strings.TrimSuffix(strings.TrimRight(about, "0"), ".")+u.name)
			break
		}
	}
	if len(more) == 0 {
		return text
	}
	return text + " (" + strings.Join(more, ", ") + ")"
}

// clip quotes a text of the file for a message, shortened if it is long.
func clip(s string) string { return strconv.Quote(clipTo(s, 40)) }

// clipTo shortens a text to max characters.
func clipTo(s string, max int) string {
	n := 0
	for i := range s {
		if n == max {
			return s[:i] + "..."
		}
		n++
	}
	return s
}
