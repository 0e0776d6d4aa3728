package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// FuzzParse: no text makes Parse panic, an accepted file is sound, and the index agrees with the
// library on every text the library takes.
func FuzzParse(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.toml")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, ps := Parse("f.toml", text)
		checkInvariants(t, file, ps, len(text))
		lines := strings.Count(string(text), "\n") + 1
		for _, p := range ps {
			if p.Line > lines {
				t.Errorf("%v: the file has %d lines", p, lines)
			}
		}
		if len(ps.Errors()) != 0 {
			return
		}
		body := strings.TrimPrefix(string(text), "\ufeff")
		var tree map[string]any
		if _, err := toml.Decode(body, &tree); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		checkTree(t, "", body, tree, scan(body).root)
	})
}

// FuzzIndex: the index agrees with the library on any text the library takes, be it a configuration
// or not.
func FuzzIndex(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.toml")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, text := range []string{
		"a.b.c = 1\na.d = 2\n[x.y]\n[x]\nz=0\n",
		`a = """x""""` + "\nb = '''y'''''\nc = \"\"\"\\\n  \\\n z \\\" \\u00e9\"\"\"\n",
		"[[a]]\n[a.b]\nc=1\n[[a]]\n[[a.d]]\n",
		"d = 1979-05-27 07:32:00\nf = [1.5e3, -inf, 0xff, [], {}, {a.b = 1}]\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := scan(text)
		if s.tooDeep != nil || strings.HasPrefix(text, "\ufeff") || !utf8.ValidString(text) {
			return
		}
		r := &report{}
		tree := decode(r, text, s)
		if tree != nil && len(s.again) == 0 {
			checkTree(t, "", text, tree, s.root)
		}
	})
}

// FuzzTable: no text makes ParseTable panic, and an accepted table is contiguous from sector 0.
func FuzzTable(f *testing.F) {
	names, _ := filepath.Glob("testdata/table_*.toml")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if _, after, ok := strings.Cut(string(text), `"""`); ok {
			f.Add(after)
		}
	}
	f.Add("0 2048 striped 2 128 a 0 b 0\n# c\n\n2048 8 linear a 7")
	f.Fuzz(func(t *testing.T, text string) {
		segs, problems := ParseTable(text)
		lines := strings.Count(text, "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Col < 1 || p.Message == "" {
				t.Errorf("problem %+v", p)
			}
		}
		if len(problems) > 0 {
			return
		}
		next := uint64(0)
		for _, s := range segs {
			checkSegment(t, s, next)
			next += s.Sectors
		}
		if len(segs) == 0 {
			t.Error("no segments and no problem")
		}
	})
}
