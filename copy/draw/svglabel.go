package draw

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// All text is monospaced, so that its width is known where it will be shown: em is a letter's width of a font size of 1,
// that of the widest usual monospaced font and a little more.
const em = 0.615

// width of a text at a font size. East Asian letters, and what Unicode has behind them, count twice.
func width(text string, size float64) float64 {
	n := 0
	for _, r := range text {
		if n++; r >= 0x1100 && r <= 0x115f || r >= 0x2e80 && r != utf8.RuneError {
			n++
		}
	}
	return float64(n) * size * em
}

// fit is as much of a text as has room, with an ellipsis if that is not all; "" where not even two letters have.
func fit(text string, size, room float64) string {
	if width(text, size) <= room {
		return text
	}
	for text != "" {
		_, n := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-n]
		if utf8.RuneCountInString(text) > 1 && width(text, size)+size*em <= room {
			return text + "…"
		}
	}
	return ""
}

// wrap breaks a text into lines that have room, at spaces where there are any.
func wrap(text string, size, room float64) []string {
	letters := max(int(room/(size*em)), 8)
	var out []string
	line := ""
	for _, word := range strings.Fields(text) {
		for utf8.RuneCountInString(word) > letters {
			r := []rune(word)
			if line != "" {
				out, line = append(out, line), ""
			}
			out, word = append(out, string(r[:letters])), string(r[letters:])
		}
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= letters:
			line += " " + word
		default:
			out, line = append(out, line), word
		}
	}
	if line != "" {
		out = append(out, line)
	}
	return out
}

// rows places labels, one after the other from left to right, in the first row where they do not touch another one.
type rows struct {
	ends []float64
}

func newRows(n int) *rows {
	r := &rows{ends: make([]float64, n)}
	for i := range r.ends {
		r.ends[i] = -1e9
	}
	return r
}

// put finds the row of a label from lo to hi; false: there is no room.
func (r *rows) put(lo, hi float64) (int, bool) {
	for i := range r.ends {
		if r.ends[i]+3 <= lo {
			r.ends[i] = hi
			return i, true
		}
	}
	return 0, false
}

// size of bytes for people, exact where it is whole.
func size(n uint64) string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		one := uint64(1) << (40 - 10*i)
		if n >= one && n%one == 0 {
			return fmt.Sprintf("%d %s", n/one, unit)
		}
		if n >= 10*one {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(one), unit)
		}
	}
	return fmt.Sprintf("%d B", n)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
