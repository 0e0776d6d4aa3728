package bench

import (
	"fmt"
	"strings"
)

// Marks of the parts of a page that are printed by a program: the name is the part's.
const (
	beginMark = "<!-- benchreport: "
	endMark   = "<!-- benchreport end -->"
)

// Fill puts the parts of a page between its marks: a line "<!-- benchreport: NAME -->" and one "<!-- benchreport end -->".
// Errors: a mark without an end, a name that parts does not have, and a part that the page has no mark for.
func Fill(page string, parts map[string]string) (string, error) {
	var b strings.Builder
	used := map[string]bool{}
	inside := ""
	for line := range strings.Lines(page) {
		name, begins := strings.CutPrefix(strings.TrimSpace(line), beginMark)
		switch {
		case begins && inside != "":
			return "", fmt.Errorf("part %s does not end", inside)
		case begins:
			inside = strings.TrimSuffix(name, " -->")
			part, ok := parts[inside]
			if !ok {
				return "", fmt.Errorf("there is no part %q", inside)
			}
			used[inside] = true
			b.WriteString(line)
			b.WriteString("\n" + strings.TrimSpace(part) + "\n\n")
		case strings.TrimSpace(line) == endMark:
			inside = ""
			b.WriteString(line)
		case inside == "":
			b.WriteString(line)
		}
	}
	if inside != "" {
		return "", fmt.Errorf("part %s does not end", inside)
	}
	for name := range parts {
		if !used[name] {
			return "", fmt.Errorf("the page has no place for %s", name)
		}
	}
	return b.String(), nil
}
