package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A file system on a device keeps what it was given, over fstrim and a remount, and finds itself clean.
func TestFileSystems(t *testing.T) {
	anyKernel(t)
	for _, c := range []struct{ name, mkfs, check string }{
		{"ext4", "mkfs.ext4 -q -F", "e2fsck -fn"},
		{"xfs", "mkfs.xfs -q -f", "xfs_repair -n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := up(t, pathDisks(nullBlk(t, 160, withCache), nullBlk(t, 160, withCache))+
				tableDevice("data", "0 200000 linear a 64\n200000 240000 striped 2 24 b 8 a 200192\n440000 200000 linear b 120320"))
			node, dir := s.dev["data"], filepath.Join(t.TempDir(), "m")
			words(t, c.mkfs, node)
			mounted := mount(t, node, dir, c.name)
			seed := rand.Uint64()
			total := writeTree(t, dir, seed, scaled(30, 4))
			dropHalf(t, dir)
			sh(t, "fstrim", "-v", dir)
			mounted()
			mounted = mount(t, node, dir, c.name)
			files, size := checkTree(t, dir, seed)
			mounted()
			words(t, c.check, node)
			t.Logf("%d MiB written, %d files and %d MiB left and the same", total>>20, files, size>>20)
			st := status(t, s, "data")
			if st.Errors != 0 || st.IO["flush"].Requests == 0 {
				t.Errorf("%d errors, %d flushes", st.Errors, st.IO["flush"].Requests)
			}
			if d := number(t, "/sys/class/block/"+filepath.Base(node)+"/queue/discard_max_bytes"); (d > 0) != (st.IO["discard"].Requests > 0) {
				t.Errorf("discard_max_bytes %d, %d discards", d, st.IO["discard"].Requests)
			}
		})
	}
}

// mount mounts; the returned function unmounts, as does the end of the test.
func mount(t testing.TB, node, dir, kind string) func() {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(node, dir, kind, 0, ""); err != nil {
		t.Fatalf("mount %s: %v", node, err)
	}
	done := false
	unmount := func() {
		t.Helper()
		if done {
			return
		}
		done = true
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	t.Cleanup(unmount)
	return unmount
}

// words runs a command line without quotes, with one more word.
func words(t testing.TB, line, last string) {
	t.Helper()
	f := bytes.Fields([]byte(line))
	args := make([]string, 0, len(f))
	for _, w := range f[1:] {
		args = append(args, string(w))
	}
	sh(t, string(f[0]), append(args, last)...)
}

// content is what a file of the tree holds: it follows from its path and the seed. No two pages are the same.
func content(seed uint64, rel string) []byte {
	r := rand.New(rand.NewPCG(seed, uint64(crc32.ChecksumIEEE([]byte(rel)))))
	n := 1 + r.IntN(160<<10)
	if filepath.Base(rel) == "large" {
		n = 30<<20 + 4321
	}
	page := make([]byte, 4096)
	for i := 0; i < len(page); i += 8 {
		binary.LittleEndian.PutUint64(page[i:], r.Uint64())
	}
	b := make([]byte, 0, n+len(page))
	for i := uint64(0); len(b) < n; i++ {
		binary.LittleEndian.PutUint64(page[i%64*64:], i)
		b = append(b, page...)
	}
	return b[:n]
}

// writeTree makes folders of files, and in every other one a large file, until mib MiB are written.
func writeTree(t testing.TB, dir string, seed uint64, mib int) (total int) {
	t.Helper()
	for d := 0; total < mib<<20; d++ {
		sub := filepath.Join(dir, "tree", fmt.Sprintf("d%03d", d))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			name := filepath.Join(sub, fmt.Sprintf("f%03d", i))
			if i == 30 && d%2 == 0 {
				name = filepath.Join(sub, "large")
			}
			rel, _ := filepath.Rel(dir, name)
			b := content(seed, rel)
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
			total += len(b)
		}
	}
	return total
}

// dropHalf removes every third file, so that there is something to trim.
func dropHalf(t testing.TB, dir string) {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "tree", "*", "f*[0369]"))
	for _, n := range names {
		if err := os.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
	unix.Sync()
}

func checkTree(t testing.TB, dir string, seed uint64) (files, size int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "tree"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		got, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if !bytes.Equal(got, content(seed, rel)) {
			t.Errorf("%s holds something else", rel)
		}
		files, size = files+1, size+len(got)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Error("no file is left")
	}
	return files, size
}
