package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ublk-go/ublk-linear/copy/series"
	"github.com/ublk-go/ublk-linear/copy/workload"
)

const designsDoc = "../../docs/designs.md"

// TestDesignsDoc: docs/designs.md shows what its commands print now, and every design with its source and what is known
// to be wrong with its posted code. With -update it is written.
func TestDesignsDoc(t *testing.T) {
	was, err := os.ReadFile(designsDoc)
	if err != nil {
		t.Fatal(err)
	}
	now, commands := designsNow(t, string(was))
	if commands < 2 {
		t.Errorf("%d commands", commands)
	}
	for _, w := range workload.All() {
		if !strings.Contains(now, "| `"+w.Name+"` |") {
			t.Errorf("workload %s is not there", w.Name)
		}
	}
	for _, l := range workload.Layouts() {
		if !strings.Contains(now, "| `"+l.Name+"` |") {
			t.Errorf("layout %s is not there", l.Name)
		}
	}
	if *update {
		if err := os.WriteFile(designsDoc, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(strings.Split(string(was), "\n"), strings.Split(now, "\n")); d != "" {
		t.Errorf("docs/designs.md (-there +now); go test ./cmd/ublk-linear -run DesignsDoc -update:\n%s", d)
	}
}

// designsNow is the page as it should be: a block of code that begins with "    $ ublk-linear …" goes on with what the
// command prints, and <!-- design NAME --> with the source and the defects of a model, up to an empty line.
func designsNow(t *testing.T, was string) (now string, commands int) {
	t.Helper()
	var b strings.Builder
	said := map[string]bool{}
	skip := func(string) bool { return false }
	for line := range strings.Lines(was) {
		if skip(line) {
			continue
		}
		skip = func(string) bool { return false }
		b.WriteString(line)
		if args, ok := strings.CutPrefix(line, "    $ ublk-linear "); ok {
			commands++
			code, out, errs := cli(t, strings.Fields(args)...)
			if code != exitOK || errs != "" {
				t.Fatalf("%sexit code %d: %s", line, code, errs)
			}
			for l := range strings.Lines(out) {
				if l != "\n" {
					l = "    " + l
				}
				b.WriteString(l)
			}
			b.WriteByte('\n')
			skip = func(l string) bool { return strings.HasPrefix(l, "    ") || l == "\n" }
		}
		if rest, ok := strings.CutPrefix(line, "<!-- design "); ok {
			name := strings.TrimSuffix(strings.TrimSpace(rest), " -->")
			m, ok := series.Find(name)
			if !ok {
				t.Fatalf("no design %q", name)
			}
			said[name] = true
			b.WriteString(designText(m) + "\n")
			done := false
			skip = func(l string) bool { was := done; done = done || l == "\n"; return !was }
		}
	}
	for _, m := range series.Models() {
		if !said[m.Name] {
			t.Errorf("design %s is not there", m.Name)
		}
	}
	return b.String(), commands
}

// designText is what a model says of itself, in Markdown.
func designText(m *series.Model) string {
	out := []string{}
	if m.Author != "" {
		out = append(out, fmt.Sprintf("*%s.* %s, %s", m.Title, m.Author, m.Posted))
		if m.Message != "" {
			out[0] += fmt.Sprintf(", `<%s>`", m.Message)
		}
		out[0] += "."
	} else if m.Title != "" {
		out = append(out, fmt.Sprintf("*%s.*", m.Title))
	}
	if n := len(m.Defects); n > 0 {
		out = append(out, fmt.Sprintf("Posted code, %s:", count(n, "known defect")))
		for _, d := range m.Defects {
			out = append(out, fmt.Sprintf("- `%s`: %s", d.Name, d.What))
		}
	}
	return strings.Join(out, "\n") + "\n"
}

// TestTestbedDoc: what docs/testbed.md says to type works, as far as it needs no disk: plan and bench-designs on the
// examples, conform of the model and of simulated devices.
func TestTestbedDoc(t *testing.T) {
	text, err := os.ReadFile("../../docs/testbed.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../examples/copy.toml")
	if err != nil {
		t.Fatal(err)
	}
	extents, err := os.ReadFile("testdata/benchdesigns/filefrag.txt")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Mkdir("examples", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"examples/copy.toml": example, "golden.extents": extents} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ran := map[string]int{}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, "    ublk-linear ")
		args := strings.Fields(rest)
		if !ok || args[0] != "plan" && args[0] != "bench-designs" && (args[0] != "conform" || slices.Contains(args, "--disk") || slices.Contains(args, "--directory")) {
			continue
		}
		ran[args[0]]++
		wrong := slices.Contains(args, "--misbehave") // is found
		if code, out, errs := cli(t, args...); !wrong && (code != exitOK || errs != "") || wrong && code != exitPartial || out == "" || strings.HasPrefix(out, "refused") {
			t.Errorf("%sexit code %d: %s%s", line, code, errs, out)
		}
		for i, a := range args {
			if a == "--html" || a == "--svg" {
				if st, err := os.Stat(args[i+1]); err != nil || st.Size() == 0 {
					t.Errorf("%s%v", line, err)
				}
			}
		}
	}
	if ran["plan"] < 5 || ran["bench-designs"] < 4 || ran["conform"] < 3 {
		t.Errorf("%v", ran)
	}
}
