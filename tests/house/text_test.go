package house

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestThere: what a stranger looks for first.
func TestThere(t *testing.T) {
	for _, f := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "docs/architecture.md", "docs/cli.md", "docs/config.md"} {
		if info, err := os.Stat(filepath.Join(root, f)); err != nil || info.Size() < 100 {
			t.Errorf("%s is missing or empty: %v", f, err)
		}
	}
}

var machine = regexp.MustCompile(`(^|[^\w./$}~-])/(work|root|var/tmp)/`)

// TestMachinePaths: no path of one developer's machine is in what is published. Tests may need some.
func TestMachinePaths(t *testing.T) {
	for _, f := range files(t) {
		text := read(t, f)
		if isTest(f) || !utf8.ValidString(text) || strings.Contains(f, "testdata/fuzz/") {
			continue
		}
		n := 0
		for line := range strings.Lines(text) {
			if n++; machine.MatchString(line) {
				t.Errorf("%s:%d: a path of one machine: %s", f, n, strings.TrimSpace(line))
			}
		}
	}
}

var (
	mdLink    = regexp.MustCompile(`!?\[[^\]]*\]\(([^)\s]+)(?:\s+"[^"]*")?\)`)
	mdRef     = regexp.MustCompile(`^\[[^\]]+\]:\s+(\S+)`)
	mdCode    = regexp.MustCompile("`[^`]*`")
	mdHeading = regexp.MustCompile(`^#{1,6}\s+(.*)$`)
	scheme    = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
)

// prose calls f for every line of a Markdown file that is not code.
func prose(text string, f func(n int, line string)) {
	n, fence := 0, false
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fence = !fence
			continue
		}
		if !fence && !strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "\t") {
			f(n, line)
		}
	}
}

// TestLinks: every relative link of every Markdown file leads to a file, and its fragment to a heading.
func TestLinks(t *testing.T) {
	total := 0
	for _, f := range files(t, ".md") {
		prose(read(t, f), func(n int, line string) {
			var to []string
			for _, m := range mdLink.FindAllStringSubmatch(mdCode.ReplaceAllString(line, "`"), -1) {
				to = append(to, m[1])
			}
			if m := mdRef.FindStringSubmatch(line); m != nil {
				to = append(to, m[1])
			}
			for _, link := range to {
				if scheme.MatchString(link) || strings.HasPrefix(link, "//") {
					continue
				}
				total++
				file, fragment, _ := strings.Cut(strings.Trim(link, "<>"), "#")
				target := f
				if file != "" {
					target = path.Join(path.Dir(f), file)
				}
				info, err := os.Stat(filepath.Join(root, target))
				switch {
				case err != nil || strings.HasPrefix(target, "..") || strings.HasPrefix(file, "/"):
					t.Errorf("%s:%d: %s leads nowhere", f, n, link)
				case fragment != "" && !info.IsDir() && strings.HasSuffix(target, ".md") && !headings(read(t, target))[fragment]:
					t.Errorf("%s:%d: %s: no such heading", f, n, link)
				}
			}
		})
	}
	t.Logf("%d relative links", total)
}

// headings is the fragments of a Markdown file, as GitHub makes them.
func headings(text string) map[string]bool {
	out := map[string]bool{}
	prose(text, func(_ int, line string) {
		if m := mdHeading.FindStringSubmatch(line); m != nil {
			out[strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
					return unicode.ToLower(r)
				}
				return -1
			}, strings.TrimSpace(m[1]))] = true
		}
	})
	return out
}
