package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden parses every testdata/*.toml and compares all problems, hints included, with the
// .golden beside it. Files named good_* must have no errors.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(names) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, name := range names {
		base := filepath.Base(name)
		t.Run(base, func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			f, ps := Parse(base, text)
			got := ps.Error()
			if got != "" {
				got += "\n"
			}
			if good := strings.HasPrefix(base, "good_"); good != (len(ps.Errors()) == 0) && !strings.HasPrefix(base, "warn_") {
				t.Errorf("good %v, but errors:\n%s", good, got)
			}
			golden := strings.TrimSuffix(name, ".toml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			checkInvariants(t, f, ps, len(text))
		})
	}
}

func TestLoad(t *testing.T) {
	if _, _, err := Load(filepath.Join(t.TempDir(), "none.toml")); !os.IsNotExist(unwrap(err)) {
		t.Errorf("missing file: %v", err)
	}
	path := filepath.Join(t.TempDir(), "x.toml")
	text := "version = 1\n[disk.b]\nfile = \"b.img\"\ncreate = \"1MiB\"\n[device.d]\ntable = \"0 8 linear b 0\"\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	f, ps, err := Load(path)
	if err != nil || len(ps) != 0 {
		t.Fatal(err, ps)
	}
	if want := filepath.Join(filepath.Dir(path), "b.img"); f.Disk("b").File != want {
		t.Errorf("file %q, want %q", f.Disk("b").File, want)
	}
}

func unwrap(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		if _, ok := err.(*os.PathError); ok {
			return err
		}
		err = u.Unwrap()
	}
}

// checkInvariants is what holds for any text.
func checkInvariants(t *testing.T, f *File, ps Problems, size int) {
	t.Helper()
	for i, p := range ps {
		if p.Line < 1 || p.Col < 1 || p.Line > size+2 || p.Message == "" {
			t.Errorf("problem without a place or a message: %#v", p)
		}
		if strings.HasSuffix(p.Message, ".") || strings.ContainsRune(p.Message, '\n') {
			t.Errorf("message %q", p.Message)
		}
		if i > 0 && (Pos{p.Line, p.Col}).before(Pos{ps[i-1].Line, ps[i-1].Col}) {
			t.Errorf("not sorted: %v after %v", p, ps[i-1])
		}
	}
	if len(ps.Errors()) != 0 {
		return
	}
	for _, d := range f.Disks {
		if d.Kind == 0 || f.Disk(d.Name) != d {
			t.Errorf("disk %q: kind %v", d.Name, d.Kind)
		}
	}
	for _, d := range f.Devices {
		if f.Device(d.Name) != d || len(d.Segments) == 0 {
			t.Errorf("device %q is not right", d.Name)
		}
		next := uint64(0)
		for _, s := range d.Segments {
			checkSegment(t, s, next)
			next += s.Sectors
			for _, l := range s.Legs {
				k := f.Disk(l.Disk)
				if k == nil {
					t.Fatalf("disk %q of an accepted file does not exist", l.Disk)
				}
				end := l.Offset + s.Sectors/uint64(len(s.Legs))
				if k.Bytes() != 0 && end > k.Bytes().Sectors() {
					t.Errorf("device %q ends at %d of disk %q", d.Name, end, l.Disk)
				}
			}
		}
		if next != d.Sectors() {
			t.Errorf("device %q has %d sectors, not %d", d.Name, d.Sectors(), next)
		}
	}
}

func checkSegment(t *testing.T, s Segment, start uint64) {
	t.Helper()
	if s.Start != start || s.Sectors == 0 || s.Start+s.Sectors > maxSectors || len(s.Legs) == 0 {
		t.Errorf("segment %+v, start should be %d", s, start)
	}
	switch s.Type {
	case "linear":
		if s.Chunk != 0 || len(s.Legs) != 1 {
			t.Errorf("linear segment %+v", s)
		}
	case "striped":
		if s.Chunk == 0 || s.Sectors%(uint64(s.Chunk)*uint64(len(s.Legs))) != 0 {
			t.Errorf("striped segment %+v", s)
		}
	default:
		t.Errorf("segment of type %q", s.Type)
	}
	for _, l := range s.Legs {
		if l.Disk == "" || l.Offset+s.Sectors/uint64(len(s.Legs)) > maxSectors || l.Pos.Line < 1 {
			t.Errorf("leg %+v", l)
		}
	}
}
