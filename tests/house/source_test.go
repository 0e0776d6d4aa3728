package house

import (
	"go/ast"
	"go/format"
	"path"
	"strconv"
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	for _, f := range files(t, ".go") {
		text := read(t, f)
		if got, err := format.Source([]byte(text)); err != nil || string(got) != text {
			t.Errorf("%s: gofmt (%v)", f, err)
		}
	}
}

// Bounds of a file in lines, tests apart.
const (
	softLines = 300
	hardLines = 500
)

func TestLength(t *testing.T) {
	for _, f := range files(t, ".go") {
		if isTest(f) {
			continue
		}
		switch n := strings.Count(read(t, f), "\n"); {
		case n > hardLines:
			t.Errorf("%s has %d lines, the most is %d", f, n, hardLines)
		case n > softLines:
			t.Logf("%s has %d lines, more than %d", f, n, softLines)
		}
	}
}

// TestUnsafe: unsafe is in files whose names say so, in the two packages that share memory with the kernel; the tests in
// a VM may speak ioctl.
func TestUnsafe(t *testing.T) {
	for _, s := range sources(t) {
		dir, name := path.Dir(s.path)+"/", path.Base(s.path)
		room := strings.HasPrefix(dir, "ublk/") || strings.HasPrefix(dir, "disk/")
		may := room && (strings.HasSuffix(name, "_unsafe.go") || strings.HasSuffix(name, "_unsafe_test.go")) ||
			dir == "tests/e2e/" && strings.HasSuffix(name, "_unsafe_test.go")
		has := false
		for _, i := range s.ast.Imports {
			if p, _ := strconv.Unquote(i.Path.Value); p == "unsafe" {
				has = true
				if !may {
					t.Errorf("%s:%d: unsafe outside ublk/**/*_unsafe.go and disk/**/*_unsafe.go", s.path, s.line(i))
				}
			}
		}
		if strings.Contains(name, "_unsafe") && !has {
			t.Errorf("%s does not import unsafe: its name says so", s.path)
		}
		for _, g := range s.ast.Comments {
			for _, c := range g.List {
				if strings.HasPrefix(c.Text, "//go:linkname") {
					t.Errorf("%s:%d: linkname", s.path, s.line(c))
				}
			}
		}
	}
}

// TestSleep: a unit test that sleeps says why, on the line or above it.
func TestSleep(t *testing.T) {
	for _, s := range sources(t) {
		if !isTest(s.path) || strings.HasPrefix(s.path, "tests/") {
			continue
		}
		said := map[int]bool{}
		for _, g := range s.ast.Comments {
			for _, c := range g.List {
				said[s.fset.Position(c.Pos()).Line], said[s.fset.Position(c.End()).Line+1] = true, true
			}
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && isCall(c, "time", "Sleep") && !said[s.line(c)] {
				t.Errorf("%s:%d: time.Sleep in a unit test, without saying why", s.path, s.line(c))
			}
			return true
		})
	}
}

// isCall says whether a call is of a function of an imported package, by the name it is imported under.
func isCall(c *ast.CallExpr, pkg, name string) bool {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}
