// Package house holds the rules of the house, the ones that a program can see: which package may import which, where
// unsafe is, what the hot path must not do, how long a file is, what is documented. It has tests only; `go test
// ./tests/house` needs nothing but the go command.
package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	module = "github.com/ublk-go/ublk-linear"
	root   = "../.."
)

// pkg is a package of the module, as go list has it.
type pkg struct {
	ImportPath, Dir, Name, Export      string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
	IgnoredGoFiles, CgoFiles           []string
}

// rel is the package's folder: "" for the module's own.
func (p *pkg) rel() string { return ours(p.ImportPath) }

// ours is the folder of an import path of the module; an import path of others stays as it is.
func ours(path string) string { return strings.TrimPrefix(path, module+"/") }

// goList runs go list in the module.
func goList(t *testing.T, args ...string) []*pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json"}, args...)...)
	cmd.Dir = root
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &errs)
	}
	var list []*pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

var listed struct {
	sync.Once
	list []*pkg
}

// packages is every package of the module.
func packages(t *testing.T) []*pkg {
	t.Helper()
	listed.Do(func() { listed.list = goList(t, "./...") })
	if len(listed.list) < 10 {
		t.Fatalf("go list found %d packages", len(listed.list))
	}
	return listed.list
}

// files is every file of the checkout whose name ends in one of the suffixes (none: every file), with what .gitignore
// names left out, by its path from the root.
func files(t *testing.T, suffixes ...string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		rel := strings.TrimPrefix(path, root+"/")
		switch {
		case d.IsDir() && (name == ".git" || name == ".cache" || rel == "bin"):
			return filepath.SkipDir
		case !d.Type().IsRegular(), name == ".git", strings.HasSuffix(name, ".test"), strings.HasSuffix(name, ".img"):
			return nil
		case len(suffixes) == 0 || slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) }):
			out = append(out, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatalf("no %q files", suffixes)
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// source is a parsed file.
type source struct {
	path string
	fset *token.FileSet
	ast  *ast.File
}

// line is where a node begins.
func (s *source) line(n ast.Node) int { return s.fset.Position(n.Pos()).Line }

var parsed struct {
	sync.Once
	list []*source
}

// sources is every .go file.
func sources(t *testing.T) []*source {
	t.Helper()
	parsed.Do(func() {
		fset := token.NewFileSet()
		for _, path := range files(t, ".go") {
			f, err := parser.ParseFile(fset, path, read(t, path), parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed.list = append(parsed.list, &source{path, fset, f})
		}
	})
	return parsed.list
}

func isTest(path string) bool { return strings.HasSuffix(path, "_test.go") }
