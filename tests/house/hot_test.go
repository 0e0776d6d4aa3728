package house

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// hotMark is the last line of a hot function's doc comment.
const hotMark = "// hot path"

// cold are the statements in hot functions that run once in the life of a tag or a queue, not once per I/O: a word of
// the rule they break, by function.
var cold = map[string][]string{}

// measuredBy is where the allocations of a package's hot path are counted, when not in its own tests.
var measuredBy = map[string]string{"target/linear": "remap", "target/stripe": "remap"}

// TestHotPath reads every function marked "// hot path", with types: no defer, goroutine, channel, map, closure,
// allocation by make or new, formatting or logging, no value put into an interface. The AllocsPerRun tests hold what
// cannot be read.
func TestHotPath(t *testing.T) {
	exports := exportData(t, "./...")
	used := map[string]bool{}
	total := 0
	for _, p := range packages(t) {
		if marks := hotMarks(t, p); marks > 0 {
			n := checkHot(t, p, exports, used)
			if n != marks {
				t.Errorf("%s: %d comments say %q, %d functions end their doc comment so", p.rel(), marks, hotMark, n)
			}
			total += n
			by := cmp.Or(measuredBy[p.rel()], p.rel())
			if i := slices.IndexFunc(packages(t), func(p *pkg) bool { return p.rel() == by }); i < 0 || !measures(t, packages(t)[i]) {
				t.Errorf("%s has a hot path, and %s no test with testing.AllocsPerRun", p.rel(), by)
			}
		}
	}
	if total < 10 {
		t.Errorf("%d hot functions: the marks are lost", total)
	}
	for name, words := range cold {
		for _, w := range words {
			if !used[name+" "+w] {
				t.Errorf("cold has %s %q, which is not there: take it off the list", name, w)
			}
		}
	}
	t.Logf("%d hot functions", total)
}

// exportData is the files of compiled packages, by import path.
func exportData(t *testing.T, of ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, p := range goList(t, append([]string{"-export", "-deps"}, of...)...) {
		out[p.ImportPath] = p.Export
	}
	return out
}

func hotMarks(t *testing.T, p *pkg) (n int) {
	for _, f := range p.GoFiles {
		for line := range strings.Lines(read(t, filepath.Join(p.rel(), f))) {
			if strings.TrimSpace(line) == hotMark {
				n++
			}
		}
	}
	return n
}

// measures says whether a package has an allocation test.
func measures(t *testing.T, p *pkg) bool {
	return slices.ContainsFunc(slices.Concat(p.TestGoFiles, p.XTestGoFiles), func(f string) bool {
		return strings.Contains(read(t, filepath.Join(p.rel(), f)), "testing.AllocsPerRun(")
	})
}

// checkHot checks the hot functions of a package and says how many there are.
func checkHot(t *testing.T, p *pkg, exports map[string]string, used map[string]bool) (n int) {
	t.Helper()
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, f := range p.GoFiles {
		a, err := parser.ParseFile(fset, filepath.Join(p.Dir, f), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, a)
	}
	info := typesOf(t, p.ImportPath, fset, parsed, exports)
	for _, a := range parsed {
		for _, d := range a.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Doc == nil || f.Doc.List[len(f.Doc.List)-1].Text != hotMark {
				continue
			}
			n++
			for _, b := range breaches(f, info) {
				name := p.rel() + "." + f.Name.Name
				if slices.Contains(cold[name], b.word) {
					used[name+" "+b.word] = true
					continue
				}
				at := fset.Position(b.at)
				t.Errorf("%s/%s:%d: %s is hot: %s", p.rel(), filepath.Base(at.Filename), at.Line, f.Name.Name, b.text)
			}
		}
	}
	return n
}

// typesOf checks a package's types.
func typesOf(t *testing.T, path string, fset *token.FileSet, files []*ast.File, exports map[string]string) *types.Info {
	t.Helper()
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", lookup), Sizes: types.SizesFor("gc", "amd64")}
	if _, err := conf.Check(path, fset, files, info); err != nil {
		t.Fatal(err)
	}
	return info
}

// breach is a place where a hot function does what it must not.
type breach struct {
	at         token.Pos
	word, text string
}

func breaches(f *ast.FuncDecl, info *types.Info) (out []breach) {
	bad := func(n ast.Node, word, format string, a ...any) {
		out = append(out, breach{n.Pos(), word, fmt.Sprintf(format, a...)})
	}
	is := func(e ast.Expr, kinds ...string) bool {
		switch info.TypeOf(e).Underlying().(type) {
		case *types.Map:
			return slices.Contains(kinds, "map")
		case *types.Chan:
			return slices.Contains(kinds, "chan")
		}
		return false
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.DeferStmt:
			bad(n, "defer", "defer")
		case *ast.GoStmt:
			bad(n, "go", "go statement")
		case *ast.SendStmt:
			bad(n, "chan", "channel send")
		case *ast.SelectStmt:
			bad(n, "chan", "select")
		case *ast.FuncLit:
			bad(n, "func", "function literal")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				bad(n, "chan", "channel receive")
			}
		case *ast.RangeStmt:
			if is(n.X, "map", "chan") {
				bad(n, "map", "range over a map or channel")
			}
		case *ast.IndexExpr:
			if is(n.X, "map") {
				bad(n, "map", "map index")
			}
		case *ast.CompositeLit:
			if is(n, "map") {
				bad(n, "map", "map literal")
			}
		case *ast.CallExpr:
			hotCall(n, info, bad)
		}
		return true
	})
	return out
}

// hotCall looks at what is called and at what is put into an interface on the way.
func hotCall(c *ast.CallExpr, info *types.Info, bad func(n ast.Node, word, format string, a ...any)) {
	var obj types.Object
	switch f := ast.Unparen(c.Fun).(type) {
	case *ast.Ident:
		obj = info.Uses[f]
	case *ast.SelectorExpr:
		obj = info.Uses[f.Sel]
	}
	if b, ok := obj.(*types.Builtin); ok {
		if slices.Contains([]string{"make", "new", "delete", "panic", "print", "println"}, b.Name()) {
			bad(c, b.Name(), "%s()", b.Name())
		}
		return
	}
	if obj != nil && obj.Pkg() != nil {
		switch p := obj.Pkg().Path(); p {
		case "fmt", "log", "log/slog", "errors", "reflect", "sort", "sync":
			bad(c, obj.Pkg().Name(), "call of %s.%s", obj.Pkg().Name(), obj.Name())
		}
	}
	if tv := info.Types[c.Fun]; tv.IsType() { // a conversion
		if types.IsInterface(tv.Type) && !types.IsInterface(info.TypeOf(c.Args[0])) {
			bad(c, "interface", "conversion to %v", tv.Type)
		}
		return
	}
	sig, ok := info.TypeOf(c.Fun).Underlying().(*types.Signature)
	if !ok || c.Ellipsis.IsValid() {
		return
	}
	for i, a := range c.Args {
		var to types.Type
		switch last := sig.Params().Len() - 1; {
		case sig.Variadic() && i >= last:
			to = sig.Params().At(last).Type().(*types.Slice).Elem()
		case i <= last:
			to = sig.Params().At(i).Type()
		default:
			return // f(g()): g has several results
		}
		from := info.TypeOf(a)
		if _, generic := to.(*types.TypeParam); !generic && types.IsInterface(to) && !types.IsInterface(from) && !info.Types[a].IsNil() {
			bad(a, "interface", "%v becomes %v", from, to)
		}
	}
}

// TestHotRules: each rule finds what it is for, and nothing else.
func TestHotRules(t *testing.T) {
	const text = `package p

import ("fmt"; "sync/atomic")

type s struct { m map[int]int; c chan int; n atomic.Uint64; list []int; mapper interface{ Map(int) int }; err error }

func take(any) {}
func takes(int, ...any) {}

func (s *s) f(i int, e fmt.Stringer) {
	defer s.f(i, e)                  // defer
	go s.f(i, e)                     // go
	s.c <- 1                         // chan
	<-s.c                            // chan
	select {}                        // chan
	_ = func() {}                    // func
	for range s.m {}                 // map
	for range s.c {}                 // map
	_ = s.m[i]                       // map
	s.m[i] = 1                       // map
	_ = map[int]int{}                // map
	_ = make([]int, i)               // make
	_ = new(int)                     // new
	delete(s.m, i)                   // delete
	panic(nil)                       // panic
	_ = fmt.Sprint()                 // fmt
	take(i)                          // interface
	takes(i, i)                      // interface
	_ = any(i)                       // interface
	take(e)
	take(nil)
	takes(i)
	s.n.Add(1)
	s.list = append(s.list, i)
	_ = s.list[i] + len(s.list) + cap(s.list) + min(i, 2)
	i = int(uint32(i)) + s.mapper.Map(i)
	for range s.list {}
	for range i {}
}
`
	fset := token.NewFileSet()
	a, err := parser.ParseFile(fset, "p.go", text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	info := typesOf(t, "p", fset, []*ast.File{a}, exportData(t, "fmt", "sync/atomic"))
	want, got := map[int]string{}, map[int]string{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if _, word, ok := strings.Cut(strings.TrimSpace(line), "// "); ok {
			want[n] = word
		}
	}
	for _, d := range a.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			for _, b := range breaches(f, info) {
				got[fset.Position(b.at).Line] = b.word
			}
		}
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("by line (-want +got):\n%s", d)
	}
}
