package disk

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func testOptions(t *testing.T) *Options {
	return &Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func mustOpen(t *testing.T, s Spec, o *Options) *Disk {
	t.Helper()
	d, err := Open(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestFileCreate(t *testing.T) {
	noLeak(t)
	name := filepath.Join(t.TempDir(), "f")
	s := Spec{Name: "f", File: name, Create: 64 << 20}
	before, err := Inspect(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, s, testOptions(t))
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 64<<20 || st.Blocks*512 > 1<<20 || st.Mode&0o777 != 0o600 {
		t.Errorf("size %d, blocks %d, mode %o", st.Size, st.Blocks, st.Mode)
	}
	if d.Sectors() != 131072 || before.Sectors != d.Sectors() || d.Kind() != File || d.Node() != name || d.Rdev() != 0 {
		t.Errorf("disk %+v, before %+v", d.Info(), before)
	}
	l := d.Limits()
	if l.LogicalBlock < 512 || !l.WriteCache || !l.FUA || l.Rotational || l.MaxHWSectors != 2560 || d.DiscardByCommand() {
		t.Errorf("limits %+v", l)
	}
	after, err := Inspect(s, nil)
	if err != nil || after != d.Info() {
		t.Errorf("Inspect says %+v, %v; Open %+v", after, err, d.Info())
	}
	if _, err := unix.Pwrite(d.FD(), make([]byte, 0), 0); err != nil {
		t.Error(err)
	}

	// What is there is used as it is, with another Create too.
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	s.Create = 4096
	if d := mustOpen(t, s, nil); d.Sectors() != 131072 {
		t.Errorf("%d sectors", d.Sectors())
	}
}

func TestFileDiscard(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	data := []byte(strings.Repeat("x", 1<<20))
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, Spec{File: name}, nil)
	if got, err := os.ReadFile(name); err != nil || string(got) != string(data) {
		t.Fatalf("opening changed the file: %v", err)
	}
	l := d.Limits()
	if l.MaxDiscardSectors == 0 {
		t.Skip("the file system punches no holes")
	}
	if l.MaxDiscardSectors != math.MaxUint32>>9 || l.MaxHWDiscardSectors != l.MaxDiscardSectors ||
		l.MaxWriteZeroesSectors != l.MaxDiscardSectors || l.DiscardGranularity < l.LogicalBlock {
		t.Errorf("limits %+v", l)
	}
}

func TestFileReadOnly(t *testing.T) {
	noLeak(t)
	name := filepath.Join(t.TempDir(), "f")
	d := mustOpen(t, Spec{File: name, Create: 1 << 20, ReadOnly: true}, nil)
	flags, err := unix.FcntlInt(uintptr(d.FD()), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE != unix.O_RDONLY {
		t.Errorf("flags %#x, %v", flags, err)
	}
	if l := d.Limits(); !d.ReadOnly() || !l.ReadOnly || l.MaxDiscardSectors != 0 || l.MaxWriteZeroesSectors != 0 {
		t.Errorf("limits %+v", l)
	}
}

func TestFileLengths(t *testing.T) {
	noLeak(t)
	dir := t.TempDir()
	tests := []struct {
		bytes  int64
		create uint64
		says   string
	}{
		{0, 0, "is empty"},
		{512*9 + 100, 0, "100 over"},
		{4096, 8192, "4096 less than create = 8192"},
		{100, 0, "100 over, 412 short"},
	}
	for _, tt := range tests {
		name := filepath.Join(dir, "f")
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, tt.bytes); err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), Spec{File: name, Create: tt.create}, nil)
		if d != nil || !errors.Is(err, unix.EINVAL) {
			t.Errorf("%d bytes: %v", tt.bytes, err)
			continue
		}
		if !strings.Contains(err.Error(), tt.says) && !strings.Contains(err.Error(), "its block of 4096") {
			t.Errorf("%d bytes: %q does not say %q", tt.bytes, err, tt.says)
		}
		if fi, err := os.Stat(name); err != nil || fi.Size() != tt.bytes {
			t.Errorf("%d bytes: now %v, %v", tt.bytes, fi, err)
		}
	}
}

func TestFileCreateFails(t *testing.T) {
	noLeak(t)
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	// More than any file system here has.
	if err := createFile(name, math.MaxInt64&^511); err == nil {
		t.Skip("the file system takes any length")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestFileLocked(t *testing.T) {
	noLeak(t)
	name := filepath.Join(t.TempDir(), "f")
	s := Spec{Name: "f", File: name, Create: 1 << 20}
	d := mustOpen(t, s, nil)
	link := name + "-link"
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{name, link} {
		start := time.Now()
		_, err := Open(t.Context(), Spec{File: file}, &Options{Wait: time.Hour})
		busy, ok := errors.AsType[*BusyError](err)
		if !ok || !errors.Is(err, unix.EBUSY) || len(busy.Holders) != 1 {
			t.Fatalf("got %v", err)
		}
		if h := busy.Holders[0]; h.Kind != "lock" || !strings.HasSuffix(h.What, ", this process") {
			t.Errorf("holder %+v", h)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("took %v", took)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, s, nil)
}

// TestFileLockWait has a lock whose holder cannot be found, as that of a killed server.
func TestFileLockWait(t *testing.T) {
	noLeak(t)
	name := filepath.Join(t.TempDir(), "f")
	d := mustOpen(t, Spec{File: name, Create: 1 << 20}, nil)
	o := host(t)
	if _, err := Open(t.Context(), Spec{File: name}, o); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "exclusively") {
		t.Fatalf("without patience: %v", err)
	}
	o.Wait = time.Minute
	done := make(chan error, 1)
	go func() {
		d, err := Open(t.Context(), Spec{File: name}, o)
		if err == nil {
			err = d.Close()
		}
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestParseFlock(t *testing.T) {
	st := state{Dev: unix.Mkdev(0xfd, 0), Ino: 2531452}
	tests := []struct {
		line, pid string
		ok        bool
	}{
		{"1: FLOCK  ADVISORY  WRITE 2568 fd:00:2531452 0 EOF", "2568", true},
		{"1: FLOCK  ADVISORY  WRITE 2568 fd:01:2531452 0 EOF", "", false},
		{"1: -> FLOCK  ADVISORY  WRITE 2569 fd:00:2531452 0 EOF", "", false},
		{"2: POSIX  ADVISORY  WRITE 2568 fd:00:2531452 0 EOF", "", false},
		{"", "", false},
	}
	for _, tt := range tests {
		pid, ok := parseFlock(tt.line, st)
		if ok != tt.ok || ok && pid != tt.pid {
			t.Errorf("%q: %q, %v", tt.line, pid, ok)
		}
	}
}

// TestFileBuffered opens where the file system refuses direct I/O.
func TestFileBuffered(t *testing.T) {
	noLeak(t)
	name := filepath.Join(t.TempDir(), "f")
	o := testOptions(t)
	o.kernel = systemKernel()
	o.kernel.open = func(path string, flags int) (int, error) {
		if flags&unix.O_DIRECT != 0 {
			return -1, unix.EINVAL
		}
		return openFile(path, flags)
	}
	d := mustOpen(t, Spec{File: name, Create: 512 * 3}, o)
	if l := d.Limits(); l.LogicalBlock != 512 || l.DMAAlignment != 511 || d.Sectors() != 3 {
		t.Errorf("%d sectors, limits %+v", d.Sectors(), l)
	}
}

func TestSetBuffered(t *testing.T) {
	d := mustOpen(t, Spec{File: filepath.Join(t.TempDir(), "f"), Create: 1 << 20}, nil)
	if err := setBuffered(d.FD()); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(d.FD()), unix.F_GETFL, 0); err != nil || flags&unix.O_DIRECT != 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
}

// TestFileShared is a file system without a device and without STATX_DIOALIGN.
func TestFileShared(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "disk")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := mustOpen(t, Spec{File: filepath.Join(dir, "f"), Create: 512 * 3}, testOptions(t))
	if l := d.Limits(); l.LogicalBlock != 512 {
		t.Errorf("limits %+v", l)
	}
}

func TestMemory(t *testing.T) {
	noLeak(t)
	s := Spec{Name: "m", Memory: 1 << 20}
	d := mustOpen(t, s, nil)
	info, err := Inspect(s, nil)
	if err != nil || info != d.Info() {
		t.Errorf("Inspect says %+v, %v; Open %+v", info, err, d.Info())
	}
	if d.Kind() != Memory || d.Node() != "memory" || d.Sectors() != 2048 || d.ReadOnly() || d.Rdev() != 0 {
		t.Errorf("disk %+v", d.Info())
	}
	l := d.Limits()
	if l.LogicalBlock != 512 || l.WriteCache || l.FUA || l.MaxDiscardSectors == 0 || l.MaxWriteZeroesSectors == 0 || l.DiscardGranularity == 0 {
		t.Errorf("limits %+v", l)
	}
	buf := []byte("hello")
	if _, err := unix.Pwrite(d.FD(), buf, 4096); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(d.FD(), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 4096); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Pread(d.FD(), buf, 4096); err != nil || n != 5 || string(buf) != "\x00\x00\x00\x00\x00" {
		t.Errorf("read %q, %v", buf, err)
	}
	if err := Apart([]*Disk{d, mustOpen(t, s, nil)}); err != nil {
		t.Error(err)
	}
	mustOpen(t, Spec{Name: strings.Repeat("long", 100), Memory: 512}, nil)
}
