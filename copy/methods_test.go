package blkcopy

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ublk-go/ublk-linear/disk"
	"github.com/ublk-go/ublk-linear/limits"
	"github.com/ublk-go/ublk-linear/target"
)

// fileDisks are open disks on files of random bytes.
func fileDisks(t *testing.T, n int) (disks []*disk.Disk, paths []string) {
	t.Helper()
	r := rand.NewChaCha8([32]byte{7})
	for i := range n {
		b := make([]byte, 64<<10)
		_, _ = r.Read(b)
		path := filepath.Join(t.TempDir(), "img")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := disk.Open(context.Background(), disk.Spec{Name: string(rune('a' + i)), File: path}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		disks, paths = append(disks, d), append(paths, path)
	}
	return disks, paths
}

func extent(d target.Disk, start, n uint64) target.Extent {
	return target.Extent{Disk: d, Range: target.Range{Start: start, Len: n}}
}

// TestMethodsFile: sources land one behind the other. Where the file system shares blocks and the policy does not let it,
// the method says so; where the request reaches past an end, what came before counts.
func TestMethodsFile(t *testing.T) {
	disks, paths := fileDisks(t, 2)
	m := Methods(disks)[limits.FileCopy]
	want, _ := os.ReadFile(paths[1])
	src, _ := os.ReadFile(paths[0])
	copy(want[0:], src[16*512:24*512])
	copy(want[8*512:], src[0:8*512])
	c := &Command{Sources: []target.Extent{extent(0, 16, 8), extent(0, 0, 8)}, Dst: extent(1, 0, 16)}
	done, err := m.Copy(c, &Policy{ShareExtents: true, FUA: true})
	got, _ := os.ReadFile(paths[1])
	if err != nil || done != 16 || !bytes.Equal(got, want) {
		t.Errorf("%d sectors, %v", done, err)
	}
	c = &Command{Sources: []target.Extent{extent(0, 64, 8), extent(0, 124, 8)}, Dst: extent(1, 0, 16)}
	if done, err := m.Copy(c, &Policy{ShareExtents: true}); done != 8 || !errors.Is(err, disk.ErrCopyRequest) {
		t.Errorf("past the end: %d sectors, %v", done, err)
	}
	if disks[1].Copy().Can() {
		if done, err := m.Copy(c, &Policy{}); done != 0 || !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("without leave to share: %d sectors, %v", done, err)
		}
	}
}

// TestMethodsNVMe: whatever a file says of its disks, a command is sent to an NVMe disk only, and only inside its namespace.
func TestMethodsNVMe(t *testing.T) {
	disks, _ := fileDisks(t, 2)
	m := Methods(disks)[limits.NVMeCopy]
	for _, c := range []struct {
		src  target.Disk
		want string
	}{{1, "not by NVMe"}, {0, "disks a and b are not one namespace"}} {
		cmd := &Command{Sources: []target.Extent{extent(c.src, 0, 8), extent(c.src, 8, 8)}, Dst: extent(1, 64, 16)}
		if done, err := m.Copy(cmd, &Policy{}); done != 0 || !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d sectors, %v", done, err)
		}
	}
}
