package bench

import (
	"fmt"
	"math"
	"strings"
)

// Matrix is a Markdown table: a corner, columns, and rows of as many cells.
func Matrix(corner string, columns, rows []string, cell func(row, column string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | %s |\n|---|%s\n", corner, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |", r)
		for _, c := range columns {
			fmt.Fprintf(&b, " %s |", cell(r, c))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// String is the median with the quartiles behind it: "0.52 (0.47–0.60)"; "–" of no values.
func (s Spread) String() string {
	switch {
	case s.N == 0:
		return "–"
	case s.N == 1:
		return short(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", short(s.Median), short(s.Q1), short(s.Q3))
}

// short is a number of about three digits.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
