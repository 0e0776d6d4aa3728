package conform

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDoc: docs/conform.md has every scenario, with the words that the suite prints.
func TestDoc(t *testing.T) {
	b, err := os.ReadFile("../docs/conform.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, s := range Scenarios() {
		if row := fmt.Sprintf("| `%s` | %s | %s |\n", s.Name, s.Expect, s.Judged); strings.Contains(string(b), row) {
			rows++
		} else {
			t.Errorf("docs/conform.md has no row\n%s", row)
		}
	}
	if n := strings.Count(string(b), "\n| `") - strings.Count(string(b), "\n| `--") - len(simulated); n != rows {
		t.Errorf("docs/conform.md has %d rows of scenarios, the suite %d", n, rows)
	}
}
