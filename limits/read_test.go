package limits

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// readTree makes a file tree of testdata/NAME.txt: "folder/" begins a folder, "  file: value" is a file in it,
// "link -> target" a symbolic link.
func readTree(t *testing.T, name string) fstest.MapFS {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{}
	dir := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if link, target, ok := strings.Cut(line, " -> "); ok {
			tree[link] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
			continue
		}
		file, value, ok := strings.Cut(line, ": ")
		if !ok {
			dir = line
			continue
		}
		tree[path.Join(dir, strings.TrimSpace(file))] = &fstest.MapFile{Data: []byte(value + "\n"), Mode: 0o444}
	}
	return tree
}

func readNVMe() Limits {
	return Limits{
		LogicalBlock: 4096, PhysicalBlock: 4096, IOMin: 4096, IOOpt: 131072,
		MaxHWSectors: 2048, MaxUserSectors: 1024, MaxSectors: 1024, ChunkSectors: 256,
		MaxSegments: 257, MaxSegmentSize: math.MaxUint32, SegBoundaryMask: math.MaxUint32, MaxDiscardSegments: 1,
		VirtBoundary: 4095, DMAAlignment: 3,
		MaxHWDiscardSectors: math.MaxUint32, MaxDiscardSectors: math.MaxUint32, DiscardGranularity: 4096,
		MaxWriteZeroesSectors: 256, WriteCache: true, FUA: true,
	}
}

func TestRead(t *testing.T) {
	sata := Limits{
		LogicalBlock: 512, PhysicalBlock: 4096, IOMin: 4096,
		MaxHWSectors: 65534, MaxSectors: 2560,
		MaxSegments: 168, MaxSegmentSize: 65536, SegBoundaryMask: math.MaxUint32, MaxDiscardSegments: 1, DMAAlignment: 511,
		WriteCache: true, Rotational: true,
	}
	sata1 := sata
	sata1.AlignmentOffset = 512
	nvme2 := readNVMe()
	nvme2.ReadOnly = true
	tests := []struct {
		tree, dev string
		want      Limits
	}{
		{"nvme4kn", "nvme0n1", readNVMe()},
		{"nvme4kn", "nvme0n1p1", readNVMe()},
		{"nvme4kn", "nvme0n1p2", nvme2},
		{"sata512e", "sda", sata},
		{"sata512e", "sda1", sata1},
		{"loop", "loop0", Limits{
			LogicalBlock: 512, PhysicalBlock: 512, IOMin: 512,
			MaxHWSectors: 2560, MaxUserSectors: 512, MaxSectors: 512,
			MaxSegments: 128, MaxSegmentSize: 65536, SegBoundaryMask: math.MaxUint32, MaxDiscardSegments: 1, DMAAlignment: 511,
			MaxHWDiscardSectors: math.MaxUint32 >> 9, MaxDiscardSectors: 2048, DiscardGranularity: 4096,
			MaxWriteZeroesSectors: math.MaxUint32 >> 9, WriteCache: true,
		}},
		{"dm", "dm-0", Limits{
			LogicalBlock: 512, PhysicalBlock: 4096, IOMin: 65536, IOOpt: 8 << 20, Misaligned: true,
			MaxHWSectors: 65534, MaxSectors: 16384, // derived: io_opt is above the soft cap
			MaxSegments: 168, MaxSegmentSize: 65536, SegBoundaryMask: math.MaxUint32, MaxDiscardSegments: 1, DMAAlignment: 511,
			Rotational: true, ReadOnly: true,
		}},
		{"ancient", "hda", readAncient()},
		{"ancient", "hda1", readAncient()},
	}
	for _, tt := range tests {
		t.Run(tt.tree+"/"+tt.dev, func(t *testing.T) {
			got, err := Read(readTree(t, tt.tree), tt.dev)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("limits (-want +got):\n%s", d)
			}
		})
	}
}

func readAncient() Limits {
	return Limits{
		LogicalBlock: 512, PhysicalBlock: 512, IOMin: 512,
		MaxHWSectors: 256, MaxSectors: 256,
		MaxSegments: 128, MaxSegmentSize: 65536, SegBoundaryMask: math.MaxUint32, MaxDiscardSegments: 1, DMAAlignment: 511,
		MaxHWDiscardSectors: 128, MaxDiscardSectors: 128, DiscardGranularity: 512,
	}
}

func TestReadSectors(t *testing.T) {
	tests := []struct {
		name                  string
		hw, most, opt         string
		wantHW, wantMost, cap uint32
	}{
		{"nothing", "", "", "0", 255, 255, 0},
		{"odd sector lost", "127", "127", "0", 254, 254, 0},
		{"old soft cap", "4096", "1280", "0", 8192, 2560, 0},
		{"new soft cap", "32767", "4096", "0", 65534, 8192, 0},
		{"above the soft cap", "32767", "16384", "0", 65534, 32768, 32768},
		{"below", "32767", "64", "0", 65534, 128, 128},
		{"io_opt", "32767", "16384", "16777216", 65534, 32768, 0},
		{"more than the hardware", "512", "1024", "0", 1024, 1024, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fstest.MapFS{"block/x/queue/optimal_io_size": {Data: []byte(tt.opt)}}
			if tt.hw != "" {
				tree["block/x/queue/max_hw_sectors_kb"] = &fstest.MapFile{Data: []byte(tt.hw)}
				tree["block/x/queue/max_sectors_kb"] = &fstest.MapFile{Data: []byte(tt.most)}
			}
			l, err := Read(tree, "x")
			if err != nil {
				t.Fatal(err)
			}
			if l.MaxHWSectors != tt.wantHW || l.MaxSectors != tt.wantMost || l.MaxUserSectors != tt.cap {
				t.Errorf("hw %d, max %d, user %d; want %d, %d, %d",
					l.MaxHWSectors, l.MaxSectors, l.MaxUserSectors, tt.wantHW, tt.wantMost, tt.cap)
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	if _, err := Read(readTree(t, "loop"), "sda"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unknown device: %v", err)
	}
	for _, dev := range []string{"", ".", "..", "a/b"} {
		if _, err := Read(readTree(t, "loop"), dev); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("device %q: %v", dev, err)
		}
	}
	tree := readTree(t, "loop")
	const dir = "devices/virtual/block/loop0/"
	tree[dir+"queue/fua"].Data = []byte("yes\n")
	tree[dir+"queue/optimal_io_size"].Data = []byte("4294967296\n")
	tree[dir+"alignment_offset"].Data = []byte("x\n")
	_, err := Read(tree, "loop0")
	if !errors.Is(err, strconv.ErrSyntax) || !errors.Is(err, strconv.ErrRange) {
		t.Fatalf("malformed attributes: %v", err)
	}
	for _, name := range []string{"queue/fua", "queue/optimal_io_size", "alignment_offset"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

func TestWholeDisk(t *testing.T) {
	tests := []struct {
		tree, dev, whole string
		start, sectors   uint64
	}{
		{"nvme4kn", "nvme0n1", "nvme0n1", 0, 1875385008},
		{"nvme4kn", "nvme0n1p2", "nvme0n1", 1050624, 1874334384},
		{"sata512e", "sda1", "sda", 63, 2097152},
		{"ancient", "hda1", "hda", 63, 1024},
	}
	for _, tt := range tests {
		tree := readTree(t, tt.tree)
		whole, err := WholeDisk(tree, tt.dev)
		if err != nil || whole != tt.whole {
			t.Errorf("WholeDisk(%s) = %q, %v; want %q", tt.dev, whole, err, tt.whole)
		}
		start, err := PartStart(tree, tt.dev)
		if err != nil || start != tt.start {
			t.Errorf("PartStart(%s) = %d, %v; want %d", tt.dev, start, err, tt.start)
		}
		sectors, err := Sectors(tree, tt.dev)
		if err != nil || sectors != tt.sectors {
			t.Errorf("Sectors(%s) = %d, %v; want %d", tt.dev, sectors, err, tt.sectors)
		}
	}
}

// TestReadHost reads every block device of this machine.
func TestReadHost(t *testing.T) {
	sys := os.DirFS("/sys")
	devs, err := fs.ReadDir(sys, "class/block")
	if err != nil {
		t.Skip(err)
	}
	for _, dev := range devs {
		l, err := Read(sys, dev.Name())
		if err != nil {
			t.Errorf("%s: %v", dev.Name(), err)
		}
		if l.LogicalBlock < 512 || l.LogicalBlock&(l.LogicalBlock-1) != 0 || l.MaxSectors == 0 {
			t.Errorf("%s: %+v", dev.Name(), l)
		}
	}
}
