package disk

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

// host is the machine in testdata, of which ublkb7 is our device "data".
func host(t *testing.T) *Options {
	t.Helper()
	return &Options{
		Sys: tree(t, "sys"), Proc: tree(t, "proc"), Dev: tree(t, "dev"),
		Served: func(node string) string {
			if node == "ublkb7" {
				return "data"
			}
			return ""
		},
	}
}

// tree makes a file tree of testdata/NAME.txt. A line is "link -> target", "file: value" with Go's escapes
// in the value, or "node block 8:0".
func tree(t *testing.T, name string) fstest.MapFS {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	m := fstest.MapFS{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if link, target, ok := strings.Cut(line, " -> "); ok {
			m[link] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
			continue
		}
		if file, value, ok := strings.Cut(line, ": "); ok {
			value, err := strconv.Unquote(`"` + strings.ReplaceAll(value, `"`, `\"`) + `"`)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			m[file] = &fstest.MapFile{Data: []byte(value + "\n"), Mode: 0o444}
			continue
		}
		f := strings.Fields(line)
		if len(f) != 3 {
			t.Fatalf("bad line %q", line)
		}
		rdev, err := parseNumber(f[2])
		if err != nil {
			t.Fatal(err)
		}
		node := &fstest.MapFile{Mode: fs.ModeDevice | 0o660, Sys: &syscall.Stat_t{Mode: unix.S_IFBLK, Rdev: rdev}}
		if f[1] == "char" {
			node.Mode |= fs.ModeCharDevice
		}
		m[f[0]] = node
	}
	return m
}

// openFDs are the open file descriptors of this process.
func openFDs(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(fds)
}

// noLeak fails the test if it ends with more open files than it began with.
func noLeak(t *testing.T) {
	t.Helper()
	before := openFDs(t)
	t.Cleanup(func() {
		if after := openFDs(t); after > before {
			t.Errorf("%d file descriptors leaked", after-before)
		}
	})
}
