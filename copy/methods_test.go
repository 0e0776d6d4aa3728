package blkcopy

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
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

// gone is a method of a disk that has found out that it cannot: nothing is sent.
type gone struct{ asked atomic.Int64 }

func (g *gone) Copy(*Command, *Policy) (uint64, error) {
	g.asked.Add(1)
	return 0, &refusal{"the disk has refused such a copy", ErrNoOffload, unix.EOPNOTSUPP}
}

// TestMethodGone: what a method did not send is no command and no offload that failed: it goes by WithoutOffload.
func TestMethodGone(t *testing.T) {
	for _, without := range []Fallback{Emulate, Fail} {
		c := pairCase(t, limits.XCopy, Policy{AfterFailure: Fail, WithoutOffload: without})
		g := &gone{}
		c.o.Methods = map[limits.Method]Method{limits.XCopy: g}
		r, err := c.run(t, t.Context(), nil)
		if n := r.Commands[limits.XCopy]; n != 0 || g.asked.Load() == 0 {
			t.Errorf("%d commands were counted, %d asked for", n, g.asked.Load())
		}
		if (err == nil) != (without == Emulate) || err != nil && !errors.Is(err, ErrNoOffload) || without == Emulate && (r.Bytes != allBytes || len(r.Fallbacks) == 0) {
			t.Errorf("without offload %v: %d bytes, %v, fallbacks %v", without, r.Bytes, err, r.Fallbacks)
		}
	}
}

// TestMethodsSCSI: as TestMethodsNVMe, for SCSI.
func TestMethodsSCSI(t *testing.T) {
	disks, _ := fileDisks(t, 2)
	m := Methods(disks)[limits.XCopy]
	for _, c := range []struct {
		second target.Disk
		want   string
	}{{0, "disk b: copy: not by SCSI"}, {1, "sources on two disks"}} {
		cmd := &Command{Sources: []target.Extent{extent(0, 0, 8), extent(c.second, 8, 8)}, Dst: extent(1, 64, 16)}
		if done, err := m.Copy(cmd, &Policy{}); done != 0 || !errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, ErrNoOffload) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d sectors, %v", done, err)
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
