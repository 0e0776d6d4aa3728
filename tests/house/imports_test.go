package house

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// imports is the table of the house: what of ours each package may import, tests of the package apart. It is docs/
// architecture.md's. Imports point one way.
var imports = map[string][]string{
	"limits":              {},
	"config":              {},
	"ublk/internal/uapi":  {},
	"ublk/internal/uring": {"ublk/internal/uapi"},
	"target":              {"limits"},
	"target/linear":       {"target", "limits"},
	"target/stripe":       {"target", "limits"},
	"remap":               {"target", "limits"},
	"fault":               {"target"},
	"disk":                {"limits", "target"},
	"copy":                {"target", "limits", "remap", "disk"},
	"copy/series":         {"target", "limits", "remap", "copy"},
	"copy/sim":            {"target", "limits", "disk", "copy"},
	"copy/draw":           {"target", "limits", "remap", "copy", "copy/series"},
	"copy/workload":       {"target", "target/linear", "target/stripe", "limits", "remap", "copy", "copy/series"},
	"ublk":                {"fault", "target", "limits", "ublk/internal/uapi", "ublk/internal/uring"},
	"conform":             {"target", "limits", "disk", "copy", "copy/sim"},
	"daemon":              {"fault", "config", "limits", "target", "target/linear", "target/stripe", "remap", "disk", "copy", "copy/series", "copy/sim", "ublk"},
	"cmd/ublk-linear":     {"daemon", "config", "limits", "target", "target/linear", "target/stripe", "remap", "copy", "copy/series", "copy/sim", "copy/draw", "copy/workload", "conform"},

	"tests/house":         {},
	"tests/e2e":           {},
	"tests/guest":         {},
	"tests/guest/init":    {"tests/guest"},
	"tests/vm":            {"tests/guest"},
	"tests/cmd/vmrun":     {"tests/vm"},
	"tests/cmd/copybench": {},

	"tests/bench":           {},
	"tests/bench/step":      {},
	"tests/cmd/devbench":    {"tests/bench", "daemon", "limits", "target", "ublk"},
	"tests/cmd/insnprof":    {"tests/bench", "tests/vm"},
	"tests/cmd/benchreport": {"tests/bench"},
	"tests/cmd/benchcheck":  {"tests/bench", "tests/bench/step"},
	"tests/cmd/stepwork":    {"tests/bench/step", "remap", "target", "target/linear", "target/stripe"},
}

// others is what of other people's each package may import, tests apart; a package that is not here: nothing.
var others = map[string][]string{
	"config":              {"github.com/BurntSushi/toml"},
	"disk":                {"golang.org/x/sys/unix"},
	"copy":                {"golang.org/x/sys/unix"},
	"copy/series":         {"golang.org/x/sys/unix"},
	"conform":             {"golang.org/x/sys/unix"},
	"copy/sim":            {"golang.org/x/sys/unix"},
	"copy/draw":           {"golang.org/x/sys/unix"},
	"copy/workload":       {"golang.org/x/sys/unix"},
	"ublk":                {"golang.org/x/sys/unix"},
	"ublk/internal/uring": {"golang.org/x/sys/unix"},
	"daemon":              {"golang.org/x/sys/unix"},
	"cmd/ublk-linear":     {"golang.org/x/sys/unix", "github.com/spf13/cobra", "github.com/coreos/go-systemd/v22/daemon"},
	"tests/guest/init":    {"golang.org/x/sys/unix"},
	"tests/vm":            {"golang.org/x/sys/unix"},
	"tests/cmd/devbench":  {"golang.org/x/sys/unix"},
}

// pure are the packages that compute and know no kernel: they build on any unix.
var pure = []string{"limits", "config", "target", "target/linear", "target/stripe", "remap", "fault"}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		name := p.rel()
		seen[name] = true
		may, ok := imports[name]
		if !ok {
			t.Errorf("%s is not in the table: say what it may import, here and in docs/architecture.md", name)
			continue
		}
		for _, path := range p.Imports {
			if of := ours(path); of != path {
				if !slices.Contains(may, of) {
					t.Errorf("%s imports %s: it may import %v of ours", name, of, may)
				}
				continue
			}
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && !slices.Contains(others[name], path) {
				t.Errorf("%s imports %s: it may import %v of others", name, path, others[name])
			}
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo: %v", name, p.CgoFiles)
		}
	}
	for name := range maps.Keys(imports) {
		if !seen[name] {
			t.Errorf("the table has %s, which is not there", name)
		}
	}
}

// TestNobodyImportsTests: what is under tests/ is for tests/, also where a test imports.
func TestNobodyImportsTests(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.rel(), "tests/") {
			continue
		}
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if strings.HasPrefix(ours(path), "tests/") {
				t.Errorf("%s imports %s", p.rel(), ours(path))
			}
		}
	}
}

func TestPure(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(pure, p.rel()) {
			continue
		}
		for _, path := range p.Imports {
			if path == "unsafe" || path == "syscall" || path == "net" || strings.HasPrefix(path, "net/") || path == "os/exec" || strings.HasPrefix(path, "golang.org/x/sys") {
				t.Errorf("%s imports %s: it is arithmetic", p.rel(), path)
			}
		}
		if len(p.IgnoredGoFiles) > 0 {
			t.Errorf("%s has files that are not built everywhere: %v", p.rel(), p.IgnoredGoFiles)
		}
	}
}

// untested are the packages whose tests are elsewhere, and where.
var untested = map[string]string{
	"target":      "words and an interface: cmd/ublk-linear maps with every operation, remap and its targets with every range",
	"tests/guest": "words that the VM runner and the guest share; every VM run uses them",
}

func TestEveryPackageHasTests(t *testing.T) {
	for _, p := range packages(t) {
		has := len(p.TestGoFiles)+len(p.XTestGoFiles) > 0
		why, excused := untested[p.rel()]
		switch {
		case excused && has:
			t.Errorf("%s has tests: take it off the list", p.rel())
		case excused:
			t.Logf("%s has no tests: %s", p.rel(), why)
		case !has && p.Name == "main":
			t.Logf("%s is a program without tests", p.rel())
		case !has:
			t.Errorf("%s has no tests", p.rel())
		}
	}
}
