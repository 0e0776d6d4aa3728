package config

import (
	"fmt"
	"slices"
	"strings"
)

// longestList is how many valid words a hint names.
const longestList = 20

// suggest is the hint for a word that is none of valid: the nearest one, or else all of them.
func suggest(word string, valid []string) string {
	if near := nearest(word, valid); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	switch len(valid) {
	case 0:
		return ""
	case 1:
		return "the only one is " + valid[0]
	}
	list := slices.Clone(valid)
	more := ""
	if len(list) > longestList {
		more = fmt.Sprintf(" and %d more", len(list)-longestList)
		list = list[:longestList]
	}
	return "valid: " + strings.Join(list, ", ") + more
}

// nearest is the word of valid that takes the fewest edits to reach, or "" if none is close.
func nearest(word string, valid []string) string {
	if len(word) > 64 {
		return ""
	}
	// One letter is one edit from every other.
	best, bestDist := "", min(max(1, len(word)/3), len(word)-1)+1
	for _, v := range valid {
		if strings.EqualFold(v, word) {
			return v
		}
		if d := editDistance(strings.ToLower(word), strings.ToLower(v), bestDist); d < bestDist {
			best, bestDist = v, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of neighbours between a and b,
// in bytes. It gives up at limit.
func editDistance(a, b string, limit int) int {
	if abs(len(a)-len(b)) >= limit {
		return limit
	}
	// Three rows of the usual matrix: the one before the last is needed for swaps.
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
