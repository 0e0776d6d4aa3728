package house

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDocs: every package says what it is, and everything it exports is documented, in a comment that starts with its
// name. Methods that an interface of the standard library names need none.
func TestDocs(t *testing.T) {
	for _, p := range packages(t) {
		if p.Name == "main" || len(p.GoFiles) == 0 {
			continue
		}
		fset := token.NewFileSet()
		var parsed []*ast.File
		for _, f := range p.GoFiles {
			a, err := parser.ParseFile(fset, filepath.Join(p.Dir, f), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, a)
		}
		d, err := doc.NewFromFiles(fset, parsed, p.ImportPath)
		if err != nil {
			t.Fatal(err)
		}
		c := &docCheck{t, p, fset}
		if !strings.HasPrefix(d.Doc, "Package "+p.Name+" ") {
			t.Errorf("%s: its comment does not start with \"Package %s\"", p.rel(), p.Name)
		}
		c.values(d.Consts)
		c.values(d.Vars)
		c.funcs(d.Funcs)
		for _, ty := range d.Types {
			c.named(ty.Decl, ty.Name, ty.Doc)
			c.values(ty.Consts)
			c.values(ty.Vars)
			c.funcs(ty.Funcs)
			c.funcs(ty.Methods)
		}
	}
}

// kernelNames are the packages whose constants are the kernel's, in groups as its headers have them: a comment says what
// the group is.
var kernelNames = map[string]bool{"ublk/internal/uapi": true}

type docCheck struct {
	*testing.T
	p    *pkg
	fset *token.FileSet
}

func (c *docCheck) at(n ast.Node) (string, int) {
	p := c.fset.Position(n.Pos())
	return filepath.Join(c.p.rel(), filepath.Base(p.Filename)), p.Line
}

func (c *docCheck) named(n ast.Node, name, text string) {
	c.Helper()
	for _, article := range []string{"", "A ", "An ", "The "} {
		if rest, ok := strings.CutPrefix(text, article+name); ok && (rest == "" || !isLetter(rest[0])) {
			return
		}
	}
	file, line := c.at(n)
	c.Errorf("%s:%d: the comment of %s does not start with its name: %.40q", file, line, name, text)
}

func isLetter(b byte) bool { return b == '_' || b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z' }

func (c *docCheck) funcs(list []*doc.Func) {
	for _, f := range list {
		if f.Level > 0 || f.Recv != "" && f.Doc == "" && slices.Contains([]string{"Error", "Unwrap", "String"}, f.Name) {
			continue // promoted, or known
		}
		c.named(f.Decl, f.Name, f.Doc)
	}
}

// values wants a comment for a group, or for every exported name in it.
func (c *docCheck) values(list []*doc.Value) {
	for _, v := range list {
		for _, s := range v.Decl.Specs {
			s := s.(*ast.ValueSpec)
			exported := slices.ContainsFunc(s.Names, (*ast.Ident).IsExported)
			own := s.Doc.Text() + s.Comment.Text()
			if exported && own == "" && v.Doc == "" && !c.follows(v, s) {
				file, line := c.at(s)
				c.Errorf("%s:%d: %s has no comment", file, line, s.Names[0])
			}
			if exported && len(v.Decl.Specs) == 1 && !v.Decl.Lparen.IsValid() && !kernelNames[c.p.rel()] {
				c.named(s, s.Names[0].Name, v.Doc)
			}
		}
	}
}

// follows says whether a constant is of a documented type: the type's comment is the group's.
func (c *docCheck) follows(v *doc.Value, _ *ast.ValueSpec) bool {
	first := v.Decl.Specs[0].(*ast.ValueSpec)
	_, typed := first.Type.(*ast.Ident)
	return v.Decl.Tok == token.CONST && typed
}
